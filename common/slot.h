/* slot - the hash slot of a key as Redis Cluster counts it (CRC16/XMODEM of the hash tag, else
 * of the whole key, mod 16384; https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/). */
#ifndef COMMON_SLOT_H
#define COMMON_SLOT_H

#include <stddef.h>
#include <stdint.h>

#define SLOT_CNT 16384

uint16_t slot_of_key(const void *key, size_t len);

#endif
