/* engine - memory stays bounded, and entries in fragments are put together. */
#include "applier/test/engine_sites.h"

/* A partition that runs ahead is paused; memory stays bounded; nothing is lost by it. */
static void test_bounded_memory(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    static char value[20000];
    struct buf b;
    size_t most = 0;
    int64_t until;

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    log_snapshot(&log, &dc, 1000);
    for (int i = 0; i < 300; i++) {
        buf_init(&b);
        wire_command(&b, "APPEND", "big", value, NULL);
        /* Partition 2 has the first entries, partition 1 all the rest. */
        log_entry_in(&log, i < 2 ? 2 : 1, ENTRY_COMMAND, 0, buf_data(&b), b.len);
        buf_release(&b);
    }
    conf.memory_bytes = 1024; /* so each partition has the least, 256 KiB */
    rig_open(&r, &log, &conf);
    r.limit[2] = (int64_t)log.cnt[2] - 2; /* what comes first is late */
    for (int i = 0; i < 200; i++) {
        int64_t offset;
        size_t bytes;
        bool paused;

        rig_step(&r, 20);
        engine_partition(r.engine, 1, &offset, &bytes, &paused);
        if (bytes > most)
            most = bytes;
        if (r.pauses > 0)
            break;
    }
    assert_true(r.pauses > 0);
    assert_true(most <= 256 * 1024 + 2 * sizeof(value));
    until = clock_mono_ms() + 10000;
    while (engine_counters(r.engine)->lookaheads == 0 && clock_mono_ms() < until)
        rig_step(&r, 20);
    assert_true(engine_counters(r.engine)->lookaheads > 0);
    r.limit[2] = -1;
    rig_follow(&r);
    TARGET_IS(&dr, "5999700", "STRLEN big");
    assert_true(r.seeks > 0);
    rig_close(&r);
    log_free(&log);
}

/*
 * What the merge waits for stands behind frames that have no room: a lost journal left a backlog of
 * its epoch in a partition, and the START that ends that epoch is beyond the limit. Then the log is
 * read ahead, and read again.
 */
static void test_reads_ahead_without_memory(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    static char value[20000];
    uint64_t end;
    struct buf b;

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET before 1");
    end = log.lsn;
    buf_init(&b);
    wire_command(&b, "APPEND", "ghost", value, NULL);
    log.lsn += b.len; /* this one never arrived, those behind it did, in partition 0 too */
    for (int i = 0; i < 100; i++)
        log_entry_in(&log, (uint32_t)i % RIG_PARTS, ENTRY_COMMAND, 0, buf_data(&b), b.len);
    buf_release(&b);
    log.lsn = end;
    log_start(&log, START_STREAM, end);
    log_cmd(&log, "INCR after");
    conf.memory_bytes = 1024;
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    TARGET_IS(&dr, "1", "GET after");
    TARGET_IS(&dr, "0", "EXISTS ghost");
    assert_true(engine_counters(r.engine)->lookaheads > 0);
    rig_close(&r);
    log_free(&log);
}

static void test_fragments(void **state)
{
    struct rig_log log = {0};
    struct rig r = {0};
    struct engine_conf conf = rig_conf(&r, &dr);
    static char value[300000];
    struct buf b;

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    log_snapshot(&log, &dc, 1000);
    log_cmd(&log, "SET before 1");
    buf_init(&b);
    wire_command(&b, "SET", "big", value, NULL);
    log_entry_in(&log, 1, ENTRY_COMMAND, ENTRY_CONTINUED, buf_data(&b), 1000);
    log_entry_in(&log, 1, ENTRY_COMMAND, ENTRY_CONTINUES | ENTRY_CONTINUED, buf_data(&b) + 1000,
                 100000);
    log_entry_in(&log, 1, ENTRY_COMMAND, ENTRY_CONTINUES, buf_data(&b) + 101000,
                 b.len - 101000);
    log_entry_in(&log, 2, ENTRY_COMMAND, ENTRY_CONTINUED, buf_data(&b), 1000);
    /* The takeover begins where the last whole entry ended. */
    log.lsn -= 1000;
    log_start(&log, START_STREAM, log.lsn);
    log_cmd(&log, "SET after 1");
    rig_open(&r, &log, &conf);
    rig_follow(&r);
    TARGET_IS(&dr, "299999", "STRLEN big");
    TARGET_IS(&dr, "1", "GET after");
    rig_close(&r);
    conf = rig_conf(&r, &dr);
    conf.max_entry_bytes = 200000;
    log_entry_in(&log, 1, ENTRY_COMMAND, ENTRY_CONTINUED, buf_data(&b), 200001);
    rig_open(&r, &log, &conf);
    rig_until_stopped(&r);
    assert_int_equal(r.err.kind, ERR_INPUT);
    assert_non_null(strstr(r.err.msg, "max_entry"));
    rig_close(&r);
    buf_release(&b);
    log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bounded_memory),
        TEST(test_reads_ahead_without_memory),
        TEST(test_fragments),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
