/* test_reply - what is kept of replies, however they are cut and whenever they are asked for. */
#include "applier/src/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/err.h"

static const struct reply *next(struct replies *r)
{
    const struct reply *reply = NULL;
    struct err err;

    assert_int_equal(replies_next(r, &reply, &err), 1);
    return reply;
}

static void nothing_yet(struct replies *r)
{
    const struct reply *reply = NULL;
    struct err err;

    assert_int_equal(replies_next(r, &reply, &err), 0);
}

static void feed(struct replies *r, const char *text)
{
    replies_feed(r, text, strlen(text));
}

/* Between two questions nothing is expected and all bytes are used up: the answer to the second
 * must be kept as that one asks for. */
static void test_expected_after_idling(void **state)
{
    struct replies *r = replies_new();
    const struct reply *reply;

    (void)state;
    replies_expect(r, REPLY_FULL);
    feed(r, "$5\r\nfirst\r\n");
    reply = next(r);
    assert_int_equal(reply->node_cnt, 1);
    replies_expect(r, REPLY_LEAN);
    nothing_yet(r);
    replies_expect(r, REPLY_FULL);
    feed(r, "$6\r\nsecond\r\n");
    reply = next(r);
    assert_int_equal(reply->type, REPLY_STRING);
    assert_int_equal(reply->node_cnt, 1);
    assert_int_equal(reply->node[0].len, 6);
    assert_memory_equal(reply->node[0].p, "second", 6);
    replies_free(r);
}

/* The depth holds from the first element on, also where the reply comes in pieces. */
static void test_split(void **state)
{
    static const char text[] = "*3\r\n$1\r\na\r\n:7\r\n$-1\r\n";

    (void)state;
    for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
        struct replies *r = replies_new();
        const struct reply *reply;

        replies_expect(r, REPLY_FULL);
        replies_feed(r, text, cut);
        nothing_yet(r);
        replies_expect(r, REPLY_FULL);
        replies_feed(r, text + cut, sizeof(text) - 1 - cut);
        reply = next(r);
        assert_int_equal(reply->cnt, 3);
        assert_int_equal(reply->node_cnt, 4);
        assert_memory_equal(reply->node[1].p, "a", 1);
        assert_int_equal(reply->node[2].integer, 7);
        assert_int_equal(reply->node[3].type, REPLY_NIL);
        replies_free(r);
    }
}

static void test_depth_stays_once_begun(void **state)
{
    struct replies *r = replies_new();

    (void)state;
    replies_expect(r, REPLY_LEAN);
    feed(r, "*2\r\n+OK\r\n");
    nothing_yet(r);
    replies_expect(r, REPLY_FULL);
    feed(r, "-ERR no\r\n");
    assert_int_equal(next(r)->node_cnt, 0);
    replies_expect(r, REPLY_LEAN);
    feed(r, "*2\r\n+OK\r\n-ERR no\r\n");
    assert_string_equal(next(r)->error, "ERR no");
    replies_free(r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expected_after_idling),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_depth_stays_once_begun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
