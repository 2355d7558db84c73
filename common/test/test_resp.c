/* test_resp - the scanner at every split point, on what it must refuse, and at its limits. */
#include "common/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/err.h"

struct text {
    const char *p;
    size_t len;
};
#define TEXT(s)                                                                                \
    {                                                                                          \
        s, sizeof(s) - 1                                                                       \
    }

static const struct text commands[] = {
    TEXT("*1\r\n$4\r\nPING\r\n"),
    TEXT("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n"),
    TEXT("*3\r\n$3\r\nset\r\n$0\r\n\r\n$0\r\n\r\n"),
    TEXT("*3\r\n$3\r\nSET\r\n$4\r\n\r\n\r\n\r\n$7\r\n$3\r\n\0*1\r\n"),
    TEXT("*1\r\n$0\r\n\r\n"),
    TEXT(
        "*18\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n"
        "$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$1\r\nk\r\n$1\r\nl\r\n$1\r\nm\r\n$"
        "1\r\nn\r\n"
        "$12\r\nhello, world\r\n$1\r\np\r\n$1\r\nq\r\n"),
};
#define COMMAND_CNT (sizeof(commands) / sizeof(commands[0]))

/* Feeds the text up to `end` and gives what was consumed; it must not fail. */
static size_t feed(struct resp *r, const char *p, size_t len, bool *done)
{
    struct err err = {.kind = ERR_NONE};
    ptrdiff_t n = resp_feed(r, (const uint8_t *)p, len, done, &err);

    if (n < 0)
        fail_msg("%s", err.msg);
    return (size_t)n;
}

static void assert_same(const struct resp *a, const struct resp *b)
{
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->argc, b->argc);
    assert_int_equal(a->argi, b->argi);
    for (size_t i = 0; i < a->argi && i < RESP_ARGS; i++) {
        assert_int_equal(a->arg[i].off, b->arg[i].off);
        assert_int_equal(a->arg[i].len, b->arg[i].len);
    }
}

static void finds_arguments(void **state)
{
    const char *p = commands[5].p;
    struct resp r;
    bool done;

    (void)state;
    resp_init(&r);
    assert_int_equal(feed(&r, p, commands[5].len, &done), commands[5].len);
    assert_true(done);
    assert_int_equal(r.size, commands[5].len);
    assert_int_equal(r.argc, 18);
    assert_int_equal(r.argi, 18);
    assert_int_equal(r.arg[0].len, 3);
    assert_memory_equal(p + r.arg[0].off, "DEL", 3);
    assert_int_equal(r.arg[14].len, 1);
    assert_memory_equal(p + r.arg[14].off, "n", 1);
    assert_int_equal(r.arg[15].len, 12);
    assert_memory_equal(p + r.arg[15].off, "hello, world", 12);
}

static void every_split_point(void **state)
{
    (void)state;
    for (size_t i = 0; i < COMMAND_CNT; i++) {
        const struct text *t = &commands[i];
        struct resp whole, cut;
        bool done;

        resp_init(&whole);
        assert_int_equal(feed(&whole, t->p, t->len, &done), t->len);
        assert_true(done);
        for (size_t at = 0; at < t->len; at++) {
            resp_init(&cut);
            assert_int_equal(feed(&cut, t->p, at, &done), at);
            assert_false(done);
            assert_int_equal(cut.size, at);
            assert_int_equal(feed(&cut, t->p + at, t->len - at, &done), t->len - at);
            assert_true(done);
            assert_same(&whole, &cut);
        }
        resp_init(&cut);
        for (size_t at = 0; at < t->len; at++) {
            assert_int_equal(feed(&cut, t->p + at, 1, &done), 1);
            assert_int_equal(done, at + 1 == t->len);
        }
        assert_same(&whole, &cut);
    }
}

static void commands_in_a_row(void **state)
{
    char stream[1024];
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < COMMAND_CNT; i++) {
        memcpy(stream + len, commands[i].p, commands[i].len);
        len += commands[i].len;
    }
    for (size_t step = 1; step <= len; step++) {
        size_t at = 0, i = 0;
        struct resp r;

        resp_init(&r);
        while (at < len) {
            size_t end = (at / step + 1) * step;
            bool done;

            at += feed(&r, stream + at, (end < len ? end : len) - at, &done);
            if (done)
                assert_int_equal(r.size, commands[i++].len);
            else
                assert_true(at == end || at == len);
        }
        assert_int_equal(i, COMMAND_CNT);
    }
}

