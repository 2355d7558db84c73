/* restore - an item of a snapshot as the Redis command that makes the same key or library again. */
#include "applier/src/restore.h"
#include "applier/src/restore_fields.h"
#include "applier/src/wire.h"
#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TYPE_LEN   1
#define FOOTER_LEN 10 /* version and CRC64 */

struct restore {
    struct rdb *walker;
};

struct restore *restore_new(void)
{
    struct restore *rs = xmalloc(sizeof(*rs));

    rs->walker = rdb_new_items(0);
    return rs;
}

void restore_free(struct restore *rs)
{
    if (rs == NULL)
        return;
    rdb_free(rs->walker);
    free(rs);
}

int restore_parse(struct restore *rs, uint32_t db, const uint8_t *bytes, size_t len,
                  struct rdb_item *item, struct err *err)
{
    struct rdb_item got;
    bool end = false;
    ptrdiff_t n = rdb_feed(rs->walker, bytes, len, &end, &got, err);

    if (n < 0)
        (void)err_wrap(err, "key of a snapshot");
    else if (!end || (size_t)n != len || got.kind != RDB_KEY)
        n = err_set(err, ERR_CORRUPT, 0, "key of a snapshot: %zu bytes are not one whole key",
                    len);
    if (n < 0) {
        /* The walker stands in the middle of something. */
        rdb_free(rs->walker);
        rs->walker = rdb_new_items(0);
        return -1;
    }
    got.db = db;
    *item = got;
    return 0;
}

static int64_t guarded(int64_t expire_ms, int64_t guard_ms)
{
    int64_t ttl;

    if (__builtin_add_overflow(expire_ms, guard_ms, &ttl))
        ttl = guard_ms > 0 ? RESTORE_EXPIRY_MAX : 1;
    return ttl > 0 ? ttl : 1;
}

uint64_t restore_payload_size(const struct rdb_item *item)
{
    return TYPE_LEN + (item->size - item->body_off) + FOOTER_LEN;
}

static void put_payload(struct buf *out, uint8_t type, const uint8_t *body, size_t len)
{
    size_t size = TYPE_LEN + len + FOOTER_LEN;
    uint8_t *p;

    buf_printf(out, "$%zu\r\n", size);
    p = buf_reserve(out, size);
    p[0] = type;
    memcpy(p + TYPE_LEN, body, len);
    put_u16le(p + TYPE_LEN + len, (uint16_t)rdb_type_version(type));
    put_u64le(p + size - 8, crc64(0, p, size - 8));
    buf_added(out, size);
    buf_append(out, "\r\n", 2);
}

static void put_lru(struct buf *out, const struct rdb_item *item)
{
    if (item->has_freq) {
        wire_text(out, "FREQ");
        wire_u64(out, item->freq);
    } else if (item->has_idle) {
        wire_text(out, "IDLETIME");
        wire_u64(out, item->idle_s > INT64_MAX ? INT64_MAX : item->idle_s);
    }
}

/* What of an item can't be sent as it stands in the file. */
struct rewritten {
    struct buf key;  /* when longer than RDB_KEY_KEPT */
    struct buf body; /* with the guard on its fields */
};

static int rewrite(struct rewritten *rw, const uint8_t *bytes, const struct rdb_item *item,
                   int64_t guard_ms, struct err *err)
{
    size_t key_off = (size_t)item->type_off + TYPE_LEN;
    size_t body_off = (size_t)item->body_off;

    if (item->key == NULL &&
        rdb_string(bytes + key_off, body_off - key_off, &rw->key, err) != 0)
        return -1;
    if (guard_ms > 0 && restore_fields_expire(item->type))
        return restore_fields_guard(&rw->body, item->type, bytes + body_off,
                                    (size_t)item->size - body_off, guard_ms, err);
    return 0;
}

int restore_put_key(struct buf *out, const uint8_t *bytes, const struct rdb_item *item,
                    int64_t guard_ms, struct err *err)
{
    struct rewritten rw;
    int rc = -1;

    buf_init(&rw.key);
    buf_init(&rw.body);
    if (rewrite(&rw, bytes, item, guard_ms, err) != 0) {
        (void)err_wrap(err, "key of a snapshot");
        goto out;
    }
    wire_array(out, 5U + (item->has_expire ? 1U : 0U) +
                        (item->has_freq || item->has_idle ? 2U : 0U));
    wire_text(out, "RESTORE");
    if (item->key != NULL)
        wire_bulk(out, item->key, item->key_len);
    else
        wire_bulk(out, buf_data(&rw.key), rw.key.len);
    wire_i64(out, item->has_expire ? guarded(item->expire_ms, guard_ms) : 0);
    if (rw.body.len != 0)
        put_payload(out, item->type, buf_data(&rw.body), rw.body.len);
    else
        put_payload(out, item->type, bytes + item->body_off,
                    (size_t)(item->size - item->body_off));
    wire_text(out, "REPLACE");
    if (item->has_expire)
        wire_text(out, "ABSTTL");
    put_lru(out, item);
    rc = 0;
out:
    buf_release(&rw.key);
    buf_release(&rw.body);
    return rc;
}

/* ---- functions ------------------------------------------------------------------------- */

#define OPCODE_LEN 1

static bool is_name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_';
}

/* The name in a first line like "#!lua name=mylib"; Redis lets the words be quoted. */
static size_t find_name(const uint8_t *code, size_t len, size_t *name_len)
{
    const uint8_t *eol = len == 0 ? NULL : memchr(code, '\n', len);
    size_t line = eol == NULL ? len : (size_t)(eol - code);

    for (size_t at = 1; at + 5 < line; at++) {
        size_t from = at + 5;
        size_t to;

        if (is_name_byte(code[at - 1]) || strncasecmp((const char *)code + at, "name=", 5) != 0)
            continue;
        if (code[from] == '"' || code[from] == '\'')
            from++;
        for (to = from; to < line && is_name_byte(code[to]);)
            to++;
        *name_len = to - from;
        return from;
    }
    *name_len = 0;
    return 0;
}

int restore_put_function(struct buf *out, struct buf *name, const uint8_t *bytes, size_t len,
                         struct err *err)
{
    struct buf code;
    size_t at, name_len;
    int rc = -1;

    buf_init(&code);
    if (len < OPCODE_LEN || bytes[0] != RDB_OPCODE_FUNCTION2) {
        (void)err_set(err, ERR_CORRUPT, 0, "functions of a snapshot: not a library");
        goto out;
    }
    if (rdb_string(bytes + OPCODE_LEN, len - OPCODE_LEN, &code, err) != 0) {
        (void)err_wrap(err, "functions of a snapshot");
        goto out;
    }
    at = find_name(buf_data(&code), code.len, &name_len);
    if (name_len == 0) {
        (void)err_set(err, ERR_CORRUPT, 0, "functions of a snapshot: a library without a name");
        goto out;
    }
    buf_append(name, buf_data(&code) + at, name_len);
    wire_array(out, 4);
    wire_text(out, "FUNCTION");
    wire_text(out, "LOAD");
    wire_text(out, "REPLACE");
    wire_bulk(out, buf_data(&code), code.len);
    rc = 0;
out:
    buf_release(&code);
    return rc;
}
