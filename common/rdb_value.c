/* rdb_value - questions about values that are there as a whole, without decoding them. */
#include "common/err.h"
#include "common/rdb.h"
#include "common/rdb_scan.h"

/* Bytes of a ziplist, listpack, intset and zipmap that hold nothing. */
enum { EMPTY_ZIPLIST = 11, EMPTY_LISTPACK = 7, EMPTY_INTSET = 8, EMPTY_ZIPMAP = 2 };

#define MIN_EXPIRE_LEN 8

int rdb_string(const uint8_t *data, size_t len, struct buf *out, struct err *err)
{
    struct scan_head head = {0};
    int n = scan_string_head(data, len, &head);

    if (n <= 0 || head.size != len - (size_t)n)
        return err_set(err, ERR_CORRUPT, 0, "not one RDB string");
    return scan_decode(&head, data + n, out, err);
}

/* UINT64_MAX, which is no count and no size, when it can't be read. */
static uint64_t read_length(struct reader *r)
{
    struct scan_head head = {0};
    int n = scan_length(r->p, r->left, &head);

    if (n <= 0 || reader_bytes(r, (size_t)n) == NULL)
        return UINT64_MAX;
    return head.size;
}

/* Passes over a string; its size when decoded. */
static uint64_t read_string(struct reader *r)
{
    struct scan_head head = {0};
    int n = scan_string_head(r->p, r->left, &head);

    if (n <= 0 || reader_bytes(r, (size_t)n) == NULL || reader_bytes(r, head.size) == NULL ||
        head.enc == SCAN_INT)
        return UINT64_MAX;
    return head.enc == SCAN_LZF ? head.plain : head.size;
}

/* A list of ziplists, or, `tagged`, of listpacks and plain nodes: Redis drops empty nodes. */
static bool quicklist_is_empty(struct reader *r, bool tagged)
{
    uint64_t cnt = read_length(r);

    if (cnt == UINT64_MAX)
        return false;
    for (uint64_t i = 0; i < cnt; i++) {
        bool plain = tagged && read_length(r) != 2;

        if (plain || read_string(r) > (tagged ? EMPTY_LISTPACK : EMPTY_ZIPLIST))
            return false;
    }
    return true;
}

bool rdb_is_empty(const uint8_t *bytes, const struct rdb_item *item)
{
    struct reader r;

    reader_init(&r, bytes + item->body_off, (size_t)(item->size - item->body_off));
    switch (item->type) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        return read_length(&r) == 0;
    case 24:
        return reader_bytes(&r, MIN_EXPIRE_LEN) != NULL && read_length(&r) == 0;
    case 9:
        return read_string(&r) <= EMPTY_ZIPMAP;
    case 10:
    case 12:
    case 13:
        return read_string(&r) <= EMPTY_ZIPLIST;
    case 11:
        return read_string(&r) <= EMPTY_INTSET;
    case 16:
    case 17:
    case 20:
        return read_string(&r) <= EMPTY_LISTPACK;
    case 25:
        return reader_bytes(&r, MIN_EXPIRE_LEN) != NULL && read_string(&r) <= EMPTY_LISTPACK;
    case 14:
        return quicklist_is_empty(&r, false);
    case 18:
        return quicklist_is_empty(&r, true);
    default:
        return false;
    }
}
