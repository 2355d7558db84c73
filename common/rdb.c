/*
 * rdb - incremental walker of an RDB file. Bytes are passed over by rdb_scan; here is what they
 * mean: the opcodes, where an item begins and ends, and the checksum.
 *
 * The layout that is being read has a function of what to do at its end (`done`); with none, the
 * next byte is an opcode or a type.
 */
#include "common/rdb.h"
#include "common/crc.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/rdb_scan.h"

#include <stdlib.h>
#include <string.h>

/* Opcodes (Redis rdb.h). Those below 244 differ between Redis and Valkey. */
enum {
    OP_SLOT_INFO = 244,
    OP_FUNCTION2 = RDB_OPCODE_FUNCTION2,
    OP_FUNCTION_PRE_GA = 246,
    OP_MODULE_AUX = 247,
    OP_IDLE = 248,
    OP_FREQ = 249,
    OP_AUX = 250,
    OP_RESIZEDB = 251,
    OP_EXPIRETIME_MS = 252,
    OP_EXPIRETIME = 253,
    OP_SELECTDB = 254,
    OP_EOF = 255,
    OP_CHECKSUM_SINCE = 5, /* RDB version */
};

/* What follows: an opcode or type, a layout, input that is not there yet, or the item is complete. */
enum next { NEXT_OPCODE, NEXT_LAYOUT, NEXT_INPUT, NEXT_ITEM, NEXT_BROKEN };
typedef enum next done_fn(struct rdb *r, struct err *err);

enum aux { AUX_OTHER, AUX_REPL_ID, AUX_REPL_OFFSET, AUX_STREAM_DB, AUX_CTIME, AUX_VERSION };

struct rdb {
    struct scan scan;
    done_fn *done;
    bool items;  /* single items: no magic is expected, no checksum kept */
    bool ended;  /* RDB_END was given out */
    bool failed; /* nothing more can be read */
    bool prefix; /* an expiry, idle time or frequency was read, its key not */
    bool crc_on; /* what is read belongs to the checksum */
    unsigned version;
    uint64_t crc;
    uint64_t offset;     /* in the file, of the next byte */
    uint64_t item_start; /* in the file */
    struct rdb_item item;
    enum aux aux; /* whose value is being read */
    bool has_id, has_offset;
    struct rdb_origin origin;
};

/* Layout of a value's body (letters: rdb_scan.h) and the RDB version that brought the type. */
struct value_type {
    const char *layout;
    uint8_t since;
};

/* DUMP is of RDB 6, so no payload needs a lower stamp than that. Type 6 is the modules' form of
 * before 4.0, which tells nobody but the module where it ends; 8 never was. */
static const struct value_type value_types[] = {
    [0] = {"S.", 6},    /* string */
    [1] = {"[S].", 6},  /* list */
    [2] = {"[S].", 6},  /* set */
    [3] = {"[SD].", 6}, /* sorted set */
    [4] = {"[SS].", 6}, /* hash */
    [5] = {"[Sq].", 8}, /* sorted set, binary scores */
    [7] = {"LM.", 8},   /* module */
    [9] = {"S.", 6},    /* hash as zipmap */
    [10] = {"S.", 6},   /* list as ziplist */
    [11] = {"S.", 6},   /* set as intset */
    [12] = {"S.", 6},   /* sorted set as ziplist */
    [13] = {"S.", 6},   /* hash as ziplist */
    [14] = {"[S].", 7}, /* list of ziplists */
    /* Streams: nodes; length; last id; groups of name, last id, pending entries (id, time,
     * deliveries) and consumers (name, seen, ids of pending entries). 19 adds first id, largest
     * deleted id, entries added, and a group's entries read; 21 a consumer's active time. */
    [15] = {"[SS]LLL[SLL[xqL][Sq[x]]].", 9},
    [16] = {"S.", 10},    /* hash as listpack */
    [17] = {"S.", 10},    /* sorted set as listpack */
    [18] = {"[LS].", 10}, /* list of listpacks and plain nodes */
    [19] = {"[SS]LLLLLLLL[SLLL[xqL][Sq[x]]].", 10},
    [20] = {"S.", 11}, /* set as listpack */
    [21] = {"[SS]LLLLLLLL[SLLL[xqL][Sqq[x]]].", 11},
    [24] = {"q[LSS].", 12}, /* hash with expiring fields */
    [25] = {"qS.", 12},     /* the same as listpack */
};

#define VALUE_TYPES (sizeof(value_types) / sizeof(value_types[0]))

unsigned rdb_type_version(uint8_t type)
{
    return type < VALUE_TYPES ? value_types[type].since : 0;
}

/* ---- what a layout's end means -------------------------------------------------------- */

