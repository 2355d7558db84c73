/* journal - who owns the log and when. */
#include "journal/src/journal.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/daemon.h"
#include "common/err.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rdb.h"
#include "journal/src/feed.h"
#include "journal/src/job.h"
#include "journal/src/options.h"

enum {
    RETRY_MIN_MS = 200, /* between attempts to reach Kafka, doubled up to RETRY_MAX_MS */
    RETRY_MAX_MS = 5000,
    PEEK_MS = 500,      /* how often a standby looks at partition 0 */
    ACK_EVERY_MS = 100, /* unless somebody waits for it */
    STOP_LIMIT_MS = 20000,
    BAD_MIN_MS = 1000, /* after bytes that can't be read, doubled up to BAD_MAX_MS */
    BAD_MAX_MS = 60000,
};

enum state { OPENING, STANDBY, TAKEOVER, OWNER, STOPPING };

static const char *const STATE_NAMES[] = {"opening", "standby", "takeover", "owner",
                                          "stopping"};

struct journal {
    struct daemon *daemon;
    uv_loop_t *loop;
    const struct journal_conf *conf;
    char instance[FRAME_NAME_MAX + 1];
    uint64_t source_id, owner_id, owner_run;
    enum state state;
    char detail[512];
    struct job *job; /* calls that block */
    uv_timer_t timer;
    int64_t retry_ms, bad_ms; /* next back-off: of Kafka, of unreadable bytes */
    uint32_t partition_cnt;
    bool was_owner;                 /* in this run */
    int64_t fenced_ms;              /* when Kafka last said 'fenced', 0: never */
    int64_t rival_offset, rival_ms; /* last frame of partition 0 and when it was first seen */
    uint64_t rival_run;
    struct start known; /* last START seen in the log, or sent */
    bool has_known;
    struct sink *sink;
    struct link *link;
    struct feed *feed;
    /* The log's end at the takeover, until an epoch of ours is open. */
    struct tail_end end;
    bool in_epoch;
    struct start next; /* START that waits for everything to be acknowledged */
    bool next_waits, starting;
    uint64_t getack;
    int64_t ack_ms;
    struct journal_info counts; /* counts.sink: of earlier sinks */
};

static void enter(struct journal *j, enum state state, const char *detail)
{
    j->state = state;
    (void)snprintf(j->detail, sizeof(j->detail), "%s", detail);
}

static void die(struct journal *j, const struct err *err)
{
    if (j->state != STOPPING)
        daemon_stop(j->daemon, err);
}

static void look(struct journal *j);

static void on_timer(uv_timer_t *timer)
{
    look(timer->data);
}

static void look_after(struct journal *j, int64_t ms)
{
    (void)uv_timer_start(&j->timer, on_timer, (uint64_t)ms, 0);
}

/* Something outside does not work: says so once an attempt, and tries again. */
static void retry(struct journal *j, const struct err *err, const char *what)
{
    if (j->state == STOPPING)
        return;
    if (err->kind == ERR_CORRUPT || err->kind == ERR_INPUT) {
        die(j, err);
        return;
    }
    if (err->kind == ERR_AUTH)
        log_error(what, F_ERR(err), F_I64("retry_ms", j->retry_ms));
    else
        log_warn(what, F_ERR(err), F_I64("retry_ms", j->retry_ms));
    (void)snprintf(j->detail, sizeof(j->detail), "%s", err->msg);
    look_after(j, j->retry_ms);
    j->retry_ms = j->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : j->retry_ms * 2;
}

/* Counters outlive the sinks that counted. */
static void add_stats(struct sink_stats *sum, const struct sink_stats *s)
{
    sum->frames += s->frames;
    sum->entries += s->entries;
    sum->bytes += s->bytes;
    sum->heartbeats += s->heartbeats;
    sum->commits += s->commits;
    sum->commits_put_off += s->commits_put_off;
    sum->in_flight_bytes = s->in_flight_bytes;
    sum->ack_ms = s->ack_ms;
}

