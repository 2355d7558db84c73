/* engine - a log in memory is applied to a real redis-server, whatever happens in between. */
#include "applier/test/engine_sites.h"

static const char *lsn_of_target(char *out, size_t size)
{
    return target_do(&dr, out, size, "HGET " RIG_KEY " lsn");
}

static void load_dc(void)
{
    run(&dc, "SET a 1");
    run(&dc, "RPUSH l 1 2 3");
    run(&dc, "HSET h f v g w");
    run(&dc, "ZADD z 1 m 2 n");
    run(&dc, "SADD s x y z");
    run(&dc, "XADD x 1-1 f v");
    run(&dc, "SET ttl v PX 3600000");
    run(&dc, "SELECT 3");
    run(&dc, "SET three 3");
    run(&dc, "SELECT 0");
    freeReplyObject(redisCommand(dc.c, "FUNCTION LOAD %s",
                                 "#!lua name=mylib\nredis.register_function('f', function() "
                                 "return 'new' end)"));
}

static void expect_loaded(void)
{
    TARGET_IS(&dr, "1", "GET a");
    TARGET_IS(&dr, "3", "LLEN l");
    TARGET_IS(&dr, "w", "HGET h g");
    TARGET_IS(&dr, "2", "ZCARD z");
    TARGET_IS(&dr, "3", "SCARD s");
    TARGET_IS(&dr, "1", "XLEN x");
    TARGET_IS(&dr, "new", "FCALL f 0");
    TARGET_IS(&dr, "OK", "SELECT 3");
    TARGET_IS(&dr, "3", "GET three");
    TARGET_IS(&dr, "1", "DBSIZE");
    TARGET_IS(&dr, "OK", "SELECT 0");
}

static void test_snapshot_then_stream(void **state)
{
    static const char *const txn[] = {"MULTI", "INCR n", "SELECT 5", "INCR n", "EXEC", NULL};
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char out[64];

    (void)state;
    load_dc();
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SELECT 0");
    log_cmd(&log, "INCR n");
    log_cmd(&log, "PING");
    log_txn(&log, txn);
    log.db = 5; /* as the transaction left it */
    log_cmd(&log, "INCR n");
    log_cmd(&log, "SELECT 0");
    log_cmd(&log, "PUBLISH __sentinel__:hello x");
    log_cmd(&log, "INCR n");
    log_beat(&log);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    expect_loaded();
    TARGET_IS(&dr, "3", "GET n");
    TARGET_IS(&dr, "OK", "SELECT 5");
    TARGET_IS(&dr, "2", "GET n");
    TARGET_IS(&dr, "OK", "SELECT 0");
    /* The expiry is an hour of the source and an hour of guard away. */
    assert_true(atoll(target_do(&dr, out, sizeof(out), "PTTL ttl")) > 7000000);
    TARGET_IS(&dr, "stream", "HGET " RIG_KEY " phase");
    rig_close(&r);
    log_free(&log);
}

/* A lone PING moves the position soon, but not with a transaction of its own each. */
static void test_link_entries_move_the_position(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    uint64_t batches;

    (void)state;
    log_snapshot(&log, &dc, 1000);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    batches = engine_counters(r.engine)->batches;
    for (int i = 0; i < 50; i++)
        log_cmd(&log, "PING");
    rig_follow(&r);
    assert_true(engine_counters(r.engine)->batches <= batches + 2);
    rig_close(&r);
    log_free(&log);
}

static void expect_keys_are_refused(bool late)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);

    log_snapshot(&log, &dc, 1000);
    rig_open_when(&r, &log, &conf, late);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_INPUT);
    assert_non_null(strstr(r.err.msg, "3 keys (1 in db 0, 2 in db 2)"));
    TARGET_IS(&dr, "1", "GET mine");
    TARGET_IS(&dr, "1", "DBSIZE");
    rig_close(&r);
    log_free(&log);
}

static void test_target_with_keys_is_refused(void **state)
{
    (void)state;
    run(&dr, "SET mine 1");
    run(&dr, "SELECT 2");
    run(&dr, "MSET p 1 q 2");
    run(&dr, "SELECT 0");
    expect_keys_are_refused(false);
    expect_keys_are_refused(true);
}

