/* restore_fields - expiries inside a hash, written later by the guard. */
#include "applier/src/restore_fields.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/rdb.h"

/* RDB types (Redis 7.4 rdb.h). Both bodies begin with the smallest expiry. */
enum { HASH_METADATA = 24, HASH_LISTPACK_EX = 25 };

#define MIN_EXPIRE_LEN 8
#define EXPIRE_MAX     ((uint64_t)1 << 48) /* this and above: no field expires */
#define LP_HEAD        6
#define LP_END         0xff
#define LP_INT64       0xf4
#define LEN_32         0x80

bool restore_fields_expire(uint8_t type)
{
    return type == HASH_METADATA || type == HASH_LISTPACK_EX;
}

static void shift(uint8_t *p, uint64_t guard_ms)
{
    uint64_t at = get_u64le(p);

    if (at < EXPIRE_MAX)
        put_u64le(p, at + guard_ms);
}

/* Bytes of encoding and content of the listpack entry at p, `left` bytes before the listpack's
 * end; 0 when it is none. */
static uint64_t entry_size(const uint8_t *p, size_t left)
{
    static const uint8_t int_sizes[] = {3, 4, 5, 9}; /* 0xf1 to 0xf4 */

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc0)
        return 1 + (uint64_t)(p[0] & 0x3f);
    if (p[0] < 0xe0)
        return 2;
    if (p[0] < 0xf0)
        return left < 2 ? 0 : 2 + ((uint64_t)(p[0] & 0x0f) << 8 | p[1]);
    if (p[0] == 0xf0)
        return left < 5 ? 0 : 5 + (uint64_t)get_u32le(p + 1);
    return p[0] <= LP_INT64 ? int_sizes[p[0] - 0xf1] : 0;
}

/* Bytes of the entry's length behind it, seven bits a byte. */
static uint64_t backlen_size(uint64_t size)
{
    return size < 128 ? 1 : size < 16383 ? 2 : size < 2097151 ? 3 : size < 268435455 ? 4 : 5;
}

/* Every third entry is an expiry, 0 for none. One of today takes 64 bits and so stays as large. */
static bool shift_listpack(uint8_t *lp, size_t len, uint64_t guard_ms)
{
    size_t at = LP_HEAD;
    unsigned column = 0;

    if (len < LP_HEAD + 1 || get_u32le(lp) != len || lp[len - 1] != LP_END)
        return false;
    while (at < len - 1) {
        uint64_t size = entry_size(lp + at, len - 1 - at);

        if (size == 0 || size + backlen_size(size) > len - 1 - at)
            return false;
        if (column == 2 && lp[at] == LP_INT64)
            shift(lp + at + 1, guard_ms);
        column = (column + 1) % 3;
        at += (size_t)(size + backlen_size(size));
    }
    return column == 0;
}

/* The listpack may be compressed; it is written plain. */
static int put_listpack(struct buf *out, const uint8_t *string, size_t len, uint64_t guard_ms,
                        struct err *err)
{
    struct buf lp;
    int rc = -1;

    buf_init(&lp);
    if (rdb_string(string, len, &lp, err) != 0)
        goto out;
    if (lp.len > UINT32_MAX || !shift_listpack(buf_data(&lp), lp.len, guard_ms)) {
        (void)err_set(err, ERR_CORRUPT, 0, "the listpack of a hash is damaged");
        goto out;
    }
    buf_put_u8(out, LEN_32);
    buf_put_u32(out, __builtin_bswap32((uint32_t)lp.len));
    buf_append(out, buf_data(&lp), lp.len);
    rc = 0;
out:
    buf_release(&lp);
    return rc;
}

int restore_fields_guard(struct buf *out, uint8_t type, const uint8_t *body, size_t len,
                         int64_t guard_ms, struct err *err)
{
    uint64_t guard =
        (uint64_t)(guard_ms < RESTORE_FIELDS_GUARD_MAX ? guard_ms : RESTORE_FIELDS_GUARD_MAX);
    size_t start = out->len;

    if (len <= MIN_EXPIRE_LEN)
        return err_set(err, ERR_CORRUPT, 0, "a hash of %zu bytes has no expiry", len);
    buf_append(out, body, MIN_EXPIRE_LEN);
    shift(buf_data(out) + start, guard);
    if (type == HASH_METADATA) {
        /* Its fields' expiries count from the smallest one. */
        buf_append(out, body + MIN_EXPIRE_LEN, len - MIN_EXPIRE_LEN);
        return 0;
    }
    if (put_listpack(out, body + MIN_EXPIRE_LEN, len - MIN_EXPIRE_LEN, guard, err) != 0) {
        out->len = start;
        return -1;
    }
    return 0;
}
