/* keyset and keyspace - the set of a snapshot's keys, and INFO keyspace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "applier/src/keyset.h"
#include "applier/src/keyspace.h"

static void test_set_grows(void **state)
{
    struct keyset *k = keyset_new();
    char key[32];

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        int len = snprintf(key, sizeof(key), "key:%u", i);

        assert_true(keyset_add(k, i % 3, key, (size_t)len));
    }
    assert_int_equal(keyset_cnt(k), 100000);
    for (unsigned i = 0; i < 100000; i++) {
        int len = snprintf(key, sizeof(key), "key:%u", i);

        assert_true(keyset_has(k, i % 3, key, (size_t)len));
        assert_false(keyset_has(k, (i + 1) % 3, key, (size_t)len));
        assert_false(keyset_add(k, i % 3, key, (size_t)len));
    }
    assert_false(keyset_has(k, 0, "other", 5));
    assert_false(keyset_has(k, 0, "", 0));
    assert_true(keyset_add(k, 0, "", 0));
    assert_true(keyset_has(k, 0, "", 0));
    assert_int_equal(keyset_cnt(k), 100001);
    keyset_free(k);
}

static void test_keyspace(void **state)
{
    static const char text[] = "# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\n"
                               "db15:keys=12,expires=1,avg_ttl=5\r\ndb16:keys=x\r\nrest";
    struct keyspace_db db[4];

    (void)state;
    assert_int_equal(keyspace_parse(text, sizeof(text) - 1, db, 4), 2);
    assert_int_equal(db[0].db, 0);
    assert_int_equal(db[0].key_cnt, 3);
    assert_int_equal(db[1].db, 15);
    assert_int_equal(db[1].key_cnt, 12);
    assert_int_equal(keyspace_parse(text, sizeof(text) - 1, db, 1), 1);
    assert_int_equal(keyspace_parse("", 0, db, 4), 0);
    /* Every prefix is read without looking beyond it. */
    for (size_t len = 0; len < sizeof(text); len++) {
        char copy[sizeof(text)];

        memcpy(copy, text, len);
        assert_true(keyspace_parse(copy, len, db, 4) <= 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_grows),
        cmocka_unit_test(test_keyspace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
