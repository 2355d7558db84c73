/* session - fenced batches in a pipeline, against a real redis-server. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "applier/src/batch.h"
#include "applier/src/reply.h"
#include "applier/src/session.h"
#include "applier/src/wire.h"
#include "applier/test/target.h"
#include "common/clock.h"
#include "common/err.h"

#define KEY "redis-wal:position:redis"

struct rig {
    uv_loop_t *loop;
    struct session *s;
    struct position pos; /* as `ready` gave it */
    bool ready, lost, fenced, refused;
    unsigned applied, rooms;
    struct err err;
    bool refusal_applied;
    size_t refusal_cmd, refusal_cnt;
    char refusal_text[256];
};

static struct target target;

static void on_ready(void *arg, const struct position *pos)
{
    struct rig *r = arg;

    position_copy(&r->pos, pos);
    r->ready = true;
}

static void on_applied(void *arg, struct batch *b)
{
    (void)b;
    ((struct rig *)arg)->applied++;
}

static void on_room(void *arg)
{
    ((struct rig *)arg)->rooms++;
}

static void on_lost(void *arg, const struct err *err)
{
    struct rig *r = arg;

    r->lost = true;
    r->err = *err;
}

static void on_fenced(void *arg)
{
    ((struct rig *)arg)->fenced = true;
}

static void on_refused(void *arg, const struct refusal *refusal)
{
    struct rig *r = arg;

    r->refused = true;
    r->refusal_applied = refusal->applied;
    r->refusal_cmd = refusal->cmd;
    r->refusal_cnt = refusal->cnt;
    snprintf(r->refusal_text, sizeof(r->refusal_text), "%s", refusal->text);
}

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing happened in time");
}

