/* Tests of reply: every form, every split. */
#include "common/buf.h"
#include "common/err.h"
#include "journal/src/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#define ID   "0123456789abcdef0123456789abcdef01234567"
#define MARK "aabaabaac4e1aabaabaac4e1aabaabaac4e1aabf" /* has many borders */

static void feed_all(struct reply_snapshot *s, const char *in, size_t len, size_t piece,
                     struct buf *got, size_t *used, bool *end)
{
    struct err err;

    *used = 0;
    *end = false;
    while (*used < len && !*end) {
        size_t n = len - *used < piece ? len - *used : piece, off = 0;

        while (off < n && !*end) {
            const uint8_t *out;
            size_t out_len;
            ptrdiff_t taken = reply_snapshot_feed(s, (const uint8_t *)in + *used + off, n - off,
                                                  &out, &out_len, end, &err);

            assert_true(taken > 0 || out_len > 0);
            buf_append(got, out, out_len);
            off += (size_t)taken;
        }
        *used += off;
    }
}

static void check_snapshot(const char *head, const char *body, size_t body_len,
                           const char *tail, const char *after)
{
    struct buf in, got;
    static const size_t pieces[] = {1, 2, 3, 7, 39, 40, 41, 4096};

    buf_init(&in);
    buf_init(&got);
    buf_printf(&in, "%s", head);
    buf_append(&in, body, body_len);
    buf_printf(&in, "%s%s", tail, after);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct reply_snapshot s;
        size_t used;
        bool end;

        buf_reset(&got);
        reply_snapshot_init(&s);
        feed_all(&s, (const char *)buf_data(&in), in.len, pieces[i], &got, &used, &end);
        assert_true(end);
        assert_int_equal(used, in.len - strlen(after));
        assert_int_equal(got.len, body_len);
        if (body_len != 0)
            assert_memory_equal(buf_data(&got), body, body_len);
    }
    /* Every prefix: no end, no byte too many, no byte of the mark beyond what may be data. */
    for (size_t n = 0; n + strlen(after) < in.len; n++) {
        struct reply_snapshot s;
        size_t used;
        bool end;

        buf_reset(&got);
        reply_snapshot_init(&s);
        feed_all(&s, (const char *)buf_data(&in), n, 5, &got, &used, &end);
        assert_false(end);
        assert_true(got.len <= body_len);
        assert_true(got.len + strlen(head) + REPLY_MARK > n);
    }
    buf_release(&in);
    buf_release(&got);
}

static void test_sized(void **state)
{
    (void)state;
    check_snapshot("$5\r\n", "ab\r\ne", 5, "", "*1\r\n$4\r\nPING\r\n");
    check_snapshot("\n\n\n$1\r\n", "\n", 1, "", "");
}

static void test_empty(void **state)
{
    struct reply_snapshot s;
    const uint8_t *out;
    size_t out_len;
    bool end;
    struct err err;

    (void)state;
    reply_snapshot_init(&s);
    assert_int_equal(
        reply_snapshot_feed(&s, (const uint8_t *)"$0\r\nx", 5, &out, &out_len, &end, &err), 4);
    assert_true(end);
    assert_int_equal(out_len, 0);
}

static void test_marked(void **state)
{
    (void)state;
    check_snapshot("$EOF:" MARK "\r\n", "REDIS0010", 9, MARK, "");
    check_snapshot("\n$EOF:" MARK "\r\n", "x\0y\n", 4, MARK, "*1\r\n");
    check_snapshot("$EOF:" MARK "\r\n", "", 0, MARK, "");
    /* Data that begins like the mark, again and again. */
    check_snapshot("$EOF:" MARK "\r\n",
                   "aaaabaabaabaaabaabaac4e1aabaabaac4e1aabaabaac4eaabaabaac", 56, MARK, MARK);
    check_snapshot("$EOF:" MARK "\r\n", "aabaabaac4e1aabaabaac4e1", 24, MARK, "aab");
    check_snapshot("$EOF:" MARK "\r\n", "aabaabaac4e1", 12, MARK, "");
}

static void test_snapshot_refused(void **state)
{
    static const char *const bad[] = {
        "-ERR no snapshot\r\n", "$12x\r\n", "$-1\r\n",  "$99999999999999999999\r\n",
        "$EOF:short\r\n",       "+OK\r\n",  "\x01\r\n", "$\r1\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct reply_snapshot s;
        struct err err = {0};
        const uint8_t *out;
        size_t out_len;
        bool end;

        reply_snapshot_init(&s);
        assert_int_equal(reply_snapshot_feed(&s, (const uint8_t *)bad[i], strlen(bad[i]), &out,
                                             &out_len, &end, &err),
                         -1);
        assert_int_equal(err.kind, ERR_AGAIN);
    }
}

static void test_line(void **state)
{
    struct reply_line l;
    struct err err;
    bool done;
    char big[REPLY_LINE_MAX + 2];

    (void)state;
    reply_line_init(&l);
    assert_int_equal(reply_line_feed(&l, (const uint8_t *)"\n\n+A\r", 5, &done, &err), 5);
    assert_false(done);
    assert_int_equal(reply_line_feed(&l, (const uint8_t *)"\n+B\n", 4, &done, &err), 1);
    assert_true(done);
    assert_string_equal(l.text, "+A");
    assert_int_equal(reply_line_feed(&l, (const uint8_t *)"\r\n+B\n", 5, &done, &err), 5);
    assert_true(done);
    assert_string_equal(l.text, "+B");
    memset(big, 'x', sizeof(big));
    assert_int_equal(reply_line_feed(&l, (const uint8_t *)big, sizeof(big), &done, &err), -1);
}

