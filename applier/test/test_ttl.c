/* ttl - expiries of replayed commands are written later by the guard, byte for byte as listed. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "applier/src/ttl.h"
#include "applier/src/wire.h"
#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"
#include "common/resp.h"

#define GUARD 1000000
#define RECV  1700000000000

/* "a b c" as a RESP command; "\"\"" is an empty argument. */
static void command(struct buf *out, const char *line)
{
    char *text = strdup(line);
    char *word[64];
    size_t cnt = 0;
    char *save = NULL;

    for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        word[cnt++] = w;
    wire_array(out, cnt);
    for (size_t i = 0; i < cnt; i++)
        wire_text(out, strcmp(word[i], "\"\"") == 0 ? "" : word[i]);
    free(text);
}

static bool run(const char *in, int64_t guard, struct buf *out)
{
    struct ttl ttl = {.guard_ms = guard, .recv_ms = RECV};
    struct buf raw;
    struct resp r;
    struct err err;
    bool done = false;
    bool rewritten;

    buf_init(&raw);
    command(&raw, in);
    resp_init(&r);
    assert_int_equal(resp_feed(&r, buf_data(&raw), raw.len, &done, &err), raw.len);
    assert_true(done);
    rewritten = ttl_append(&ttl, &r, buf_data(&raw), out);
    buf_release(&raw);
    return rewritten;
}

static void check(const char *in, const char *expected, int64_t guard)
{
    struct buf out, want;
    bool rewritten;

    buf_init(&out);
    buf_init(&want);
    rewritten = run(in, guard, &out);
    command(&want, expected != NULL ? expected : in);
    if (out.len != want.len || memcmp(buf_data(&out), buf_data(&want), want.len) != 0)
        fail_msg("%s\n  gives %.*s\n  not   %.*s", in, (int)out.len, (char *)buf_data(&out),
                 (int)want.len, (char *)buf_data(&want));
    assert_int_equal(rewritten, expected != NULL);
    buf_release(&out);
    buf_release(&want);
}