/* Gives the log up: whatever was not acknowledged is read again from the log's own end. */
static void resign(struct journal *j)
{
    link_stop(j->link);
    feed_end(j->feed);
    if (j->sink != NULL) {
        struct sink_stats stats;

        sink_get_stats(j->sink, &stats);
        stats.in_flight_bytes = 0;
        add_stats(&j->counts.sink, &stats);
        sink_free(j->sink);
    }
    j->sink = NULL;
    j->in_epoch = false;
    j->next_waits = false;
    j->starting = false;
    j->getack = 0;
}

/* ---- epochs ---- */

static bool flows(const struct journal *j)
{
    return j->sink != NULL && j->in_epoch && !j->next_waits && !j->starting;
}

/* Bytes wait for their START, and for room. */
static void update_flow(struct journal *j)
{
    if (j->next_waits || j->starting || !sink_writable(j->sink))
        link_pause(j->link);
    else
        link_resume(j->link);
}

/*
 * What is acknowledged: one byte less than D, and nothing of a timeline whose snapshot is not
 * complete. One byte less, because FAILOVER takes any replica whose ACK equals the master's offset
 * exactly, whatever its port (seen: Redis 7.0.15 then becomes a replica of port 0 and refuses
 * writes). For WAIT it is the same: it asks with a GETACK behind the write, so the write is
 * covered as soon as the GETACK is durable; and no entry is one byte long.
 */
static void send_ack(struct journal *j)
{
    struct wal_pos d = sink_durable(j->sink);
    int64_t now = clock_mono_ms();
    bool waited_for = j->getack != 0 && d.lsn > j->getack;

    if (!flows(j) || d.phase != PHASE_STREAM || d.epoch != j->known.epoch)
        return;
    if (waited_for)
        j->getack = 0;
    link_ack(j->link, d.lsn > 1 ? d.lsn - 1 : 1, waited_for || now - j->ack_ms >= ACK_EVERY_MS);
    if (waited_for || now - j->ack_ms >= ACK_EVERY_MS)
        j->ack_ms = now;
}

/* Sends the waiting START as soon as everything before it is acknowledged. */
static void try_start(struct journal *j)
{
    uint64_t now = (uint64_t)clock_wall_ms();
    struct start *s = &j->next;

    if (!j->next_waits)
        return;
    if (!sink_idle(j->sink)) {
        sink_drain(j->sink, true);
        return;
    }
    s->epoch = j->known.epoch > j->end.max_epoch ? j->known.epoch : j->end.max_epoch;
    s->epoch = s->epoch + 1 > now ? s->epoch + 1 : now;
    j->next_waits = false;
    j->starting = true;
    j->in_epoch = true;
    j->known = *s;
    j->has_known = true;
    sink_send_start(j->sink, s);
    log_info("epoch begins", F_STR("kind", s->kind == START_STREAM ? "stream" : "snapshot"),
             F_U64("epoch", s->epoch), F_STR("replid", s->replid), F_U64("base_lsn", s->base),
             F_U64("prev_epoch", s->prev_epoch),
             s->has_prev_end ? F_U64("prev_end_lsn", s->prev_end)
                             : F_STR("prev_end_lsn", "none"));
}

/* START is in the log: the bytes may flow. */
static void started(struct journal *j)
{
    uint32_t db;
    struct wal_pos end = sink_end(j->sink, &db);

    j->starting = false;
    j->counts.epochs++;
    if (j->next_waits)
        return; /* the link was lost meanwhile and another epoch must follow */
    if (j->known.kind == START_STREAM)
        feed_begin_stream(j->feed, j->sink, end.lsn, db);
    else
        feed_begin_snapshot(j->feed, j->sink);
    update_flow(j);
    send_ack(j);
}

