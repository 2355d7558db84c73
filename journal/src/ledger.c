/* ledger - which frames are under way. */
#include "journal/src/ledger.h"

#include <assert.h>
#include <stdlib.h>

#include "common/mem.h"

void ledger_init(struct ledger *l)
{
    *l = (struct ledger){.first_seq = 1};
}

void ledger_release(struct ledger *l)
{
    free(l->ring);
    ledger_init(l);
}

static struct ledger_item *item_at(const struct ledger *l, size_t i)
{
    return &l->ring[(l->head + i) % l->cap];
}

uint64_t ledger_open(struct ledger *l, const struct ledger_item *item)
{
    assert(l->cnt == 0 || wal_pos_cmp(&item_at(l, l->cnt - 1)->base, &item->base) <= 0);
    if (l->cnt == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : 64;
        struct ledger_item *ring = xmalloc(cap * sizeof(*ring));

        for (size_t i = 0; i < l->cnt; i++)
            ring[i] = *item_at(l, i);
        free(l->ring);
        l->ring = ring;
        l->head = 0;
        l->cap = cap;
    }
    *item_at(l, l->cnt) = *item;
    l->cnt++;
    return l->first_seq + l->cnt - 1;
}

struct ledger_item *ledger_get(struct ledger *l, uint64_t seq)
{
    if (seq < l->first_seq || seq - l->first_seq >= l->cnt)
        return NULL;
    return item_at(l, seq - l->first_seq);
}

bool ledger_ack(struct ledger *l, uint64_t seq)
{
    struct ledger_item *item = ledger_get(l, seq);
    bool moved = false;

    if (item == NULL)
        return false;
    item->acked = true;
    while (l->cnt != 0 && item_at(l, 0)->acked) {
        l->head = (l->head + 1) % l->cap;
        l->cnt--;
        l->first_seq++;
        moved = true;
    }
    return moved;
}

const struct ledger_item *ledger_front(const struct ledger *l)
{
    return l->cnt != 0 ? item_at(l, 0) : NULL;
}
