/*
 * ledger - which frames are under way, and from that the durable position D: the smallest base
 * of a frame that is not acknowledged. Pure.
 *
 * Frames enter in the order in which they were opened, so their bases never go back.
 */
#ifndef JOURNAL_LEDGER_H
#define JOURNAL_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/frame.h"

struct ledger_item {
    struct wal_pos base; /* start of the whole entry that its first entry belongs to */
    uint32_t db;         /* in force at base */
    size_t size;
    int64_t sent_ms;
    bool is_start; /* D stays what it was until this one is acknowledged */
    bool acked;
};

struct ledger {
    struct ledger_item *ring;
    size_t cap, head, cnt;
    uint64_t first_seq; /* sequence number of the item at head */
};

void ledger_init(struct ledger *l);
void ledger_release(struct ledger *l);
/* Adds an item and returns its sequence number. Asserts that base does not go back. */
uint64_t ledger_open(struct ledger *l, const struct ledger_item *item);
/* NULL when the item was acknowledged and is gone. Valid until the next ledger_open(). */
struct ledger_item *ledger_get(struct ledger *l, uint64_t seq);
/* Marks it acknowledged and drops acknowledged ones from the front; returns whether the front
 * moved. */
bool ledger_ack(struct ledger *l, uint64_t seq);
/* The first item that is not acknowledged, NULL: none. */
const struct ledger_item *ledger_front(const struct ledger *l);

#endif
