/*
 * test_cut - entries of a stream: what they are, and that they are the same however the stream
 * was cut into pieces.
 */
#include "journal/src/cut.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "common/buf.h"
#include "common/cmd.h"
#include "common/err.h"
#include "common/slot.h"

#define HEAD  ((size_t)64 * 1024) /* what the cutter looks at of a command */
#define ITEMS 512

#define COMMAND(name, first)                                                                   \
    "*6\r\n+" name "\r\n:-2\r\n*1\r\n+write\r\n:" #first "\r\n:1\r\n:1\r\n"

static struct cmd_table *table_new(void)
{
    static const char text[] = "*6\r\n" COMMAND("set", 1) COMMAND("bitop", 2) COMMAND("eval", 0)
        COMMAND("publish", 0) COMMAND("spublish", 1) COMMAND("flushall", 0);
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    struct cmd_table *t;

    assert_non_null(reader);
    assert_int_equal(redisReaderFeed(reader, text, sizeof(text) - 1), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    t = cmd_table_new(reply);
    assert_non_null(t);
    freeReplyObject(reply);
    redisReaderFree(reader);
    return t;
}

/* Appends a command; the words end with NULL. */
static void add(struct buf *b, ...)
{
    const char *word[16];
    size_t cnt = 0;
    va_list ap;

    va_start(ap, b);
    while ((word[cnt] = va_arg(ap, const char *)) != NULL)
        cnt++;
    va_end(ap);
    buf_printf(b, "*%zu\r\n", cnt);
    for (size_t i = 0; i < cnt; i++) {
        buf_printf(b, "$%zu\r\n", strlen(word[i]));
        buf_append(b, word[i], strlen(word[i]));
        buf_append(b, "\r\n", 2);
    }
}

static int slot(const char *key)
{
    return slot_of_key(key, strlen(key));
}

struct cuts {
    struct cut_item item[ITEMS];
    size_t cnt;
    struct cut_item rest; /* of the unfinished entry at the end */
    struct err err;       /* what ended it early */
    uint64_t consumed;
};

static void assert_same_item(const struct cut_item *a, const struct cut_item *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->db, b->db);
    assert_int_equal(a->db_end, b->db_end);
    assert_int_equal(a->slot, b->slot);
    assert_int_equal(a->getack, b->getack);
}

static void assert_same(const struct cuts *a, const struct cuts *b)
{
    assert_int_equal(a->cnt, b->cnt);
    for (size_t i = 0; i < a->cnt; i++)
        assert_same_item(&a->item[i], &b->item[i]);
    assert_int_equal(a->err.kind, b->err.kind);
    if (a->err.kind == ERR_NONE)
        assert_same_item(&a->rest, &b->rest);
    else
        assert_string_equal(a->err.msg, b->err.msg);
}

/* Feeds one piece, as a reader of a socket does. False when it is no stream. */
static bool feed(struct cut *c, struct cuts *out, const uint8_t *p, size_t len)
{
    size_t at = 0;

    while (at < len) {
        struct cut_item item;
        bool item_end;
        ptrdiff_t n = cut_feed(c, p + at, len - at, &item_end, &item, &out->err);

        if (n < 0)
            return false;
        at += (size_t)n;
        out->consumed += (uint64_t)n;
        out->rest = item;
        if (!item_end) {
            assert_int_equal(at, len);
            break;
        }
        assert_true(out->cnt < ITEMS);
        out->item[out->cnt++] = item;
    }
    return true;
}

/* Cuts the stream, given in pieces of `piece` bytes but for the first, of `first`. The input is
 * copied so that reading past a piece is seen by the sanitizer. */
static void cut_in(const struct cmd_table *t, const struct buf *b, size_t first, size_t piece,
                   struct cuts *out)
{
    struct cut *c = cut_new(t, 0);
    size_t at = 0, len = first;

    memset(out, 0, sizeof(*out));
    while (at < b->len) {
        uint8_t *copy;
        bool ok;

        if (len > b->len - at)
            len = b->len - at;
        copy = malloc(len != 0 ? len : 1);
        assert_non_null(copy);
        memcpy(copy, buf_data(b) + at, len);
        ok = feed(c, out, copy, len);
        free(copy);
        if (!ok)
            break;
        at += len;
        len = piece;
    }
    cut_free(c);
}

