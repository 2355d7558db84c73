/* Tests of sink.c on librdkafka's mock cluster: what D promises, whatever Kafka does. */
#include "journal/src/producer.h"
#include "journal/test/sink_rig.h"

enum { PRODUCE = 0, END_TXN = 26 }; /* Kafka's numbers of these requests */

static void test_start_then_frames(void **state)
{
    struct rig r;
    struct log_view v;
    uint64_t last_d = 0;
    uint32_t db = 9;
    struct err err;

    (void)state;
    rig_open(&r);
    r.conf.heartbeat_ms = 50;
    rig_sink(&r);
    assert_int_equal(sink_fence(r.s, &err), 0);
    sink_begin(r.s, NULL);
    log_run_ms(r.log, 300);
    assert_int_equal(rig_stats(&r).heartbeats, 0); /* the log has no START to repeat */
    assert_int_equal(sink_durable(r.s).epoch, 0);
    rig_send_start(&r, START_STREAM, RIG_BASE);
    assert_false(sink_started(r.s));
    assert_false(sink_idle(r.s));
    assert_int_equal(sink_durable(r.s).epoch, 0); /* START counts */
    log_until(r.log, rig_is_started, &r, "START acknowledged");
    assert_int_equal(sink_durable(r.s).epoch, r.epoch);
    assert_int_equal(sink_durable(r.s).lsn, RIG_BASE);
    for (uint32_t i = 0; i < 200; i++) {
        rig_add(&r, i % LOG_PARTS, 1 + i * 13 % 200);
        if (i % 10 == 9)
            rig_wait_idle(&r);
    }
    assert_int_equal(sink_end(r.s, &db).lsn, r.at);
    assert_int_equal(db, 0);
    rig_wait_idle(&r);
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    assert_int_equal(rig_stats(&r).in_flight_bytes, 0);
    rig_expect_all(&r);
    v = log_read(r.log);
    assert_int_equal(v.rec[0].f.type, FRAME_START);
    assert_int_equal(v.rec[0].f.d.epoch, 0);
    for (size_t i = 0; i < v.cnt; i++) {
        assert_int_equal(v.rec[i].f.owner_run, 77);
        assert_int_equal(v.rec[i].f.epoch, r.epoch);
        assert_true(v.rec[i].time_ms >= (int64_t)r.epoch);
        if (i > 0 && v.rec[i].partition == v.rec[i - 1].partition)
            assert_true(v.rec[i].f.d.lsn >= last_d);
        last_d = v.rec[i].f.d.lsn;
        /* Never ahead of what the frame itself brings. */
        assert_true(v.rec[i].f.type != FRAME_DATA || last_d <= v.rec[i].f.base);
    }
    log_view_release(&v);
    rig_close(&r);
}

static bool only_one_left(void *arg)
{
    struct rig *r = arg;

    return rig_stats(r).in_flight_bytes < 2 * FRAME_HEAD || r->failed != 0;
}

/* The broker of one partition is away: D waits for its frame, although later ones are acknowledged. */
static void test_d_waits_for_the_first(void **state)
{
    struct rig r;
    uint64_t held;

    (void)state;
    rig_open(&r);
    rig_own(&r, START_STREAM);
    for (uint32_t i = 0; i < LOG_PARTS; i++)
        rig_add(&r, i, 100);
    rig_wait_idle(&r);
    rig_broker(&r, 1, false);
    rig_add(&r, 0, 10);
    held = r.at;
    rig_add(&r, 1, 10);
    rig_add(&r, 2, 10);
    rig_add(&r, 0, 10);
    sink_flush(r.s);
    r.want_lsn = held;
    log_until(r.log, rig_is_durable, &r, "D up to the held frame");
    log_until(r.log, only_one_left, &r, "the frames of the other partitions");
    assert_int_equal(r.failed, 0);
    assert_true(sink_durable(r.s).lsn <= held);
    assert_false(sink_idle(r.s));
    rig_broker(&r, 1, true);
    rig_wait_idle(&r);
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    rig_expect_all(&r);
    rig_close(&r);
}