static void refuses(void **state)
{
    static const struct {
        struct text in;
        const char *msg;
    } bad[] = {
        {TEXT("PING\r\n"), "offset 0: expected '*', found byte 0x50"},
        {TEXT("\n"), "offset 0: expected '*', found byte 0x0a"},
        {TEXT("+OK\r\n"), "offset 0: expected '*', found byte 0x2b"},
        {TEXT("$4\r\nPING\r\n"), "offset 0: expected '*', found byte 0x24"},
        {TEXT("*\r\n"), "offset 1: expected a digit, found byte 0x0d"},
        {TEXT("*-1\r\n"), "offset 1: expected a digit, found byte 0x2d"},
        {TEXT("*+1\r\n"), "offset 1: expected a digit, found byte 0x2b"},
        {TEXT("* 1\r\n"), "offset 1: expected a digit, found byte 0x20"},
        {TEXT("*0\r\n"), "offset 3: command without arguments"},
        {TEXT("*01\r\n"), "offset 2: number with a leading zero"},
        {TEXT("*1\n$4\r\n"), "offset 2: expected a digit or CR, found byte 0x0a"},
        {TEXT("*1\r$4\r\n"), "offset 3: expected LF, found byte 0x24"},
        {TEXT("*1\r\r\n"), "offset 3: expected LF, found byte 0x0d"},
        {TEXT("*2147483648\r\n"), "offset 10: number is above 2147483647"},
        {TEXT("*99999999999999999999\r\n"), "offset 10: number is above 2147483647"},
        {TEXT("*1\r\n*1\r\n"), "offset 4: expected '$', found byte 0x2a"},
        {TEXT("*1\r\n:4\r\n"), "offset 4: expected '$', found byte 0x3a"},
        {TEXT("*1\r\n$-1\r\n"), "offset 5: expected a digit, found byte 0x2d"},
        {TEXT("*1\r\n$\r\n"), "offset 5: expected a digit, found byte 0x0d"},
        {TEXT("*1\r\n$00\r\n\r\n"), "offset 6: number with a leading zero"},
        {TEXT("*1\r\n$4\nPING\r\n"), "offset 6: expected a digit or CR, found byte 0x0a"},
        {TEXT("*1\r\n$4x\r\nPING\r\n"), "offset 6: expected a digit or CR, found byte 0x78"},
        {TEXT("*1\r\n$4\rPING\r\n"), "offset 7: expected LF, found byte 0x50"},
        {TEXT("*1\r\n$4\r\nPING\n\n"), "offset 12: expected CR, found byte 0x0a"},
        {TEXT("*1\r\n$4\r\nPINGS\r\n"), "offset 12: expected CR, found byte 0x53"},
        {TEXT("*1\r\n$4\r\nPING\r\r"), "offset 13: expected LF, found byte 0x0d"},
        {TEXT("*2\r\n$4\r\nPING\r\n\r\n"), "offset 14: expected '$', found byte 0x0d"},
        {TEXT("*1\r\n$4611686018427387905\r\n"),
         "offset 23: number is above 4611686018427387904"},
        {TEXT("*1\r\n$9999999999999999999\r\n"),
         "offset 23: number is above 4611686018427387904"},
        {TEXT("*1\r\n$18446744073709551617\r\nx\r\n"),
         "offset 24: number is above 4611686018427387904"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct text *t = &bad[i].in;

        for (size_t at = 0; at <= t->len; at++) {
            struct err err = {.kind = ERR_NONE};
            struct resp r;
            bool done = false;
            ptrdiff_t n;

            resp_init(&r);
            n = resp_feed(&r, (const uint8_t *)t->p, at, &done, &err);
            assert_false(done);
            if (n >= 0) {
                assert_int_equal(n, at);
                n = resp_feed(&r, (const uint8_t *)t->p + at, t->len - at, &done, &err);
            }
            assert_int_equal(n, -1);
            assert_int_equal(err.kind, ERR_CORRUPT);
            assert_string_equal(err.msg, bad[i].msg);
        }
    }
}

static void limits(void **state)
{
    static const char most_args[] = "*2147483647\r\n$1\r\nx\r\n";
    static const char longest[] = "*1\r\n$4611686018427387904\r\nxyz";
    struct resp r;
    bool done;

    (void)state;
    resp_init(&r);
    assert_int_equal(feed(&r, most_args, sizeof(most_args) - 1, &done), sizeof(most_args) - 1);
    assert_false(done);
    assert_int_equal(r.argc, INT32_MAX);
    assert_int_equal(r.argi, 1);
    resp_init(&r);
    assert_int_equal(feed(&r, longest, sizeof(longest) - 1, &done), sizeof(longest) - 1);
    assert_false(done);
    assert_int_equal(r.arg[0].len, (uint64_t)1 << 62);
    assert_int_equal(r.left, ((uint64_t)1 << 62) + 2 - 3);
}

/* More than 32 bits count, in one bulk and in a command. */
static void five_gigabytes(void **state)
{
    static const char head[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5368709120\r\n";
    size_t mib = (size_t)1 << 20;
    char *chunk = calloc(1, mib);
    struct resp r;
    bool done;

    (void)state;
    assert_non_null(chunk);
    resp_init(&r);
    assert_int_equal(feed(&r, head, sizeof(head) - 1, &done), sizeof(head) - 1);
    for (int i = 0; i < 5 * 1024; i++) {
        assert_int_equal(feed(&r, chunk, mib, &done), mib);
        assert_false(done);
    }
    assert_int_equal(feed(&r, "\r\n*1", 4, &done), 2);
    assert_true(done);
    assert_int_equal(r.size, sizeof(head) - 1 + 5 * 1024 * mib + 2);
    free(chunk);
}

static bool as_integer(const char *arg, int64_t *out)
{
    char text[128];
    int len = snprintf(text, sizeof(text), "*1\r\n$%zu\r\n%s\r\n", strlen(arg), arg);
    struct resp r;
    bool done;

    resp_init(&r);
    assert_int_equal(feed(&r, text, (size_t)len, &done), len);
    assert_true(done);
    return resp_arg_i64(&r, (const uint8_t *)text, 0, out);
}

static void integers(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"7", 7},
        {"-1", -1},
        {"1700000000000", 1700000000000},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    static const char *const bad[] = {
        "",
        "-",
        "+1",
        "-0",
        "01",
        "1 ",
        " 1",
        "1a",
        "0x10",
        "1.0",
        "$",
        "99999999999999999999",
        "9223372036854775808",
        "-9223372036854775809",
    };
    int64_t value = 42;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(as_integer(good[i].text, &value));
        assert_int_equal(value, good[i].value);
    }
    value = 42;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(as_integer(bad[i], &value));
    assert_int_equal(value, 42);
}