/* What a new epoch follows: the one of ours that is open, or the log as it was found. */
static void plan_start(struct journal *j, enum start_kind kind, const char *replid)
{
    struct start *s = &j->next;

    memset(s, 0, sizeof(*s));
    s->kind = kind;
    s->partition_cnt = j->partition_cnt;
    (void)snprintf(s->replid, sizeof(s->replid), "%s", replid);
    (void)snprintf(s->owner, sizeof(s->owner), "%s", j->instance);
    if (j->in_epoch) {
        struct wal_pos end = sink_end(j->sink, &s->db);

        s->prev_epoch = j->known.epoch;
        s->has_prev_end = end.phase == PHASE_STREAM;
        s->prev_end = s->has_prev_end ? end.lsn : 0;
        s->snapshot_epoch = s->has_prev_end && j->known.kind == START_SNAPSHOT
                                ? j->known.epoch
                                : j->known.snapshot_epoch;
        sink_flush(j->sink);
    } else if (j->end.has_start) {
        s->prev_epoch = j->end.start.epoch;
        s->has_prev_end = j->end.usable;
        s->prev_end = j->end.usable ? j->end.lsn : 0;
        s->snapshot_epoch = j->end.usable && j->end.start.kind == START_SNAPSHOT
                                ? j->end.start.epoch
                                : j->end.start.snapshot_epoch;
        s->db = j->end.db;
    }
    j->next_waits = true;
}

/* ---- events of the link ---- */

static void on_where(void *arg, const char **replid, uint64_t *lsn)
{
    struct journal *j = arg;
    uint32_t db;

    *replid = NULL;
    *lsn = 0;
    if (j->in_epoch) {
        struct wal_pos end = sink_end(j->sink, &db);

        if (end.phase != PHASE_STREAM)
            return;
        *replid = j->known.replid;
        *lsn = end.lsn;
    } else if (j->end.usable) {
        *replid = j->end.start.replid;
        *lsn = j->end.lsn;
    }
}

static void on_continued(void *arg, const char *replid)
{
    struct journal *j = arg;
    uint32_t db;
    struct wal_pos end = sink_end(j->sink, &db);

    j->counts.partial_resyncs++;
    j->detail[0] = '\0';
    if (j->in_epoch && strcmp(replid, j->known.replid) == 0) {
        log_info("partial resync", F_STR("replid", replid), F_U64("repl_offset", end.lsn));
        if (!j->starting)
            feed_begin_stream(j->feed, j->sink, end.lsn, db);
        update_flow(j);
        send_ack(j);
        return;
    }
    plan_start(j, START_STREAM, replid);
    j->next.base = j->next.prev_end;
    log_info("partial resync, a new epoch", F_STR("replid", replid),
             F_U64("repl_offset", j->next.base));
    update_flow(j);
    try_start(j);
}

static void on_snapshot_begin(void *arg, const char *replid, uint64_t lsn)
{
    struct journal *j = arg;

    j->counts.full_resyncs++;
    j->detail[0] = '\0';
    plan_start(j, START_SNAPSHOT, replid);
    j->next.db = 0;
    j->next.base = lsn;
    if (j->next.has_prev_end && j->next.prev_end > lsn)
        /* What a failed-over master lost stays in the log for people to see. */
        log_warn(
            "the log is ahead of the source: the source lost writes, the snapshot undoes them",
            F_U64("epoch", j->next.prev_epoch), F_U64("lost_from_lsn", lsn),
            F_U64("lost_to_lsn", j->next.prev_end));
    log_info("full resync", F_STR("replid", replid), F_U64("repl_offset", lsn));
    update_flow(j);
    try_start(j);
}

/* Bytes that can't be what they should be: asks for them again from the last whole entry. */
static void bad_bytes(struct journal *j, struct err *err)
{
    log_error("the source sent bytes that can't be read, connecting anew", F_ERR(err),
              F_I64("retry_ms", j->bad_ms));
    link_stop(j->link);
    feed_end(j->feed);
    look_after(j, j->bad_ms);
    j->bad_ms = j->bad_ms * 2 > BAD_MAX_MS ? BAD_MAX_MS : j->bad_ms * 2;
}

