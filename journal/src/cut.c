/*
 * cut - the replication stream into entries.
 *
 * What an entry is depends on the bytes alone, never on how they were cut into pieces: of every
 * command only the first HEAD_MAX bytes are looked at, also when all of it is there. A command
 * that lies wholly in the input is looked at in place; of one that doesn't the head is kept.
 */
#include "journal/src/cut.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cmd.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/resp.h"
#include "common/slot.h"

#define HEAD_MAX ((size_t)64 * 1024)
#define NO_SLOT  (-1)

/* What a command is to the cutter. */
enum verb { VERB_DATA, VERB_PING, VERB_SELECT, VERB_REPLCONF, VERB_MULTI, VERB_EXEC };

struct cut {
    const struct cmd_table *table;
    struct resp cmd; /* the command being read */
    uint32_t db;     /* in force behind the last whole command */

    /* The entry being read. */
    uint32_t db_start;
    uint64_t size; /* of its whole commands */
    int32_t slot;
    bool in_txn; /* its MULTI was read */
    bool getack;

    /* The command being read, when it did not begin and end in one piece. */
    size_t head_len;
    uint8_t head[HEAD_MAX];
};

struct cut *cut_new(const struct cmd_table *table, uint32_t db)
{
    struct cut *c = xmalloc(sizeof(*c));

    c->table = table;
    cut_reset(c, db);
    return c;
}

void cut_free(struct cut *c)
{
    free(c);
}

void cut_set_table(struct cut *c, const struct cmd_table *table)
{
    c->table = table;
}

static void entry_begin(struct cut *c)
{
    c->db_start = c->db;
    c->size = 0;
    c->slot = NO_SLOT;
    c->in_txn = false;
    c->getack = false;
}

void cut_reset(struct cut *c, uint32_t db)
{
    resp_init(&c->cmd);
    c->db = db;
    c->head_len = 0;
    entry_begin(c);
}

static enum verb verb_of(const struct resp *r, const uint8_t *base)
{
    if (r->argi == 0)
        return VERB_DATA;
    switch (r->arg[0].len) {
    case 4:
        if (resp_arg_is(r, base, 0, "PING"))
            return VERB_PING;
        return resp_arg_is(r, base, 0, "EXEC") ? VERB_EXEC : VERB_DATA;
    case 5:
        return resp_arg_is(r, base, 0, "MULTI") ? VERB_MULTI : VERB_DATA;
    case 6:
        return resp_arg_is(r, base, 0, "SELECT") ? VERB_SELECT : VERB_DATA;
    case 8:
        return resp_arg_is(r, base, 0, "REPLCONF") ? VERB_REPLCONF : VERB_DATA;
    default:
        return VERB_DATA;
    }
}

/* The slot of the command's first key, NO_SLOT when there is none or it can't be seen. */
static int32_t slot_of_command(const struct cut *c, const struct resp *r, const uint8_t *base)
{
    size_t key = c->table != NULL ? cmd_first_key(c->table, r, base) : 1;

    if (key == 0 || key >= r->argi)
        return NO_SLOT;
    return slot_of_key(base + r->arg[key].off, (size_t)r->arg[key].len);
}

/* Leaves of *view the arguments that lie wholly in the first `len` bytes of the command. */
static void clip(struct resp *view, size_t len)
{
    size_t n = view->argi < RESP_ARGS ? (size_t)view->argi : RESP_ARGS;

    while (n > 0 &&
           (view->arg[n - 1].off > len || view->arg[n - 1].len > len - view->arg[n - 1].off))
        n--;
    view->argi = n;
}

static int take_select(struct cut *c, const struct resp *r, const uint8_t *base,
                       struct err *err)
{
    int64_t db;

    if (r->argc != 2 || !resp_arg_i64(r, base, 1, &db) || db < 0 || db > INT32_MAX)
        return err_set(err, ERR_CORRUPT, 0, "SELECT without the number of a database");
    c->db = (uint32_t)db;
    return 0;
}

/* A whole command. Tells whether it ends the entry, and the entry's kind if so. */
static int take(struct cut *c, const struct resp *r, const uint8_t *base, bool *item_end,
                enum entry_kind *kind, struct err *err)
{
    enum verb verb = verb_of(r, base);

