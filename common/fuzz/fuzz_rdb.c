/*
 * fuzz_rdb - any bytes, whole and in two pieces, give the walker the same items and the same end.
 *
 * Input: a byte of flags (1: single items, without magic and checksum), two bytes that say where
 * the cut is, and what is walked.
 */
#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/rdb.h"

#include <stdlib.h>
#include <string.h>

#define HEAD 3

struct walk {
    struct rdb *r;
    bool failed;
    struct err err;
    struct buf seen; /* every item, the unfinished one too */
};

static void note(struct buf *b, const struct rdb_item *item, bool end)
{
    buf_put_u8(b, end);
    buf_put_u8(b, (uint8_t)item->kind);
    buf_put_u64(b, item->size);
    buf_put_u32(b, item->db);
    buf_put_u8(b, item->type);
    buf_put_u64(b, item->type_off);
    buf_put_u64(b, item->body_off);
    buf_put_u64(b, item->has_expire ? (uint64_t)item->expire_ms : 1);
    buf_put_u64(b, item->has_idle ? item->idle_s : 1);
    buf_put_u8(b, item->has_freq ? item->freq : 1);
    buf_put_u64(b, item->key_len);
    if (item->key != NULL)
        buf_append(b, item->key, item->key_len);
}

/* Feeds a copy, so that a read beyond the piece is seen. Of the `last` piece the
 * unfinished item is noted too. */
static void feed(struct walk *w, const uint8_t *from, size_t len, bool last)
{
    struct rdb_item item = {0};
    bool end = true;
    uint8_t *data = xmalloc(len);

    if (len != 0)
        memcpy(data, from, len);
    for (size_t at = 0; at < len && !w->failed;) {
        uint64_t before = rdb_offset(w->r);
        ptrdiff_t n = rdb_feed(w->r, data + at, len - at, &end, &item, &w->err);

        if (n < 0) {
            w->failed = true;
            if (w->err.kind != ERR_CORRUPT)
                abort();
            break;
        }
        if (n == 0 || (!end && (size_t)n != len - at) ||
            rdb_offset(w->r) != before + (uint64_t)n)
            abort();
        if (end) {
            note(&w->seen, &item, true);
            if (item.kind == RDB_KEY && item.size <= at + (size_t)n)
                (void)rdb_is_empty(data + at + n - item.size, &item);
        }
        at += (size_t)n;
    }
    if (last && !w->failed && !end)
        note(&w->seen, &item, false);
    free(data);
}

static struct walk walk(bool items, const uint8_t *data, size_t len, size_t cut)
{
    struct walk w = {.r = items ? rdb_new_items(3) : rdb_new()};

    buf_init(&w.seen);
    feed(&w, data, cut, cut == len);
    if (cut < len)
        feed(&w, data + cut, len - cut, true);
    return w;
}

static void walk_release(struct walk *w)
{
    rdb_free(w->r);
    buf_release(&w->seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct walk whole, cut;
    struct buf text;
    struct err err;

    if (len < HEAD)
        return 0;
    len -= HEAD;
    whole = walk(data[0] & 1, data + HEAD, len, len);
    cut = walk(data[0] & 1, data + HEAD, len, len == 0 ? 0 : get_u16le(data + 1) % len);
    if (whole.failed != cut.failed ||
        (whole.failed && strcmp(whole.err.msg, cut.err.msg) != 0) ||
        whole.seen.len != cut.seen.len ||
        (whole.seen.len != 0 &&
         memcmp(buf_data(&whole.seen), buf_data(&cut.seen), whole.seen.len) != 0))
        abort();
    walk_release(&whole);
    walk_release(&cut);
    buf_init(&text);
    (void)rdb_string(data + HEAD, len, &text, &err);
    buf_release(&text);
    return 0;
}
