/* test_buf - the growable buffer, and the reader at and beyond its bounds. */
#include "common/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void test_append_and_consume(void **state)
{
    struct buf b;
    uint8_t in = 0, out = 0;
    uint32_t x = 7;

    (void)state;
    buf_init(&b);
    /* A queue of bytes whose ends move at random: what comes out is what went in, in order. */
    for (int round = 0; round < 20000; round++) {
        size_t n;

        x = x * 1664525 + 1013904223;
        n = (x >> 16) % 100;
        if ((x >> 8) % 2 == 0) {
            uint8_t *p = buf_reserve(&b, n);

            for (size_t i = 0; i < n; i++)
                p[i] = in++;
            buf_added(&b, n);
        } else {
            n = n < b.len ? n : b.len;
            for (size_t i = 0; i < n; i++)
                assert_int_equal(buf_data(&b)[i], out++);
            buf_consume(&b, n);
        }
        assert_int_equal((uint8_t)(in - out), (uint8_t)b.len);
        assert_true(b.off + b.len <= b.cap);
    }
    buf_release(&b);
    assert_null(b.mem);
}

/* A buffer that is emptied regularly must not grow for ever. */
static void test_consumed_room_is_used_again(void **state)
{
    struct buf b;
    uint8_t block[1000] = {0};

    (void)state;
    buf_init(&b);
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, block, sizeof(block));
        if (b.len > 4000)
            buf_consume(&b, 3500);
    }
    assert_true(b.cap < 64 * 1024);
    buf_release(&b);
}

static void test_printf_and_detach(void **state)
{
    struct buf b;
    char *text;
    size_t len;

    (void)state;
    buf_init(&b);
    buf_append(&b, NULL, 0);
    buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 0);
    buf_printf(&b, "%d-%s", 42, "x");
    for (int i = 0; i < 400; i++)
        buf_printf(&b, "%c", 'a');
    buf_put_u8(&b, 0);
    text = (char *)buf_detach(&b, &len);
    assert_int_equal(len, 405);
    assert_int_equal(strlen(text), 404);
    assert_int_equal(strncmp(text, "42-xaaa", 7), 0);
    assert_null(b.mem);
    assert_int_equal(b.len + b.off + b.cap, 0);
    free(text);
}

static void test_reset_keeps_memory(void **state)
{
    struct buf b;
    const uint8_t *mem;

    (void)state;
    buf_init(&b);
    buf_append(&b, "abc", 3);
    mem = b.mem;
    buf_consume(&b, 1);
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    buf_append(&b, "xyz", 3);
    assert_ptr_equal(b.mem, mem);
    assert_memory_equal(buf_data(&b), "xyz", 3);
    buf_release(&b);
}

static void test_little_endian(void **state)
{
    struct buf b;
    struct reader r;
    static const uint8_t want[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8};

    (void)state;
    buf_init(&b);
    buf_put_u8(&b, 1);
    buf_put_u16(&b, 0x0203);
    buf_put_u32(&b, 0x04050607);
    buf_put_u64(&b, UINT64_C(0x08090a0b0c0d0e0f));
    assert_int_equal(b.len, sizeof(want));
    assert_memory_equal(buf_data(&b), want, sizeof(want));
    reader_init(&r, buf_data(&b), b.len);
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_u16(&r), 0x0203);
    assert_int_equal(reader_u32(&r), 0x04050607);
    assert_true(reader_u64(&r) == UINT64_C(0x08090a0b0c0d0e0f));
    assert_false(r.failed);
    assert_int_equal(r.left, 0);
    assert_int_equal(get_u64le((const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff"),
                     UINT64_MAX);
    buf_release(&b);
}

/* Every prefix fails exactly where the bytes end, and everything after it gives zero. */
static void test_reader_latches(void **state)
{
    static const uint8_t data[15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

    (void)state;
    for (size_t len = 0; len <= sizeof(data); len++) {
        struct reader r;

        reader_init(&r, data, len);
        (void)reader_u8(&r);
        assert_int_equal(r.failed, len < 1);
        (void)reader_u16(&r);
        assert_int_equal(r.failed, len < 3);
        (void)reader_u32(&r);
        assert_int_equal(r.failed, len < 7);
        (void)reader_u64(&r);
        assert_int_equal(r.failed, len < 15);
        if (r.failed) {
            assert_int_equal(reader_u8(&r), 0);
            assert_null(reader_bytes(&r, 0));
        }
    }
}

static void test_reader_bytes(void **state)
{
    struct reader r;

    (void)state;
    reader_init(&r, "abcd", 4);
    assert_memory_equal(reader_bytes(&r, 3), "abc", 3);
    assert_null(reader_bytes(&r, SIZE_MAX));
    assert_true(r.failed);
    assert_int_equal(reader_u8(&r), 0); /* although one byte is left */
}

static void test_varint_round_trip(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift++) {
        uint64_t edge = UINT64_C(1) << shift;

        for (uint64_t v = edge - 1; v != edge + 2; v++) {
            struct buf b;
            struct reader r;

            buf_init(&b);
            buf_put_varint(&b, v);
            assert_true(b.len <= 10);
            reader_init(&r, buf_data(&b), b.len);
            assert_true(reader_varint(&r) == v);
            assert_false(r.failed);
            assert_int_equal(r.left, 0);
            for (size_t len = 0; len < b.len; len++) {
                reader_init(&r, buf_data(&b), len);
                assert_int_equal(reader_varint(&r), 0);
                assert_true(r.failed);
            }
            buf_release(&b);
        }
    }
}

static void expect_varint(const char *bytes, size_t len, bool ok, uint64_t want)
{
    struct reader r;

    reader_init(&r, bytes, len);
    assert_true(reader_varint(&r) == want);
    assert_int_equal(r.failed, !ok);
}

static void test_varint_forms(void **state)
{
    (void)state;
    expect_varint("\x00", 1, true, 0);
    expect_varint("\x7f", 1, true, 127);
    expect_varint("\xe5\x8e\x26", 3, true, 624485); /* the example of DWARF 4, 7.6 */
    expect_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, true, UINT64_MAX);
    expect_varint("\x80\x00", 2, false, 0);     /* not the shortest form of 0 */
    expect_varint("\xff\x80\x00", 3, false, 0); /* nor this of 127 */
    expect_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, false, 0); /* 65 bits */
    expect_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, false, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_consume),
        cmocka_unit_test(test_consumed_room_is_used_again),
        cmocka_unit_test(test_printf_and_detach),
        cmocka_unit_test(test_reset_keeps_memory),
        cmocka_unit_test(test_little_endian),
        cmocka_unit_test(test_reader_latches),
        cmocka_unit_test(test_reader_bytes),
        cmocka_unit_test(test_varint_round_trip),
        cmocka_unit_test(test_varint_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