static void test_sweep(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char line[64];

    (void)state;
    load_dc();
    run(&dr, "SET a old");
    run(&dr, "SET redis-wal:other ours");
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof(line), "SET stale:%d x", i);
        run(&dr, line);
    }
    run(&dr, "SELECT 7");
    run(&dr, "SET a stale");
    run(&dr, "SELECT 0");
    freeReplyObject(redisCommand(dr.c, "FUNCTION LOAD %s",
                                 "#!lua name=old\nredis.register_function('g', function() "
                                 "return 'old' end)"));
    conf.overwrite = true;
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET after 1");
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    expect_loaded();
    TARGET_IS(&dr, "ours", "GET redis-wal:other");
    TARGET_IS(&dr, "10", "DBSIZE"); /* 7 of the snapshot, `after`, ours, the position */
    TARGET_IS(&dr, "OK", "SELECT 7");
    TARGET_IS(&dr, "0", "DBSIZE");
    TARGET_IS(&dr, "OK", "SELECT 0");
    TARGET_IS(&dr, "ERR Function not found", "FCALL g 0");
    assert_int_equal(engine_counters(r.engine)->keys_swept, 3001);
    rig_close(&r);
    log_free(&log);
}

/* A second snapshot replaces the data without emptying it, and the stream goes on behind. */
static void test_resync(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);

    (void)state;
    load_dc();
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET ghost 1");
    run(&dc, "SET a 2");
    run(&dc, "DEL l");
    log_snapshot(&log, &dc, 5000);
    log_cmd(&log, "INCR a");
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    TARGET_IS(&dr, "3", "GET a");
    TARGET_IS(&dr, "0", "EXISTS l ghost");
    TARGET_IS(&dr, "w", "HGET h g");
    rig_close(&r);
    log_free(&log);
}

/* An incomplete snapshot is void; the one behind it counts, and what only the first one had goes. */
static void test_snapshot_cut_short(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);

    (void)state;
    load_dc();
    run(&dc, "SET early 1");
    log_start(&log, START_SNAPSHOT, 1000);
    log_rdb(&log, &dc, 12);
    log_entry_in(&log, 1, ENTRY_RDB_META, ENTRY_CONTINUED, "half", 4);
    run(&dc, "DEL early");
    log_snapshot(&log, &dc, 2000);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    expect_loaded();
    TARGET_IS(&dr, "0", "EXISTS early");
    rig_close(&r);
    log_free(&log);
}

static uint64_t applied_lsn(const struct rig *r)
{
    struct engine_view v;

    engine_view(r->engine, &v);
    return v.has_position && v.position->at.phase == PHASE_STREAM ? v.position->at.lsn : 0;
}

static void crash(struct rig *r, struct rig_log *log, bool of_target)
{
    struct engine_conf conf;

    if (of_target) {
        target_kill(&dr);
        rig_step(r, 10);
        target_start(&dr);
        return;
    }
    rig_close(r);
    conf = rig_conf(r, &dr);
    conf.batch_commands = 20;
    rig_open(r, log, &conf);
}

/*
 * The process is lost at any moment, the target too; every INCR counts once. The first crashes come
 * after a few steps, so in the snapshot; the others whenever some more of the stream is applied.
 */
static void test_exactly_once_through_crashes(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char line[64];
    unsigned crashes = 0;
    uint64_t next = 0;

    (void)state;
    load_dc();
    log_snapshot(&log, &dc, 1000);
    for (int i = 0; i < 2000; i++) {
        snprintf(line, sizeof(line), "INCR n%d", i % 7);
        log_cmd(&log, i % 50 == 0 ? "RPUSH list x" : line);
    }
    srand(7);
    conf.batch_commands = 20;
    rig_open(&r, &log, &conf);
    while (!rig_is_at(&r, log.lsn)) {
        for (int steps = 0; steps < 5 + (int)crashes || applied_lsn(&r) < next; steps++) {
            assert_false(r.stopped);
            assert_true(steps < 100000);
            rig_step(&r, 1 + (size_t)rand() % 10);
        }
        next = applied_lsn(&r) + (uint64_t)(rand() % 5000);
        if (next >= log.lsn)
            break;
        crash(&r, &log, crashes % 5 == 4);
        crashes++;
    }
    rig_follow(&r);
    assert_true(crashes > 5);
    expect_loaded();
    TARGET_IS(&dr, "40", "LLEN list");
    for (int i = 0; i < 7; i++) {
        int expected = 0;
        char want[16];

        for (int k = 0; k < 2000; k++)
            expected += k % 50 != 0 && k % 7 == i;
        snprintf(want, sizeof(want), "%d", expected);
        snprintf(line, sizeof(line), "GET n%d", i);
        TARGET_IS(&dr, want, line);
    }
    rig_close(&r);
    log_free(&log);
}

