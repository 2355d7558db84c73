/* position - what is written is what is read, and nothing else is taken for a position. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "applier/src/position.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/resp.h"

static struct position sample(int64_t *offset)
{
    struct position p = {.present = true,
                         .at = {.epoch = 1700000000001, .phase = PHASE_STREAM, .lsn = 12345},
                         .db = 3,
                         .partition_cnt = 3,
                         .offset = offset,
                         .guard_ms = 604800000,
                         .time_ms = 1700000000500,
                         .applied_at_ms = 1700000000600,
                         .source = "redis",
                         .topic = "redis-writes",
                         .writer = "0123456789abcdef"};

    return p;
}

/* The values of an HSET in the order of position_put_read(). */
static void values_of(const struct buf *hset, const struct buf *hmget,
                      struct position_text value[POSITION_FIELDS])
{
    struct resp fields;
    struct err err;
    bool done = false;
    const char *p = (const char *)buf_data(hset);

    resp_init(&fields);
    assert_true(resp_feed(&fields, buf_data(hmget), hmget->len, &done, &err) > 0 && done);
    assert_int_equal(fields.argc, 2 + POSITION_FIELDS);
    for (size_t i = 0; i < POSITION_FIELDS; i++) {
        char line[64];
        const char *name = (const char *)buf_data(hmget) + fields.arg[2 + i].off;
        const char *at;

        value[i] = (struct position_text){0};
        snprintf(line, sizeof(line), "\r\n%.*s\r\n$", (int)fields.arg[2 + i].len, name);
        at = memmem(p, hset->len, line, strlen(line));
        if (at == NULL)
            continue;
        value[i].len = strtoul(at + strlen(line), NULL, 10);
        value[i].p = strchr(at + strlen(line), '\n') + 1;
    }
}

static void test_round_trip(void **state)
{
    int64_t offset[3] = {0, 77, 9000000000};
    struct position p = sample(offset);
    struct position back;
    struct position_text value[POSITION_FIELDS];
    struct buf hset, hmget;
    struct err err;

    (void)state;
    buf_init(&hset);
    buf_init(&hmget);
    position_init(&back);
    position_put_write(&hset, "redis-wal:position:redis", &p);
    position_put_read(&hmget, "redis-wal:position:redis");
    values_of(&hset, &hmget, value);
    assert_int_equal(position_parse(value, POSITION_FIELDS, &back, &err), 0);
    assert_true(back.present);
    assert_int_equal(wal_pos_cmp(&back.at, &p.at), 0);
    assert_int_equal(back.db, 3);
    assert_int_equal(back.partition_cnt, 3);
    assert_memory_equal(back.offset, offset, sizeof(offset));
    assert_int_equal(back.guard_ms, p.guard_ms);
    assert_int_equal(back.time_ms, p.time_ms);
    assert_int_equal(back.applied_at_ms, p.applied_at_ms);
    assert_string_equal(back.source, "redis");
    assert_string_equal(back.topic, "redis-writes");
    assert_string_equal(back.writer, p.writer);
    assert_string_equal(back.halted, "");
    position_release(&back);
    buf_release(&hset);
    buf_release(&hmget);
}

static const char *const good[POSITION_FIELDS] = {
    "1", "redis", "9", "snapshot", "0", "0", "1,2", "topic", "2", "0", "5", "6", "w", NULL};

static int parse_with(size_t at, const char *text, struct position *out, struct err *err)
{
    struct position_text value[POSITION_FIELDS];

    for (size_t i = 0; i < POSITION_FIELDS; i++) {
        const char *v = i == at ? text : good[i];

        value[i] = (struct position_text){v, v == NULL ? 0 : strlen(v)};
    }
    return position_parse(value, POSITION_FIELDS, out, err);
}

static void test_absent(void **state)
{
    struct position_text value[POSITION_FIELDS] = {{0}};
    struct position p;
    struct err err;

    (void)state;
    position_init(&p);
    assert_int_equal(position_parse(value, POSITION_FIELDS, &p, &err), 0);
    assert_false(p.present);
    assert_int_equal(position_parse(value, 3, &p, &err), -1);
}

static void test_malformed(void **state)
{
    static const struct {
        size_t at;
        const char *text;
    } bad[] = {
        {0, "2"},
        {0, ""},
        {0, NULL},
        {1, NULL},
        {2, "-1"},
        {2, "x"},
        {2, "99999999999999999999"},
        {3, "idle"},
        {3, NULL},
        {4, "1 "},
        {5, "4294967296"},
        {6, "1"},
        {6, "1,2,3"},
        {6, "1,"},
        {6, ",2"},
        {6, ""},
        {6, NULL},
        {6, "1,9223372036854775808"},
        {7, NULL},
        {8, "0"},
        {8, "9999"},
        {9, "-5"},
        {10, "soon"},
        {11, NULL},
        {12, "this id is too long"},
    };
    struct position p;
    struct err err;

    (void)state;
    position_init(&p);
    assert_int_equal(parse_with(99, NULL, &p, &err), 0);
    assert_int_equal(p.at.phase, PHASE_SNAPSHOT);
    assert_int_equal(p.offset[1], 2);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err.kind = ERR_NONE;
        assert_int_equal(parse_with(bad[i].at, bad[i].text, &p, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
    }
    /* A failed parse leaves what was there. */
    assert_int_equal(p.offset[1], 2);
    assert_int_equal(parse_with(13, "WRONGTYPE at lsn 5", &p, &err), 0);
    assert_string_equal(p.halted, "WRONGTYPE at lsn 5");
    position_release(&p);
}

static void test_fence(void **state)
{
    int64_t offset[3] = {0, 1, 2};
    struct position p = sample(offset);
    struct position none;
    struct position_text v[POSITION_CHECKS] = {{"1700000000001", 13},
                                               {"stream", 6},
                                               {"12345", 5},
                                               {"0123456789abcdef", 16},
                                               {NULL, 0}};
    const struct position_text nil[POSITION_CHECKS] = {{0}};

    (void)state;
    position_init(&none);
    assert_true(position_is(&p, v, POSITION_CHECKS));
    v[4] = (struct position_text){"", 0};
    assert_true(position_is(&p, v, POSITION_CHECKS));
    v[4] = (struct position_text){"x", 1};
    assert_false(position_is(&p, v, POSITION_CHECKS));
    v[4] = (struct position_text){0};
    for (size_t i = 0; i < 4; i++) {
        struct position_text keep = v[i];

        v[i] = (struct position_text){"7", 1};
        assert_false(position_is(&p, v, POSITION_CHECKS));
        v[i] = (struct position_text){0};
        assert_false(position_is(&p, v, POSITION_CHECKS));
        v[i] = keep;
    }
    assert_false(position_is(&p, nil, POSITION_CHECKS));
    assert_true(position_is(&none, nil, POSITION_CHECKS));
    assert_false(position_is(&none, v, POSITION_CHECKS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_fence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