static void cut_whole(const struct cmd_table *t, const struct buf *b, struct cuts *out)
{
    cut_in(t, b, b->len, b->len, out);
}

struct expected {
    enum entry_kind kind;
    uint32_t db, db_end;
    const char *key;
    bool getack;
};

static void assert_items(const struct cuts *got, const struct expected *want, size_t cnt)
{
    assert_int_equal(got->err.kind, ERR_NONE);
    assert_int_equal(got->cnt, cnt);
    for (size_t i = 0; i < cnt; i++) {
        assert_int_equal(got->item[i].kind, want[i].kind);
        assert_int_equal(got->item[i].db, want[i].db);
        assert_int_equal(got->item[i].db_end, want[i].db_end);
        assert_int_equal(got->item[i].slot, want[i].key != NULL ? slot(want[i].key) : -1);
        assert_int_equal(got->item[i].getack, want[i].getack);
    }
}

/* One of each kind of entry. */
static void every_kind_stream(struct buf *b)
{
    buf_init(b);
    add(b, "SELECT", "3", NULL);
    add(b, "SET", "{a}1", "v", NULL);
    add(b, "PING", NULL);
    add(b, "ping", "x", NULL);
    add(b, "FLUSHALL", NULL);
    add(b, "flushall", "ASYNC", NULL);
    add(b, "REPLCONF", "GETACK", "*", NULL);
    add(b, "replconf", "getack", "*", NULL);
    add(b, "REPLCONF", "ACK", "5", NULL);
    add(b, "MULTI", NULL);
    add(b, "FLUSHALL", NULL);
    add(b, "BITOP", "AND", "first", "x", NULL);
    add(b, "set", "second", "v", NULL);
    add(b, "EXEC", NULL);
    add(b, "Multi", NULL);
    add(b, "sElect", "11", NULL);
    add(b, "SET", "k", "v", NULL);
    add(b, "select", "7", NULL);
    add(b, "exec", NULL);
    add(b, "MULTI", NULL);
    add(b, "EXEC", NULL);
    add(b, "PUBLISH", "news", "k", NULL);
    add(b, "spublish", "shard", "k", NULL);
    add(b, "EVAL", "return 1", "1", "k", "x", NULL);
    add(b, "EVAL", "return 1", "0", "k", NULL);
    add(b, "NOSUCH", "k", NULL);
    add(b, "SET", "", "", NULL);
    add(b, "SELECT", "0", NULL);
    add(b, "SETS", "PING", NULL);
    add(b, "MULTI", NULL);
    add(b, "REPLCONF", "GETACK", "*", NULL);
    add(b, "REPLCONF", "ACK", "5", NULL);
    add(b, "EXEC", NULL);
}

static const struct expected every_kind[] = {
    {ENTRY_LINK, 0, 3, NULL, false},      /* SELECT */
    {ENTRY_COMMAND, 3, 3, "a", false},    /* SET */
    {ENTRY_LINK, 3, 3, NULL, false},      /* PING */
    {ENTRY_LINK, 3, 3, NULL, false},      /* ping x */
    {ENTRY_COMMAND, 3, 3, NULL, false},   /* FLUSHALL */
    {ENTRY_COMMAND, 3, 3, NULL, false},   /* flushall ASYNC */
    {ENTRY_LINK, 3, 3, NULL, true},       /* REPLCONF GETACK */
    {ENTRY_LINK, 3, 3, NULL, true},       /* replconf getack */
    {ENTRY_LINK, 3, 3, NULL, false},      /* REPLCONF ACK */
    {ENTRY_TXN, 3, 3, "first", false},    /* a transaction */
    {ENTRY_TXN, 3, 7, "k", false},        /* one that changes the database twice */
    {ENTRY_TXN, 7, 7, NULL, false},       /* an empty one */
    {ENTRY_COMMAND, 7, 7, "news", false}, /* PUBLISH */
    {ENTRY_COMMAND, 7, 7, "shard", false},
    {ENTRY_COMMAND, 7, 7, "k", false},  /* EVAL with a key */
    {ENTRY_COMMAND, 7, 7, NULL, false}, /* EVAL without one */
    {ENTRY_COMMAND, 7, 7, NULL, false}, /* an unknown command */
    {ENTRY_COMMAND, 7, 7, "", false},   /* the empty key */
    {ENTRY_LINK, 7, 0, NULL, false},    /* SELECT 0 */
    {ENTRY_COMMAND, 0, 0, NULL, false}, /* no prefix of a name counts */
    {ENTRY_TXN, 0, 0, NULL, true},      /* no server sends it; the wish is not lost */
};

