/* plan - entries of the log into the commands of a batch. */
#include "applier/src/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/batch.h"
#include "applier/src/restore.h"
#include "applier/src/ttl.h"
#include "applier/src/wire.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/rdb.h"
#include "common/resp.h"

struct plan {
    struct plan_conf conf;
    size_t key_len;
    struct restore *restore;
    struct buf long_key; /* of a key that the walker does not keep */
};

/* The command being added. */
struct cmd {
    struct resp r;
    const uint8_t *base;
};

struct plan *plan_new(const struct plan_conf *conf)
{
    struct plan *p = xcalloc(1, sizeof(*p));

    p->conf = *conf;
    p->key_len = strlen(conf->position_key);
    p->restore = restore_new();
    buf_init(&p->long_key);
    return p;
}

void plan_free(struct plan *p)
{
    if (p == NULL)
        return;
    restore_free(p->restore);
    buf_release(&p->long_key);
    free(p);
}

static int next_cmd(const struct plan_entry *e, size_t at, struct cmd *out, struct err *err)
{
    bool done = false;

    resp_init(&out->r);
    out->base = e->data + at;
    if (resp_feed(&out->r, out->base, e->len - at, &done, err) < 0)
        return -1;
    if (!done)
        return err_set(err, ERR_CORRUPT, 0, "a command ends in the middle");
    return 0;
}

static bool cmd_is(const struct cmd *c, const char *name)
{
    return resp_arg_is(&c->r, c->base, 0, name);
}

/* ---- the key of the position is not the source's to write ---- */

static bool is_reserved(const struct plan *p, const uint8_t *arg, uint64_t len)
{
    return len == p->key_len && memcmp(arg, p->conf.position_key, len) == 0;
}

/* Commands with keys behind the first one. Of others only the first argument is looked at: any
 * value may read like the key. */
static bool has_many_keys(const struct cmd *c)
{
    static const char *const names[] = {"DEL",      "UNLINK", "MSET",      "MSETNX", "RENAME",
                                        "RENAMENX", "COPY",   "RPOPLPUSH", "LMOVE"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (cmd_is(c, names[i]))
            return true;
    }
    return false;
}

static bool writes_reserved(const struct plan *p, const struct cmd *c)
{
    const uint8_t *at;
    const uint8_t *end = c->base + c->r.size;

    if (c->r.argc < 2)
        return false;
    if (is_reserved(p, c->base + c->r.arg[1].off, c->r.arg[1].len))
        return true;
    if (c->r.argc < 3 || !has_many_keys(c))
        return false;
    for (at = c->base + c->r.arg[1].off; at < end;) {
        const uint8_t *name = memmem(at, (size_t)(end - at), p->conf.position_key, p->key_len);

        /* An argument stands between two line ends; the key itself holds none. */
        if (name == NULL)
            return false;
        if (name[-1] == '\n' && name[p->key_len] == '\r')
            return true;
        at = name + 1;
    }
    return false;
}

/* ---- commands with a meaning of their own ---- */

/* Sentinels greet each other through the source; the target has its own. */
static bool is_sentinel_hello(const struct cmd *c)
{
    static const char channel[] = "__sentinel__:hello";

    return c->r.argc == 3 && cmd_is(c, "PUBLISH") && c->r.arg[1].len == sizeof(channel) - 1 &&
           memcmp(c->base + c->r.arg[1].off, channel, sizeof(channel) - 1) == 0;
}

