/* utf8 - where a character of UTF-8 ends (RFC 3629). */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stddef.h>

/* The length in bytes of the character that begins at s, a text that ends in NUL: 1 to 4, or 0 when
 * the bytes are no UTF-8 (cut short, overlong, a surrogate, beyond U+10FFFF). 1 at the NUL. */
size_t utf8_len(const char *s);

#endif
