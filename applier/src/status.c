/* status - the applier's metrics and its /status document. */
#include "applier/src/status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/engine.h"
#include "applier/src/source.h"
#include "common/buf.h"
#include "common/mem.h"
#include "common/metrics.h"

enum series {
    M_COMMANDS,
    M_ENTRIES,
    M_BATCHES,
    M_BYTES,
    M_FRAMES,
    M_SKIPPED,
    M_CONNECTS,
    M_FENCED,
    M_LOOKAHEADS,
    M_SWEPT,
    M_SNAPSHOTS,
    M_ERR_TRANSIENT,
    M_ERR_DIVERGENCE,
    M_ERR_LOG,
    M_LAG_SECONDS,
    M_LAG_BYTES,
    M_EPOCH,
    M_LSN,
    M_SNAPSHOT_KEYS,
    M_ACTIVE,
    M_BUFFERED,
    M_CNT,
};

static const struct {
    const char *name, *help, *labels;
    enum metric_kind kind;
} METRICS[M_CNT] = {
    [M_COMMANDS] = {"rwal_applier_applied_commands_total",
                    "Commands of the log that the target applied", NULL, METRIC_COUNTER},
    [M_ENTRIES] = {"rwal_applier_applied_entries_total", "Entries of the log that are done",
                   NULL, METRIC_COUNTER},
    [M_BATCHES] = {"rwal_applier_batches_total", "Transactions that the target applied", NULL,
                   METRIC_COUNTER},
    [M_BYTES] = {"rwal_applier_applied_bytes_total", "Bytes of applied transactions", NULL,
                 METRIC_COUNTER},
    [M_FRAMES] = {"rwal_applier_frames_total", "Frames read from Kafka", NULL, METRIC_COUNTER},
    [M_SKIPPED] = {"rwal_applier_skipped_frames_total",
                   "Data frames that were not needed: delivered twice, or of an older epoch",
                   NULL, METRIC_COUNTER},
    [M_CONNECTS] = {"rwal_applier_connects_total", "Connections made to the target", NULL,
                    METRIC_COUNTER},
    [M_FENCED] = {"rwal_applier_fenced_total", "Times another writer moved the position", NULL,
                  METRIC_COUNTER},
    [M_LOOKAHEADS] = {"rwal_applier_lookaheads_total",
                      "Times the log was read ahead without keeping it, for lack of memory",
                      NULL, METRIC_COUNTER},
    [M_SWEPT] = {"rwal_applier_swept_keys_total",
                 "Keys removed because a snapshot did not have them", NULL, METRIC_COUNTER},
    [M_SNAPSHOTS] = {"rwal_applier_snapshots_total", "Snapshots applied", NULL, METRIC_COUNTER},
    [M_ERR_TRANSIENT] = {"rwal_applier_errors_total", "Errors by kind", "kind=\"transient\"",
                         METRIC_COUNTER},
    [M_ERR_DIVERGENCE] = {"rwal_applier_errors_total", "Errors by kind", "kind=\"divergence\"",
                          METRIC_COUNTER},
    [M_ERR_LOG] = {"rwal_applier_errors_total", "Errors by kind", "kind=\"log\"",
                   METRIC_COUNTER},
    [M_LAG_SECONDS] = {"rwal_applier_lag_seconds",
                       "Age of what was applied last, 0 when nothing is left", NULL,
                       METRIC_GAUGE},
    [M_LAG_BYTES] = {"rwal_applier_lag_bytes", "Bytes of the stream that are not applied", NULL,
                     METRIC_GAUGE},
    [M_EPOCH] = {"rwal_applier_position_epoch", "Epoch of the position", NULL, METRIC_GAUGE},
    [M_LSN] = {"rwal_applier_position_lsn",
               "LSN of the position; in a snapshot its bytes applied", NULL, METRIC_GAUGE},
    [M_SNAPSHOT_KEYS] = {"rwal_applier_snapshot_keys", "Keys of the snapshot being applied",
                         NULL, METRIC_GAUGE},
    [M_ACTIVE] = {"rwal_applier_active", "1 while this applier is the one that writes", NULL,
                  METRIC_GAUGE},
    [M_BUFFERED] = {"rwal_applier_buffered_bytes", "Frames that wait for their turn", NULL,
                    METRIC_GAUGE},
};

struct status {
    const struct engine *engine;
    const struct source *source;
    struct metric *metric[M_CNT];
    char not_ready[600];
};

struct status *status_new(struct metrics *m, const struct engine *engine,
                          const struct source *source)
{
    struct status *s = xcalloc(1, sizeof(*s));

    s->engine = engine;
    s->source = source;
    for (size_t i = 0; i < M_CNT; i++)
        s->metric[i] = metrics_add(m, METRICS[i].kind, METRICS[i].name, METRICS[i].help,
                                   METRICS[i].labels);
    return s;
}

void status_free(struct status *s)
{
    free(s);
}

