/* plan - entries of the log as the commands of a batch, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "applier/src/batch.h"
#include "applier/src/plan.h"
#include "applier/src/wire.h"
#include "common/err.h"

#define KEY "redis-wal:position:redis"

static void put_line(struct buf *b, const char *line)
{
    char *text = strdup(line);
    char *word[64];
    size_t cnt = 0;
    char *save = NULL;

    for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        word[cnt++] = w;
    wire_array(b, cnt);
    for (size_t i = 0; i < cnt; i++)
        wire_text(b, word[i]);
    free(text);
}

/* Commands, one after the other, divided by ';'. */
static void put_lines(struct buf *b, const char *lines)
{
    char *text = strdup(lines);
    char *save = NULL;

    for (char *l = strtok_r(text, ";", &save); l != NULL; l = strtok_r(NULL, ";", &save))
        put_line(b, l);
    free(text);
}

static int add(struct plan *p, struct batch *b, enum entry_kind kind, uint32_t db,
               const struct buf *data, struct err *err)
{
    static const struct batch_entry where = {.partition = 1, .kafka_offset = 7};
    struct plan_entry e = {.kind = kind,
                           .db = db,
                           .data = buf_data(data),
                           .len = data->len,
                           .recv_ms = 1700000000000,
                           .where = &where};

    return plan_add(p, &e, b, err);
}

static struct plan *plan_in_db(uint32_t position_db)
{
    return plan_new(
        &(struct plan_conf){.position_db = position_db, .position_key = KEY, .guard_ms = 1000});
}

static void check(enum entry_kind kind, uint32_t db, const char *in, const char *expected,
                  size_t log_cmds)
{
    struct plan *p = plan_in_db(0);
    struct batch b;
    struct buf data, want;
    struct err err;

    batch_init(&b);
    batch_begin(&b, 0);
    buf_init(&data);
    buf_init(&want);
    put_lines(&data, in);
    put_lines(&want, "MULTI");
    put_lines(&want, expected);
    assert_int_equal(add(p, &b, kind, db, &data, &err), 0);
    if (b.bytes.len != want.len || memcmp(buf_data(&b.bytes), buf_data(&want), want.len) != 0)
        fail_msg("%s\n gives %.*s", in, (int)b.bytes.len, (char *)buf_data(&b.bytes));
    assert_int_equal(b.log_cmd_cnt, log_cmds);
    assert_int_equal(b.log_entry_cnt, 1);
    batch_release(&b);
    buf_release(&data);
    buf_release(&want);
    plan_free(p);
}

static void test_commands(void **state)
{
    (void)state;
    check(ENTRY_COMMAND, 0, "SET k v", "SET k v", 1);
    check(ENTRY_COMMAND, 3, "SET k v", "SELECT 3;SET k v", 1);
    check(ENTRY_COMMAND, 0, "SET k v PXAT 5", "SET k v PXAT 1005", 1);
    check(ENTRY_COMMAND, 0, "EXPIRE k 1", "PEXPIREAT k 1700000002000", 1);
    check(ENTRY_COMMAND, 0, "PUBLISH __sentinel__:hello x", "", 0);
    check(ENTRY_COMMAND, 0, "PUBLISH other x", "PUBLISH other x", 1);
    check(ENTRY_LINK, 5, "PING", "", 0);
    check(ENTRY_LINK, 5, "SELECT 7", "", 0);
}

static void test_transactions(void **state)
{
    (void)state;
    check(ENTRY_TXN, 0, "MULTI;INCR a;INCR b;EXEC", "INCR a;INCR b", 2);
    check(ENTRY_TXN, 2, "multi;INCR a;SELECT 4;INCR b;exec", "SELECT 2;INCR a;SELECT 4;INCR b",
          2);
    check(ENTRY_TXN, 0, "MULTI;SET k v PXAT 5;DEL k;EXEC", "SET k v PXAT 1005;DEL k", 2);
    check(ENTRY_TXN, 0, "MULTI;EXEC", "", 0);
}

static void test_swapdb(void **state)
{
    (void)state;
    check(ENTRY_COMMAND, 0, "SWAPDB 0 4", "SWAPDB 0 4;SELECT 4;DEL " KEY ";SELECT 0", 1);
    check(ENTRY_COMMAND, 2, "SWAPDB 4 0", "SELECT 2;SWAPDB 4 0;SELECT 4;DEL " KEY ";SELECT 2",
          1);
    check(ENTRY_COMMAND, 0, "SWAPDB 3 4", "SWAPDB 3 4", 1);
    check(ENTRY_COMMAND, 0, "SWAPDB 0 0", "SWAPDB 0 0", 1);
    /* What follows in the transaction still runs where the source ran it. */
    check(ENTRY_TXN, 0, "MULTI;SWAPDB 0 4;INCR n;EXEC",
          "SWAPDB 0 4;SELECT 4;DEL " KEY ";SELECT 0;INCR n", 2);
}

