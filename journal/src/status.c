/* status - the journal's metrics and its /status document. */
#include "journal/src/status.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "journal/src/journal.h"
#include "journal/src/options.h"

enum gauge {
    M_OWNER,
    M_STREAMING,
    M_EPOCH,
    M_DURABLE,
    M_READ,
    M_SOURCE,
    M_IN_FLIGHT,
    M_STREAM_BYTES,
    M_FRAMES,
    M_ENTRIES,
    M_LOG_BYTES,
    M_COMMITS,
    M_COMMITS_PUT_OFF,
    M_FULL,
    M_PARTIAL,
    M_TAKEOVERS,
    M_FAILURES,
    M_LINK_DOWNS,
    M_ACK,
    M_CNT,
};

static const struct {
    const char *name, *help, *labels;
    enum metric_kind kind;
} METRICS[M_CNT] = {
    [M_OWNER] = {"rwal_journal_owner", "1 while this journal owns the log", NULL, METRIC_GAUGE},
    [M_STREAMING] = {"rwal_journal_streaming", "1 while snapshot or stream flows into the log",
                     NULL, METRIC_GAUGE},
    [M_EPOCH] = {"rwal_journal_epoch", "Epoch of the last START known", NULL, METRIC_GAUGE},
    [M_DURABLE] = {"rwal_journal_acked_offset_bytes",
                   "Replication offset up to which Kafka acknowledged everything", NULL,
                   METRIC_GAUGE},
    [M_READ] = {"rwal_journal_read_offset_bytes",
                "Replication offset up to which whole entries were read", NULL, METRIC_GAUGE},
    [M_SOURCE] = {"rwal_journal_source_offset_bytes", "The source's own replication offset",
                  NULL, METRIC_GAUGE},
    [M_IN_FLIGHT] = {"rwal_journal_in_flight_bytes",
                     "Bytes of frames Kafka has not acknowledged", NULL, METRIC_GAUGE},
    [M_STREAM_BYTES] = {"rwal_journal_received_bytes_total", "Bytes read from the source", NULL,
                        METRIC_COUNTER},
    [M_FRAMES] = {"rwal_journal_frames_total", "Frames handed to Kafka", NULL, METRIC_COUNTER},
    [M_ENTRIES] = {"rwal_journal_entries_total", "Entries and fragments put into frames", NULL,
                   METRIC_COUNTER},
    [M_LOG_BYTES] = {"rwal_journal_log_bytes_total", "Bytes of frames handed to Kafka", NULL,
                     METRIC_COUNTER},
    [M_COMMITS] = {"rwal_journal_commits_total", "Housekeeping commits", NULL, METRIC_COUNTER},
    [M_COMMITS_PUT_OFF] = {"rwal_journal_commits_put_off_total",
                           "Commits put off because Kafka did not acknowledge in time", NULL,
                           METRIC_COUNTER},
    [M_FULL] = {"rwal_journal_resyncs_total", "Resynchronisations with the source",
                "kind=\"full\"", METRIC_COUNTER},
    [M_PARTIAL] = {"rwal_journal_resyncs_total", "Resynchronisations with the source",
                   "kind=\"partial\"", METRIC_COUNTER},
    [M_TAKEOVERS] = {"rwal_journal_takeovers_total", "Times this journal became the owner",
                     NULL, METRIC_COUNTER},
    [M_FAILURES] = {"rwal_journal_epoch_failures_total",
                    "Ownerships that ended by a delivery error", NULL, METRIC_COUNTER},
    [M_LINK_DOWNS] = {"rwal_journal_link_downs_total", "Lost links and failed attempts", NULL,
                      METRIC_COUNTER},
    [M_ACK] = {"rwal_journal_ack_seconds", "How long Kafka took for the last frame", NULL,
               METRIC_GAUGE},
};

struct status {
    const struct journal *journal;
    const struct journal_conf *conf;
    struct metric *metric[M_CNT];
    char not_ready[600];
};

struct status *status_new(struct metrics *m, const struct journal *j,
                          const struct journal_conf *conf)
{
    struct status *s = xcalloc(1, sizeof(*s));

    s->journal = j;
    s->conf = conf;
    for (size_t i = 0; i < M_CNT; i++)
        s->metric[i] = metrics_add(m, METRICS[i].kind, METRICS[i].name, METRICS[i].help,
                                   METRICS[i].labels);
    return s;
}