static bool arg_db(const struct cmd *c, size_t i, uint32_t *out)
{
    int64_t v;

    if (i >= c->r.argc || !resp_arg_i64(&c->r, c->base, i, &v) || v < 0 || v > INT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

/* SWAPDB takes the position along; its copy in the other database would stay there. */
static void drop_swapped_position(const struct plan *p, const struct cmd *c, struct batch *b)
{
    uint32_t first, second, other;
    uint32_t db = b->db;

    if (!arg_db(c, 1, &first) || !arg_db(c, 2, &second) || first == second)
        return;
    if (first == p->conf.position_db)
        other = second;
    else if (second == p->conf.position_db)
        other = first;
    else
        return;
    batch_select(b, other);
    batch_add_cmd(b, BATCH_OWN);
    wire_command(&b->bytes, "DEL", p->conf.position_key, NULL);
    batch_select(b, db);
}

static int add_cmd(struct plan *p, const struct plan_entry *e, const struct cmd *c,
                   uint32_t entry, struct batch *b, struct err *err)
{
    struct ttl ttl = {.guard_ms = p->conf.guard_ms, .recv_ms = e->recv_ms};
    uint32_t db;

    if (is_sentinel_hello(c))
        return 0;
    if (b->db == p->conf.position_db && writes_reserved(p, c))
        return err_set(err, ERR_CORRUPT, 0,
                       "the source writes to the key '%s' in db %" PRIu32
                       ", which holds the position of this program",
                       p->conf.position_key, p->conf.position_db);
    if (cmd_is(c, "SELECT") && arg_db(c, 1, &db)) {
        batch_select(b, db);
        return 0;
    }
    batch_add_cmd(b, entry);
    b->log_cmd_cnt++;
    (void)ttl_append(&ttl, &c->r, c->base, &b->bytes);
    if (cmd_is(c, "SWAPDB"))
        drop_swapped_position(p, c, b);
    return 0;
}

static int add_txn(struct plan *p, const struct plan_entry *e, uint32_t entry, struct batch *b,
                   struct err *err)
{
    struct cmd c;
    size_t at;

    if (next_cmd(e, 0, &c, err) != 0)
        return -1;
    if (!cmd_is(&c, "MULTI"))
        return err_set(err, ERR_CORRUPT, 0, "a transaction does not begin with MULTI");
    for (at = (size_t)c.r.size; at < e->len; at += (size_t)c.r.size) {
        if (next_cmd(e, at, &c, err) != 0)
            return -1;
        if (cmd_is(&c, "EXEC") && at + c.r.size == e->len)
            return 0;
        if (cmd_is(&c, "EXEC") || cmd_is(&c, "MULTI"))
            return err_set(err, ERR_CORRUPT, 0, "a transaction with a MULTI or EXEC inside");
        if (add_cmd(p, e, &c, entry, b, err) != 0)
            return -1;
    }
    return err_set(err, ERR_CORRUPT, 0, "a transaction does not end with EXEC");
}

static int add_single(struct plan *p, const struct plan_entry *e, uint32_t entry,
                      struct batch *b, struct err *err)
{
    struct cmd c;

    if (next_cmd(e, 0, &c, err) != 0)
        return -1;
    if (c.r.size != e->len)
        return err_set(err, ERR_CORRUPT, 0, "bytes behind the end of a command");
    return add_cmd(p, e, &c, entry, b, err);
}

int plan_add(struct plan *p, const struct plan_entry *e, struct batch *b, struct err *err)
{
    uint32_t entry;

    b->log_entry_cnt++;
    if (e->kind == ENTRY_LINK)
        return 0;
    if (e->kind != ENTRY_COMMAND && e->kind != ENTRY_TXN)
        return err_set(err, ERR_CORRUPT, 0, "an entry of kind %d in the stream", (int)e->kind);
    entry = batch_add_entry(b, e->where);
    batch_select(b, e->db);
    return e->kind == ENTRY_TXN ? add_txn(p, e, entry, b, err)
                                : add_single(p, e, entry, b, err);
}

static int take_long_key(struct plan *p, const struct plan_entry *e, struct rdb_item *item,
                         struct err *err)
{
    size_t at = (size_t)item->type_off + 1;

    buf_reset(&p->long_key);
    if (rdb_string(e->data + at, (size_t)item->body_off - at, &p->long_key, err) != 0)
        return -1;
    item->key = buf_data(&p->long_key);
    item->key_len = p->long_key.len;
    return 0;
}

int plan_add_key(struct plan *p, const struct plan_entry *e, struct batch *b,
                 struct rdb_item *item, struct err *err)
{
    b->log_entry_cnt++;
    if (restore_parse(p->restore, e->db, e->data, e->len, item, err) != 0)
        return -1;
    if (item->key == NULL && take_long_key(p, e, item, err) != 0)
        return -1;
    if (e->db == p->conf.position_db && is_reserved(p, item->key, item->key_len))
        return err_set(err, ERR_CORRUPT, 0,
                       "the snapshot holds the key '%s' in db %" PRIu32
                       ", which holds the position of this program",
                       p->conf.position_key, p->conf.position_db);
    if (rdb_is_empty(e->data, item))
        return 0;
    batch_select(b, e->db);
    batch_add_cmd(b, batch_add_entry(b, e->where));
    b->log_cmd_cnt++;
    return restore_put_key(&b->bytes, e->data, item, p->conf.guard_ms, err);
}