static size_t buffered(const struct engine *e, uint32_t partition_cnt)
{
    size_t sum = 0;

    for (uint32_t i = 0; i < partition_cnt; i++) {
        int64_t offset;
        size_t bytes;
        bool paused;

        engine_partition(e, i, &offset, &bytes, &paused);
        sum += bytes;
    }
    return sum;
}

void status_scrape(struct status *s)
{
    const struct engine_counters *c = engine_counters(s->engine);
    struct engine_view v;

    engine_view(s->engine, &v);
    const uint64_t value[M_CNT] = {
        [M_COMMANDS] = c->commands,
        [M_ENTRIES] = c->entries,
        [M_BATCHES] = c->batches,
        [M_BYTES] = c->bytes,
        [M_FRAMES] = c->frames,
        [M_SKIPPED] = c->frames_dropped,
        [M_CONNECTS] = c->reconnects,
        [M_FENCED] = c->fenced,
        [M_LOOKAHEADS] = c->lookaheads,
        [M_SWEPT] = c->keys_swept,
        [M_SNAPSHOTS] = c->snapshots,
        [M_ERR_TRANSIENT] = c->errors_transient,
        [M_ERR_DIVERGENCE] = c->errors_divergence,
        [M_ERR_LOG] = c->errors_log,
        [M_LAG_BYTES] = v.lag_bytes,
        [M_EPOCH] = v.position->at.epoch,
        [M_LSN] = v.position->at.lsn,
        [M_SNAPSHOT_KEYS] = v.snapshot_keys,
        [M_ACTIVE] = v.state == ENGINE_RUNNING || v.state == ENGINE_SWEEPING,
        [M_BUFFERED] = buffered(s->engine, v.partition_cnt),
    };
    for (size_t i = 0; i < M_CNT; i++)
        metric_set(s->metric[i], (double)value[i]);
    metric_set(s->metric[M_LAG_SECONDS], v.lag_seconds);
}

static json_t *position_json(const struct engine_view *v)
{
    const struct position *p = v->position;

    if (!v->has_position)
        return json_null();
    return json_pack("{s:I, s:s, s:I, s:i, s:I, s:I, s:s}", "epoch", (json_int_t)p->at.epoch,
                     "phase", p->at.phase == PHASE_STREAM ? "stream" : "snapshot", "lsn",
                     (json_int_t)p->at.lsn, "db", (int)p->db, "received_ms",
                     (json_int_t)p->time_ms, "applied_ms", (json_int_t)p->applied_at_ms,
                     "writer", p->writer);
}

static json_t *partitions_json(const struct engine *e, uint32_t cnt)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < cnt; i++) {
        int64_t offset;
        size_t bytes;
        bool paused;

        engine_partition(e, i, &offset, &bytes, &paused);
        (void)json_array_append_new(list,
                                    json_pack("{s:i, s:I, s:I, s:b}", "partition", (int)i,
                                              "offset", (json_int_t)offset, "buffered_bytes",
                                              (json_int_t)bytes, "paused", (int)paused));
    }
    return list;
}

static json_t *counters_json(const struct engine_counters *c)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "commands",
                     (json_int_t)c->commands, "entries", (json_int_t)c->entries, "batches",
                     (json_int_t)c->batches, "frames", (json_int_t)c->frames, "frames_skipped",
                     (json_int_t)c->frames_dropped, "connects", (json_int_t)c->reconnects,
                     "fenced", (json_int_t)c->fenced, "keys_swept", (json_int_t)c->keys_swept,
                     "lookaheads", (json_int_t)c->lookaheads);
}

void status_json(const struct status *s, struct buf *out)
{
    struct engine_view v;
    const char *source = source_not_ready(s->source);
    json_t *doc;
    char *text;

    engine_view(s->engine, &v);
    doc = json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:I, s:f, s:I}, s:I, s:o, s:o}", "state",
                    v.state_name, "detail", v.detail, "source", source != NULL ? source : "ok",
                    "target_version", v.target_version, "position", position_json(&v), "lag",
                    "bytes", (json_int_t)v.lag_bytes, "seconds", v.lag_seconds, "source_lsn",
                    (json_int_t)v.source_lsn, "snapshot_keys", (json_int_t)v.snapshot_keys,
                    "partitions", partitions_json(s->engine, v.partition_cnt), "counters",
                    counters_json(engine_counters(s->engine)));
    text = doc != NULL ? json_dumps(doc, JSON_INDENT(2)) : NULL;
    if (text != NULL)
        buf_append(out, text, strlen(text));
    free(text);
    json_decref(doc);
}

const char *status_not_ready(struct status *s)
{
    const char *why = engine_not_ready(s->engine);
    const char *source = source_not_ready(s->source);
    struct engine_view v;

    if (why == NULL)
        return source;
    engine_view(s->engine, &v);
    /* Of an engine that waits for the source, the source knows why. */
    if (v.state == ENGINE_WAITING && source != NULL)
        return source;
    (void)snprintf(s->not_ready, sizeof(s->not_ready), "%s%s%s", why,
                   v.detail[0] != '\0' ? ": " : "", v.detail);
    return s->not_ready;
}
