/* Tests of ledger.c: D's side of the sink, against a plain list. */
#include "journal/src/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t open_at(struct ledger *l, uint64_t lsn)
{
    struct ledger_item item = {.base = {.epoch = 1, .phase = PHASE_STREAM, .lsn = lsn},
                               .db = (uint32_t)lsn,
                               .size = lsn + 1};

    return ledger_open(l, &item);
}

static void test_empty(void **state)
{
    struct ledger l;

    (void)state;
    ledger_init(&l);
    assert_null(ledger_front(&l));
    assert_null(ledger_get(&l, 0));
    assert_null(ledger_get(&l, 1));
    assert_false(ledger_ack(&l, 1));
    ledger_release(&l);
}

/* Acknowledged out of order: the front moves only over what is whole. */
static void test_order(void **state)
{
    struct ledger l;
    uint64_t a, b, c;

    (void)state;
    ledger_init(&l);
    a = open_at(&l, 10);
    b = open_at(&l, 10);
    c = open_at(&l, 30);
    assert_int_equal(ledger_front(&l)->base.lsn, 10);
    assert_false(ledger_ack(&l, c));
    assert_false(ledger_ack(&l, b));
    assert_int_equal(ledger_front(&l)->base.lsn, 10);
    assert_false(ledger_ack(&l, b)); /* twice is once */
    assert_non_null(ledger_get(&l, a));
    assert_true(ledger_ack(&l, a));
    assert_null(ledger_front(&l));
    assert_null(ledger_get(&l, c));
    assert_false(ledger_ack(&l, c));
    a = open_at(&l, 40);
    assert_true(a > c);
    assert_int_equal(ledger_front(&l)->base.lsn, 40);
    ledger_release(&l);
    assert_null(ledger_front(&l));
}

/* Any order of acknowledgements, while the ring grows and turns. */
static void test_random(void **state)
{
    enum { CNT = 3000 };
    uint64_t seq[CNT];
    bool acked[CNT] = {false};
    struct ledger l;
    size_t opened = 0, front = 0;
    unsigned seed = 7;

    (void)state;
    ledger_init(&l);
    while (front < CNT) {
        size_t pick;

        /* Long runs of opening and of acknowledging in turns. */
        if (opened < CNT &&
            (opened == front || (rand_r(&seed) % 400 < 3 * (int)(opened % 100)))) {
            seq[opened] = open_at(&l, opened / 3);
            opened++;
            continue;
        }
        pick = front + (size_t)rand_r(&seed) % (opened - front);
        assert_true(acked[pick] || ledger_get(&l, seq[pick])->base.lsn == pick / 3);
        (void)ledger_ack(&l, seq[pick]);
        acked[pick] = true;
        while (front < opened && acked[front])
            front++;
        if (front == opened)
            assert_null(ledger_front(&l));
        else
            assert_int_equal(ledger_front(&l)->base.lsn, front / 3);
        for (size_t i = front; i < opened && i < front + 5; i++)
            assert_int_equal(ledger_get(&l, seq[i])->size, i / 3 + 1);
    }
    assert_int_equal(opened, CNT);
    ledger_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
