/* buf - a growable byte buffer that is consumed from the front, and a bounds-checked reader. */
#include "common/buf.h"
#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b)
{
    *b = (struct buf){0};
}

void buf_release(struct buf *b)
{
    free(b->mem);
    buf_init(b);
}

void buf_reset(struct buf *b)
{
    b->off = 0;
    b->len = 0;
}

uint8_t *buf_data(const struct buf *b)
{
    return b->mem != NULL ? b->mem + b->off : NULL;
}

uint8_t *buf_reserve(struct buf *b, size_t size)
{
    size_t need = b->len + size;

    if (b->off + need > b->cap) {
        /* Moving the content to the front is cheap only when little of it is left. */
        if (b->off != 0 && need <= b->cap && b->len <= b->off) {
            memmove(b->mem, b->mem + b->off, b->len);
        } else {
            size_t cap = b->cap < 256 ? 256 : b->cap;
            uint8_t *mem;

            while (cap < need)
                cap += cap / 2 + 256;
            mem = xmalloc(cap);
            if (b->len != 0)
                memcpy(mem, b->mem + b->off, b->len);
            free(b->mem);
            b->mem = mem;
            b->cap = cap;
        }
        b->off = 0;
    }
    return b->mem + b->off + b->len;
}

void buf_added(struct buf *b, size_t size)
{
    b->len += size;
}

void buf_append(struct buf *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buf_reserve(b, size), data, size);
    b->len += size;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n > 0) {
        (void)vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t size)
{
    b->off += size;
    b->len -= size;
    if (b->len == 0)
        b->off = 0;
}

uint8_t *buf_detach(struct buf *b, size_t *len)
{
    uint8_t *mem = b->mem;

    *len = b->len;
    buf_init(b);
    return mem;
}

void put_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void put_u32le(uint8_t *p, uint32_t v)
{
    put_u16le(p, (uint16_t)v);
    put_u16le(p + 2, (uint16_t)(v >> 16));
}

void put_u64le(uint8_t *p, uint64_t v)
{
    put_u32le(p, (uint32_t)v);
    put_u32le(p + 4, (uint32_t)(v >> 32));
}

uint16_t get_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t get_u32le(const uint8_t *p)
{
    return (uint32_t)get_u16le(p) | (uint32_t)get_u16le(p + 2) << 16;
}

uint64_t get_u64le(const uint8_t *p)
{
    return (uint64_t)get_u32le(p) | (uint64_t)get_u32le(p + 4) << 32;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    *buf_reserve(b, 1) = v;
    b->len += 1;
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    put_u16le(buf_reserve(b, 2), v);
    b->len += 2;
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    put_u32le(buf_reserve(b, 4), v);
    b->len += 4;
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    put_u64le(buf_reserve(b, 8), v);
    b->len += 8;
}

void buf_put_varint(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_reserve(b, 10);
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    b->len += n;
}

void reader_init(struct reader *r, const void *data, size_t len)
{
    *r = (struct reader){.p = data, .left = len};
}

const uint8_t *reader_bytes(struct reader *r, size_t size)
{
    const uint8_t *p = r->p;

    if (r->failed || size > r->left) {
        r->failed = true;
        return NULL;
    }
    r->p += size;
    r->left -= size;
    return p;
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 1);

    return p != NULL ? *p : 0;
}

uint16_t reader_u16(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 2);

    return p != NULL ? get_u16le(p) : 0;
}

uint32_t reader_u32(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 4);

    return p != NULL ? get_u32le(p) : 0;
}

uint64_t reader_u64(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 8);

    return p != NULL ? get_u64le(p) : 0;
}

uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);

        if (r->failed)
            return 0;
        /* The tenth byte holds the 64th bit alone; a last byte of zero is not the shortest form. */
        if ((shift == 63 && byte > 1) || (shift != 0 && byte == 0))
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    r->failed = true;
    return 0;
}