static void after_data(struct journal *j)
{
    struct link_stats link;
    uint64_t getack = feed_take_getack(j->feed);

    if (getack != 0)
        j->getack = getack;
    link_get_stats(j->link, &link);
    sink_set_source(j->sink, feed_read_lsn(j->feed), link.source_lsn);
    sink_flush(j->sink);
    update_flow(j);
}

/* Bytes of the snapshot or of the stream, as `take` says. */
static void take_bytes(struct journal *j,
                       int (*take)(struct feed *, const uint8_t *, size_t, int64_t,
                                   struct err *),
                       const uint8_t *data, size_t len)
{
    struct err err;

    if (take(j->feed, data, len, clock_wall_ms(), &err) != 0)
        bad_bytes(j, &err);
    else
        after_data(j);
}

static void on_snapshot_data(void *arg, const uint8_t *data, size_t len)
{
    take_bytes(arg, feed_snapshot, data, len);
}

static void on_stream_data(void *arg, const uint8_t *data, size_t len)
{
    take_bytes(arg, feed_stream, data, len);
}

static void on_snapshot_end(void *arg)
{
    struct journal *j = arg;
    struct err err;

    if (feed_snapshot_end(j->feed, j->known.base, &err) != 0) {
        bad_bytes(j, &err);
        return;
    }
    j->bad_ms = BAD_MIN_MS;
    log_info("snapshot read", F_U64("epoch", j->known.epoch), F_U64("lsn", j->known.base));
    after_data(j);
}

static void on_down(void *arg, const struct err *err, int64_t retry_ms)
{
    struct journal *j = arg;

    j->counts.link_downs++;
    j->getack = 0;
    /* A START not yet sent is planned anew with what the next connection says. */
    j->next_waits = false;
    sink_drain(j->sink, false);
    feed_end(j->feed);
    (void)snprintf(j->detail, sizeof(j->detail), "%s", err->msg);
    if (err->kind == ERR_AGAIN)
        log_warn("link to the source is down", F_ERR(err), F_I64("retry_ms", retry_ms));
    else
        log_error("the source refuses the link, trying on", F_ERR(err),
                  F_I64("retry_ms", retry_ms));
}

static void on_commands(void *arg, struct cmd_table *table)
{
    struct journal *j = arg;

    if (table == NULL)
        log_warn("the source does not tell its commands (ACL +command): the first argument "
                 "counts as key",
                 F_NONE);
    feed_set_commands(j->feed, table);
}

/* ---- events of the sink ---- */

static void on_progress(void *arg)
{
    struct journal *j = arg;

    if (j->sink == NULL)
        return;
    if (j->starting && sink_started(j->sink))
        started(j);
    try_start(j);
    update_flow(j);
    send_ack(j);
}

static void on_failed(void *arg, const struct err *err)
{
    struct journal *j = arg;

    j->counts.failures++;
    if (j->state == STOPPING) {
        log_warn("the log could not be closed cleanly", F_ERR(err));
        daemon_drained(j->daemon);
        return;
    }
    if (err->kind == ERR_FENCED)
        j->fenced_ms = clock_mono_ms();
    log_warn("this ownership of the log is over, reading its end again", F_ERR(err));
    enter(j, OPENING, err->msg);
    link_stop(j->link);
    look_after(j, RETRY_MIN_MS);
}

/* ---- takeover ---- */

static void end_found(void *arg, const struct job_result *r)
{
    struct journal *j = arg;

    if (j->state != TAKEOVER)
        return;
    if (r->rc != 0) {
        resign(j);
        enter(j, OPENING, "");
        retry(j, &r->err, "the log's end can't be read");
        return;
    }
    j->end = r->end;
    if (j->end.has_start) {
        j->known = j->end.start;
        j->has_known = true;
    }
    j->retry_ms = RETRY_MIN_MS;
    j->counts.takeovers++;
    j->was_owner = true;
    enter(j, OWNER, "");
    log_info("owner of the log", F_U64("epoch", j->known.epoch),
             F_U64("frames_read", r->end.frames),
             j->end.usable ? F_U64("end_lsn", j->end.lsn) : F_STR("end_lsn", "none"));
    link_start(j->link);
}