/* Runs the loop until one of the flags is set or `applied` batches are done. */
static void wait_for(struct rig *r, const bool *flag, unsigned applied)
{
    uv_timer_t deadline;

    uv_timer_init(r->loop, &deadline);
    uv_timer_start(&deadline, on_deadline, TARGET_WAIT_S * 1000, 0);
    while (!*flag && (applied == 0 || r->applied < applied)) {
        if (flag != &r->lost && r->lost)
            fail_msg("lost: %s", r->err.msg);
        uv_run(r->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&deadline, NULL);
    uv_run(r->loop, UV_RUN_NOWAIT);
}

static void rig_open(struct rig *r, uv_loop_t *loop)
{
    static const struct session_events events = {.ready = on_ready,
                                                 .applied = on_applied,
                                                 .room = on_room,
                                                 .lost = on_lost,
                                                 .fenced = on_fenced,
                                                 .refused = on_refused};
    struct session_conf conf = {.position_key = KEY, .connect_timeout_ms = 5000};
    char text[128];
    struct err err;

    memset(r, 0, sizeof(*r));
    position_init(&r->pos);
    r->loop = loop;
    snprintf(text, sizeof(text), "unix:%s", target.socket);
    assert_int_equal(net_addr_parse(text, 0, &conf.addr, &err), 0);
    r->s = session_new(loop, &conf, &events, r);
}

static void rig_close(struct rig *r)
{
    session_free(r->s);
    position_release(&r->pos);
}

/* A batch of `cnt` INCR of `key` that ends at `lsn`. */
static void fill(struct batch *b, const char *writer, uint64_t lsn, unsigned cnt,
                 const char *key)
{
    batch_init(b);
    batch_begin(b, 0);
    for (unsigned i = 0; i < cnt; i++) {
        batch_add_cmd(b, BATCH_OWN);
        wire_command(&b->bytes, "INCR", key, NULL);
    }
    b->position = (struct position){.present = true,
                                    .at = {.epoch = 1, .phase = PHASE_STREAM, .lsn = lsn}};
    b->position.partition_cnt = 1;
    b->position.offset = calloc(1, sizeof(int64_t));
    strcpy(b->position.source, "redis");
    strcpy(b->position.topic, "t");
    snprintf(b->position.writer, sizeof(b->position.writer), "%s", writer);
}

static void add(struct batch *b, const char *name, const char *key, const char *value)
{
    batch_add_cmd(b, BATCH_OWN);
    wire_command(&b->bytes, name, key, value, NULL);
}

static void flush(void)
{
    TARGET_IS(&target, "OK", "FLUSHALL");
    TARGET_IS(&target, "OK", "CONFIG SET maxmemory 0");
}

static void test_applies_batches_in_a_pipeline(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b[5];
    unsigned sent = 0;

    (void)state;
    flush();
    uv_loop_init(&loop);
    rig_open(&r, &loop);
    wait_for(&r, &r.ready, 0);
    assert_false(r.pos.present);
    assert_string_not_equal(session_target_version(r.s), "");
    assert_true(session_has_functions(r.s));
    for (unsigned i = 0; i < 5; i++)
        fill(&b[i], "aaaa", 100 * (i + 1), 50, "n");
    /* Two may be on their way at once. */
    while (r.applied < 5) {
        unsigned room = 0;

        while (sent < 5 && session_has_room(r.s)) {
            session_submit(r.s, &b[sent++]);
            room++;
        }
        if (sent <= 1)
            assert_int_equal(room, 1);
        assert_true(sent - r.applied <= 2);
        wait_for(&r, &r.fenced, r.applied + 1);
    }
    assert_true(session_is_idle(r.s));
    assert_true(r.rooms > 0);
    TARGET_IS(&target, "250", "GET n");
    TARGET_IS(&target, "500", "HGET " KEY " lsn");
    TARGET_IS(&target, "aaaa", "HGET " KEY " writer");
    for (unsigned i = 0; i < 5; i++)
        batch_release(&b[i]);
    rig_close(&r);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Each of two sessions believes that it is alone; only one batch may win at a time. */
static void test_a_second_writer_is_fenced(void **state)
{
    uv_loop_t loop;
    struct rig first, second;
    struct batch b[3];

    (void)state;
    flush();
    uv_loop_init(&loop);
    rig_open(&first, &loop);
    rig_open(&second, &loop);
    wait_for(&first, &first.ready, 0);
    wait_for(&second, &second.ready, 0);
    fill(&b[0], "aaaa", 100, 1, "n");
    fill(&b[1], "bbbb", 100, 1, "n");
    fill(&b[2], "bbbb", 200, 1, "n");
    session_submit(first.s, &b[0]);
    wait_for(&first, &first.fenced, 1);
    session_submit(second.s, &b[1]);
    if (session_has_room(second.s))
        session_submit(second.s, &b[2]);
    wait_for(&second, &second.fenced, 0);
    assert_int_equal(second.applied, 0);
    TARGET_IS(&target, "1", "GET n");
    TARGET_IS(&target, "aaaa", "HGET " KEY " writer");
    for (unsigned i = 0; i < 3; i++)
        batch_release(&b[i]);
    rig_close(&first);
    rig_close(&second);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* WATCH does not see a write that came before it: the comparison must. */
static void test_a_write_between_batches_is_seen(void **state)
{
    static const char *const writes[] = {"HSET " KEY " writer other", "HSET " KEY " halted x",
                                         "HSET " KEY " lsn 99", ("DEL " KEY), "FLUSHALL"};

    (void)state;
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        uv_loop_t loop;
        struct rig r;
        struct batch b[2];
        char out[64];

        flush();
        uv_loop_init(&loop);
        rig_open(&r, &loop);
        wait_for(&r, &r.ready, 0);
        fill(&b[0], "aaaa", 100, 1, "n");
        fill(&b[1], "aaaa", 200, 1, "m");
        session_submit(r.s, &b[0]);
        wait_for(&r, &r.fenced, 1);
        (void)target_do(&target, out, sizeof(out), writes[i]);
        session_submit(r.s, &b[1]);
        wait_for(&r, &r.fenced, 0);
        TARGET_IS(&target, "nil", "GET m");
        batch_release(&b[0]);
        batch_release(&b[1]);
        rig_close(&r);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&loop), 0);
    }
}

/*
 * A write that came before WATCH: WATCH has nothing to say about it, only the comparison has. Made
 * by a batch that leaves another position in the target than the session is told.
 */
