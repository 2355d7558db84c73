/* utf8 - where a character of UTF-8 ends (RFC 3629). */
#include "common/utf8.h"

#include <stdint.h>

size_t utf8_len(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t v, least;
    size_t len;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] < 0xe0) {
        len = 2;
        v = p[0] & 0x1fU;
        least = 0x80;
    } else if (p[0] >= 0xe0 && p[0] < 0xf0) {
        len = 3;
        v = p[0] & 0x0fU;
        least = 0x800;
    } else if (p[0] >= 0xf0 && p[0] < 0xf5) {
        len = 4;
        v = p[0] & 0x07U;
        least = 0x10000;
    } else {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) /* also stops at the NUL */
            return 0;
        v = v << 6 | (p[i] & 0x3fU);
    }
    if (v < least || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return 0;
    return len;
}