static void test_flushall_and_swapdb_keep_the_position(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);

    (void)state;
    load_dc();
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "FLUSHALL");
    log_cmd(&log, "SET zero 0");
    log_cmd(&log, "SWAPDB 0 4");
    log_cmd(&log, "SET new 0");
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    TARGET_IS(&dr, "2", "DBSIZE");
    TARGET_IS(&dr, "0", "GET new");
    TARGET_IS(&dr, "OK", "SELECT 4");
    TARGET_IS(&dr, "1", "DBSIZE"); /* no copy of the position */
    TARGET_IS(&dr, "0", "GET zero");
    TARGET_IS(&dr, "OK", "SELECT 0");
    rig_close(&r);
    log_free(&log);
}

static void test_divergence_is_not_stepped_over(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char first[512];

    (void)state;
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET k v");
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    run(&dr, "DEL k");
    run(&dr, "LPUSH k secretvalue");
    log_cmd(&log, "APPEND k w");
    log_cmd(&log, "SET after 1");
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_CORRUPT);
    assert_non_null(strstr(r.err.msg, "APPEND was refused: WRONGTYPE"));
    assert_non_null(strstr(r.err.msg, "but this command"));
    assert_null(strstr(r.err.msg, "secretvalue"));
    snprintf(first, sizeof(first), "%s", r.err.msg);
    rig_close(&r);
    conf = rig_conf(&r, &dr);
    log_cmd(&log, "SET later 1");
    rig_open(&r, &log, &conf);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_CORRUPT);
    assert_string_equal(r.err.msg, first);
    TARGET_IS(&dr, "0", "EXISTS later");
    rig_close(&r);
    run(&dr, "HDEL " RIG_KEY " halted");
    conf = rig_conf(&r, &dr);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    TARGET_IS(&dr, "1", "GET later");
    rig_close(&r);
    log_free(&log);
}

/* Nothing of the entry is applied, and a restart meets it again. */
static void test_write_to_the_reserved_key(void **state)
{
    static const char *const txn[] = {"MULTI", "INCR half", "DEL x " RIG_KEY, "EXEC", NULL};

    for (int i = 0; i < 2; i++) {
        struct rig_log log = {0};
        struct rig r = {0};
        struct engine_conf conf = rig_conf(&r, &dr);
        char out[64], want[32];

        reset(state);
        log_snapshot(&log, &dc, 1000);
        log_cmd(&log, "SET before 1");
        snprintf(want, sizeof(want), "%llu", (unsigned long long)log.lsn);
        if (i == 0)
            log_cmd(&log, "HSET " RIG_KEY " lsn 5");
        else
            log_txn(&log, txn);
        log_cmd(&log, "SET after 1");
        for (int run_cnt = 0; run_cnt < 2; run_cnt++) {
            conf = rig_conf(&r, &dr);
            rig_open(&r, &log, &conf);
            rig_until_stopped(&r);
            assert_int_equal(r.err.kind, ERR_CORRUPT);
            assert_non_null(strstr(r.err.msg, "holds the position of this program"));
            TARGET_IS(&dr, "1", "GET before");
            TARGET_IS(&dr, "0", "EXISTS after half");
            assert_string_equal(lsn_of_target(out, sizeof(out)), want);
            rig_close(&r);
        }
        log_free(&log);
    }
}

static void stop_at_damage(struct rig_log *log, uint64_t lsn, const char *text)
{
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char out[64], want[32];

    rig_open(&r, log, &conf);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_CORRUPT);
    if (strstr(r.err.msg, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, r.err.msg);
    TARGET_IS(&dr, "1", "GET before");
    TARGET_IS(&dr, "0", "EXISTS after");
    snprintf(want, sizeof(want), "%llu", (unsigned long long)lsn);
    assert_string_equal(lsn_of_target(out, sizeof(out)), want);
    rig_close(&r);
}

/* All before the damage is applied, nothing behind it, and a restart says the same. */
static void test_bad_frame(void **state)
{
    struct rig_log log = {0};
    struct rig_record *rec;
    uint64_t lsn;

    (void)state;
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET before 1");
    lsn = log.lsn;
    log.next_part = 1;
    log_cmd(&log, "SET k v");
    rec = &log.rec[1][log.cnt[1] - 1];
    rec->data[rec->len - 10] ^= 1;
    log_cmd(&log, "SET after 1");
    stop_at_damage(&log, lsn, "partition 1 offset");
    stop_at_damage(&log, lsn, "partition 1 offset");
    log_free(&log);
}