static enum next go_on(struct rdb *r, const char *layout, done_fn *done)
{
    scan_begin(&r->scan, layout);
    r->done = done;
    return NEXT_LAYOUT;
}

static enum next broken(struct rdb *r, struct err *err)
{
    (void)err_wrap(err, "rdb at offset %llu", (unsigned long long)r->offset);
    return NEXT_BROKEN;
}

static enum next done_item(struct rdb *r, struct err *err)
{
    (void)r;
    (void)err;
    return NEXT_ITEM;
}

static bool digits(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
    }
    return true;
}

static enum next done_magic(struct rdb *r, struct err *err)
{
    const uint8_t *magic = buf_data(&r->scan.text);

    if (memcmp(magic, "VALKEY", 6) == 0 && digits(magic + 6, 3)) {
        (void)err_set(
            err, ERR_CORRUPT, 0,
            "rdb at offset 0: format 'VALKEY%.3s' of Valkey 9 and later is not known, "
            "only RDB 1 to %d",
            (const char *)magic + 6, RDB_VERSION_MAX);
        return NEXT_BROKEN;
    }
    if (memcmp(magic, "REDIS", 5) != 0 || !digits(magic + 5, 4)) {
        (void)err_set(err, ERR_CORRUPT, 0, "rdb at offset 0: not an RDB file");
        return NEXT_BROKEN;
    }
    r->version = 0;
    for (size_t i = 5; i < 9; i++)
        r->version = r->version * 10 + (magic[i] - '0');
    if (r->version < 1 || r->version > RDB_VERSION_MAX) {
        (void)err_set(err, ERR_CORRUPT, 0,
                      "rdb at offset 0: version %u is not known, only 1 to %d", r->version,
                      RDB_VERSION_MAX);
        return NEXT_BROKEN;
    }
    r->crc_on = !r->items && r->version >= OP_CHECKSUM_SINCE;
    return NEXT_ITEM;
}

static enum next done_select(struct rdb *r, struct err *err)
{
    if (r->scan.num > UINT32_MAX) {
        (void)err_set(err, ERR_CORRUPT, 0, "impossible database %llu",
                      (unsigned long long)r->scan.num);
        return broken(r, err);
    }
    r->item.db = (uint32_t)r->scan.num;
    return NEXT_ITEM;
}

static enum next done_expire_s(struct rdb *r, struct err *err)
{
    (void)err;
    r->item.has_expire = true;
    r->item.expire_ms = (int64_t)(int32_t)(uint32_t)r->scan.num * 1000;
    return NEXT_OPCODE;
}

static enum next done_expire_ms(struct rdb *r, struct err *err)
{
    (void)err;
    r->item.has_expire = true;
    r->item.expire_ms = (int64_t)r->scan.num;
    return NEXT_OPCODE;
}

static enum next done_idle(struct rdb *r, struct err *err)
{
    (void)err;
    r->item.has_idle = true;
    r->item.idle_s = r->scan.num;
    return NEXT_OPCODE;
}

static enum next done_freq(struct rdb *r, struct err *err)
{
    (void)err;
    r->item.has_freq = true;
    r->item.freq = (uint8_t)r->scan.num;
    return NEXT_OPCODE;
}

static enum next done_key(struct rdb *r, struct err *err)
{
    (void)err;
    r->item.key = r->scan.text_kept ? buf_data(&r->scan.text) : NULL;
    r->item.key_len = (size_t)r->scan.text_len;
    r->item.body_off = r->offset - r->item_start;
    return go_on(r, value_types[r->item.type].layout, done_item);
}

static enum next done_end(struct rdb *r, struct err *err)
{
    r->ended = true;
    if (!r->items && r->scan.num != 0 && r->scan.num != r->crc) {
        (void)err_set(err, ERR_CORRUPT, 0, "checksum is %016llx, the file's bytes have %016llx",
                      (unsigned long long)r->scan.num, (unsigned long long)r->crc);
        return broken(r, err);
    }
    return NEXT_ITEM;
}

static enum next done_end_unchecked(struct rdb *r, struct err *err)
{
    (void)err;
    r->ended = true;
    return NEXT_ITEM;
}

/* ---- AUX ------------------------------------------------------------------------------ */

static bool text_is(const struct scan *s, const char *name)
{
    return s->text.len == strlen(name) && memcmp(buf_data(&s->text), name, s->text.len) == 0;
}