static void test_a_write_before_watch_is_seen(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b[2];

    (void)state;
    flush();
    uv_loop_init(&loop);
    rig_open(&r, &loop);
    wait_for(&r, &r.ready, 0);
    fill(&b[0], "aaaa", 100, 1, "n");
    fill(&b[1], "aaaa", 200, 1, "m");
    session_submit(r.s, &b[0]);
    b[0].position.at.lsn = 99; /* the bytes with 100 are made already */
    wait_for(&r, &r.fenced, 1);
    if (session_has_room(r.s))
        session_submit(r.s, &b[1]);
    wait_for(&r, &r.fenced, 0);
    TARGET_IS(&target, "nil", "GET m");
    TARGET_IS(&target, "100", "HGET " KEY " lsn");
    batch_release(&b[0]);
    batch_release(&b[1]);
    rig_close(&r);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void run_one(struct rig *r, uv_loop_t *loop, struct batch *b, const bool *flag)
{
    uv_loop_init(loop);
    rig_open(r, loop);
    wait_for(r, &r->ready, 0);
    session_submit(r->s, b);
    wait_for(r, flag, 0);
    rig_close(r);
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
    batch_release(b);
}

static void test_wrongtype_inside_exec(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b;

    (void)state;
    flush();
    TARGET_IS(&target, "1", "LPUSH l x");
    fill(&b, "aaaa", 100, 1, "n");
    add(&b, "APPEND", "l", "y");
    add(&b, "APPEND", "s", "y");
    run_one(&r, &loop, &b, &r.refused);
    assert_true(r.refusal_applied);
    assert_int_equal(r.refusal_cmd, 1);
    assert_int_equal(r.refusal_cnt, 1);
    assert_memory_equal(r.refusal_text, "WRONGTYPE", 9);
    TARGET_IS(&target, "y", "GET s");
}

static void test_unknown_command_applies_nothing(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b;

    (void)state;
    flush();
    fill(&b, "aaaa", 100, 1, "n");
    add(&b, "NOSUCH.CMD", "k", "v");
    run_one(&r, &loop, &b, &r.refused);
    assert_false(r.refusal_applied);
    assert_int_equal(r.refusal_cmd, 1);
    TARGET_IS(&target, "0", "DBSIZE");
}

/* A SELECT that fails would let what follows run in another database. */
static void test_missing_database_applies_nothing(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b;

    (void)state;
    flush();
    fill(&b, "aaaa", 100, 1, "n");
    batch_select(&b, 16);
    add(&b, "APPEND", "s", "y");
    run_one(&r, &loop, &b, &r.refused);
    assert_false(r.refusal_applied);
    TARGET_IS(&target, "0", "DBSIZE");
}

static void test_selects_databases(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b;
    char out[64];

    (void)state;
    flush();
    fill(&b, "aaaa", 100, 1, "n");
    batch_select(&b, 15);
    add(&b, "APPEND", "s", "y");
    uv_loop_init(&loop);
    rig_open(&r, &loop);
    wait_for(&r, &r.ready, 0);
    session_submit(r.s, &b);
    wait_for(&r, &r.fenced, 1);
    TARGET_IS(&target, "2", "DBSIZE");
    (void)target_do(&target, out, sizeof(out), "SELECT 15");
    TARGET_IS(&target, "y", "GET s");
    (void)target_do(&target, out, sizeof(out), "SELECT 0");
    rig_close(&r);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    batch_release(&b);
}

static void test_transient_errors(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b;

    (void)state;
    flush();
    TARGET_IS(&target, "OK", "CONFIG SET maxmemory 1");
    fill(&b, "aaaa", 100, 1, "n");
    run_one(&r, &loop, &b, &r.lost);
    assert_int_equal(r.err.kind, ERR_AGAIN);
    assert_non_null(strstr(r.err.msg, "OOM"));
    TARGET_IS(&target, "0", "DBSIZE");
    flush();
    TARGET_IS(&target, "OK", "REPLICAOF 127.0.0.1 1");
    fill(&b, "aaaa", 100, 1, "n");
    run_one(&r, &loop, &b, &r.lost);
    assert_int_equal(r.err.kind, ERR_AGAIN);
    TARGET_IS(&target, "OK", "REPLICAOF NO ONE");
    TARGET_IS(&target, "OK", "CONFIG SET min-replicas-to-write 1");
    fill(&b, "aaaa", 100, 1, "n");
    run_one(&r, &loop, &b, &r.lost);
    assert_int_equal(r.err.kind, ERR_AGAIN);
    TARGET_IS(&target, "OK", "CONFIG SET min-replicas-to-write 0");
    TARGET_IS(&target, "0", "DBSIZE");
}

/* After a crash of the target the next session reads what the target really kept. */
static void test_restart_of_the_target(void **state)
{
    uv_loop_t loop;
    struct rig r;
    struct batch b[2];

    (void)state;
    flush();
    uv_loop_init(&loop);
    rig_open(&r, &loop);
    wait_for(&r, &r.ready, 0);
    fill(&b[0], "aaaa", 100, 3, "n");
    session_submit(r.s, &b[0]);
    wait_for(&r, &r.fenced, 1);
    target_kill(&target);
    wait_for(&r, &r.lost, 0);
    assert_int_equal(r.err.kind, ERR_AGAIN);
    rig_close(&r);
    rig_open(&r, &loop);
    wait_for(&r, &r.lost, 0);
    assert_int_equal(r.err.kind, ERR_AGAIN);
    rig_close(&r);
    target_start(&target);
    rig_open(&r, &loop);
    wait_for(&r, &r.ready, 0);
    assert_true(r.pos.present);
    assert_int_equal(r.pos.at.lsn, 100);
    TARGET_IS(&target, "3", "GET n");
    fill(&b[1], "bbbb", 200, 1, "n");
    session_submit(r.s, &b[1]);
    wait_for(&r, &r.fenced, 1);
    TARGET_IS(&target, "4", "GET n");
    rig_close(&r);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    batch_release(&b[0]);
    batch_release(&b[1]);
}

static void test_foreign_key_is_no_position(void **state)
{
    uv_loop_t loop;
    struct rig r;

    (void)state;
    flush();
    TARGET_IS(&target, "OK", "SET " KEY " x");
    uv_loop_init(&loop);
    rig_open(&r, &loop);
    wait_for(&r, &r.lost, 0);
    assert_int_equal(r.err.kind, ERR_FATAL);
    rig_close(&r);
    TARGET_IS(&target, "1", "DEL " KEY);
    TARGET_IS(&target, "1", "HSET " KEY " version 1");
    rig_open(&r, &loop);
    wait_for(&r, &r.lost, 0);
    assert_int_equal(r.err.kind, ERR_CORRUPT);
    rig_close(&r);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static int setup(void **state)
{
    (void)state;
    target_new(&target);
    return 0;
}

static void on_hash(void *arg, size_t index, const struct reply *reply)
{
    size_t *nodes = arg;

    (void)index;
    *nodes = reply->node_cnt;
}

/* Nothing was expected when the last reply was taken: the next one is kept whole all the same. */
static void test_queries_after_a_rest(void **state)
{
    uv_loop_t loop;
    struct rig r;

    (void)state;
    flush();
    uv_loop_init(&loop);
    rig_open(&r, &loop);
    wait_for(&r, &r.ready, 0);
    for (unsigned i = 0; i < 30; i++) {
        size_t nodes = SIZE_MAX;
        struct buf out;

        for (unsigned n = 0; n < 10; n++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            usleep(1000);
        }
        buf_init(&out);
        wire_command(&out, "HMGET", KEY, "a", "b", NULL);
        session_call(r.s, &out, 1, on_hash, &nodes);
        buf_release(&out);
        while (nodes == SIZE_MAX)
            uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(nodes, 3);
    }
    rig_close(&r);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static int teardown(void **state)
{
    (void)state;
    target_free(&target);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_applies_batches_in_a_pipeline),
        cmocka_unit_test(test_a_second_writer_is_fenced),
        cmocka_unit_test(test_a_write_between_batches_is_seen),
        cmocka_unit_test(test_a_write_before_watch_is_seen),
        cmocka_unit_test(test_wrongtype_inside_exec),
        cmocka_unit_test(test_unknown_command_applies_nothing),
        cmocka_unit_test(test_missing_database_applies_nothing),
        cmocka_unit_test(test_selects_databases),
        cmocka_unit_test(test_transient_errors),
        cmocka_unit_test(test_restart_of_the_target),
        cmocka_unit_test(test_foreign_key_is_no_position),
        cmocka_unit_test(test_queries_after_a_rest),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