static void fenced(void *arg, const struct job_result *r)
{
    struct journal *j = arg;

    if (j->state != TAKEOVER)
        return;
    if (r->rc != 0) {
        resign(j);
        enter(j, OPENING, "");
        retry(j, &r->err, "takeover failed");
        return;
    }
    j->has_known = r->owner.has_start;
    j->known = r->owner.start;
    sink_begin(j->sink, j->has_known ? &j->known : NULL);
    job_find_end(j->job, end_found, j);
}

static void take_over(struct journal *j)
{
    static const struct sink_events events = {.progress = on_progress, .failed = on_failed};
    struct sink_conf conf = {.kafka = &j->conf->kafka,
                             .topic = j->conf->topic,
                             .source = j->conf->source_name,
                             .instance = j->instance,
                             .owner_run = j->owner_run,
                             .partition_cnt = j->partition_cnt,
                             .max_message_bytes = job_topic(j->job)->max_message_bytes,
                             .in_flight_bytes = (size_t)j->conf->in_flight,
                             .commit_interval_ms = j->conf->commit_interval_ms,
                             .heartbeat_ms = 1000};
    struct err err;

    if (sink_new(j->loop, &conf, &events, j, &j->sink, &err) != 0) {
        die(j, &err);
        return;
    }
    enter(j, TAKEOVER, "");
    job_fence(j->job, j->sink, fenced, j);
}

/* Readers merge by the number of partitions that START names: it can't change within a log. */
static int check_partitions(const struct journal *j, const struct tail_owner *o,
                            struct err *err)
{
    if (!o->has_start || o->start.partition_cnt == j->partition_cnt)
        return 0;
    return err_set(err, ERR_INPUT, 0,
                   "topic '%s' has %" PRIu32 " partitions, but its log was begun with %" PRIu32
                   "; a log's partitions must not change: name a new topic (topic.name)",
                   j->conf->topic, j->partition_cnt, o->start.partition_cnt);
}

/* Whether the log may be taken now, from what its last frame says. */
static bool may_take(struct journal *j, const struct tail_owner *o)
{
    int64_t now = clock_mono_ms();

    if (!o->any || o->owner_run == j->owner_run) /* nobody's, or our own */
        /* Fenced: a rival may be in its takeover and not have written yet. */
        return j->fenced_ms == 0 || now - j->fenced_ms >= j->conf->takeover_after_ms;
    if (o->owner_id == j->owner_id && !j->was_owner)
        return true; /* ours, before a restart */
    if (o->offset != j->rival_offset || o->owner_run != j->rival_run) {
        j->rival_offset = o->offset;
        j->rival_run = o->owner_run;
        j->rival_ms = now;
    }
    return now - j->rival_ms >= j->conf->takeover_after_ms;
}

static void looked(void *arg, const struct job_result *r)
{
    struct journal *j = arg;
    struct err err;

    if (j->state == STOPPING)
        return;
    if (r->rc != 0) {
        retry(j, &r->err, "the log can't be reached");
        return;
    }
    j->retry_ms = RETRY_MIN_MS;
    if (j->feed == NULL) {
        j->partition_cnt = (uint32_t)job_topic(j->job)->partition_cnt;
        j->feed = feed_new(j->partition_cnt);
    }
    if (check_partitions(j, &r->owner, &err) != 0) {
        die(j, &err);
        return;
    }
    j->has_known = r->owner.has_start;
    j->known = r->owner.start;
    if (may_take(j, &r->owner)) {
        take_over(j);
        return;
    }
    if (j->state != STANDBY)
        log_info("another journal owns the log, or takes it over, standing by",
                 F_STR("owner", j->known.owner), F_U64("epoch", j->known.epoch));
    enter(j, STANDBY, "another journal owns the log");
    look_after(j, PEEK_MS);
}

