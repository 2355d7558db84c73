/*
 * Tests of match.c. A model plays crashes: runs copy a source in order, die with records in
 * flight that come late, and the next run begins where the target's visible end told it to.
 */
#include "mirror/src/match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Feeds `source` (digests, offsets from 100 in steps of 2) against `target` (offsets from 7).
 * Returns the index of the first source record to send, -1 for a break. */
static int resume(const char *target, const char *source, struct match **out)
{
    struct match *m = match_new();
    int at = 0;

    for (size_t i = 0; target[i]; i++)
        match_add_target(m, 7 + (int64_t)i, (uint64_t)target[i]);
    for (; source[at]; at++) {
        enum match_step step = match_feed(m, 100 + 2 * at, (uint64_t)source[at]);

        if (step == MATCH_BREAK)
            at = -1;
        if (step != MATCH_SKIP)
            break;
    }
    if (at >= 0 && !source[at] && !match_finish(m))
        at = -1;
    *out = m;
    return at;
}

static void check(const char *target, const char *source, int want, size_t want_doubled)
{
    struct match *m;
    const struct match_run *runs;
    size_t doubled = 0, cnt;

    assert_int_equal(resume(target, source, &m), want);
    cnt = match_runs(m, &runs);
    for (size_t i = 0; i < cnt; i++)
        doubled += (size_t)runs[i].cnt;
    if (want >= 0) {
        assert_int_equal(match_left(m), 0);
        assert_int_equal(match_dst(m), -1);
    }
    assert_int_equal(doubled, want_doubled);
    match_free(m);
}

static void test_plain(void **state)
{
    (void)state;
    check("", "abc", 0, 0);
    check("a", "abc", 1, 0);
    check("abc", "abc", 3, 0);
    check("abc", "abcd", 3, 0);
    check("aaa", "aaaaa", 3, 0); /* equal records are counted */
}

static void test_doubled(void **state)
{
    (void)state;
    check("abcbc", "abcdef", 3, 2);      /* bc came late, after it was sent again */
    check("abcbcd", "abcdef", 4, 2);     /* and it went on */
    check("abcabcabcd", "abcdef", 4, 6); /* twice */
    check("abcbcbc", "abc", 3, 4);       /* the source has no more */
    check("abcdbcde", "abcdefg", 5, 3);  /* the second run came further than the late ones */
}

static void test_break(void **state)
{
    struct match *m;

    (void)state;
    check("x", "abc", -1, 0);
    check("abx", "abcd", -1, 0);
    check("abcx", "abc", -1, 0); /* the source has no more to explain it */
    check("acb", "abc", -1, 0);  /* another order is no copy */
    assert_int_equal(resume("abx", "abcd", &m), -1);
    assert_int_equal(match_dst(m), 9);
    match_free(m);
}

static void test_runs(void **state)
{
    struct match *m;
    const struct match_run *runs;

    (void)state;
    assert_int_equal(resume("abcbcda", "abcdef", &m), 4);
    assert_int_equal(match_runs(m, &runs), 2);
    assert_int_equal(runs[0].dst, 10);
    assert_int_equal(runs[0].cnt, 2);
    assert_int_equal(runs[0].src, 102);
    assert_int_equal(runs[1].dst, 13);
    assert_int_equal(runs[1].cnt, 1);
    assert_int_equal(runs[1].src, 100);
    match_free(m);
}

static void test_drop_first(void **state)
{
    struct match *m = match_new();

    (void)state;
    match_add_target(m, 4, 'a');
    match_add_target(m, 5, 'b');
    match_drop_first(m);
    assert_int_equal(match_dst(m), 5);
    assert_int_equal(match_feed(m, 10, 'b'), MATCH_SKIP);
    assert_int_equal(match_feed(m, 11, 'c'), MATCH_SEND);
    match_free(m);
}

#define SOURCE_CNT 200

/* What is on the target must be the source, with nothing missing and in order, once the doubled
 * records that were named are taken away. */
static void check_target(const uint64_t *target, const bool *doubled, size_t cnt,
                         const uint64_t *source, size_t source_cnt)
{
    size_t at = 0;

    for (size_t i = 0; i < cnt; i++) {
        if (doubled[i])
            continue;
        assert_true(at < source_cnt);
        assert_int_equal(target[i], source[at++]);
    }
    assert_int_equal(at, source_cnt);
}

/* One life after the other; each may leave late records behind, and dies before it stores its
 * place, so every resume compares from the very first record. */
static void play(unsigned seed, uint64_t kinds)
{
    uint64_t source[SOURCE_CNT], target[SOURCE_CNT * 40];
    bool doubled[SOURCE_CNT * 40] = {false};
    size_t cnt = 0, sent = 0, late_from = 0, late_cnt = 0;

    srand(seed);
    for (size_t i = 0; i < SOURCE_CNT; i++)
        source[i] = kinds ? (uint64_t)rand() % kinds : i;
    while (sent < SOURCE_CNT) {
        struct match *m = match_new();
        const struct match_run *runs;
        size_t run_cnt, batch;
        bool more = true;

        for (size_t i = 0; i < cnt; i++)
            match_add_target(m, (int64_t)i, target[i]);
        for (sent = 0; more && sent < SOURCE_CNT; sent += more) {
            enum match_step step = match_feed(m, (int64_t)sent, source[sent]);

            assert_int_not_equal(step, MATCH_BREAK);
            more = step == MATCH_SKIP;
        }
        assert_true(match_finish(m));
        run_cnt = match_runs(m, &runs);
        memset(doubled, 0, sizeof(doubled));
        for (size_t i = 0; i < run_cnt; i++)
            for (int64_t j = 0; j < runs[i].cnt; j++)
                doubled[runs[i].dst + j] = true;
        check_target(target, doubled, cnt, source, sent);
        match_free(m);
        /* The former life's requests arrive now, behind the end that was read. */
        for (size_t i = 0; i < late_cnt; i++)
            target[cnt++] = source[late_from + i];
        batch = (size_t)rand() % 12;
        for (size_t i = 0; i < batch && sent < SOURCE_CNT; i++)
            target[cnt++] = source[sent++];
        late_from = sent;
        late_cnt = (size_t)rand() % 4;
        if (late_from + late_cnt > SOURCE_CNT)
            late_cnt = SOURCE_CNT - late_from;
        assert_true(cnt < sizeof(target) / sizeof(target[0]) - 32);
    }
}

static void test_lives(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 300; seed++) {
        play(seed, 0);
        play(seed, 50); /* records of equal content */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_doubled),
        cmocka_unit_test(test_break),      cmocka_unit_test(test_runs),
        cmocka_unit_test(test_drop_first), cmocka_unit_test(test_lives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
