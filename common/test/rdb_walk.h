/* rdb_walk - for tests: walks an RDB file in pieces of any size and notes its items. */
#ifndef COMMON_TEST_RDB_WALK_H
#define COMMON_TEST_RDB_WALK_H

#include "common/err.h"
#include "common/rdb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

struct seen {
    struct rdb_item item;
    uint8_t *key; /* copy, NULL when not kept */
};

struct walk {
    struct seen *items;
    size_t cnt;
    uint64_t bytes; /* of all items */
    bool complete;  /* the last one is RDB_END */
    int rc;
    struct err err;
    struct rdb_origin origin;
};

static inline void walk_free(struct walk *w)
{
    for (size_t i = 0; i < w->cnt; i++)
        free(w->items[i].key);
    free(w->items);
}

static inline void note_item(struct walk *w, const struct rdb_item *item)
{
    struct seen *s;

    if ((w->cnt & (w->cnt + 1)) == 0) {
        w->items = realloc(w->items, (2 * w->cnt + 2) * sizeof(*w->items));
        assert_non_null(w->items);
    }
    s = &w->items[w->cnt++];
    *s = (struct seen){.item = *item};
    if (item->key != NULL) {
        s->key = malloc(item->key_len + 1);
        assert_non_null(s->key);
        memcpy(s->key, item->key, item->key_len);
        s->item.key = s->key;
    }
    assert_false(w->complete);
    w->bytes += item->size;
    w->complete = item->kind == RDB_END;
}

/* Each piece in memory of its own, so that a sanitizer sees reads beyond it. */
static inline void feed_piece(struct walk *w, struct rdb *r, const uint8_t *data, size_t len)
{
    uint8_t *piece = malloc(len + 1);
    size_t at = 0;

    assert_non_null(piece);
    piece = realloc(piece, len == 0 ? 1 : len);
    memcpy(piece, data, len);
    while (at < len && w->rc == 0) {
        struct rdb_item item;
        bool end = false;
        ptrdiff_t n = rdb_feed(r, piece + at, len - at, &end, &item, &w->err);

        if (n < 0) {
            w->rc = -1;
            assert_int_equal(w->err.kind, ERR_CORRUPT);
            break;
        }
        at += (size_t)n;
        assert_true(end || at == len);
        if (end)
            note_item(w, &item);
        else
            assert_int_equal(w->bytes + item.size, rdb_offset(r));
    }
    free(piece);
}

/* Feeds pieces of 1 to `max` bytes, of random size with `seed`, else all of `max`. */
static inline struct walk walk_with(struct rdb *r, const uint8_t *data, size_t len, size_t max,
                                    unsigned seed)
{
    struct walk w = {0};

    for (size_t at = 0; at < len && w.rc == 0;) {
        size_t n = seed == 0 ? max : 1 + (size_t)rand_r(&seed) % max;

        n = n < len - at ? n : len - at;
        feed_piece(&w, r, data + at, n);
        at += n;
    }
    w.origin = *rdb_origin(r);
    rdb_free(r);
    return w;
}

static inline struct walk walk(const uint8_t *data, size_t len, size_t max, unsigned seed)
{
    return walk_with(rdb_new(), data, len, max, seed);
}

static inline void assert_same(const struct walk *a, const struct walk *b)
{
    assert_int_equal(a->cnt, b->cnt);
    assert_int_equal(a->complete, b->complete);
    for (size_t i = 0; i < a->cnt; i++) {
        struct rdb_item x = a->items[i].item, y = b->items[i].item;

        assert_int_equal(x.key == NULL, y.key == NULL);
        if (x.key != NULL)
            assert_memory_equal(x.key, y.key, x.key_len);
        x.key = y.key = NULL;
        assert_int_equal(x.kind, y.kind);
        assert_int_equal(x.size, y.size);
        assert_int_equal(x.db, y.db);
        assert_int_equal(x.key_len, y.key_len);
        assert_int_equal(x.type, y.type);
        assert_int_equal(x.has_expire, y.has_expire);
        assert_int_equal(x.expire_ms, y.expire_ms);
        assert_int_equal(x.has_idle, y.has_idle);
        assert_int_equal(x.idle_s, y.idle_s);
        assert_int_equal(x.has_freq, y.has_freq);
        assert_int_equal(x.freq, y.freq);
        assert_int_equal(x.type_off, y.type_off);
        assert_int_equal(x.body_off, y.body_off);
    }
}

#endif