    *kind = c->in_txn || verb == VERB_MULTI ? ENTRY_TXN
            : verb == VERB_DATA             ? ENTRY_COMMAND
                                            : ENTRY_LINK;
    *item_end = c->in_txn ? verb == VERB_EXEC : verb != VERB_MULTI;
    switch (verb) {
    case VERB_DATA:
        if (c->slot == NO_SLOT)
            c->slot = slot_of_command(c, r, base);
        return 0;
    case VERB_SELECT:
        return take_select(c, r, base, err);
    case VERB_REPLCONF:
        c->getack = c->getack || resp_arg_is(r, base, 1, "GETACK");
        return 0;
    case VERB_MULTI:
        if (c->in_txn)
            return err_set(err, ERR_CORRUPT, 0, "MULTI inside of a transaction");
        c->in_txn = true;
        return 0;
    case VERB_EXEC:
        if (!c->in_txn)
            return err_set(err, ERR_CORRUPT, 0, "EXEC without MULTI");
        return 0;
    case VERB_PING:
        break;
    }
    return 0;
}

/* Keeps the head of a command that arrives in pieces. */
static void keep(struct cut *c, const uint8_t *data, size_t len)
{
    size_t room = HEAD_MAX - c->head_len;

    if (len > room)
        len = room;
    if (len == 0)
        return;
    memcpy(c->head + c->head_len, data, len);
    c->head_len += len;
}

static void describe(const struct cut *c, enum entry_kind kind, uint64_t size,
                     struct cut_item *item)
{
    item->kind = kind;
    item->size = size;
    item->db = c->db_start;
    item->db_end = c->db;
    item->slot = c->slot;
    item->getack = c->getack;
}

/* What can be said before the command, or the transaction, is whole. */
static void describe_unfinished(struct cut *c, struct cut_item *item)
{
    enum verb verb = VERB_DATA;

    if (c->head_len > 0 && !(c->in_txn && c->slot != NO_SLOT)) {
        struct resp view = c->cmd;

        clip(&view, c->head_len);
        verb = verb_of(&view, c->head);
        if (c->slot == NO_SLOT && verb == VERB_DATA)
            c->slot = slot_of_command(c, &view, c->head);
    }
    describe(c,
             c->in_txn || verb == VERB_MULTI || verb == VERB_EXEC ? ENTRY_TXN
             : verb == VERB_DATA                                  ? ENTRY_COMMAND
                                                                  : ENTRY_LINK,
             c->size + (c->head_len > 0 ? c->cmd.size : 0), item);
}

/* Ends the command whose last piece is data[0, len). */
static int command_end(struct cut *c, const uint8_t *data, size_t len, bool *item_end,
                       enum entry_kind *kind, struct err *err)
{
    const uint8_t *base = data;
    int rc;

    if (c->head_len > 0) {
        keep(c, data, len);
        base = c->head;
    }
    if (c->cmd.size <= HEAD_MAX) {
        rc = take(c, &c->cmd, base, item_end, kind, err);
    } else {
        struct resp view = c->cmd;

        clip(&view, HEAD_MAX);
        rc = take(c, &view, base, item_end, kind, err);
    }
    c->head_len = 0;
    return rc;
}

ptrdiff_t cut_feed(struct cut *c, const uint8_t *data, size_t len, bool *item_end,
                   struct cut_item *item, struct err *err)
{
    size_t pos = 0;

    *item_end = false;
    while (pos < len) {
        enum entry_kind kind;
        bool done;
        ptrdiff_t n = resp_feed(&c->cmd, data + pos, len - pos, &done, err);

        if (n >= 0 && !done) {
            keep(c, data + pos, (size_t)n);
            break;
        }
        if (n < 0 || command_end(c, data + pos, (size_t)n, item_end, &kind, err) != 0) {
            (void)err_wrap(err, "command at offset %" PRIu64 " of the entry", c->size);
            return -1;
        }
        pos += (size_t)n;
        c->size += c->cmd.size;
        if (*item_end) {
            describe(c, kind, c->size, item);
            entry_begin(c);
            return (ptrdiff_t)pos;
        }
    }
    describe_unfinished(c, item);
    return (ptrdiff_t)len;
}