/* A refused frame: D stands still, one report, nothing more is sent. */
static void expect_end(rd_kafka_resp_err_t code, enum err_kind kind)
{
    struct rig r;
    struct wal_pos d;
    struct sink_stats stats;
    struct log_view v;
    size_t cnt;

    rig_open(&r);
    rig_own(&r, START_STREAM);
    rig_add(&r, 0, 100);
    rig_wait_idle(&r);
    d = sink_durable(r.s);
    rd_kafka_mock_push_request_errors(r.log->mock, PRODUCE, 1, code);
    rig_add(&r, 1, 50);
    sink_flush(r.s);
    log_until(r.log, rig_has_failed, &r, "the failure");
    assert_int_equal(r.err.kind, kind);
    assert_non_null(strstr(r.err.msg, "at position 1100 for partition 1"));
    stats = rig_stats(&r);
    v = log_read(r.log);
    cnt = v.cnt;
    log_view_release(&v);
    for (uint32_t i = 0; i < 20; i++) {
        rig_add(&r, i % LOG_PARTS, 100000);
        sink_flush(r.s);
    }
    log_run_ms(r.log, 400);
    assert_int_equal(r.failed, 1);
    assert_int_equal(rig_stats(&r).frames, stats.frames);
    assert_int_equal(sink_durable(r.s).lsn, d.lsn);
    v = log_read(r.log);
    assert_int_equal(v.cnt, cnt);
    assert_int_equal(rig_merge(&v, r.epoch, PHASE_STREAM, RIG_BASE).lsn, d.lsn);
    log_view_release(&v);
    sink_finish(r.s, rig_on_finished);
    assert_int_equal(r.finished, 1);
    rig_close(&r);
}

static void test_refused(void **state)
{
    (void)state;
    expect_end(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERR_INPUT);
    expect_end(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERR_AUTH);
}

static void test_fenced(void **state)
{
    (void)state;
    expect_end(RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, ERR_FENCED);
}

/* What Kafka asks to send again is sent again, by librdkafka; nothing is doubled or lost. */
static void test_retries(void **state)
{
    static const rd_kafka_resp_err_t codes[] = {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                                RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                                                RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION};
    struct rig r;

    (void)state;
    rig_open(&r);
    log_prop(r.log, "retry.backoff.ms", "10");
    rig_own(&r, START_STREAM);
    for (uint32_t i = 0; i < 12; i++) {
        rd_kafka_mock_push_request_errors(r.log->mock, PRODUCE, 1, codes[i % 3]);
        rig_add(&r, i % LOG_PARTS, 500);
        rig_wait_idle(&r);
        assert_int_equal(sink_durable(r.s).lsn, r.at);
    }
    rig_expect_all(&r);
    rig_close(&r);
}

static bool is_committing(void *arg)
{
    struct rig *r = arg;

    return (!sink_idle(r->s) && rig_stats(r).in_flight_bytes == 0) || r->failed != 0;
}

static bool has_committed(void *arg)
{
    struct rig *r = arg;

    return rig_stats(r).commits > r->commits || r->failed != 0;
}

