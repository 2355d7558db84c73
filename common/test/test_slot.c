/* test_slot - hash slots against published values and a bit-by-bit CRC16. */
#include "common/slot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* CRC16/XMODEM as its definition says, a bit at a time. */
static uint16_t crc_by_bit(const uint8_t *p, size_t len)
{
    unsigned crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned)p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = ((crc << 1) ^ ((crc & 0x8000) != 0 ? 0x1021U : 0)) & 0xffff;
    }
    return (uint16_t)crc;
}

static uint16_t slot_of(const char *key)
{
    return slot_of_key(key, strlen(key));
}

static void published_values(void **state)
{
    (void)state;
    /* The cluster specification's check value, then what `CLUSTER KEYSLOT` of 7.0 says. */
    assert_int_equal(crc_by_bit((const uint8_t *)"123456789", 9), 0x31c3);
    assert_int_equal(slot_of("123456789"), 0x31c3 % SLOT_CNT);
    assert_int_equal(slot_of(""), 0);
    assert_int_equal(slot_of("foo"), 12182);
    assert_int_equal(slot_of("somekey"), 11058);
}

static void same_slot(const char *key, const char *hashed)
{
    assert_int_equal(slot_of(key),
                     crc_by_bit((const uint8_t *)hashed, strlen(hashed)) % SLOT_CNT);
}

static void hash_tags(void **state)
{
    (void)state;
    same_slot("{user1000}.following", "user1000");
    same_slot("{user1000}.followers", "user1000");
    same_slot("foo{}{bar}", "foo{}{bar}");
    same_slot("foo{{bar}}zap", "{bar");
    same_slot("foo{bar}{zap}", "bar");
    same_slot("foo{bar", "foo{bar");
    same_slot("foo}bar{", "foo}bar{");
    same_slot("}{a}", "a");
    same_slot("{}", "{}");
    same_slot("{a}", "a");
    same_slot("{", "{");
}

static void every_length_and_byte(void **state)
{
    uint8_t key[67];
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        size_t len = (size_t)round % (sizeof(key) + 1);

        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            key[i] = (uint8_t)(seed >> 24);
            if (key[i] == '{')
                key[i] = 0;
        }
        assert_int_equal(slot_of_key(key, len), crc_by_bit(key, len) % SLOT_CNT);
    }
    assert_int_equal(slot_of_key(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values),
        cmocka_unit_test(hash_tags),
        cmocka_unit_test(every_length_and_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
