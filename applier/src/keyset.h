/*
 * keyset - which (database, key) pairs a snapshot holds, as 128-bit hashes: 16 bytes a key
 * however long keys are. Two of 10^9 keys share a hash with a chance of 10^-21; such a stale key
 * would survive the sweep.
 */
#ifndef APPLIER_KEYSET_H
#define APPLIER_KEYSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keyset;

struct keyset *keyset_new(void);
void keyset_free(struct keyset *k);
/* False when it was there already. */
bool keyset_add(struct keyset *k, uint32_t db, const void *key, size_t len);
bool keyset_has(const struct keyset *k, uint32_t db, const void *key, size_t len);
size_t keyset_cnt(const struct keyset *k);

#endif