static void make_commits_slow(struct rig *r)
{
    for (int i = 0; i < 10; i++)
        rd_kafka_mock_push_request_errors(r->log->mock, END_TXN, 1,
                                          RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
}

/* Frames that become ready while a commit runs go out behind it, in order. */
static void test_commit(void **state)
{
    struct rig r;
    uint64_t frames, d;

    (void)state;
    rig_open(&r);
    r.conf.commit_interval_ms = 100;
    r.conf.heartbeat_ms = 20;
    make_commits_slow(&r);
    rig_own(&r, START_STREAM);
    log_until(r.log, is_committing, &r, "a commit");
    frames = rig_stats(&r).frames;
    d = sink_durable(r.s).lsn;
    for (uint32_t i = 0; i < 36; i++)
        rig_add(&r, i % LOG_PARTS, 100000);
    sink_flush(r.s);
    assert_int_equal(rig_stats(&r).commits, 0);
    assert_int_equal(rig_stats(&r).frames, frames); /* librdkafka would refuse them */
    assert_true(rig_stats(&r).in_flight_bytes > 3600000);
    assert_int_equal(sink_durable(r.s).lsn, d);
    log_until(r.log, has_committed, &r, "the end of the commit");
    rig_add(&r, 1, 10);
    rig_wait_idle(&r);
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    rig_expect_all(&r);
    rig_close(&r);
}

/* Under load commits happen all the time and nothing is lost or out of order. */
static void test_many_commits(void **state)
{
    struct rig r;

    (void)state;
    rig_open(&r);
    r.conf.commit_interval_ms = 1;
    r.conf.heartbeat_ms = 10;
    rig_own(&r, START_STREAM);
    for (uint32_t i = 0; i < 3000 && (i < 300 || rig_stats(&r).commits < 5); i++) {
        rig_add(&r, i * 7 % LOG_PARTS, 1 + i * 131 % 3000);
        sink_set_source(r.s, r.at, r.at + 5);
        sink_flush(r.s);
        (void)uv_run(&r.log->loop, UV_RUN_ONCE);
    }
    assert_true(rig_stats(&r).commits >= 5);
    rig_wait_idle(&r);
    rig_expect_all(&r);
    rig_close(&r);
}

static bool was_put_off(void *arg)
{
    struct rig *r = arg;

    return rig_stats(r).commits_put_off != 0 || r->failed != 0;
}

static bool grew(void *arg)
{
    struct rig *r = arg;

    return rig_stats(r).frames > r->want_lsn || r->failed != 0;
}

/* A partition without its broker: the commit is put off, the others go on. */
static void test_commit_put_off(void **state)
{
    struct rig r;

    (void)state;
    rig_open(&r);
    r.conf.commit_interval_ms = 200;
    rig_own(&r, START_STREAM);
    rig_broker(&r, 1, false);
    rig_add(&r, 1, 10);
    sink_flush(r.s);
    log_until(r.log, was_put_off, &r, "a commit put off");
    r.commits = rig_stats(&r).commits;
    r.want_lsn = rig_stats(&r).frames;
    rig_add(&r, 0, 10);
    log_until(r.log, grew, &r, "a frame of another partition");
    assert_int_equal(rig_stats(&r).commits, r.commits);
    rig_broker(&r, 1, true);
    log_until(r.log, has_committed, &r, "a commit");
    rig_wait_idle(&r);
    rig_expect_all(&r);
    rig_close(&r);
}

/* A commit that fails ends the tenure, and what waited for it is not sent. */
static void test_commit_fails(void **state)
{
    struct rig r;
    uint64_t frames;

    (void)state;
    rig_open(&r);
    r.conf.commit_interval_ms = 100;
    make_commits_slow(&r);
    rd_kafka_mock_push_request_errors(r.log->mock, END_TXN, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH);
    rig_own(&r, START_STREAM);
    log_until(r.log, is_committing, &r, "a commit");
    frames = rig_stats(&r).frames;
    for (uint32_t i = 0; i < 12; i++)
        rig_add(&r, 0, 100000);
    log_until(r.log, rig_has_failed, &r, "the failure");
    log_run_ms(r.log, 300);
    assert_int_equal(r.failed, 1);
    assert_int_equal(r.err.kind, ERR_FENCED);
    assert_int_equal(rig_stats(&r).commits, 0);
    assert_int_equal(rig_stats(&r).frames, frames);
    rig_close(&r);
}

/* The next epoch: D stays in the old one until its START is acknowledged. */
static void test_next_epoch(void **state)
{
    struct rig r;
    struct log_view v;
    struct start st;
    uint64_t first, heartbeats;
    struct err err;

    (void)state;
    rig_open(&r);
    r.conf.heartbeat_ms = 20;
    rig_own(&r, START_STREAM);
    first = r.epoch;
    rig_add(&r, 1, 100);
    rig_wait_idle(&r);
    /* Heartbeats under way: not idle is not an error, the START waits for them. */
    log_until(r.log, rig_is_idle, &r, "idle");
    rig_broker(&r, 0, false);
    rig_send_start(&r, START_STREAM, r.at);
    heartbeats = rig_stats(&r).heartbeats;
    log_run_ms(r.log, 300);
    assert_false(sink_started(r.s));
    assert_int_equal(sink_durable(r.s).epoch, first);
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    assert_int_equal(rig_stats(&r).heartbeats, heartbeats); /* nothing may follow it yet */
    rig_broker(&r, 0, true);
    log_until(r.log, rig_is_started, &r, "START acknowledged");
    assert_int_equal(sink_durable(r.s).epoch, r.epoch);
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    rig_add(&r, 2, 100);
    rig_wait_idle(&r);
    v = log_read(r.log);
    assert_int_equal(log_count_type(&v, 0, FRAME_START), 2);
    assert_int_equal(frame_start(&log_nth(&v, 0, FRAME_START, 1)->f, &st, &err), 0);
    assert_int_equal(st.prev_epoch, first);
    assert_int_equal(log_nth(&v, 0, FRAME_START, 1)->f.d.epoch, first);
    assert_int_equal(rig_merge(&v, first, PHASE_STREAM, RIG_BASE).lsn, r.at);
    log_view_release(&v);
    rig_close(&r);
}

static bool has_three_heartbeats_each(void *arg)
{
    struct rig *r = arg;

    return rig_stats(r).heartbeats >= 3 * LOG_PARTS || r->failed != 0;
}

/* Before the first START of a takeover: the log's last one is repeated, with its epoch. */
static void test_heartbeats_before_start(void **state)
{
    struct rig r;
    struct log_view v;
    struct start last;
    struct err err;

    (void)state;
    rig_open(&r);
    r.conf.heartbeat_ms = 20;
    r.epoch = 5;
    last = rig_start(&r, START_STREAM, 500);
    last.snapshot_epoch = 3;
    rig_sink(&r);
    assert_int_equal(sink_fence(r.s, &err), 0);
    sink_begin(r.s, &last);
    log_until(r.log, has_three_heartbeats_each, &r, "heartbeats");
    rig_wait_idle(&r);
    v = log_read(r.log);
    for (size_t i = 0; i < v.cnt; i++) {
        struct heartbeat h;

        assert_int_equal(v.rec[i].f.type, FRAME_HEARTBEAT);
        assert_int_equal(frame_heartbeat(&v.rec[i].f, &h, &err), 0);
        assert_int_equal(v.rec[i].f.epoch, last.epoch);
        assert_int_equal(v.rec[i].f.owner_run, 77);
        assert_int_equal(v.rec[i].f.d.epoch, 0);
        assert_int_equal(h.start.epoch, last.epoch);
        assert_int_equal(h.start.base, 500);
        assert_int_equal(h.start.snapshot_epoch, 3);
        assert_int_equal(h.read_lsn, 0);
    }
    assert_true(log_count_type(&v, 0, FRAME_HEARTBEAT) >= 2);
    assert_true(log_count_type(&v, 2, FRAME_HEARTBEAT) >= 1);
    log_view_release(&v);
    rig_close(&r);
}

/* D and read_lsn in heartbeats; the snapshot's epoch once it is complete; never back. */
static void test_heartbeats(void **state)
{
    static const uint8_t end_mark[9] = {0xff};
    struct rig r;
    struct log_view v;
    struct heartbeat h = {0};
    uint64_t snapshots = 0, read = 0;
    struct err err;
    struct entry e = {.kind = ENTRY_RDB_END,
                      .flags = ENTRY_DB_END,
                      .db_end = 2,
                      .data = end_mark,
                      .len = sizeof(end_mark)};
    uint32_t db;

    (void)state;
    rig_open(&r);
    r.conf.heartbeat_ms = 20;
    rig_own(&r, START_SNAPSHOT);
    sink_set_source(r.s, 123456, 1);
    rig_add(&r, 1, 1000);
    log_run_ms(r.log, 200);
    e.start = r.at;
    sink_add(r.s, 0, &e, PHASE_SNAPSHOT, clock_wall_ms());
    rig_wait_idle(&r);
    assert_int_equal(sink_durable(r.s).phase, PHASE_SNAPSHOT);
    (void)sink_end(r.s, &db);
    sink_enter_stream(r.s, db);
    r.phase = PHASE_STREAM;
    r.at = RIG_BASE;
    rig_add(&r, 1, 200);
    sink_set_source(r.s, RIG_BASE + 900, RIG_BASE + 1000); /* some of the next entry, too */
    rig_wait_idle(&r);
    log_run_ms(r.log, 200);
    sink_set_source(r.s, RIG_BASE + 300, RIG_BASE + 2000); /* the link was lost and is back */
    log_run_ms(r.log, 200);
    v = log_read(r.log);
    for (size_t i = 0; i < v.cnt; i++) {
        const struct log_rec *rec = &v.rec[i];

        if (rec->f.type != FRAME_HEARTBEAT || rec->partition != 2)
            continue;
        assert_int_equal(frame_heartbeat(&rec->f, &h, &err), 0);
        assert_true(h.read_lsn == 0 || h.read_lsn == RIG_BASE || h.read_lsn == RIG_BASE + 900);
        assert_true(h.read_lsn >= read && h.start.snapshot_epoch >= snapshots);
        assert_int_equal(h.start.snapshot_epoch, rec->f.d.phase == PHASE_STREAM ? r.epoch : 0);
        read = h.read_lsn;
        snapshots = h.start.snapshot_epoch;
    }
    assert_int_equal(h.read_lsn, RIG_BASE + 900);
    assert_int_equal(h.source_lsn, RIG_BASE + 2000);
    assert_int_equal(h.start.snapshot_epoch, r.epoch);
    log_view_release(&v);
    rig_close(&r);
}

/* The link is lost in the middle of an entry, whose fragments come again; where the first ones
 * still wait in an open frame, too. */
static void test_fragments_again(void **state)
{
    struct rig r;
    uint64_t begin;
    size_t max;

    (void)state;
    rig_open(&r);
    r.conf.max_message_bytes = PRODUCER_MESSAGE_MIN;
    rig_own(&r, START_STREAM);
    for (int round = 0; round < 3; round++) {
        /* Small enough that all of them would fit into one frame, in the last round. */
        max = sink_fragment_bytes(r.s) / (round == 2 ? 8 : 1);
        rig_add(&r, 1, 50);
        begin = r.at;
        rig_add_flags(&r, 1, max, ENTRY_CONTINUED);
        rig_add_flags(&r, 1, max, ENTRY_CONTINUES | ENTRY_CONTINUED);
        if (round == 1) {
            sink_flush(r.s);
            log_run_ms(r.log, 200);
            assert_true(sink_durable(r.s).lsn <= begin); /* never inside of an entry */
        }
        r.at = begin;
        rig_add_flags(&r, 1, max, ENTRY_CONTINUED);
        rig_add_flags(&r, 1, max, ENTRY_CONTINUES | ENTRY_CONTINUED);
        rig_add_flags(&r, 1, 100, ENTRY_CONTINUES);
        rig_add(&r, 0, 10);
    }
    rig_wait_idle(&r);
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    rig_expect_all(&r);
    rig_close(&r);
}

/* Frames and fragments fit into the topic's and the client's limits. */
static void test_sizes(void **state)
{
    struct rig r;
    struct log_view v;
    size_t max, seen = 0;

    (void)state;
    rig_open(&r);
    rig_sink(&r);
    assert_int_equal(sink_fragment_bytes(r.s), 512 * 1024);
    sink_free(r.s);
    r.conf.max_message_bytes = 100000;
    rig_sink(&r);
    assert_true(sink_fragment_bytes(r.s) < 100000);
    assert_true(sink_fragment_bytes(r.s) > 90000);
    sink_free(r.s);
    log_prop(r.log, "message.max.bytes", "20000");
    rig_own(&r, START_STREAM);
    max = sink_fragment_bytes(r.s);
    assert_true(max < 20000 && max > 15000);
    for (uint32_t i = 0; i < 60; i++)
        rig_add(&r, i % LOG_PARTS, i % 2 == 0 ? max : max / 7 * (i % 7) + 1);
    rig_wait_idle(&r);
    rig_expect_all(&r);
    v = log_read(r.log);
    for (size_t i = 0; i < v.cnt; i++) {
        assert_true(v.rec[i].len <= 20000 - 100);
        seen = v.rec[i].len > seen ? v.rec[i].len : seen;
    }
    assert_true(seen > max);
    log_view_release(&v);
    rig_close(&r);
}

/* Above the limit of bytes under way it says so, and not again before half of it. */
static void test_writable(void **state)
{
    struct rig r;

    (void)state;
    rig_open(&r);
    r.conf.in_flight_bytes = 1 << 20;
    rig_own(&r, START_STREAM);
    rig_broker(&r, 2, false);
    assert_true(sink_writable(r.s));
    for (int i = 0; i < 12; i++)
        rig_add(&r, 2, 100000);
    assert_false(sink_writable(r.s));
    sink_flush(r.s);
    rig_broker(&r, 2, true);
    rig_wait_idle(&r);
    assert_true(sink_writable(r.s));
    rig_close(&r);
}

static void test_finish(void **state)
{
    struct rig r;

    (void)state;
    rig_open(&r);
    r.conf.heartbeat_ms = 10;
    rig_own(&r, START_STREAM);
    rig_add(&r, 1, 100);
    rig_add(&r, 2, 100);
    sink_finish(r.s, rig_on_finished);
    assert_int_equal(r.finished, 0);
    log_until(r.log, rig_has_finished, &r, "the last commit");
    assert_int_equal(sink_durable(r.s).lsn, r.at);
    assert_int_equal(rig_stats(&r).commits, 1);
    rig_expect_all(&r);
    log_run_ms(r.log, 300); /* no heartbeat without a transaction */
    assert_int_equal(r.failed, 0);
    assert_int_equal(r.finished, 1);
    rig_close(&r);
}

/* While a commit runs; with a failure on the way; and with nothing to commit. */
static void test_finish_otherwise(void **state)
{
    struct rig r;
    struct err err;

    (void)state;
    rig_open(&r);
    r.conf.commit_interval_ms = 100;
    make_commits_slow(&r);
    rig_own(&r, START_STREAM);
    log_until(r.log, is_committing, &r, "a commit");
    rig_add(&r, 1, 100);
    sink_finish(r.s, rig_on_finished);
    log_until(r.log, rig_has_finished, &r, "the last commit");
    assert_int_equal(rig_stats(&r).commits, 2);
    rig_expect_all(&r);
    rig_close(&r);

    rig_open(&r);
    rig_own(&r, START_STREAM);
    rd_kafka_mock_push_request_errors(r.log->mock, PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    rig_add(&r, 1, 100);
    sink_finish(r.s, rig_on_finished);
    log_until(r.log, rig_has_finished, &r, "the answer");
    assert_int_equal(r.failed, 1);
    assert_int_equal(r.finished, 1);
    rig_close(&r);

    rig_open(&r);
    rig_sink(&r);
    assert_int_equal(sink_fence(r.s, &err), 0);
    sink_begin(r.s, NULL);
    sink_finish(r.s, rig_on_finished);
    assert_int_equal(r.finished, 1);
    rig_close(&r);
}

static void fence_work(uv_work_t *work)
{
    struct err err;

    (void)sink_fence(work->data, &err);
}

static void fence_done(uv_work_t *work, int status)
{
    (void)status;
    sink_unpin(work->data);
}

/* At any moment: rig_close() checks that the loop can be closed, the sanitizer the rest. */
static void test_free_any_time(void **state)
{
    struct rig r;
    uv_work_t work;

    (void)state;
    rig_open(&r);
    rig_sink(&r);
    rig_close(&r);

    rig_open(&r);
    rig_sink(&r);
    work.data = r.s;
    sink_pin(r.s);
    assert_int_equal(uv_queue_work(&r.log->loop, &work, fence_work, fence_done), 0);
    rig_close(&r);

    rig_open(&r);
    rig_own(&r, START_STREAM);
    for (uint32_t i = 0; i < 30; i++)
        rig_add(&r, i % LOG_PARTS, 100000);
    rig_close(&r);

    rig_open(&r);
    r.conf.commit_interval_ms = 100;
    make_commits_slow(&r);
    rig_own(&r, START_STREAM);
    log_until(r.log, is_committing, &r, "a commit");
    for (uint32_t i = 0; i < 30; i++)
        rig_add(&r, i % LOG_PARTS, 100000);
    rig_close(&r);
}

static void test_conf(void **state)
{
    struct conf_pair pair = {.key = NULL};
    struct conf_map map = {.pair = &pair, .cnt = 1};
    static const struct {
        const char *key, *value, *want;
    } bad[] = {
        {"acks", "1", "'acks' can't be changed"},
        {"transactional.id", "mine", "'transactional.id' can't be changed"},
        {"enable.idempotence", "false", "'enable.idempotence' can't be changed"},
        {"message.max.bytes", "16000", "'kafka.message.max.bytes' must be at least 16384"},
        {"message.timeout.ms", "70000", "transaction.timeout.ms"},
        {"no.such", "1", "no.such"},
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        pair.key = xstrdup(bad[i].key);
        pair.value = xstrdup(bad[i].value);
        if (producer_check_conf(&map, &err) != -1)
            fail_msg("%s=%s was accepted", bad[i].key, bad[i].value);
        assert_int_equal(err.kind, ERR_INPUT);
        if (strstr(err.msg, bad[i].want) == NULL)
            fail_msg("%s", err.msg);
        free(pair.key);
        free(pair.value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_then_frames),
        cmocka_unit_test(test_d_waits_for_the_first),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fenced),
        cmocka_unit_test(test_retries),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_many_commits),
        cmocka_unit_test(test_commit_put_off),
        cmocka_unit_test(test_commit_fails),
        cmocka_unit_test(test_next_epoch),
        cmocka_unit_test(test_heartbeats_before_start),
        cmocka_unit_test(test_heartbeats),
        cmocka_unit_test(test_fragments_again),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_writable),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_finish_otherwise),
        cmocka_unit_test(test_free_any_time),
        cmocka_unit_test(test_conf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