static void test_lost_frame(void **state)
{
    struct rig_log log = {0};
    uint64_t lsn;

    (void)state;
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET before 1");
    lsn = log.lsn;
    log.next_part = 1;
    log_cmd(&log, "SET k v");
    free(log.rec[1][--log.cnt[1]].data);
    log_cmd(&log, "SET after 1");
    log_beat(&log);
    stop_at_damage(&log, lsn, "lost");
    log_beat(&log); /* the position is behind the first ones; a journal sends one a second */
    stop_at_damage(&log, lsn, "lost");
    log_free(&log);
}

static void test_no_memory_on_the_target(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    int64_t until;

    (void)state;
    log_snapshot(&log, &dc, 1000);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    run(&dr, "CONFIG SET maxmemory 1");
    for (int i = 0; i < 10; i++)
        log_cmd(&log, "INCR n");
    until = clock_mono_ms() + 1000;
    while (clock_mono_ms() < until)
        rig_step(&r, 64);
    assert_false(r.stopped);
    assert_true(engine_counters(r.engine)->errors_transient > 0);
    TARGET_IS(&dr, "nil", "GET n");
    run(&dr, "CONFIG SET maxmemory 0");
    rig_follow(&r);
    TARGET_IS(&dr, "10", "GET n");
    rig_close(&r);
    log_free(&log);
}

/* Two appliers on one target: one works, the other waits, and takes over when the first is gone. */
static void test_standby(void **state)
{
    struct rig_log log = {0};
    struct rig a = {0}, b = {0};
    struct engine_conf ca = rig_conf(&a, &dr), cb = rig_conf(&b, &dr);
    struct engine_view v;
    int64_t until;
    char line[32];
    int n = 0;

    (void)state;
    log_snapshot(&log, &dc, 1000);
    rig_open(&a, &log, &ca);
    rig_follow(&a);
    rig_open(&b, &log, &cb);
    until = clock_mono_ms() + 10000;
    for (; engine_counters(a.engine)->fenced + engine_counters(b.engine)->fenced == 0; n++) {
        log_cmd(&log, "INCR n");
        rig_step(&a, 2);
        rig_step(&b, 2);
        assert_true(clock_mono_ms() < until);
    }
    for (int i = 0; i < 50; i++, n++) {
        log_cmd(&log, "INCR n");
        rig_step(&a, 2);
        rig_step(&b, 2);
    }
    assert_false(a.stopped || b.stopped);
    engine_view(a.engine, &v);
    if (v.state == ENGINE_STANDBY || v.state == ENGINE_CONNECTING) {
        rig_close(&a);
        rig_follow(&b);
    } else {
        rig_follow(&a);
        rig_close(&a);
    }
    log_cmd(&log, "INCR n");
    until = clock_mono_ms() + 10000;
    while (!rig_is_at(&b, log.lsn) && clock_mono_ms() < until)
        rig_step(&b, 64);
    assert_true(rig_is_at(&b, log.lsn));
    snprintf(line, sizeof(line), "%d", n + 1);
    TARGET_IS(&dr, line, "GET n");
    rig_close(&b);
    log_free(&log);
}

static void test_another_guard_is_refused(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);

    (void)state;
    log_snapshot(&log, &dc, 1000);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    rig_close(&r);
    conf = rig_conf(&r, &dr);
    conf.guard_ms = RIG_GUARD * 2;
    rig_open(&r, &log, &conf);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_INPUT);
    assert_non_null(strstr(r.err.msg, "ttl_guard"));
    rig_close(&r);
    log_free(&log);
}

static void test_standstill_beyond_the_guard(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char line[128];

    (void)state;
    log_snapshot(&log, &dc, 1000);
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    rig_close(&r);
    snprintf(line, sizeof(line), "HSET " RIG_KEY " time %lld",
             (long long)(clock_wall_ms() - RIG_GUARD - 60000));
    run(&dr, line);
    conf = rig_conf(&r, &dr);
    rig_open(&r, &log, &conf);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_CORRUPT);
    assert_non_null(strstr(r.err.msg, "a new snapshot is needed"));
    rig_close(&r);
    log_free(&log);
}