static void kinds(void **state)
{
    struct cuts *got = malloc(sizeof(*got));
    uint64_t sum = 0;
    struct buf b;

    assert_non_null(got);
    every_kind_stream(&b);
    cut_whole(*state, &b, got);
    assert_items(got, every_kind, sizeof(every_kind) / sizeof(every_kind[0]));
    for (size_t i = 0; i < got->cnt; i++)
        sum += got->item[i].size;
    assert_int_equal(sum, b.len);
    assert_int_equal(got->consumed, b.len);
    assert_int_equal(got->item[0].size, 23);
    assert_int_equal(got->item[2].size, 14);
    assert_int_equal(got->item[6].size, 37);
    assert_int_equal(got->item[11].size, 15 + 14);
    buf_release(&b);
    free(got);
}

static void every_split_point(void **state)
{
    struct cuts *whole = malloc(sizeof(*whole)), *got = malloc(sizeof(*got));
    struct buf b;

    assert_true(whole != NULL && got != NULL);
    every_kind_stream(&b);
    cut_whole(*state, &b, whole);
    for (size_t at = 0; at <= b.len; at++) {
        cut_in(*state, &b, at, b.len, got);
        assert_same(whole, got);
    }
    for (size_t piece = 1; piece < 100; piece++) {
        cut_in(*state, &b, piece, piece, got);
        assert_same(whole, got);
    }
    buf_release(&b);
    free(whole);
    free(got);
}

/* Without a table the second argument counts as the key. */
static void no_table(void **state)
{
    static const struct expected want[] = {
        {ENTRY_COMMAND, 0, 0, "AND", false}, {ENTRY_COMMAND, 0, 0, NULL, false},
        {ENTRY_COMMAND, 0, 0, "k", false},   {ENTRY_LINK, 0, 9, NULL, false},
        {ENTRY_COMMAND, 9, 9, "dst", false},
    };
    struct cuts *got = calloc(1, sizeof(*got));
    struct buf b;
    struct cut *c = cut_new(NULL, 0);

    assert_non_null(got);
    buf_init(&b);
    add(&b, "BITOP", "AND", "dst", "x", NULL);
    add(&b, "FLUSHALL", NULL);
    add(&b, "NOSUCH", "k", NULL);
    add(&b, "SELECT", "9", NULL);
    assert_true(feed(c, got, buf_data(&b), b.len));
    cut_set_table(c, *state);
    buf_reset(&b);
    add(&b, "BITOP", "AND", "dst", "x", NULL);
    assert_true(feed(c, got, buf_data(&b), b.len));
    assert_items(got, want, sizeof(want) / sizeof(want[0]));
    cut_free(c);
    cut_free(NULL);
    buf_release(&b);
    free(got);
}