static void test_database_is_kept_between_entries(void **state)
{
    struct plan *p = plan_in_db(0);
    struct batch b;
    struct buf data, want;
    struct err err;

    (void)state;
    batch_init(&b);
    batch_begin(&b, 0);
    buf_init(&data);
    buf_init(&want);
    put_lines(&data, "INCR n");
    assert_int_equal(add(p, &b, ENTRY_COMMAND, 3, &data, &err), 0);
    assert_int_equal(add(p, &b, ENTRY_COMMAND, 3, &data, &err), 0);
    assert_int_equal(add(p, &b, ENTRY_COMMAND, 0, &data, &err), 0);
    put_lines(&want, "MULTI;SELECT 3;INCR n;INCR n;SELECT 0;INCR n");
    assert_int_equal(b.bytes.len, want.len);
    assert_memory_equal(buf_data(&b.bytes), buf_data(&want), want.len);
    assert_int_equal(b.max_db, 3);
    batch_release(&b);
    buf_release(&data);
    buf_release(&want);
    plan_free(p);
}

/* Broken entries are refused, and what was in the batch before them can be restored. */
static void test_broken_entries(void **state)
{
    static const struct {
        enum entry_kind kind;
        const char *lines;
        size_t cut; /* bytes taken off the end */
    } bad[] = {
        {ENTRY_COMMAND, "SET k v;SET k v", 0},
        {ENTRY_COMMAND, "SET k v", 1},
        {ENTRY_TXN, "SET k v", 0},
        {ENTRY_TXN, "MULTI;SET k v", 0},
        {ENTRY_TXN, "MULTI;SET k v;EXEC", 3},
        {ENTRY_TXN, "MULTI;EXEC;EXEC", 0},
        {ENTRY_TXN, "MULTI;MULTI;EXEC", 0},
        {ENTRY_TXN, "MULTI;SET k v;EXEC;DEL k", 0},
        {ENTRY_RDB_META, "x", 0},
        {ENTRY_COMMAND, "HSET " KEY " a b", 0},
        {ENTRY_COMMAND, "UNLINK a b " KEY, 0},
        {ENTRY_COMMAND, "MSET a b " KEY " c", 0},
        {ENTRY_TXN, "MULTI;DEL " KEY ";EXEC", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct plan *p = plan_in_db(0);
        struct batch b;
        struct batch_mark mark;
        struct buf data;
        struct err err = {.kind = ERR_NONE};
        size_t len;

        batch_init(&b);
        batch_begin(&b, 0);
        len = b.bytes.len;
        mark = batch_mark(&b);
        buf_init(&data);
        put_lines(&data, bad[i].lines);
        data.len -= bad[i].cut;
        assert_int_equal(add(p, &b, bad[i].kind, 3, &data, &err),
                         strstr(bad[i].lines, KEY) != NULL ? 0 : -1);
        batch_undo(&b, &mark);
        /* The key is reserved in the position's database alone. */
        assert_int_equal(add(p, &b, bad[i].kind, 0, &data, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
        batch_undo(&b, &mark);
        assert_int_equal(b.bytes.len, len);
        assert_int_equal(b.cmd_cnt, 0);
        batch_release(&b);
        buf_release(&data);
        plan_free(p);
    }
}

static void test_value_that_reads_like_the_key(void **state)
{
    (void)state;
    check(ENTRY_COMMAND, 0, "SET k " KEY, "SET k " KEY, 1);
    check(ENTRY_COMMAND, 0, "SADD s " KEY, "SADD s " KEY, 1);
    check(ENTRY_COMMAND, 0, "DEL " KEY "2 x" KEY, "DEL " KEY "2 x" KEY, 1);
}

static void test_names_without_arguments(void **state)
{
    struct batch b;
    char name[48];

    (void)state;
    batch_init(&b);
    batch_begin(&b, 0);
    batch_add_cmd(&b, BATCH_OWN);
    put_line(&b.bytes, "xgroup create secret g 0");
    batch_add_cmd(&b, BATCH_OWN);
    put_line(&b.bytes, "set secret v");
    batch_add_cmd(&b, BATCH_OWN);
    put_line(&b.bytes, "FLUSHALL");
    batch_cmd_name(&b, 0, name, sizeof(name));
    assert_string_equal(name, "XGROUP CREATE");
    batch_cmd_name(&b, 1, name, sizeof(name));
    assert_string_equal(name, "SET");
    batch_cmd_name(&b, 2, name, sizeof(name));
    assert_string_equal(name, "FLUSHALL");
    batch_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_swapdb),
        cmocka_unit_test(test_database_is_kept_between_entries),
        cmocka_unit_test(test_broken_entries),
        cmocka_unit_test(test_value_that_reads_like_the_key),
        cmocka_unit_test(test_names_without_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