/* NULL: passes as it is. RECV + GUARD is 1700001000000. */
static const char *const table[][2] = {
    {"SET k v", NULL},
    {"SET k PXAT", NULL},
    {"SET k PX 5", NULL},
    {"SET k v NX", NULL},
    {"SET k v KEEPTTL", NULL},
    {"SET k v PXAT 5", "SET k v PXAT 1000005"},
    {"set k v pxat 5", "set k v PXAT 1000005"},
    {"SET k v EXAT 5", "SET k v PXAT 1005000"},
    {"SET k v PX 5", "SET k v PXAT 1700001000005"},
    {"SET k v EX 5", "SET k v PXAT 1700001005000"},
    {"SET k v XX GET PXAT 5", "SET k v XX GET PXAT 1000005"},
    {"SET k v PXAT 5 XX", "SET k v PXAT 1000005 XX"},
    {"SET k EX EX 5", "SET k EX PXAT 1700001005000"},
    {"SET k v IFEQ PX PXAT 5", "SET k v IFEQ PX PXAT 1000005"},
    {"SET k v IFEQ PX", NULL},
    {"SET k v PXAT abc", NULL},
    {"SET k v PXAT", NULL},
    {"SETNX k v", NULL},
    {"SETEX k 10 v", "SET k v PXAT 1700001010000"},
    {"setex k 10 \"\"", "SET k \"\" PXAT 1700001010000"},
    {"PSETEX k 10 v", "SET k v PXAT 1700001000010"},
    {"GETEX k EX 1", "GETEX k PXAT 1700001001000"},
    {"GETEX k PXAT 7", "GETEX k PXAT 1000007"},
    {"GETEX k PERSIST", NULL},
    {"EXPIRE k 10", "PEXPIREAT k 1700001010000"},
    {"EXPIRE k 10 NX", "PEXPIREAT k 1700001010000 NX"},
    {"PEXPIRE k 10 gt", "PEXPIREAT k 1700001000010 gt"},
    {"EXPIREAT k 1700000000 LT", "PEXPIREAT k 1700001000000 LT"},
    {"PEXPIREAT k 1700000000000", "PEXPIREAT k 1700001000000"},
    {"pexpireat k 1 XX", "PEXPIREAT k 1000001 XX"},
    {"PEXPIREAT k x", NULL},
    {"EXPIRE k -1", "PEXPIREAT k 1700000999000"},
    {"PERSIST k", NULL},
    {"RESTORE k 0 payload", NULL},
    {"RESTORE k 0 payload ABSTTL REPLACE", NULL},
    {"RESTORE k 5 payload", "RESTORE k 1700001000005 payload ABSTTL"},
    {"RESTORE k 5 payload REPLACE", "RESTORE k 1700001000005 payload REPLACE ABSTTL"},
    {"RESTORE k 5 payload ABSTTL", "RESTORE k 1000005 payload ABSTTL"},
    {"restore k 5 ABSTTL absttl replace", "restore k 1000005 ABSTTL absttl replace"},
    {"RESTORE k 5 ABSTTL IDLETIME 3", "RESTORE k 1700001000005 ABSTTL IDLETIME 3 ABSTTL"},
    {"HEXPIRE h 5 FIELDS 1 f", "HPEXPIREAT h 1700001005000 FIELDS 1 f"},
    {"HPEXPIRE h 5 NX FIELDS 1 f", "HPEXPIREAT h 1700001000005 NX FIELDS 1 f"},
    {"HEXPIREAT h 5 FIELDS 2 f g", "HPEXPIREAT h 1005000 FIELDS 2 f g"},
    {"HPEXPIREAT h 5 FIELDS 1 f", "HPEXPIREAT h 1000005 FIELDS 1 f"},
    {"HPEXPIREAT h 5 FIELDS 15 a b c d e f g h i j k l m n o",
     "HPEXPIREAT h 1000005 FIELDS 15 a b c d e f g h i j k l m n o"},
    {"HSETEX h PXAT 5 FIELDS 1 PX 9", "HSETEX h PXAT 1000005 FIELDS 1 PX 9"},
    {"HSETEX h FNX EX 5 FIELDS 1 f v", "HSETEX h FNX PXAT 1700001005000 FIELDS 1 f v"},
    {"HSETEX h FIELDS 1 PX 9", NULL},
    {"HSETEX h KEEPTTL FIELDS 1 f v", NULL},
    {"HGETEX h EXAT 5 FIELDS 1 f", "HGETEX h PXAT 1005000 FIELDS 1 f"},
    {"HGETEX h PERSIST FIELDS 1 f", NULL},
    {"MSETEX 2 EX 1 PX 2 EX 3", "MSETEX 2 EX 1 PX 2 PXAT 1700001003000"},
    {"MSETEX 9 a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 NX PXAT 4",
     "MSETEX 9 a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 NX PXAT 1000004"},
    {"MSETEX 1 a 1", NULL},
    {"MSETEX 99 a 1 PX 3", NULL},
    {"HSET h PXAT 5", NULL},
    {"ZADD z 5 EX", NULL},
    {"XADD s 1-1 EX 5", NULL},
    {"GET", NULL},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        check(table[i][0], table[i][1], GUARD);
}

static void test_never_overflows(void **state)
{
    (void)state;
    check("SET k v PXAT 9223372036854775807", "SET k v PXAT 9223372036854775807", GUARD);
    check("SET k v PXAT 9223372036854775000", "SET k v PXAT 9223372036854775807", GUARD);
    check("SET k v EXAT 9223372036854775807", "SET k v PXAT 9223372036854775807", GUARD);
    check("SET k v EX 9223372036854775807", "SET k v PXAT 9223372036854775807", GUARD);
    check("PEXPIRE k 9223372036854775807", "PEXPIREAT k 9223372036854775807", GUARD);
    check("PEXPIREAT k -9223372036854775807", "PEXPIREAT k -9223372036853775807", GUARD);
    check("EXPIREAT k -9223372036854775807", "PEXPIREAT k -9223372036853775808", GUARD);
    check("PEXPIREAT k 99999999999999999999", NULL, GUARD);
    check("RESTORE k 9223372036854775807 p", "RESTORE k 9223372036854775807 p ABSTTL", GUARD);
    /* Fields of a hash have a lower end, which the guard must not pass either. */
    check("HPEXPIREAT h 70368744177000 FIELDS 1 f", "HPEXPIREAT h 70368744177663 FIELDS 1 f",
          GUARD);
    check("HPEXPIREAT h 70368744177663 FIELDS 1 f", "HPEXPIREAT h 70368744177663 FIELDS 1 f",
          GUARD);
    assert_int_equal(ttl_guarded(INT64_MAX - 1, 5), INT64_MAX);
}