/* What is known of an entry that has not ended yet. */
static void unfinished(void **state)
{
    static const char set[] = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1000\r\nvvv";
    static const char txn[] = "*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n4\r\n"
                              "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$9\r\nv";
    struct cut *c = cut_new(*state, 2);
    struct cut_item item;
    struct err err;
    bool item_end;

    for (size_t i = 0; i + 1 < sizeof(set); i++) {
        assert_int_equal(cut_feed(c, (const uint8_t *)set + i, 1, &item_end, &item, &err), 1);
        assert_false(item_end);
        assert_int_equal(item.kind, ENTRY_COMMAND);
        assert_int_equal(item.size, i + 1);
        assert_int_equal(item.db, 2);
        assert_int_equal(item.slot, i + 1 < 20 ? -1 : slot("key")); /* 20: the end of "key" */
    }
    cut_reset(c, 3);
    assert_int_equal(cut_feed(c, NULL, 0, &item_end, &item, &err), 0);
    assert_false(item_end);
    assert_int_equal(item.size, 0);
    assert_int_equal(item.slot, -1);
    assert_int_equal(item.db, 3);
    for (size_t i = 0; i + 1 < sizeof(txn); i++) {
        assert_int_equal(cut_feed(c, (const uint8_t *)txn + i, 1, &item_end, &item, &err), 1);
        assert_false(item_end);
        /* The name is known with its last letter. */
        assert_int_equal(item.kind, i + 1 < 13 ? ENTRY_COMMAND : ENTRY_TXN);
        assert_int_equal(item.size, i + 1);
        assert_int_equal(item.db, 3);
        assert_int_equal(item.db_end, i + 1 < 15 + 23 ? 3 : 4);
        assert_int_equal(item.slot, i + 1 < 15 + 23 + 20 ? -1 : slot("key"));
    }
    /* A reset forgets all of it: the next byte begins an entry. */
    cut_reset(c, 0);
    assert_int_equal(
        cut_feed(c, (const uint8_t *)"*1\r\n$4\r\nPING\r\n", 14, &item_end, &item, &err), 14);
    assert_true(item_end);
    assert_int_equal(item.kind, ENTRY_LINK);
    assert_int_equal(item.size, 14);
    cut_free(c);
}

static void refuses(void **state)
{
    static const struct {
        const char *stream;
        const char *msg;
    } bad[] = {
        {"\n", "command at offset 0 of the entry: offset 0: expected '*', found byte 0x0a"},
        {"*1\r\n$4\r\nPING\r\n+OK\r\n",
         "command at offset 0 of the entry: offset 0: expected '*', found byte 0x2b"},
        {"*1\r\n$4\r\nEXEC\r\n", "command at offset 0 of the entry: EXEC without MULTI"},
        {"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nmulti\r\n",
         "command at offset 15 of the entry: MULTI inside of a transaction"},
        {"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n*1\r\n$-1\r\n",
         "command at offset 29 of the entry: offset 5: expected a digit, found byte 0x2d"},
        {"*1\r\n$6\r\nSELECT\r\n",
         "command at offset 0 of the entry: SELECT without the number of a database"},
        {"*2\r\n$6\r\nSELECT\r\n$2\r\n-1\r\n",
         "command at offset 0 of the entry: SELECT without the number of a database"},
        {"*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n",
         "command at offset 0 of the entry: SELECT without the number of a database"},
        {"*2\r\n$6\r\nSELECT\r\n$10\r\n4294967296\r\n",
         "command at offset 0 of the entry: SELECT without the number of a database"},
        {"*3\r\n$6\r\nSELECT\r\n$1\r\n1\r\n$1\r\n1\r\n",
         "command at offset 0 of the entry: SELECT without the number of a database"},
    };
    struct cuts *got = malloc(sizeof(*got));

    assert_non_null(got);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b;

        buf_init(&b);
        buf_append(&b, bad[i].stream, strlen(bad[i].stream));
        for (size_t at = 0; at <= b.len; at++) {
            cut_in(*state, &b, at, b.len, got);
            assert_int_equal(got->err.kind, ERR_CORRUPT);
            assert_string_equal(got->err.msg, bad[i].msg);
        }
        buf_release(&b);
    }
    free(got);
}

static char *letters(size_t len)
{
    char *s = malloc(len + 1);

    assert_non_null(s);
    memset(s, 'x', len);
    s[len] = '\0';
    return s;
}

