/*
 * buf - a growable byte buffer that is consumed from the front, and a bounds-checked reader.
 *
 * A reader latches its first failure: read freely, check `failed` once at the end.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *mem; /* the allocation, NULL when empty */
    size_t cap;
    size_t off; /* bytes already consumed; the content is mem[off, off+len) */
    size_t len;
};

void buf_init(struct buf *b);
void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* empties, keeps the memory */

/* The content; valid until the next call that adds or consumes. */
uint8_t *buf_data(const struct buf *b);

/* Makes room for `size` more bytes and returns where to write them; then buf_added(). */
uint8_t *buf_reserve(struct buf *b, size_t size);
void buf_added(struct buf *b, size_t size);
void buf_append(struct buf *b, const void *data, size_t size);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t size); /* from the front; size <= len */
/* Hands the allocation to the caller, who frees it with free(); the content must start at
 * its begin (nothing consumed). The buffer is empty afterwards. */
uint8_t *buf_detach(struct buf *b, size_t *len);

void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v); /* little endian, as are all below */
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_varint(struct buf *b, uint64_t v); /* LEB128, shortest form */

void put_u16le(uint8_t *p, uint16_t v);
void put_u32le(uint8_t *p, uint32_t v);
void put_u64le(uint8_t *p, uint64_t v);
uint16_t get_u16le(const uint8_t *p);
uint32_t get_u32le(const uint8_t *p);
uint64_t get_u64le(const uint8_t *p);

struct reader {
    const uint8_t *p;
    size_t left;
    bool failed; /* something was read past the end, or malformed; all later reads give 0 */
};

void reader_init(struct reader *r, const void *data, size_t len);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* LEB128 of at most 64 bits in its shortest form; anything else fails. */
uint64_t reader_varint(struct reader *r);
/* `size` bytes inside the input, NULL on failure. */
const uint8_t *reader_bytes(struct reader *r, size_t size);

#endif
