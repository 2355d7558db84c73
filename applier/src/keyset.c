/* keyset - a hash set of 128-bit hashes: open addressing, linear probing, at most 3/4 full. */
#include "applier/src/keyset.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/mem.h"

#define FIRST_SLOTS ((size_t)1024)

struct slot {
    uint64_t low, high; /* both 0: free */
};

struct keyset {
    struct slot *slot;
    size_t slot_cnt; /* a power of two */
    size_t cnt;
};

struct keyset *keyset_new(void)
{
    struct keyset *k = xcalloc(1, sizeof(*k));

    k->slot_cnt = FIRST_SLOTS;
    k->slot = xcalloc(k->slot_cnt, sizeof(*k->slot));
    return k;
}

void keyset_free(struct keyset *k)
{
    if (k == NULL)
        return;
    free(k->slot);
    free(k);
}

static struct slot hash(uint32_t db, const void *key, size_t len)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(key, len, db);
    struct slot s = {.low = h.low64, .high = h.high64};

    if (s.low == 0 && s.high == 0)
        s.low = 1;
    return s;
}

/* The slot that holds *s, or the free one where it belongs. */
static struct slot *find(struct slot *slot, size_t slot_cnt, const struct slot *s)
{
    size_t i = (size_t)s->low & (slot_cnt - 1);

    while ((slot[i].low != 0 || slot[i].high != 0) &&
           (slot[i].low != s->low || slot[i].high != s->high))
        i = (i + 1) & (slot_cnt - 1);
    return &slot[i];
}

static void grow(struct keyset *k)
{
    size_t cnt = k->slot_cnt * 2;
    struct slot *slot = xcalloc(cnt, sizeof(*slot));

    for (size_t i = 0; i < k->slot_cnt; i++) {
        if (k->slot[i].low != 0 || k->slot[i].high != 0)
            *find(slot, cnt, &k->slot[i]) = k->slot[i];
    }
    free(k->slot);
    k->slot = slot;
    k->slot_cnt = cnt;
}

bool keyset_add(struct keyset *k, uint32_t db, const void *key, size_t len)
{
    struct slot s = hash(db, key, len);
    struct slot *at = find(k->slot, k->slot_cnt, &s);

    if (at->low == s.low && at->high == s.high)
        return false;
    *at = s;
    k->cnt++;
    if (k->cnt > k->slot_cnt / 4 * 3)
        grow(k);
    return true;
}

bool keyset_has(const struct keyset *k, uint32_t db, const void *key, size_t len)
{
    struct slot s = hash(db, key, len);
    const struct slot *at = find(k->slot, k->slot_cnt, &s);

    return at->low == s.low && at->high == s.high;
}

size_t keyset_cnt(const struct keyset *k)
{
    return k->cnt;
}