/* The timer: what is next depends on the state. */
static void look(struct journal *j)
{
    if (j->state == OWNER) {
        link_start(j->link);
        return;
    }
    if (job_busy(j->job)) {
        look_after(j, RETRY_MIN_MS);
        return;
    }
    if (j->state == OPENING && j->sink != NULL)
        resign(j);
    if (j->state != STOPPING)
        job_look(j->job, looked, j);
}

int journal_new(struct daemon *d, const struct journal_conf *conf, struct journal **out,
                struct err *err)
{
    static const struct link_events events = {.continued = on_continued,
                                              .snapshot_begin = on_snapshot_begin,
                                              .snapshot_data = on_snapshot_data,
                                              .snapshot_end = on_snapshot_end,
                                              .stream_data = on_stream_data,
                                              .down = on_down,
                                              .where = on_where,
                                              .commands = on_commands};
    struct journal *j = xcalloc(1, sizeof(*j));
    struct link_conf link;
    char host[FRAME_NAME_MAX + 1];

    j->daemon = d;
    j->loop = daemon_loop(d);
    j->conf = conf;
    (void)snprintf(j->instance, sizeof(j->instance), "%s",
                   journal_instance(conf, host, sizeof(host)));
    j->source_id = frame_name_id(conf->source_name);
    j->owner_id = frame_name_id(j->instance);
    if (RAND_bytes((unsigned char *)&j->owner_run, sizeof(j->owner_run)) != 1) {
        free(j);
        return err_set(err, ERR_FATAL, 0, "no random numbers");
    }
    j->retry_ms = RETRY_MIN_MS;
    j->bad_ms = BAD_MIN_MS;
    j->rival_offset = -1;
    journal_link_conf(conf, &link);
    if (link_new(j->loop, &link, &events, j, &j->link, err) != 0) {
        free(j);
        return -1;
    }
    j->job = job_new(j->loop, conf);
    (void)uv_timer_init(j->loop, &j->timer);
    j->timer.data = j;
    enter(j, OPENING, "");
    look_after(j, 0);
    *out = j;
    return 0;
}

static void finished(void *arg)
{
    struct journal *j = arg;

    daemon_drained(j->daemon);
}

static void stop_late(uv_timer_t *timer)
{
    struct journal *j = timer->data;

    log_warn("Kafka did not acknowledge in time, ending without", F_NONE);
    daemon_drained(j->daemon);
}

void journal_stop(struct journal *j)
{
    enum state was = j->state;

    enter(j, STOPPING, "");
    link_stop(j->link);
    (void)uv_timer_start(&j->timer, stop_late, STOP_LIMIT_MS, 0);
    if (was == OWNER)
        sink_finish(j->sink, finished);
    else
        daemon_drained(j->daemon);
}

static void timer_closed(uv_handle_t *handle)
{
    struct journal *j = handle->data;

    feed_free(j->feed);
    free(j);
}

void journal_free(struct journal *j)
{
    if (j == NULL)
        return;
    enter(j, STOPPING, "");
    link_free(j->link);
    job_free(j->job);
    sink_free(j->sink);
    uv_close((uv_handle_t *)&j->timer, timer_closed);
}

void journal_get_info(const struct journal *j, struct journal_info *out)
{
    uint32_t db;

    *out = j->counts;
    out->state = STATE_NAMES[j->state];
    out->detail = j->detail;
    out->owner = j->state == OWNER;
    link_get_stats(j->link, &out->link);
    out->start = j->known;
    if (j->sink != NULL) {
        struct sink_stats stats;

        sink_get_stats(j->sink, &stats);
        add_stats(&out->sink, &stats);
        out->durable = sink_durable(j->sink);
        out->end = sink_end(j->sink, &db);
    }
    out->streaming = flows(j) && out->link.up;
    if (j->state == STANDBY)
        (void)snprintf(out->other_owner, sizeof(out->other_owner), "%016" PRIx64, j->rival_run);
}