static void names(void **state)
{
    static const char text[] = "*2\r\n$6\r\nSelecT\r\n$1\r\n0\r\n";
    const uint8_t *base = (const uint8_t *)text;
    int64_t value;
    struct resp r;
    bool done;

    (void)state;
    resp_init(&r);
    (void)feed(&r, text, sizeof(text) - 1, &done);
    assert_true(done);
    assert_true(resp_arg_is(&r, base, 0, "SELECT"));
    assert_false(resp_arg_is(&r, base, 0, "SELECTS"));
    assert_false(resp_arg_is(&r, base, 0, "SELEC"));
    assert_false(resp_arg_is(&r, base, 0, "SELECU"));
    assert_true(resp_arg_is(&r, base, 1, "0"));
    assert_false(resp_arg_is(&r, base, 1, ""));
    assert_false(resp_arg_is(&r, base, 2, "0"));
    assert_false(resp_arg_is(&r, base, RESP_ARGS, "0"));
    assert_false(resp_arg_i64(&r, base, 2, &value));
    assert_false(resp_arg_i64(&r, base, RESP_ARGS, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_arguments),
        cmocka_unit_test(every_split_point),
        cmocka_unit_test(commands_in_a_row),
        cmocka_unit_test(refuses),
        cmocka_unit_test(limits),
        cmocka_unit_test(five_gigabytes),
        cmocka_unit_test(integers),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
