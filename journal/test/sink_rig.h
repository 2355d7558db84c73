/*
 * sink_rig - a sink on a mock log, whose events are written down, and the check that the log holds
 * exactly the bytes that were added. Header only, as mock_log.h.
 */
#ifndef JOURNAL_TEST_SINK_RIG_H
#define JOURNAL_TEST_SINK_RIG_H

#include "common/merge.h"
#include "journal/src/sink.h"
#include "journal/test/mock_log.h"

#define RIG_BASE 1000 /* LSN where the first epoch's stream begins */

struct rig {
    struct mock_log *log;
    struct sink_conf conf;
    struct sink *s;
    uint64_t epoch; /* of the last START sent */
    uint64_t at;    /* end of the last entry or fragment added */
    enum phase phase;
    unsigned progress, failed, finished;
    struct err err;
    struct wal_pos d;           /* at the last progress */
    uint64_t want_lsn, commits; /* what a condition waits for */
};

/* The byte of the stream or snapshot at a position. */
static inline uint8_t rig_byte(uint64_t pos)
{
    return (uint8_t)(pos * 31 + (pos >> 8));
}

static inline void rig_on_progress(void *arg)
{
    struct rig *r = arg;
    struct wal_pos d = sink_durable(r->s);

    assert_int_equal(r->failed, 0);
    assert_true(wal_pos_cmp(&d, &r->d) >= 0);
    r->d = d;
    r->progress++;
}

static inline void rig_on_failed(void *arg, const struct err *err)
{
    struct rig *r = arg;

    r->failed++;
    r->err = *err;
}

static inline void rig_on_finished(void *arg)
{
    struct rig *r = arg;

    r->finished++;
}

static inline void rig_sink(struct rig *r)
{
    static const struct sink_events ev = {.progress = rig_on_progress, .failed = rig_on_failed};
    struct err err;

    if (sink_new(&r->log->loop, &r->conf, &ev, r, &r->s, &err) != 0)
        fail_msg("%s", err.msg);
}

/* Without a sink yet, so that the test may change r->conf. */
static inline void rig_open(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->log = log_open();
    r->conf = (struct sink_conf){.kafka = &r->log->kafka,
                                 .topic = LOG_TOPIC,
                                 .source = LOG_SOURCE,
                                 .instance = "me",
                                 .owner_run = 77,
                                 .partition_cnt = LOG_PARTS,
                                 .max_message_bytes = 1 << 20,
                                 .in_flight_bytes = 64 << 20,
                                 .commit_interval_ms = INT64_MAX / 2,
                                 .heartbeat_ms = INT64_MAX / 2};
}

static inline void rig_close(struct rig *r)
{
    sink_free(r->s);
    log_close(r->log);
}

static inline struct start rig_start(struct rig *r, enum start_kind kind, uint64_t base)
{
    struct start st = {.kind = kind,
                       .epoch = r->epoch != 0 ? r->epoch + 1 : (uint64_t)clock_wall_ms(),
                       .base = base,
                       .prev_epoch = r->epoch,
                       .prev_end = r->epoch != 0 ? r->at : 0,
                       .has_prev_end = r->epoch != 0,
                       .partition_cnt = LOG_PARTS};

    (void)snprintf(st.replid, sizeof(st.replid), "%s", LOG_REPLID);
    (void)snprintf(st.owner, sizeof(st.owner), "me");
    return st;
}

static inline bool rig_is_started(void *arg)
{
    struct rig *r = arg;

    return sink_started(r->s) || r->failed != 0;
}

static inline bool rig_is_idle(void *arg)
{
    struct rig *r = arg;

    return sink_idle(r->s) || r->failed != 0;
}

static inline bool rig_has_failed(void *arg)
{
    struct rig *r = arg;

    return r->failed != 0;
}

static inline bool rig_has_finished(void *arg)
{
    struct rig *r = arg;

    return r->finished != 0;
}

/* Until D is r->want_lsn. */
static inline bool rig_is_durable(void *arg)
{
    struct rig *r = arg;

    return sink_durable(r->s).lsn >= r->want_lsn || r->failed != 0;
}

