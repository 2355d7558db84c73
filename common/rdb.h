/*
 * rdb - incremental walker of an RDB file: cuts it into items (one key, one function library,
 * header and bookkeeping opcodes, the end), in bounded memory however large a value is. It never
 * interprets values; it only has to know where each one ends.
 *
 * Format: facts from Redis' rdb.h/rdb.c up to RDB 12 (Redis 7.4-8.4) and Valkey's RDB 11. The
 * items in order are the file, byte for byte. A walker needs at most about three times
 * RDB_KEY_KEPT of memory, and a few hundred bytes as long as keys are short.
 */
#ifndef COMMON_RDB_H
#define COMMON_RDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct rdb;

#define RDB_VERSION_MAX 12
#define RDB_KEY_KEPT    ((size_t)64 * 1024) /* a longer key is reported without its bytes */

#define RDB_OPCODE_FUNCTION2 245 /* first byte of an RDB_FUNCTION item */

enum rdb_kind {
    RDB_META,     /* magic, AUX, SELECTDB, RESIZEDB, SLOT_INFO, MODULE_AUX: one opcode each */
    RDB_FUNCTION, /* one FUNCTION2 library */
    RDB_KEY,      /* expiry, idle time, frequency, type, key, value */
    RDB_END,      /* 0xFF and the checksum: the file is complete, the checksum was right */
};

/* One item. Offsets count from the item's first byte. */
struct rdb_item {
    enum rdb_kind kind;
    uint64_t size; /* bytes of the item */
    uint32_t db;   /* selected database, after the item */
    /* RDB_KEY only: */
    const uint8_t *key; /* decoded (integers, LZF); valid until the next rdb_feed(); NULL when
                         * longer than RDB_KEY_KEPT */
    size_t key_len;
    uint8_t type;
    bool has_expire;
    int64_t expire_ms; /* Unix time */
    bool has_idle, has_freq;
    uint64_t idle_s;
    uint8_t freq;
    uint64_t type_off; /* of the type byte */
    uint64_t
        body_off; /* of the first byte after the key: the value's body, up to `size`; 0 until
                        * the key was read */
};

/* What the AUX fields said about the replication position; set once they were read. */
struct rdb_origin {
    bool has_repl; /* repl-id and repl-offset were both there */
    char repl_id[41];
    uint64_t repl_offset;
    bool has_stream_db;
    uint32_t stream_db; /* repl-stream-db: database in force where the stream goes on */
    int64_t ctime_s;    /* 0: not said */
    char version[32];   /* redis-ver, "" if not said */
};

struct rdb *rdb_new(void);
void rdb_free(struct rdb *r);

/* To walk single items cut out of a file (a reader of the log): the magic may come as an item but
 * needs not, and no checksum is kept; `db` is where the first item belongs. */
struct rdb *rdb_new_items(uint32_t db);

/*
 * Walks data[0, len). Returns the bytes consumed: with *item_end set they end with the last byte
 * of an item, which *item describes; without it all `len` bytes were consumed, more are needed, and
 * *item has what is known of the unfinished item so far (`key` as soon as it was read).
 * -1 with ERR_CORRUPT: unknown version, opcode or type, impossible length, wrong checksum; the
 * message names the offset in the file. After RDB_END nothing more may be fed.
 * A checksum of zero (rdbchecksum no) is accepted.
 */
ptrdiff_t rdb_feed(struct rdb *r, const uint8_t *data, size_t len, bool *item_end,
                   struct rdb_item *item, struct err *err);

/* Bytes of the file consumed so far. */
uint64_t rdb_offset(const struct rdb *r);
const struct rdb_origin *rdb_origin(const struct rdb *r);

/* Appends the RDB string that data[0, len) is, decoded (integers, LZF), to `out`, which stays the
 * caller's. Returns 0, or -1 with ERR_CORRUPT: not exactly one string, or its compression is
 * damaged. For what is longer than RDB_KEY_KEPT, in an item that is there as a whole. */
int rdb_string(const uint8_t *data, size_t len, struct buf *out, struct err *err);

/*
 * A collection without elements: some versions of Redis wrote such keys by mistake. Redis skips
 * them when it loads a file, and RESTORE answers 'Bad data format'; so they are to be skipped.
 * `bytes` is the whole RDB_KEY item. Looks at the first bytes of the value only.
 */
bool rdb_is_empty(const uint8_t *bytes, const struct rdb_item *item);

/* Lowest RDB version that knows value type `type`: what a DUMP payload of it is stamped with
 * (not below 6, the version that brought DUMP). 0: not a value type this walker knows. */
unsigned rdb_type_version(uint8_t type);

#endif
