/* test_crc - both checksums against published values and a bitwise reference. */
#include "common/crc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void fill(uint8_t *p, size_t len)
{
    uint32_t x = 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(x >> 24);
    }
}

/* RFC 3720 B.4. */
static void test_crc32c_published(void **state)
{
    uint8_t data[32];

    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(data, 0, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x46dd794e);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x113fdb5c);
}

static void test_crc64_published(void **state)
{
    (void)state;
    assert_true(crc64(0, "123456789", 9) == UINT64_C(0xe9c6d914c4b8d9ca));
    assert_true(crc64(0, "", 0) == 0);
}

static uint64_t crc64_bitwise(uint64_t crc, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) /* the polynomial ad93d23594c935a9, reflected */
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT64_C(0x95ac9329ac4bc9b5) : 0);
    }
    return crc;
}

static uint32_t crc32c_bitwise(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

/* The library takes other paths for short, unaligned and long input. */
static void test_every_length_and_alignment(void **state)
{
    uint8_t data[1200];

    (void)state;
    fill(data, sizeof(data));
    for (size_t len = 0; len <= 1100; len = len < 300 ? len + 1 : len + 97) {
        for (size_t off = 0; off < 17; off += 4) {
            assert_true(crc64(5, data + off, len) == crc64_bitwise(5, data + off, len));
            assert_true(crc32c(5, data + off, len) == crc32c_bitwise(5, data + off, len));
        }
    }
}

static void test_continues_at_every_split(void **state)
{
    uint8_t data[300];

    (void)state;
    fill(data, sizeof(data));
    for (size_t at = 0; at <= sizeof(data); at++) {
        size_t rest = sizeof(data) - at;

        assert_true(crc32c(crc32c(0, data, at), data + at, rest) ==
                    crc32c(0, data, sizeof(data)));
        assert_true(crc64(crc64(0, data, at), data + at, rest) == crc64(0, data, sizeof(data)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_published),
        cmocka_unit_test(test_crc64_published),
        cmocka_unit_test(test_every_length_and_alignment),
        cmocka_unit_test(test_continues_at_every_split),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