static bool text_u64(const struct scan *s, uint64_t *out)
{
    const uint8_t *p = buf_data(&s->text);
    uint64_t v = 0;

    if (s->text.len == 0 || s->text.len > 19 || !digits(p, s->text.len))
        return false;
    for (size_t i = 0; i < s->text.len; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    *out = v;
    return true;
}

static void text_copy(const struct scan *s, char *to, size_t size)
{
    size_t len = s->text.len < size ? s->text.len : size - 1;

    memcpy(to, buf_data(&s->text), len);
    to[len] = '\0';
}

static enum next done_aux_value(struct rdb *r, struct err *err)
{
    struct rdb_origin *o = &r->origin;
    uint64_t v = 0;

    (void)err;
    switch (r->aux) {
    case AUX_REPL_ID:
        r->has_id = r->scan.text.len == sizeof(o->repl_id) - 1;
        if (r->has_id)
            text_copy(&r->scan, o->repl_id, sizeof(o->repl_id));
        break;
    case AUX_REPL_OFFSET:
        r->has_offset = text_u64(&r->scan, &o->repl_offset);
        break;
    case AUX_STREAM_DB:
        o->has_stream_db = text_u64(&r->scan, &v) && v <= UINT32_MAX;
        o->stream_db = o->has_stream_db ? (uint32_t)v : 0;
        break;
    case AUX_CTIME:
        o->ctime_s = text_u64(&r->scan, &v) && v <= INT64_MAX ? (int64_t)v : 0;
        break;
    case AUX_VERSION:
        text_copy(&r->scan, o->version, sizeof(o->version));
        break;
    case AUX_OTHER:
        break;
    }
    o->has_repl = r->has_id && r->has_offset;
    return NEXT_ITEM;
}

static enum next done_aux_name(struct rdb *r, struct err *err)
{
    const struct scan *s = &r->scan;

    (void)err;
    r->aux = text_is(s, "repl-id")          ? AUX_REPL_ID
             : text_is(s, "repl-offset")    ? AUX_REPL_OFFSET
             : text_is(s, "repl-stream-db") ? AUX_STREAM_DB
             : text_is(s, "ctime")          ? AUX_CTIME
             : text_is(s, "redis-ver")      ? AUX_VERSION
             : text_is(s, "valkey-ver")     ? AUX_VERSION
                                            : AUX_OTHER;
    return go_on(r, "T.", done_aux_value);
}

/* ---- opcodes and types ---------------------------------------------------------------- */

struct opcode {
    const char *layout;
    done_fn *done;
    bool prefix; /* of a key */
};

#define OPCODE_FIRST OP_SLOT_INFO

static const struct opcode opcodes[256 - OPCODE_FIRST] = {
    [OP_SLOT_INFO - OPCODE_FIRST] = {"LLL.", done_item, false},
    [OP_FUNCTION2 - OPCODE_FIRST] = {"S.", done_item, false},
    [OP_MODULE_AUX - OPCODE_FIRST] = {"LULM.", done_item, false},
    [OP_IDLE - OPCODE_FIRST] = {"N.", done_idle, true},
    [OP_FREQ - OPCODE_FIRST] = {"b.", done_freq, true},
    [OP_AUX - OPCODE_FIRST] = {"T.", done_aux_name, false},
    [OP_RESIZEDB - OPCODE_FIRST] = {"LL.", done_item, false},
    [OP_EXPIRETIME_MS - OPCODE_FIRST] = {"q.", done_expire_ms, true},
    [OP_EXPIRETIME - OPCODE_FIRST] = {"w.", done_expire_s, true},
    [OP_SELECTDB - OPCODE_FIRST] = {"N.", done_select, false},
    [OP_EOF - OPCODE_FIRST] = {"q.", done_end, false},
};

static enum next unknown(struct rdb *r, uint8_t byte, struct err *err)
{
    const char *why = "unknown";

    if (byte == 6)
        why = "of a module before Redis 4.0, whose end only the module knows";
    else if (byte == 22 || byte == 23)
        why = "of a hash with expiring fields as in release candidates of Redis 7.4 or in "
              "Valkey 9";
    else if (byte == OP_FUNCTION_PRE_GA)
        why = "of functions as in release candidates of Redis 7.0";
    else if (byte == 243 || byte == 242)
        why = "of RDB versions after 12 (Redis 8.6, Valkey 9)";
    (void)err_set(err, ERR_CORRUPT, 0, "%s %u is %s and can't be read",
                  byte < 128 ? "value type" : "opcode", byte, why);
    return broken(r, err);
}

static enum next begin_key(struct rdb *r, uint8_t type)
{
    r->item.kind = RDB_KEY;
    r->item.type = type;
    r->item.type_off = r->offset - r->item_start;
    r->prefix = false;
    return go_on(r, "T.", done_key);
}

/* The byte at r->offset says what follows it. */
static enum next begin_opcode(struct rdb *r, uint8_t byte, struct err *err)
{
    const struct opcode *op;

    if (rdb_type_version(byte) != 0)
        return begin_key(r, byte);
    op = byte >= OPCODE_FIRST ? &opcodes[byte - OPCODE_FIRST] : NULL;
    if (op == NULL || op->layout == NULL)
        return unknown(r, byte, err);
    if (r->prefix && !op->prefix) {
        (void)err_set(err, ERR_CORRUPT, 0, "opcode %u where a key must be", byte);
        return broken(r, err);
    }
    r->prefix = op->prefix;
    r->item.kind = op->prefix             ? RDB_KEY
                   : byte == OP_FUNCTION2 ? RDB_FUNCTION
                   : byte == OP_EOF       ? RDB_END
                                          : RDB_META;
    if (byte == OP_EOF && r->version < OP_CHECKSUM_SINCE)
        return go_on(r, ".", done_end_unchecked);
    return go_on(r, op->layout, op->done);
}

/* ---- feeding -------------------------------------------------------------------------- */

static struct rdb *new_walker(bool items, uint32_t db)
{
    struct rdb *r = xcalloc(1, sizeof(*r));

    scan_init(&r->scan);
    r->items = items;
    r->crc_on = !items;
    r->version = RDB_VERSION_MAX;
    r->item.db = db;
    if (!items)
        (void)go_on(r, "H.", done_magic);
    return r;
}

struct rdb *rdb_new(void)
{
    return new_walker(false, 0);
}

struct rdb *rdb_new_items(uint32_t db)
{
    return new_walker(true, db);
}

void rdb_free(struct rdb *r)
{
    if (r == NULL)
        return;
    scan_release(&r->scan);
    free(r);
}

/* Takes the byte that opens a layout. */
static enum next feed_opcode(struct rdb *r, struct scan_input *in, const uint8_t *from,
                             struct err *err)
{
    enum next next;

    if (r->items && *in->p == 'R' && !r->prefix)
        return go_on(r, "H.", done_magic);
    next = begin_opcode(r, *in->p, err);
    if (next == NEXT_BROKEN)
        return next;
    in->p++;
    r->offset++;
    if (r->item.kind == RDB_END && r->crc_on) {
        r->crc = crc64(r->crc, from, (size_t)(in->p - from));
        r->crc_on = false;
    }
    return next;
}

static enum next feed_layout(struct rdb *r, struct scan_input *in, struct err *err)
{
    const uint8_t *from = in->p;
    enum scan_result rc = scan_run(&r->scan, in, err);
    done_fn *done = r->done;

    r->offset += (uint64_t)(in->p - from);
    if (rc == SCAN_BAD) {
        r->offset -= r->scan.held_len;
        return broken(r, err);
    }
    if (rc == SCAN_MORE)
        return NEXT_INPUT;
    r->done = NULL;
    return done(r, err);
}

/* The fallible part of rdb_feed(). */
static enum next walk(struct rdb *r, struct scan_input *in, struct err *err)
{
    const uint8_t *from = in->p;
    enum next next = r->done == NULL ? NEXT_OPCODE : NEXT_LAYOUT;

    if (r->ended || r->failed) {
        (void)err_set(err, ERR_CORRUPT, 0, "bytes behind the %s", r->failed ? "damage" : "end");
        return broken(r, err);
    }
    if (r->item_start == r->offset)
        r->item = (struct rdb_item){.db = r->item.db};
    while (next == NEXT_OPCODE || next == NEXT_LAYOUT) {
        if (next == NEXT_LAYOUT)
            next = feed_layout(r, in, err);
        else if (in->p == in->end)
            next = NEXT_INPUT;
        else
            next = feed_opcode(r, in, from, err);
    }
    if (r->crc_on)
        r->crc = crc64(r->crc, from, (size_t)(in->p - from));
    return next;
}

ptrdiff_t rdb_feed(struct rdb *r, const uint8_t *data, size_t len, bool *item_end,
                   struct rdb_item *item, struct err *err)
{
    struct scan_input in = {.p = data, .end = data};
    enum next next = NEXT_INPUT;

    if (len != 0) {
        in.end += len;
        next = walk(r, &in, err);
    }
    if (next == NEXT_BROKEN) {
        r->failed = true;
        return -1;
    }
    r->item.size = r->offset - r->item_start;
    *item = r->item;
    *item_end = next == NEXT_ITEM;
    if (next == NEXT_ITEM)
        r->item_start = r->offset;
    return in.p - data;
}

uint64_t rdb_offset(const struct rdb *r)
{
    return r->offset;
}

const struct rdb_origin *rdb_origin(const struct rdb *r)
{
    return &r->origin;
}