static void test_no_guard(void **state)
{
    (void)state;
    check("SET k v PXAT 5", "SET k v PXAT 5", 0);
    check("EXPIRE k 10", "PEXPIREAT k 1700000010000", 0);
    check("RESTORE k 5 payload", "RESTORE k 1700000000005 payload ABSTTL", 0);
}

/* Values with CR, LF and NUL, and one larger than any buffer's first size, pass untouched. */
static void test_binary_value(void **state)
{
    static const char odd[] = "a\r\n$3\r\nPX\0*";
    struct ttl ttl = {.guard_ms = GUARD, .recv_ms = RECV};
    struct buf raw, out, want;
    struct resp r;
    struct err err;
    bool done = false;

    (void)state;
    buf_init(&raw);
    buf_init(&out);
    buf_init(&want);
    wire_array(&raw, 5);
    wire_text(&raw, "SET");
    wire_bulk(&raw, odd, sizeof(odd));
    wire_bulk(&raw, odd, sizeof(odd));
    wire_text(&raw, "PXAT");
    wire_text(&raw, "5");
    wire_array(&want, 5);
    wire_text(&want, "SET");
    wire_bulk(&want, odd, sizeof(odd));
    wire_bulk(&want, odd, sizeof(odd));
    wire_text(&want, "PXAT");
    wire_text(&want, "1000005");
    resp_init(&r);
    assert_int_equal(resp_feed(&r, buf_data(&raw), raw.len, &done, &err), raw.len);
    assert_true(ttl_append(&ttl, &r, buf_data(&raw), &out));
    assert_int_equal(out.len, want.len);
    assert_memory_equal(buf_data(&out), buf_data(&want), want.len);
    buf_release(&raw);
    buf_release(&out);
    buf_release(&want);
}

static void put_restore(struct buf *out, int64_t expire_ms, int64_t field_ms)
{
    struct buf payload;

    buf_init(&payload);
    buf_put_u8(&payload, 24); /* a hash with metadata: begins with the smallest expiry */
    buf_put_u64(&payload, (uint64_t)field_ms);
    buf_append(&payload, "fields", 6);
    buf_append(&payload, "\x0c\0", 2);
    buf_put_u64(&payload, crc64(0, buf_data(&payload), payload.len));
    wire_array(out, expire_ms != 0 ? 6 : 5);
    wire_text(out, "RESTORE");
    wire_text(out, "k");
    wire_i64(out, expire_ms);
    wire_bulk(out, buf_data(&payload), payload.len);
    wire_text(out, "REPLACE");
    if (expire_ms != 0)
        wire_text(out, "ABSTTL");
    buf_release(&payload);
}

/* Redis 7.4: fields of a restored hash expire too, with or without an expiry of the key. */
static void test_fields_of_a_restored_hash(void **state)
{
    static const int64_t expire_ms[] = {0, RECV + 5};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct ttl ttl = {.guard_ms = GUARD, .recv_ms = RECV};
        struct buf raw, out, want;
        struct resp r;
        struct err err;
        bool done = false;

        buf_init(&raw);
        buf_init(&out);
        buf_init(&want);
        put_restore(&raw, expire_ms[i], RECV);
        put_restore(&want, expire_ms[i] != 0 ? expire_ms[i] + GUARD : 0, RECV + GUARD);
        resp_init(&r);
        assert_int_equal(resp_feed(&r, buf_data(&raw), raw.len, &done, &err), raw.len);
        assert_true(ttl_append(&ttl, &r, buf_data(&raw), &out));
        assert_int_equal(out.len, want.len);
        assert_memory_equal(buf_data(&out), buf_data(&want), want.len);
        buf_release(&raw);
        buf_release(&out);
        buf_release(&want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_never_overflows),
        cmocka_unit_test(test_no_guard),
        cmocka_unit_test(test_binary_value),
        cmocka_unit_test(test_fields_of_a_restored_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