/* The key must end within the first 64 KB of its command, in one piece or in many. */
static void far_keys(void **state)
{
    static const size_t head = sizeof("*3\r\n$3\r\nSET\r\n$65500\r\n") - 1;
    struct cuts *got = malloc(sizeof(*got));

    assert_non_null(got);
    for (size_t over = 0; over < 2; over++) {
        char *key = letters(HEAD - head + over);
        struct buf b;

        buf_init(&b);
        add(&b, "SET", key, "v", NULL);
        add(&b, "EVAL", key, "1", "k", NULL); /* the key is behind a script of 64 KB */
        add(&b, "SELECT", "1", NULL);
        for (size_t piece = b.len; piece > 1000; piece = piece * 2 / 3) {
            cut_in(*state, &b, piece, piece, got);
            assert_int_equal(got->cnt, 3);
            assert_int_equal(got->item[0].slot, over ? -1 : slot(key));
            assert_int_equal(got->item[1].slot, -1);
            assert_int_equal(got->item[2].db_end, 1);
        }
        buf_release(&b);
        free(key);
    }
    free(got);
}

static uint32_t next(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % below;
}

static void add_random_command(struct buf *b, uint32_t *seed)
{
    char key[16], db[16];
    char *value = letters(next(seed, 40) == 0 ? 60000 + next(seed, 20000) : next(seed, 200));

    (void)snprintf(key, sizeof(key), "key:%u", next(seed, 1000));
    (void)snprintf(db, sizeof(db), "%u", next(seed, 16));
    switch (next(seed, 10)) {
    case 0:
        add(b, "SELECT", db, NULL);
        break;
    case 1:
        add(b, "BITOP", "AND", key, value, NULL);
        break;
    case 2:
        add(b, "EVAL", value, "1", key, NULL);
        break;
    case 3:
        add(b, "nosuch", value, value, key, db, key, db, key, db, key, db, key, db, key, NULL);
        break;
    case 4:
        add(b, "SET", value, key, NULL);
        break;
    case 5:
        add(b, "FLUSHALL", NULL);
        break;
    default:
        add(b, "set", key, value, "PXAT", "1700000000000", NULL);
        break;
    }
    free(value);
}

static void random_stream(struct buf *b, uint32_t *seed)
{
    buf_init(b);
    for (int i = 0; i < 60; i++) {
        switch (next(seed, 6)) {
        case 0:
            add(b, "MULTI", NULL);
            for (uint32_t n = next(seed, 8); n > 0; n--)
                add_random_command(b, seed);
            add(b, "EXEC", NULL);
            break;
        case 1:
            add(b, "PING", NULL);
            break;
        case 2:
            add(b, "REPLCONF", "GETACK", "*", NULL);
            break;
        default:
            add_random_command(b, seed);
            break;
        }
    }
}

static void random_streams_and_cuts(void **state)
{
    struct cuts *whole = malloc(sizeof(*whole)), *got = malloc(sizeof(*got));

    assert_true(whole != NULL && got != NULL);
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t seed = round;
        struct buf b;

        random_stream(&b, &seed);
        cut_whole(*state, &b, whole);
        assert_int_equal(whole->err.kind, ERR_NONE);
        assert_true(whole->cnt >= 60);
        assert_int_equal(whole->consumed, b.len);
        for (int k = 0; k < 30; k++) {
            size_t most = k < 10 ? 300 : k < 20 ? 20000 : 200000;

            cut_in(*state, &b, next(&seed, 100), 1 + next(&seed, (uint32_t)most), got);
            assert_same(whole, got);
        }
        /* Damage: every way of feeding finds the same. */
        for (int k = 0; k < 10; k++) {
            buf_data(&b)[next(&seed, (uint32_t)b.len)] ^= (uint8_t)(1 + next(&seed, 255));
            cut_whole(*state, &b, whole);
            cut_in(*state, &b, next(&seed, 100), 1 + next(&seed, 5000), got);
            assert_same(whole, got);
        }
        buf_release(&b);
    }
    free(whole);
    free(got);
}

static int setup(void **state)
{
    *state = table_new();
    return 0;
}

static int teardown(void **state)
{
    cmd_table_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(every_split_point),
        cmocka_unit_test(no_table),
        cmocka_unit_test(unfinished),
        cmocka_unit_test(refuses),
        cmocka_unit_test(far_keys),
        cmocka_unit_test(random_streams_and_cuts),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
