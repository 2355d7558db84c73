/* Tests of offsets.c: the stored pair, and the check of every acknowledgement. */
#include "mirror/src/offsets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/err.h"

static int decode(int64_t committed, const char *text, struct pair *out)
{
    struct err err;
    size_t len = strlen(text);
    char *copy = malloc(len + 1); /* without a terminator in reach */
    int rc;

    assert_non_null(copy);
    memcpy(copy, text, len);
    rc = pair_decode(committed, copy, len, out, &err);
    if (rc != 0)
        assert_int_equal(err.kind, ERR_CORRUPT);
    free(copy);
    return rc;
}

static void test_round_trip(void **state)
{
    static const int64_t dsts[] = {0, 1, 9, 10, 1234567890123, INT64_MAX};
    char text[PAIR_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(dsts) / sizeof(dsts[0]); i++) {
        struct pair in = {.src = 77, .dst = dsts[i]}, out = {-1, -1};

        pair_encode(&in, text);
        assert_int_equal(decode(in.src, text, &out), 0);
        assert_int_equal(out.src, in.src);
        assert_int_equal(out.dst, in.dst);
    }
    pair_encode(&(struct pair){.src = 5, .dst = 42}, text);
    assert_string_equal(text, "kafka-mirror/1 dst=42"); /* on disks since the first release */
}

static void test_no_pair(void **state)
{
    static const char *const bad[] = {"",
                                      "dst=1",
                                      "kafka-mirror/1 dst=",
                                      "kafka-mirror/2 dst=1",
                                      "kafka-mirror/1 dst=-1",
                                      "kafka-mirror/1 dst=01",
                                      "kafka-mirror/1 dst=1 ",
                                      "kafka-mirror/1 dst=1x",
                                      "kafka-mirror/1 dst=9223372036854775808",
                                      "kafka-mirror/1 dst=99999999999999999999"};
    struct pair out = {-5, -5};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(1, bad[i], &out), -1);
    assert_int_equal(decode(-1001, "kafka-mirror/1 dst=1", &out), -1);
    assert_int_equal(out.src, -5);
    assert_int_equal(out.dst, -5);
}

static void check_ack(struct pair from, int64_t src, int64_t dst, bool settling, enum ack want,
                      struct pair to, int64_t want_doubled)
{
    struct pair next = from;
    int64_t doubled = 0;
    struct err err;

    assert_int_equal(pair_ack(&next, src, dst, settling, &doubled, &err), want);
    assert_int_equal(next.src, to.src);
    assert_int_equal(next.dst, to.dst);
    assert_int_equal(doubled, want_doubled);
    if (want == ACK_DIVERGED)
        assert_int_equal(err.kind, ERR_CORRUPT);
}

static void test_ack(void **state)
{
    const struct pair at = {.src = 100, .dst = 40};

    (void)state;
    check_ack(at, 100, 40, false, ACK_EXPECTED, (struct pair){101, 41}, 0);
    check_ack(at, 107, 40, false, ACK_EXPECTED, (struct pair){108, 41}, 0); /* source skips */
    check_ack(at, 100, -1001, false, ACK_EXPECTED, (struct pair){101, 41}, 0);
    check_ack(at, 100, 43, true, ACK_DOUBLED, (struct pair){101, 44}, 3);
    check_ack(at, 100, 43, false, ACK_DIVERGED, at, 0);
    check_ack(at, 100, 39, true, ACK_DIVERGED, at, 0);
    check_ack(at, 100, 39, false, ACK_DIVERGED, at, 0);
    check_ack(at, 99, 40, true, ACK_DIVERGED, at, 0); /* order */
}

/* What a human needs stands in the text. */
static void test_ack_text(void **state)
{
    struct pair next = {.src = 100, .dst = 40};
    int64_t doubled;
    struct err err;

    (void)state;
    assert_int_equal(pair_ack(&next, 100, 43, false, &doubled, &err), ACK_DIVERGED);
    assert_non_null(strstr(err.msg, "foreign writer: source offset 100"));
    assert_non_null(strstr(err.msg, "[40,43)"));
    assert_int_equal(pair_ack(&next, 100, 39, false, &doubled, &err), ACK_DIVERGED);
    assert_non_null(strstr(err.msg, "target lost records"));
    assert_non_null(strstr(err.msg, "offset 39, 40 was expected"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_no_pair),
        cmocka_unit_test(test_ack),
        cmocka_unit_test(test_ack_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