static inline void rig_wait_idle(struct rig *r)
{
    sink_flush(r->s);
    log_until(r->log, rig_is_idle, r, "everything acknowledged");
    assert_int_equal(r->failed, 0);
}

static inline void rig_send_start(struct rig *r, enum start_kind kind, uint64_t base)
{
    struct start st = rig_start(r, kind, base);

    sink_send_start(r->s, &st);
    r->epoch = st.epoch;
    r->phase = kind == START_STREAM ? PHASE_STREAM : PHASE_SNAPSHOT;
    r->at = kind == START_STREAM ? base : 0;
}

/* A sink that owns the log, with an epoch begun. */
static inline void rig_own(struct rig *r, enum start_kind kind)
{
    struct err err;

    rig_sink(r);
    assert_int_equal(sink_fence(r->s, &err), 0);
    sink_begin(r->s, NULL);
    rig_send_start(r, kind, RIG_BASE);
    log_until(r->log, rig_is_started, r, "START acknowledged");
    assert_int_equal(r->failed, 0);
}

/* The next `len` bytes, as an entry or a fragment. */
static inline void rig_add_flags(struct rig *r, uint32_t partition, size_t len, uint8_t flags)
{
    bool snapshot = r->phase == PHASE_SNAPSHOT;
    struct entry e = {.kind = snapshot ? ENTRY_RDB_KEY : ENTRY_COMMAND,
                      .flags = flags,
                      .start = r->at,
                      .len = len};
    uint8_t *data = xmalloc(len);

    for (size_t i = 0; i < len; i++)
        data[i] = rig_byte(r->at + i);
    e.data = data;
    sink_add(r->s, partition, &e, r->phase, clock_wall_ms());
    free(data);
    r->at += len;
}

static inline void rig_add(struct rig *r, uint32_t partition, size_t len)
{
    rig_add_flags(r, partition, len, 0);
}

/* Merges the log as a reader does from `from` on, checks each byte, and gives where it ends. */
static inline struct wal_pos rig_merge(const struct log_view *v, uint64_t epoch,
                                       enum phase phase, uint64_t lsn)
{
    struct merge_from from = {.at = {.epoch = epoch, .phase = phase, .lsn = lsn},
                              .base = RIG_BASE,
                              .source_id = frame_name_id(LOG_SOURCE)};
    struct merge *m = merge_new(LOG_PARTS, &from, NULL, NULL);
    struct merge_item item;
    struct wal_pos end;
    struct err err;

    for (size_t i = 0; i < v->cnt; i++) {
        const struct log_rec *rec = &v->rec[i];

        if (merge_push(m, (uint32_t)rec->partition, rec->offset, &rec->f, NULL, &err) < 0)
            fail_msg("%s", err.msg);
    }
    do {
        if (merge_next(m, &item, &err) != 0)
            fail_msg("%s", err.msg);
        for (size_t i = 0; item.type == MERGE_ENTRY && i < item.entry.len; i++)
            assert_int_equal(item.entry.data[i], rig_byte(item.entry.start + i));
    } while (item.type != MERGE_WAIT);
    end = merge_pos(m);
    merge_free(m);
    return end;
}

/* The log must be exactly what was added, up to the end. */
static inline void rig_expect_all(struct rig *r)
{
    struct log_view v = log_read(r->log);
    struct wal_pos end = rig_merge(&v, r->epoch, PHASE_STREAM, RIG_BASE);

    assert_int_equal(end.epoch, r->epoch);
    assert_int_equal(end.lsn, r->at);
    log_view_release(&v);
}

static inline struct sink_stats rig_stats(struct rig *r)
{
    struct sink_stats stats;

    sink_get_stats(r->s, &stats);
    return stats;
}

/* The broker of a partition goes away, or is back. */
static inline void rig_broker(struct rig *r, int32_t partition, bool up)
{
    rd_kafka_resp_err_t code = up ? rd_kafka_mock_broker_set_up(r->log->mock, 2 + partition)
                                  : rd_kafka_mock_broker_set_down(r->log->mock, 2 + partition);

    assert_int_equal(code, 0);
}

#endif
