/* crc - CRC32C of frames and the CRC64 of RDB files and DUMP payloads (isa-l). */
#ifndef COMMON_CRC_H
#define COMMON_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Both continue from `crc`; begin with 0. crc32c("123456789") = 0xe3069283 (RFC 3720 B.4);
 * crc64("123456789") = 0xe9c6d914c4b8d9ca (Redis crc64.c, "Jones"). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
uint64_t crc64(uint64_t crc, const void *data, size_t len);

#endif
