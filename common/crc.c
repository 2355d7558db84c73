/* crc - CRC32C of frames and the CRC64 of RDB files and DUMP payloads (isa-l). */
#include "common/crc.h"

#include <isa-l/crc.h>
#include <isa-l/crc64.h>
#include <limits.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    /* crc32_iscsi() takes the plain register: no inversion on either side, an int length, and a
     * pointer that is not const although it only reads. */
    unsigned int reg = ~crc;
    unsigned char *p = (unsigned char *)(uintptr_t)data;

    while (len > 0) {
        int n = len > INT_MAX ? INT_MAX : (int)len;

        reg = crc32_iscsi(p, n, reg);
        p += n;
        len -= (size_t)n;
    }
    return ~reg;
}

uint64_t crc64(uint64_t crc, const void *data, size_t len)
{
    /* isa-l inverts on both sides, Redis on neither. */
    return ~crc64_jones_refl(~crc, data, len);
}
