/*
 * cut - the replication stream into entries: one command, one whole MULTI…EXEC, or one link
 * command (PING, SELECT, REPLCONF). Pure: bytes in, boundaries out. Knows which database is
 * selected and which hash slot an entry belongs to.
 */
#ifndef JOURNAL_CUT_H
#define JOURNAL_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/frame.h"

struct cmd_table;
struct cut;
struct err;

struct cut_item {
    enum entry_kind kind; /* ENTRY_COMMAND, ENTRY_TXN or ENTRY_LINK */
    uint64_t size;        /* bytes of the entry (so far) */
    uint32_t db;          /* in force where the entry starts */
    uint32_t db_end;      /* in force behind it */
    int32_t slot;         /* of the first key, or of PUBLISH's channel; -1: none (yet) */
    bool getack;          /* REPLCONF GETACK: the source wants an ACK */
};

/* `table` may be NULL (then the second argument counts as the key) and stays the caller's; it
 * must live as long as the cutter, or until cut_set_table(). */
struct cut *cut_new(const struct cmd_table *table, uint32_t db);
void cut_free(struct cut *c);
void cut_set_table(struct cut *c, const struct cmd_table *table);
/* Forgets a half-read entry: the stream goes on at the end of a whole entry, in `db`. */
void cut_reset(struct cut *c, uint32_t db);

/*
 * Cuts data[0, len). Returns the bytes consumed: with *item_end set they end with the last byte
 * of an entry, which *item describes; without it all `len` bytes were consumed, more are needed,
 * and *item has what is known of the unfinished entry (its slot once the key was read). -1 with
 * ERR_CORRUPT: not a replication stream; the message names the offset in the entry. Then only
 * cut_reset() and cut_free() may follow.
 */
ptrdiff_t cut_feed(struct cut *c, const uint8_t *data, size_t len, bool *item_end,
                   struct cut_item *item, struct err *err);

#endif