static int psync(const char *line, struct reply_psync *r, struct err *err)
{
    memset(r, 0, sizeof(*r));
    memset(err, 0, sizeof(*err));
    return reply_psync_parse(line, "ACL SETUSER me on +psync", r, err);
}

static void test_psync(void **state)
{
    struct reply_psync r;
    struct err err;

    (void)state;
    assert_int_equal(psync("+FULLRESYNC " ID " 9007199254740993", &r, &err), 0);
    assert_true(r.full);
    assert_string_equal(r.replid, ID);
    assert_int_equal(r.lsn, 9007199254740993);
    assert_int_equal(psync("+CONTINUE", &r, &err), 0);
    assert_false(r.full);
    assert_string_equal(r.replid, "");
    assert_int_equal(psync("+CONTINUE " ID, &r, &err), 0);
    assert_string_equal(r.replid, ID);
}

static void test_psync_refused(void **state)
{
    static const struct {
        const char *line;
        enum err_kind kind;
    } bad[] = {
        {"-NOMASTERLINK Can't SYNC while not connected with my master", ERR_AGAIN},
        {"-LOADING Redis is loading the dataset in memory", ERR_AGAIN},
        {"-MASTERDOWN Link with MASTER is down", ERR_AGAIN},
        {"-BUSY Redis is busy running a script", ERR_AGAIN},
        {"-ERR SYNC and PSYNC are invalid with pending output", ERR_AGAIN},
        {"-ERR unknown command 'PSYNC', with args beginning with: '?' '-1'", ERR_INPUT},
        {"-ERR unknown command `PSYNC`", ERR_INPUT},
        {"-NOPERM this user has no permissions to run the 'psync' command", ERR_AUTH},
        {"-NOAUTH Authentication required.", ERR_AUTH},
        {"+CONTINUE 0123", ERR_AGAIN},
        {"+CONTINUE " ID "0", ERR_AGAIN},
        {"+CONTINUED", ERR_AGAIN},
        {"+FULLRESYNC " ID, ERR_AGAIN},
        {"+FULLRESYNC " ID " -1", ERR_AGAIN},
        {"+FULLRESYNC " ID " 18446744073709551616", ERR_AGAIN},
        {"+DUALCHANNELSYNC", ERR_AGAIN},
        {"", ERR_AGAIN},
    };
    struct reply_psync r;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(psync(bad[i].line, &r, &err), -1);
        assert_int_equal(err.kind, bad[i].kind);
    }
    (void)psync("-NOPERM no", &r, &err);
    assert_non_null(strstr(err.msg, "run: ACL SETUSER me on +psync"));
    (void)psync("-ERR unknown command 'PSYNC'", &r, &err);
    assert_non_null(strstr(err.msg, "managed service or a proxy"));
}

static int value(const char *text, size_t len, size_t piece, struct redisReply **out,
                 struct err *err)
{
    struct reply_value v;
    int rc = 0;

    *out = NULL;
    reply_value_init(&v);
    for (size_t off = 0; off < len && rc == 0; off += piece) {
        size_t n = len - off < piece ? len - off : piece;

        assert_null(*out);
        rc = reply_value_feed(&v, (const uint8_t *)text + off, n, out, err);
    }
    reply_value_release(&v);
    return rc;
}

static void test_value(void **state)
{
    static const char text[] = "\n\n*2\r\n$3\r\nabc\r\n*1\r\n:7\r\n";
    struct redisReply *r;
    struct err err = {0};
    size_t len = sizeof(text) - 1;

    (void)state;
    for (size_t piece = 1; piece <= len; piece++) {
        assert_int_equal(value(text, len, piece, &r, &err), 0);
        assert_non_null(r);
        assert_string_equal(r->element[0]->str, "abc");
        assert_int_equal(r->element[1]->element[0]->integer, 7);
        freeReplyObject(r);
    }
    for (size_t n = 0; n < len; n++) {
        assert_int_equal(value(text, n, len, &r, &err), 0);
        assert_null(r);
    }
}

static void test_value_broken(void **state)
{
    struct redisReply *r;
    struct err err = {0};
    struct buf deep;

    (void)state;
    assert_int_equal(value("HTTP/1.1 400\r\n", 14, 99, &r, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    assert_int_equal(value("+A\r\n+B\r\n", 8, 99, &r, &err), -1);
    assert_int_equal(value("+A\r\n+", 5, 99, &r, &err), -1);
    assert_int_equal(value("*99999999\r\n", 11, 99, &r, &err), -1);
    buf_init(&deep);
    for (int i = 0; i < 200000; i++)
        buf_append(&deep, "*1\r\n", 4);
    assert_int_equal(value((const char *)buf_data(&deep), deep.len, deep.len, &r, &err), -1);
    buf_release(&deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sized),         cmocka_unit_test(test_empty),
        cmocka_unit_test(test_marked),        cmocka_unit_test(test_snapshot_refused),
        cmocka_unit_test(test_line),          cmocka_unit_test(test_psync),
        cmocka_unit_test(test_psync_refused), cmocka_unit_test(test_value),
        cmocka_unit_test(test_value_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
