/* fuzz_cut - a stream fed in pieces gives the entries that it gives whole. The first two input
 * bytes say where to cut. */
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "common/cmd.h"
#include "common/err.h"
#include "journal/src/cut.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COMMAND(name, first) "*6\r\n+" name "\r\n:1\r\n*0\r\n:" #first "\r\n:1\r\n:1\r\n"
#define ITEMS                64

struct result {
    struct cut_item item[ITEMS]; /* the first ones */
    size_t cnt;
    struct cut_item rest;
    struct err err;
    uint64_t consumed, in_items;
};

static struct cmd_table *table_new(void)
{
    static const char text[] =
        "*4\r\n" COMMAND("set", 1) COMMAND("bitop", 2) COMMAND("eval", 0) COMMAND("publish", 0);
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    struct cmd_table *t;

    if (reader == NULL || redisReaderFeed(reader, text, sizeof(text) - 1) != REDIS_OK ||
        redisReaderGetReply(reader, &reply) != REDIS_OK)
        abort();
    t = cmd_table_new(reply);
    freeReplyObject(reply);
    redisReaderFree(reader);
    if (t == NULL)
        abort();
    return t;
}

static bool feed(struct cut *c, const uint8_t *p, size_t len, struct result *out)
{
    for (size_t at = 0; at < len;) {
        bool item_end;
        ptrdiff_t n = cut_feed(c, p + at, len - at, &item_end, &out->rest, &out->err);

        if (n < 0)
            return false;
        if ((size_t)n > len - at || (!item_end && (size_t)n != len - at))
            abort();
        at += (size_t)n;
        out->consumed += (uint64_t)n;
        if (!item_end)
            break;
        if (out->cnt < ITEMS)
            out->item[out->cnt] = out->rest;
        out->cnt++;
        out->in_items += out->rest.size;
    }
    return true;
}

static void cut(const struct cmd_table *t, const uint8_t *data, size_t len, size_t first,
                size_t piece, struct result *out)
{
    struct cut *c = cut_new(t, 0);
    size_t at = 0;
    bool ok = true;

    memset(out, 0, sizeof(*out));
    for (size_t n = first; ok && at < len; at += n, n = piece) {
        uint8_t *copy;

        if (n > len - at)
            n = len - at;
        copy = malloc(n != 0 ? n : 1);
        if (copy == NULL)
            abort();
        memcpy(copy, data + at, n);
        ok = feed(c, copy, n, out);
        free(copy);
    }
    cut_free(c);
}

static bool same_item(const struct cut_item *a, const struct cut_item *b)
{
    return a->kind == b->kind && a->size == b->size && a->db == b->db &&
           a->db_end == b->db_end && a->slot == b->slot && a->getack == b->getack;
}

static void must_equal(const struct result *a, const struct result *b)
{
    if (a->cnt != b->cnt || a->err.kind != b->err.kind || strcmp(a->err.msg, b->err.msg) != 0)
        abort();
    for (size_t i = 0; i < a->cnt && i < ITEMS; i++)
        if (!same_item(&a->item[i], &b->item[i]))
            abort();
    if (a->in_items != b->in_items)
        abort();
    if (a->err.kind == ERR_NONE &&
        (a->consumed != b->consumed || !same_item(&a->rest, &b->rest)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cmd_table *t;
    struct result whole, parts;
    size_t at;

    if (size < 3)
        return 0;
    at = data[0] | (size_t)data[1] << 8;
    data += 2;
    size -= 2;
    t = table_new();
    cut(t, data, size, size, size, &whole);
    if (whole.err.kind == ERR_NONE && whole.consumed != size)
        abort();
    cut(t, data, size, at % (size + 1), size, &parts);
    must_equal(&whole, &parts);
    cut(t, data, size, 1 + at % 7, 1 + at % 7, &parts);
    must_equal(&whole, &parts);
    cmd_table_free(t);
    return 0;
}
