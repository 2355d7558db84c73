/*
 * slot - the hash slot of a key.
 *
 * CRC16/XMODEM (polynomial 0x1021, start 0, no reflection) four bytes a step. A CRC is linear:
 * the table entry of a byte is the exclusive or of the entries of its bits, so the tables are
 * spelled as the eight powers of x that the bits stand for.
 */
#include "common/slot.h"

#include <string.h>

#define BIT(i, n, power) ((((i) >> (n)) & 1) != 0 ? (power) : 0)

/* x^(16+n) mod P for bit n of a byte, and the same 8, 16 and 24 bits further on. */
#define AT0(i)                                                                                 \
    (BIT(i, 0, 0x1021) ^ BIT(i, 1, 0x2042) ^ BIT(i, 2, 0x4084) ^ BIT(i, 3, 0x8108) ^           \
     BIT(i, 4, 0x1231) ^ BIT(i, 5, 0x2462) ^ BIT(i, 6, 0x48c4) ^ BIT(i, 7, 0x9188))
#define AT8(i)                                                                                 \
    (BIT(i, 0, 0x3331) ^ BIT(i, 1, 0x6662) ^ BIT(i, 2, 0xccc4) ^ BIT(i, 3, 0x89a9) ^           \
     BIT(i, 4, 0x0373) ^ BIT(i, 5, 0x06e6) ^ BIT(i, 6, 0x0dcc) ^ BIT(i, 7, 0x1b98))
#define AT16(i)                                                                                \
    (BIT(i, 0, 0x3730) ^ BIT(i, 1, 0x6e60) ^ BIT(i, 2, 0xdcc0) ^ BIT(i, 3, 0xa9a1) ^           \
     BIT(i, 4, 0x4363) ^ BIT(i, 5, 0x86c6) ^ BIT(i, 6, 0x1dad) ^ BIT(i, 7, 0x3b5a))
#define AT24(i)                                                                                \
    (BIT(i, 0, 0x76b4) ^ BIT(i, 1, 0xed68) ^ BIT(i, 2, 0xcaf1) ^ BIT(i, 3, 0x85c3) ^           \
     BIT(i, 4, 0x1ba7) ^ BIT(i, 5, 0x374e) ^ BIT(i, 6, 0x6e9c) ^ BIT(i, 7, 0xdd38))

#define ROW4(at, i)  at(i), at((i) + 1), at((i) + 2), at((i) + 3)
#define ROW16(at, i) ROW4(at, i), ROW4(at, (i) + 4), ROW4(at, (i) + 8), ROW4(at, (i) + 12)
#define ROW64(at, i) ROW16(at, i), ROW16(at, (i) + 16), ROW16(at, (i) + 32), ROW16(at, (i) + 48)
#define TABLE(at)                                                                              \
    {                                                                                          \
        ROW64(at, 0), ROW64(at, 64), ROW64(at, 128), ROW64(at, 192)                            \
    }

static const uint16_t table[4][256] = {TABLE(AT0), TABLE(AT8), TABLE(AT16), TABLE(AT24)};

static uint16_t crc16(const uint8_t *p, size_t len)
{
    unsigned crc = 0;

    for (; len >= 4; p += 4, len -= 4)
        crc = table[3][p[0] ^ (crc >> 8)] ^ table[2][p[1] ^ (crc & 0xff)] ^ table[1][p[2]] ^
              (unsigned)table[0][p[3]];
    for (; len > 0; p++, len--)
        crc = ((crc << 8) & 0xffff) ^ table[0][(crc >> 8) ^ *p];
    return (uint16_t)crc;
}

uint16_t slot_of_key(const void *key, size_t len)
{
    const uint8_t *p = key;
    const uint8_t *open = len != 0 ? memchr(p, '{', len) : NULL;

    if (open != NULL) {
        const uint8_t *tag = open + 1;
        size_t rest = len - (size_t)(tag - p);
        const uint8_t *close = rest != 0 ? memchr(tag, '}', rest) : NULL;

        /* Only the first brace counts: an empty tag makes the whole key count. */
        if (close != NULL && close != tag) {
            p = tag;
            len = (size_t)(close - tag);
        }
    }
    return crc16(p, len) % SLOT_CNT;
}