/* A snapshot from before the guard is not begun with; a younger one behind it is. */
static void test_old_snapshot_is_not_used(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);

    (void)state;
    run(&dc, "SET old 1");
    log.age_ms = RIG_GUARD + 60000;
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET old 2");
    log.age_ms = 0;
    run(&dc, "DEL old");
    rig_open(&r, &log, &conf);
    for (int i = 0; i < 100; i++) {
        rig_step(&r, 64);
        uv_run(&r.loop, UV_RUN_NOWAIT);
    }
    assert_false(r.stopped);
    assert_non_null(engine_not_ready(r.engine));
    log_snapshot(&log, &dc, 5000);
    log_cmd(&log, "SET new 1");
    rig_follow(&r);
    TARGET_IS(&dr, "0", "EXISTS old");
    TARGET_IS(&dr, "1", "GET new");
    assert_null(engine_not_ready(r.engine));
    rig_close(&r);
    log_free(&log);
}

/* The snapshot's end comes when nothing is on its way any more: the sweep sees every database. */
static void test_sweep_begins_later(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    int64_t until;
    uint32_t last;

    (void)state;
    load_dc();
    run(&dr, "SET stale x");
    conf.overwrite = true;
    log_snapshot(&log, &dc, 1000);
    rig_open(&r, &log, &conf);
    last = (uint32_t)((log.next_part - 1) % RIG_PARTS);
    r.limit[last] = (int64_t)log.cnt[last] - 1;
    until = clock_mono_ms() + 1500; /* a position alone is written after one second */
    while (clock_mono_ms() < until)
        rig_step(&r, 64);
    r.limit[last] = -1;
    rig_follow(&r);
    expect_loaded();
    TARGET_IS(&dr, "0", "EXISTS stale");
    assert_int_equal(engine_counters(r.engine)->keys_swept, 1);
    rig_close(&r);
    log_free(&log);
}

/* Stopped while a reply to SCAN is on its way: nothing of the engine may be touched by it. */
static void test_stop_in_a_sweep(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    struct engine_view v;

    (void)state;
    run(&dc, "SET a 1");
    run(&dr, "DEBUG POPULATE 60000");
    conf.overwrite = true;
    log_snapshot(&log, &dc, 1000);
    rig_open(&r, &log, &conf);
    for (engine_view(r.engine, &v); v.state != ENGINE_SWEEPING; engine_view(r.engine, &v))
        rig_step(&r, 64);
    engine_drain(r.engine);
    for (int n = 0; n < 20; n++)
        rig_step(&r, 64); /* the tick wakes the loop, if nothing else does */
    assert_true(r.stopped);
    engine_view(r.engine, &v);
    assert_int_equal(v.state, ENGINE_STOPPED);
    TARGET_IS(&dr, "snapshot", "HGET " RIG_KEY " phase");
    rig_close(&r);
    log_free(&log);
}

static void test_drain(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    char out[64];
    uint64_t lsn;

    (void)state;
    log_snapshot(&log, &dc, 1000);
    for (int i = 0; i < 3000; i++)
        log_cmd(&log, "INCR n");
    rig_open(&r, &log, &conf);
    while (strcmp(target_do(&dr, out, sizeof(out), "GET n"), "nil") == 0)
        rig_step(&r, 100);
    engine_drain(r.engine);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_NONE);
    lsn = strtoull(lsn_of_target(out, sizeof(out)), NULL, 10);
    /* Every INCR has the same size, so the position tells how many there must be. */
    assert_int_equal((lsn - 1000) / ((log.lsn - 1000) / 3000),
                     atoi(target_do(&dr, out, sizeof(out), "GET n")));
    rig_close(&r);
    log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_snapshot_then_stream),
        TEST(test_link_entries_move_the_position),
        TEST(test_target_with_keys_is_refused),
        TEST(test_sweep),
        TEST(test_resync),
        TEST(test_snapshot_cut_short),
        TEST(test_exactly_once_through_crashes),
        TEST(test_flushall_and_swapdb_keep_the_position),
        TEST(test_divergence_is_not_stepped_over),
        TEST(test_write_to_the_reserved_key),
        TEST(test_bad_frame),
        TEST(test_lost_frame),
        TEST(test_no_memory_on_the_target),
        TEST(test_standby),
        TEST(test_another_guard_is_refused),
        TEST(test_standstill_beyond_the_guard),
        TEST(test_old_snapshot_is_not_used),
        TEST(test_sweep_begins_later),
        TEST(test_stop_in_a_sweep),
        TEST(test_drain),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
