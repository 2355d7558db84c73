/*
 * plan - entries of the log into the commands of a batch.
 *
 * A transaction is stripped of its MULTI and EXEC, since a batch is one itself, and never split
 * between batches. Expiries are moved by the guard. The database is selected where it differs
 * from what the connection has.
 */
#ifndef APPLIER_PLAN_H
#define APPLIER_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "common/frame.h"

struct batch;
struct batch_entry;
struct buf;
struct err;
struct plan;
struct rdb_item;

struct plan_conf {
    uint32_t position_db;
    const char *position_key; /* borrowed for the plan's life */
    int64_t guard_ms;
};

struct plan *plan_new(const struct plan_conf *conf);
void plan_free(struct plan *p);

/* A whole entry (fragments were put together); data is borrowed for the call. */
struct plan_entry {
    enum entry_kind kind;
    uint32_t db; /* in force where it starts */
    const uint8_t *data;
    size_t len;
    int64_t recv_ms;
    const struct batch_entry *where;
};

/*
 * Appends what has to be done for an ENTRY_COMMAND, ENTRY_TXN or ENTRY_LINK. -1 with ERR_CORRUPT:
 * the entry is not what it says it is, or it writes to the key that holds the position.
 */
int plan_add(struct plan *p, const struct plan_entry *e, struct batch *b, struct err *err);

/*
 * Appends the RESTORE of an ENTRY_RDB_KEY; a collection without elements, which RESTORE would
 * refuse and a server leaves out, gives nothing. *item describes it until the next call.
 */
int plan_add_key(struct plan *p, const struct plan_entry *e, struct batch *b,
                 struct rdb_item *item, struct err *err);

#endif