void status_free(struct status *s)
{
    free(s);
}

static double lsn_of(const struct wal_pos *pos)
{
    return pos->phase == PHASE_STREAM ? (double)pos->lsn : 0;
}

void status_scrape(struct status *s)
{
    struct journal_info i;
    double value[M_CNT];

    journal_get_info(s->journal, &i);
    value[M_OWNER] = i.owner;
    value[M_STREAMING] = i.streaming;
    value[M_EPOCH] = (double)i.start.epoch;
    value[M_DURABLE] = lsn_of(&i.durable);
    value[M_READ] = lsn_of(&i.end);
    value[M_SOURCE] = (double)i.link.source_lsn;
    value[M_IN_FLIGHT] = (double)i.sink.in_flight_bytes;
    value[M_STREAM_BYTES] = (double)i.link.rx_bytes;
    value[M_FRAMES] = (double)i.sink.frames;
    value[M_ENTRIES] = (double)i.sink.entries;
    value[M_LOG_BYTES] = (double)i.sink.bytes;
    value[M_COMMITS] = (double)i.sink.commits;
    value[M_COMMITS_PUT_OFF] = (double)i.sink.commits_put_off;
    value[M_FULL] = (double)i.full_resyncs;
    value[M_PARTIAL] = (double)i.partial_resyncs;
    value[M_TAKEOVERS] = (double)i.takeovers;
    value[M_FAILURES] = (double)i.failures;
    value[M_LINK_DOWNS] = (double)i.link_downs;
    value[M_ACK] = (double)i.sink.ack_ms / 1000;
    for (size_t k = 0; k < M_CNT; k++)
        metric_set(s->metric[k], value[k]);
}

static json_t *pos_json(const struct wal_pos *pos)
{
    return json_pack("{s:I, s:s, s:I}", "epoch", (json_int_t)pos->epoch, "phase",
                     pos->phase == PHASE_STREAM ? "stream" : "snapshot", "position",
                     (json_int_t)pos->lsn);
}

/* Text from outside (errors, names) may be cut inside a character; JSON takes whole ones only. */
static json_t *text_json(const char *text)
{
    json_t *whole = json_string(text);
    char *ascii;

    if (whole != NULL)
        return whole;
    ascii = xstrdup(text);
    for (char *p = ascii; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    whole = json_string(ascii);
    free(ascii);
    return whole;
}

void status_json(struct status *s, struct buf *out)
{
    struct journal_info i;
    json_t *o;
    char *text;

    journal_get_info(s->journal, &i);
    o = json_pack("{s:o, s:s, s:o, s:b, s:b, s:o, s:I, s:s, s:o, s:o}", "source",
                  text_json(s->conf->source_name), "state", i.state, "detail",
                  text_json(i.detail), "owner", i.owner, "streaming", i.streaming, "topic",
                  text_json(s->conf->topic), "epoch", (json_int_t)i.start.epoch, "replid",
                  i.start.replid, "durable", pos_json(&i.durable), "read", pos_json(&i.end));
    (void)json_object_update_new(
        o, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "redis",
                     text_json(i.link.peer), "source_offset", (json_int_t)i.link.source_lsn,
                     "in_flight_bytes", (json_int_t)i.sink.in_flight_bytes, "epochs",
                     (json_int_t)i.epochs, "full_resyncs", (json_int_t)i.full_resyncs,
                     "partial_resyncs", (json_int_t)i.partial_resyncs, "takeovers",
                     (json_int_t)i.takeovers, "failures", (json_int_t)i.failures, "standby_of",
                     i.other_owner));
    text = json_dumps(o, JSON_INDENT(2));
    buf_append(out, text, strlen(text));
    free(text);
    json_decref(o);
}

const char *status_not_ready(struct status *s)
{
    struct journal_info i;

    journal_get_info(s->journal, &i);
    if (i.streaming || strcmp(i.state, "standby") == 0)
        return NULL;
    (void)snprintf(s->not_ready, sizeof(s->not_ready), "%s (state %s)%s%s",
                   i.owner ? "no stream flows from the source"
                           : "this journal does not own the log yet",
                   i.state, i.detail[0] != '\0' ? ": " : "", i.detail);
    return s->not_ready;
}
