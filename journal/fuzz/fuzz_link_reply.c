/*
 * fuzz_link_reply - replies of a server to a replica. The first byte picks the parser and the
 * size of the pieces; whatever the pieces, the outcome must be the same as in one piece.
 */
#include "common/err.h"
#include "journal/src/reply.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int rc;       /* -1: broken, 1: ended, 0: more is needed */
    size_t used;  /* when ended */
    uint64_t sum; /* of what was delivered */
    uint64_t bytes;
};

static void snapshot(const uint8_t *data, size_t size, size_t piece, struct outcome *o)
{
    struct reply_snapshot s;
    struct err err;
    size_t off = 0, stop = 0;
    bool end = false;

    reply_snapshot_init(&s);
    while (off < size && !end) {
        const uint8_t *out;
        size_t out_len;
        ptrdiff_t taken;

        if (off == stop)
            stop = size - off < piece ? size : off + piece;
        taken = reply_snapshot_feed(&s, data + off, stop - off, &out, &out_len, &end, &err);
        if (taken < 0) {
            o->rc = -1;
            return;
        }
        if (taken == 0 && out_len == 0)
            abort();
        for (size_t i = 0; i < out_len; i++)
            o->sum = o->sum * 31 + out[i];
        o->bytes += out_len;
        off += (size_t)taken;
    }
    o->rc = end;
    o->used = off;
}

static void line(const uint8_t *data, size_t size, size_t piece, struct outcome *o)
{
    static const char acl[] = "ACL SETUSER x";
    struct reply_line l;
    struct reply_psync r;
    struct err err;
    bool done = false;

    reply_line_init(&l);
    while (o->used < size && !done) {
        size_t n = size - o->used < piece ? size - o->used : piece;
        ptrdiff_t taken = reply_line_feed(&l, data + o->used, n, &done, &err);

        if (taken < 0) {
            o->rc = -1;
            return;
        }
        o->used += (size_t)taken;
    }
    if (!done)
        return;
    o->rc = 1;
    if (strlen(l.text) != l.len)
        abort();
    o->sum = reply_psync_parse(l.text, acl, &r, &err) == 0 ? r.lsn + 1 : 0;
}

static void value(const uint8_t *data, size_t size, size_t piece)
{
    struct reply_value v;
    struct redisReply *reply = NULL;
    struct err err;

    reply_value_init(&v);
    for (size_t off = 0; off < size && reply == NULL; off += piece) {
        size_t n = size - off < piece ? size - off : piece;

        if (reply_value_feed(&v, data + off, n, &reply, &err) != 0)
            break;
    }
    freeReplyObject(reply);
    reply_value_release(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = {0}, cut = {0};
    size_t piece;

    if (size < 2)
        return 0;
    piece = (size_t)(data[0] >> 2) + 1;
    switch (data[0] & 3) {
    case 0:
        value(data + 1, size - 1, piece);
        return 0;
    case 1:
        line(data + 1, size - 1, size, &whole);
        line(data + 1, size - 1, piece, &cut);
        break;
    default:
        snapshot(data + 1, size - 1, size, &whole);
        snapshot(data + 1, size - 1, piece, &cut);
        break;
    }
    if (whole.rc != cut.rc)
        abort();
    if (whole.rc >= 0 && (whole.used != cut.used || whole.sum != cut.sum))
        abort();
    return 0;
}
