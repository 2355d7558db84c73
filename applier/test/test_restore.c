/* Tests of restore.c: a whole data set goes from one real Redis into another. */
#include "applier/src/restore.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/test/real_data.h"

#include <liblzf/lzf.h>

#define LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define FAR_MS   32503680000123
#define GUARD_MS 86400000

struct env {
    struct real_redis from, to;
    uint8_t *data; /* what `from` saved */
    size_t len;
};

static int start(void **state)
{
    struct env *env = calloc(1, sizeof(*env));

    assert_non_null(env);
    real_start(&env->from);
    real_start(&env->to);
    real_fill(&env->from);
    *state = env;
    return 0;
}

static int stop(void **state)
{
    struct env *env = *state;

    real_stop(&env->from);
    real_stop(&env->to);
    free(env->data);
    free(env);
    return 0;
}

/* Sends the command in `b` and empties it; the caller frees the reply. */
static redisReply *send_raw(struct real_redis *s, struct buf *b)
{
    redisReply *reply = NULL;

    assert_int_equal(redisAppendFormattedCommand(s->c, (char *)buf_data(b), b->len), REDIS_OK);
    assert_int_equal(redisGetReply(s->c, (void **)&reply), REDIS_OK);
    buf_reset(b);
    return reply;
}

static void send_ok(struct real_redis *s, struct buf *b)
{
    redisReply *reply = send_raw(s, b);

    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s", reply->str);
    freeReplyObject(reply);
}

typedef void item_fn(struct env *env, const uint8_t *bytes, const struct rdb_item *item);

/* Calls `each` for the items of what `from` saves now. */
static void each_item(struct env *env, item_fn *each)
{
    struct rdb *r = rdb_new();
    uint64_t start_off = 0;

    free(env->data);
    env->data = real_save(&env->from, &env->len);
    while (rdb_offset(r) < env->len) {
        struct rdb_item item;
        struct err err;
        bool end = false;
        size_t at = (size_t)rdb_offset(r);

        assert_true(rdb_feed(r, env->data + at, env->len - at, &end, &item, &err) > 0);
        assert_true(end);
        each(env, env->data + start_off, &item);
        start_off = rdb_offset(r);
    }
    rdb_free(r);
}

static void restore_key(struct env *env, const uint8_t *bytes, const struct rdb_item *known,
                        int64_t guard_ms)
{
    struct restore *rs = restore_new();
    struct rdb_item item;
    struct buf b;
    struct err err;

    buf_init(&b);
    assert_int_equal(restore_parse(rs, known->db, bytes, (size_t)known->size, &item, &err), 0);
    assert_int_equal(item.db, known->db);
    assert_int_equal(item.body_off, known->body_off);
    assert_false(rdb_is_empty(bytes, &item));
    assert_int_equal(restore_put_key(&b, bytes, &item, guard_ms, &err), 0);
    real_do(&env->to, "SELECT %d", (int)item.db);
    send_ok(&env->to, &b);
    buf_release(&b);
    restore_free(rs);
}

static void restore_item(struct env *env, const uint8_t *bytes, const struct rdb_item *item)
{
    struct buf b, name;
    struct err err;

    buf_init(&b);
    buf_init(&name);
    if (item->kind == RDB_KEY) {
        restore_key(env, bytes, item, 0);
    } else if (item->kind == RDB_FUNCTION) {
        assert_int_equal(restore_put_function(&b, &name, bytes, (size_t)item->size, &err), 0);
        assert_true((name.len == 4 && memcmp(buf_data(&name), "lib1", 4) == 0) ||
                    (name.len == 5 && memcmp(buf_data(&name), "lib_2", 5) == 0));
        send_ok(&env->to, &b);
    }
    buf_release(&b);
    buf_release(&name);
}

static void restore_item_guarded(struct env *env, const uint8_t *bytes,
                                 const struct rdb_item *item)
{
    if (item->kind == RDB_KEY)
        restore_key(env, bytes, item, GUARD_MS);
}

/* ---- comparing ----------------------------------------------------------------------------- */

static bool same_reply(const redisReply *a, const redisReply *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < a->elements; i++) {
            if (a->elements != b->elements || !same_reply(a->element[i], b->element[i]))
                return false;
        }
        return a->elements == b->elements;
    }
    if (a->type == REDIS_REPLY_STRING || a->type == REDIS_REPLY_STATUS)
        return a->len == b->len && memcmp(a->str, b->str, a->len) == 0;
    return a->integer == b->integer;
}

/* `COMMAND [sub] key [more]` gives the same on both sides; "" for a word that is not there. */
static void compare(struct env *env, const char *command, const char *sub,
                    const redisReply *key, const char *more)
{
    const char *words[] = {command, sub, key->str, more};
    size_t sizes[] = {strlen(command), strlen(sub), key->len, strlen(more)};
    const char *argv[4];
    size_t lens[4];
    int argc = 0;
    redisReply *a, *b;

    for (size_t i = 0; i < LEN(words); i++) {
        if (i != 2 && sizes[i] == 0)
            continue;
        argv[argc] = words[i];
        lens[argc++] = sizes[i];
    }
    a = redisCommandArgv(env->from.c, argc, argv, lens);
    b = redisCommandArgv(env->to.c, argc, argv, lens);
    assert_non_null(a);
    assert_non_null(b);
    if (a->type == REDIS_REPLY_ERROR || !same_reply(a, b))
        fail_msg("%s %s differs for '%.40s'", command, sub, key->str);
    freeReplyObject(a);
    freeReplyObject(b);
}

/* The order of a hash table's elements is each server's own. */
static bool is_hashed(struct env *env, const redisReply *key)
{
    redisReply *reply = real_ask(&env->from, "OBJECT ENCODING %b", key->str, key->len);
    bool hashed = strcmp(reply->str, "hashtable") == 0;

    freeReplyObject(reply);
    return hashed;
}

static void compare_db(struct env *env, int db)
{
    redisReply *keys;

    real_do(&env->from, "SELECT %d", db);
    real_do(&env->to, "SELECT %d", db);
    keys = real_ask(&env->from, "KEYS *");
    assert_true(keys->elements > 0);
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *k = keys->element[i];

        compare(env, "TYPE", "", k, "");
        compare(env, "DEBUG", "DIGEST-VALUE", k, "");
        if (!is_hashed(env, k))
            compare(env, "DUMP", "", k, "");
        compare(env, "PEXPIRETIME", "", k, "");
        if (k->len >= 6 && memcmp(k->str, "stream", 6) == 0)
            compare(env, "XINFO", "STREAM", k, "FULL");
    }
    freeReplyObject(keys);
    /* Those that have expired are on one side only. */
    keys = real_ask(&env->to, "KEYS *");
    for (size_t i = 0; i < keys->elements; i++)
        compare(env, "EXISTS", "", keys->element[i], "");
    freeReplyObject(keys);
}

static const char *library_of(const redisReply *list, const char *name, const char **code)
{
    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *lib = list->element[i];

        assert_int_equal(lib->elements, 8);
        if (strcmp(lib->element[1]->str, name) == 0) {
            *code = lib->element[7]->str;
            return *code;
        }
    }
    return NULL;
}

static void compare_functions(struct env *env)
{
    static const char *const names[] = {"lib1", "lib_2"};
    redisReply *a = real_ask(&env->from, "FUNCTION LIST WITHCODE");
    redisReply *b = real_ask(&env->to, "FUNCTION LIST WITHCODE");

    assert_int_equal(a->elements, LEN(names));
    assert_int_equal(b->elements, LEN(names));
    for (size_t i = 0; i < LEN(names); i++) {
        const char *x, *y;

        assert_non_null(library_of(a, names[i], &x));
        assert_non_null(library_of(b, names[i], &y));
        assert_string_equal(x, y);
    }
    freeReplyObject(a);
    freeReplyObject(b);
}

static void test_data_set(void **state)
{
    struct env *env = *state;

    real_do(&env->to, "SET embstr old-value-is-replaced");
    for (int round = 0; round < 2; round++) {
        each_item(env, restore_item);
        compare_db(env, 3);
        compare_db(env, 15);
        compare_db(env, 0);
        compare_functions(env);
    }
}

static int64_t ask_int(struct real_redis *s, const char *command)
{
    redisReply *reply = real_ask(s, command);
    int64_t v = reply->integer;

    freeReplyObject(reply);
    return v;
}

/* With the guard even what has expired is there, and what is far enough does not wrap around. */
static void test_guard(void **state)
{
    struct env *env = *state;
    int64_t past;

    each_item(env, restore_item_guarded);
    real_do(&env->to, "SELECT 0");
    real_do(&env->from, "SELECT 0");
    past = ask_int(&env->to, "PEXPIRETIME ttl:past");
    assert_true(past > real_ms() && past < real_ms() + GUARD_MS);
    assert_int_equal(ask_int(&env->to, "PEXPIRETIME ttl:far"), FAR_MS + GUARD_MS);
    assert_int_equal(ask_int(&env->to, "PEXPIRETIME ttl:max"), INT64_MAX);
    assert_int_equal(ask_int(&env->to, "PEXPIRETIME ttl:list"),
                     ask_int(&env->from, "PEXPIRETIME ttl:list") + GUARD_MS);
    assert_int_equal(ask_int(&env->to, "PEXPIRETIME embstr"), -1);
    assert_int_equal(ask_int(&env->to, "DBSIZE"), ask_int(&env->from, "DBSIZE"));
}

/* ---- idle time and frequency ------------------------------------------------------------------ */

static void check_access(struct env *env, const uint8_t *bytes, const struct rdb_item *item)
{
    struct buf b;
    struct err err;

    if (item->kind != RDB_KEY || item->key_len != 6 || memcmp(item->key, "access", 6) != 0)
        return;
    buf_init(&b);
    assert_int_equal(restore_put_key(&b, bytes, item, 0, &err), 0);
    real_do(&env->to, "SELECT 0");
    send_ok(&env->to, &b);
    buf_release(&b);
    if (item->has_freq)
        assert_int_equal(ask_int(&env->to, "OBJECT FREQ access"), 77);
    else
        assert_in_range(ask_int(&env->to, "OBJECT IDLETIME access"), 3000, 3060);
}

static void test_access(void **state)
{
    static const char *const policies[] = {"allkeys-lru", "allkeys-lfu"};
    struct env *env = *state;

    for (size_t i = 0; i < LEN(policies); i++) {
        redisReply *dump;

        real_do(&env->from, "CONFIG SET maxmemory-policy %s lfu-decay-time 0", policies[i]);
        real_do(&env->to, "CONFIG SET maxmemory-policy %s lfu-decay-time 0", policies[i]);
        real_do(&env->from, "SELECT 0");
        real_do(&env->from, "SET access v");
        dump = real_ask(&env->from, "DUMP access");
        real_do(&env->from, "RESTORE access 0 %b REPLACE %s %d", dump->str, dump->len,
                i == 0 ? "IDLETIME" : "FREQ", i == 0 ? 3000 : 77);
        freeReplyObject(dump);
        each_item(env, check_access);
    }
    real_do(&env->from, "DEL access");
    real_do(&env->to, "CONFIG SET maxmemory-policy noeviction");
    real_do(&env->from, "CONFIG SET maxmemory-policy noeviction");
}

/* ---- the command's form --------------------------------------------------------------------- */

/* Parses the whole item `bytes` and builds its command. */
static int build(const char *bytes, size_t len, int64_t guard_ms, struct buf *out)
{
    struct restore *rs = restore_new();
    struct rdb_item item;
    struct err err;
    int rc = restore_parse(rs, 0, (const uint8_t *)bytes, len, &item, &err);

    if (rc == 0)
        rc = restore_put_key(out, (const uint8_t *)bytes, &item, guard_ms, &err);
    else
        assert_int_equal(err.kind, ERR_CORRUPT);
    restore_free(rs);
    return rc;
}

/* What stands before and behind the payload. */
static void check_form(const char *bytes, size_t len, int64_t guard_ms, const char *head,
                       const char *tail)
{
    struct buf b;
    size_t head_len = strlen(head), tail_len = strlen(tail);

    buf_init(&b);
    assert_int_equal(build(bytes, len, guard_ms, &b), 0);
    assert_true(b.len > head_len + tail_len);
    assert_memory_equal(buf_data(&b), head, head_len);
    assert_memory_equal(buf_data(&b) + b.len - tail_len, tail, tail_len);
    buf_release(&b);
}

#define FORM(bytes, guard_ms, head, tail)                                                      \
    check_form(bytes, sizeof(bytes) - 1, guard_ms, head, "\r\n$7\r\nREPLACE\r\n" tail)
#define ABS_TAIL "$6\r\nABSTTL\r\n"

static void test_form(void **state)
{
    (void)state;
    FORM("\x00\x01k\x01v", 7, "*5\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n0\r\n$13\r\n", "");
    FORM("\xfc\x05\0\0\0\0\0\0\0\x00\x00\x01v", 7,
         "*6\r\n$7\r\nRESTORE\r\n$0\r\n\r\n$2\r\n12\r\n$13\r\n", ABS_TAIL);
    /* before 1970, at it, and beyond what 64 bits hold */
    FORM("\xfd\xff\xff\xff\xff\x00\xc0\x05\x01v", 0,
         "*6\r\n$7\r\nRESTORE\r\n$1\r\n5\r\n$1\r\n1\r\n$13\r\n", ABS_TAIL);
    FORM("\xfc\0\0\0\0\0\0\0\0\x00\xc0\x05\x01v", 0,
         "*6\r\n$7\r\nRESTORE\r\n$1\r\n5\r\n$1\r\n1\r\n$13\r\n", ABS_TAIL);
    FORM("\xfc\0\0\0\0\0\0\0\x80\x00\xc0\x05\x01v", -5,
         "*6\r\n$7\r\nRESTORE\r\n$1\r\n5\r\n$1\r\n1\r\n$13\r\n", ABS_TAIL);
    FORM("\xfc\xf0\xff\xff\xff\xff\xff\xff\x7f\x00\xc0\x05\x01v", 1000,
         "*6\r\n$7\r\nRESTORE\r\n$1\r\n5\r\n$19\r\n9223372036854775807\r\n", ABS_TAIL);
    FORM("\xf8\x41\x00\x00\x01k\x01v", 0, "*7\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n0\r\n",
         "$8\r\nIDLETIME\r\n$3\r\n256\r\n");
    FORM("\xf8\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01k\x01v", 0, "*7\r\n$7\r\nRESTORE\r\n",
         "$8\r\nIDLETIME\r\n$19\r\n9223372036854775807\r\n");
    FORM("\xf9\xff\xf8\x05\xfc\x05\0\0\0\0\0\0\0\x00\x01k\x01v", 0, "*8\r\n$7\r\nRESTORE\r\n",
         ABS_TAIL "$4\r\nFREQ\r\n$3\r\n255\r\n");
}

static void test_not_one_key(void **state)
{
    static const char whole[] = "\xfc\x05\0\0\0\0\0\0\0\x04\x01k\x01\x01x\x01y";
    struct restore *rs = restore_new();
    struct rdb_item item;
    struct err err;
    struct buf b;

    (void)state;
    buf_init(&b);
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        assert_int_equal(restore_parse(rs, 1, (const uint8_t *)whole, n, &item, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
    }
    assert_int_equal(restore_parse(rs, 1, (const uint8_t *)whole, sizeof(whole), &item, &err),
                     -1);
    /* and after all of that it still works */
    assert_int_equal(
        restore_parse(rs, 1, (const uint8_t *)whole, sizeof(whole) - 1, &item, &err), 0);
    assert_int_equal(item.db, 1);
    restore_free(rs);
    assert_int_equal(build("\xfe\x01", 2, 0, &b), -1);
    assert_int_equal(build("\xff"
                           "12345678",
                           9, 0, &b),
                     -1);
    assert_int_equal(build("\x06\x01k", 3, 0, &b), -1);
    assert_int_equal(b.len, 0);
    buf_release(&b);
}

/* ---- forms of other versions, taken by a real server ---------------------------------------- */

#define EMPTY_ZL "\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"
#define EMPTY_LP "\x07\x07\0\0\0\0\0\xff"
#define ZL_A                                                                                   \
    "\x0e\x0e\0\0\0\x0a\0\0\0\1\0\0\1"                                                         \
    "a\xff"
#define ZL_AB                                                                                  \
    "\x11\x11\0\0\0\x0d\0\0\0\2\0\0\1"                                                         \
    "a\3\1"                                                                                    \
    "b\xff"
#define ZL_A1                                                                                  \
    "\x10\x10\0\0\0\x0d\0\0\0\2\0\0\1"                                                         \
    "a\3\xf2\xff"

static const struct {
    const char *bytes;
    size_t len;
    const char *ask; /* NULL: the server refuses it, and rdb_is_empty() says so before */
    const char *answer;
} foreign[] = {
#define TAKEN(bytes, ask, answer)                                                              \
    {                                                                                          \
        bytes, sizeof(bytes) - 1, ask, answer                                                  \
    }
#define EMPTY(bytes)                                                                           \
    {                                                                                          \
        bytes, sizeof(bytes) - 1, NULL, NULL                                                   \
    }
    TAKEN("\x01\x01k\x02\x01"
          "a\xc0\x05",
          "LINDEX k 1", "5"),
    TAKEN("\x02\x01k\x01\x01"
          "a",
          "SRANDMEMBER k", "a"),
    TAKEN("\x03\x01k\x02\x01"
          "a\x03"
          "1.5\x01"
          "b\xfe",
          "ZSCORE k a", "1.5"),
    TAKEN("\x03\x01k\x01\x01"
          "b\xff",
          "ZSCORE k b", "-inf"),
    TAKEN("\x04\x01k\x01\x01"
          "a\x01"
          "b",
          "HGET k a", "b"),
    TAKEN("\x05\x01k\x01\x01"
          "a\0\0\0\0\0\0\xf8\x3f",
          "ZSCORE k a", "1.5"),
    TAKEN("\x09\x01k\x07\x01\x01"
          "a\x01\x00"
          "b\xff",
          "HGET k a", "b"),
    TAKEN("\x0a\x01k" ZL_A, "LINDEX k 0", "a"),
    TAKEN("\x0b\x01k\x0a\2\0\0\0\1\0\0\0\7\0", "SRANDMEMBER k", "7"),
    TAKEN("\x0c\x01k" ZL_A1, "ZSCORE k a", "1"),
    TAKEN("\x0d\x01k" ZL_AB, "HGET k a", "b"),
    TAKEN("\x0e\x01k\x02" ZL_A ZL_AB, "LINDEX k 2", "b"),
    TAKEN("\x0f\x01k\x00\x00\x05\x06\x01\x01g\x05\x06\x00\x01\x01"
          "c\1\0\0\0\0\0\0\0\x00",
          "XADD k 7-7 a b", "7-7"),
    EMPTY("\x01\x01k\x00"),
    EMPTY("\x02\x01k\x00"),
    EMPTY("\x03\x01k\x00"),
    EMPTY("\x04\x01k\x00"),
    EMPTY("\x05\x01k\x00"),
    EMPTY("\x09\x01k\x02\x00\xff"),
    EMPTY("\x0a\x01k" EMPTY_ZL),
    EMPTY("\x0b\x01k\x08\x02\0\0\0\0\0\0\0"),
    EMPTY("\x0c\x01k" EMPTY_ZL),
    EMPTY("\x0d\x01k" EMPTY_ZL),
    EMPTY("\x0e\x01k\x00"),
    EMPTY("\x0e\x01k\x02" EMPTY_ZL EMPTY_ZL),
    EMPTY("\x10\x01k" EMPTY_LP),
    EMPTY("\x11\x01k" EMPTY_LP),
    EMPTY("\x12\x01k\x00"),
    EMPTY("\x12\x01k\x01\x02" EMPTY_LP),
};

static void test_foreign_forms(void **state)
{
    struct env *env = *state;
    struct buf b;

    buf_init(&b);
    real_do(&env->to, "SELECT 9");
    for (size_t i = 0; i < LEN(foreign); i++) {
        struct restore *rs = restore_new();
        const uint8_t *bytes = (const uint8_t *)foreign[i].bytes;
        struct rdb_item item;
        struct err err;
        redisReply *reply;

        if (restore_parse(rs, 9, bytes, foreign[i].len, &item, &err) != 0)
            fail_msg("vector %zu: %s", i, err.msg);
        assert_int_equal(rdb_is_empty(bytes, &item), foreign[i].ask == NULL);
        assert_int_equal(restore_put_key(&b, bytes, &item, 0, &err), 0);
        reply = send_raw(&env->to, &b);
        if (foreign[i].ask == NULL) {
            assert_int_equal(reply->type, REDIS_REPLY_ERROR);
            assert_non_null(strstr(reply->str, "Bad data format"));
        } else {
            if (reply->type == REDIS_REPLY_ERROR)
                fail_msg("vector %zu: %s", i, reply->str);
            freeReplyObject(reply);
            reply = real_ask(&env->to, foreign[i].ask);
            assert_string_equal(reply->str, foreign[i].answer);
        }
        freeReplyObject(reply);
        restore_free(rs);
    }
    buf_release(&b);
}

/* ---- fields that expire --------------------------------------------------------------------- */

#define FIELD_MS 32503680000555

/* Where a 64-bit number stands in `b`, NULL: nowhere. */
static const uint8_t *find_u64(const struct buf *b, uint64_t v)
{
    uint8_t bytes[8];

    put_u64le(bytes, v);
    return memmem(buf_data(b), b->len, bytes, sizeof(bytes));
}

/* RESTORE of a hash of type 25 whose listpack is `lp`, compressed when `lzf`. */
static int build_fields(const uint8_t *lp, size_t len, bool lzf, int64_t guard_ms,
                        struct buf *out)
{
    struct buf item;
    uint8_t packed[1024];
    unsigned n = lzf ? lzf_compress(lp, (unsigned)len, packed, sizeof(packed)) : 0;
    int rc;

    buf_init(&item);
    buf_append(&item, "\x19\x01k", 3);
    buf_put_u64(&item, FIELD_MS);
    if (lzf) {
        assert_true(n > 0 && n < 0x4000 && len < 0x4000);
        buf_printf(&item, "\xc3%c%c%c%c", 0x40 | (int)(n >> 8), (int)(n & 0xff),
                   0x40 | (int)(len >> 8), (int)(len & 0xff));
        buf_append(&item, packed, n);
    } else {
        buf_printf(&item, "%c%c", 0x40 | (int)(len >> 8), (int)(len & 0xff));
        buf_append(&item, lp, len);
    }
    rc = build((char *)buf_data(&item), item.len, guard_ms, out);
    buf_release(&item);
    return rc;
}

/* Entries of every encoding, in triples of field, value, expiry; columns 0 and 1 hold numbers
 * that look like an expiry. */
static void make_listpack(struct buf *lp)
{
    uint8_t ms[8];

    put_u64le(ms, FIELD_MS);
    buf_append(lp, "\0\0\0\0\0\0", 6);
    buf_append(lp,
               "\x81"
               "a\2",
               3);                                 /* string */
    buf_append(lp, "\xf4\1\0\0\0\0\0\0\0\x9", 10); /* 64 bits */
    buf_append(lp, "\xf4", 1);
    buf_append(lp, ms, 8);
    buf_append(lp, "\x9", 1);
    buf_append(lp, "\xc1\0\2\xf1\0\1\3\0\1", 9); /* 13, 16 and 7 bits: no expiry */
    buf_append(lp, "\xf2\0\0\1\4\xf3\0\0\0\1\5\xf3\0\0\0\1\5", 17); /* 24, 32 bits */
    buf_append(lp, "\xe0\x81", 2); /* string of 12 bits of length */
    for (int i = 0; i < 129; i++)
        buf_put_u8(lp, 'x');
    buf_append(lp, "\1\x83\xf0\x2\0\0\0xy\7\xf4", 11); /* string of 32 bits of length */
    buf_append(lp, "\2\0\0\0\1\0\0\0\x9\xff", 10);
    put_u32le(buf_data(lp), (uint32_t)lp->len);
}

static void test_fields(void **state)
{
    struct buf lp, b;

    (void)state;
    buf_init(&lp);
    buf_init(&b);
    make_listpack(&lp);
    for (int lzf = 0; lzf < 2; lzf++) {
        /* Without a guard the bytes are the same. */
        assert_int_equal(build_fields(buf_data(&lp), lp.len, lzf == 1, 0, &b), 0);
        assert_null(find_u64(&b, FIELD_MS + GUARD_MS));
        buf_reset(&b);
        assert_int_equal(build_fields(buf_data(&lp), lp.len, lzf == 1, GUARD_MS, &b), 0);
        assert_null(find_u64(&b, FIELD_MS));
        /* the smallest one in front, then the fields' own; the value 1 is no expiry */
        assert_int_equal(*(find_u64(&b, FIELD_MS + GUARD_MS) - 1), 25);
        assert_non_null(find_u64(&b, 1));
        assert_non_null(find_u64(&b, 0x100000002 + GUARD_MS));
        buf_consume(&b, (size_t)(find_u64(&b, FIELD_MS + GUARD_MS) - buf_data(&b)) + 8);
        assert_int_equal(*(find_u64(&b, FIELD_MS + GUARD_MS) - 1), 0xf4);
        buf_reset(&b);
        assert_int_equal(build_fields(buf_data(&lp), lp.len, lzf == 1, INT64_MAX, &b), 0);
        assert_non_null(find_u64(&b, FIELD_MS + ((uint64_t)1 << 47)));
        buf_reset(&b);
    }
    for (size_t n = 0; n < lp.len; n++) {
        assert_int_equal(build_fields(buf_data(&lp), n, false, GUARD_MS, &b), -1);
        /* also when the header agrees */
        if (n > 4) {
            put_u32le(buf_data(&lp), (uint32_t)n);
            assert_int_equal(build_fields(buf_data(&lp), n, false, GUARD_MS, &b), -1);
            put_u32le(buf_data(&lp), (uint32_t)lp.len);
        }
        assert_int_equal(b.len, 0);
    }
    assert_int_equal(build("\x18\x01k\x05\0\0\0\0\0\0\0\x01\x01\x01x\x01y", 17, 7, &b), 0);
    assert_non_null(
        memmem(buf_data(&b), b.len, "\x18\x0c\0\0\0\0\0\0\0\x01\x01\x01x\x01y", 15));
    buf_release(&lp);
    buf_release(&b);
}

/* ---- functions --------------------------------------------------------------------------------- */

static void test_function_names(void **state)
{
    static const struct {
        const char *code;
        const char *name; /* NULL: refused */
    } cases[] = {
        {"#!lua name=a\n", "a"},
        {"#!lua name=a_9Z", "a_9Z"},
        {"#!LUA NAME=x y=z\ncode", "x"},
        {"#!lua\tname='q'\n", "q"},
        {"#!lua \"name=q\"\n", "q"},
        {"#!lua nickname=no name=yes\n", "yes"},
        {"#!lua\nname=a\n", NULL},
        {"#!lua name=\n", NULL},
        {"#!lua name=\"\"\nname=a", NULL},
        {"", NULL},
        {"name=", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct buf item, out, name;
        struct err err;
        int rc;

        buf_init(&item);
        buf_init(&out);
        buf_init(&name);
        buf_printf(&item, "%c%c%s", 0xf5, (int)strlen(cases[i].code), cases[i].code);
        rc = restore_put_function(&out, &name, buf_data(&item), item.len, &err);
        assert_int_equal(rc, cases[i].name == NULL ? -1 : 0);
        assert_int_equal(name.len, cases[i].name == NULL ? 0 : strlen(cases[i].name));
        if (rc == 0)
            assert_memory_equal(buf_data(&name), cases[i].name, name.len);
        assert_int_equal(out.len == 0, rc != 0);
        assert_int_equal(restore_put_function(&out, &name, buf_data(&item), item.len - 1, &err),
                         -1);
        buf_release(&item);
        buf_release(&out);
        buf_release(&name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_set),    cmocka_unit_test(test_guard),
        cmocka_unit_test(test_access),      cmocka_unit_test(test_form),
        cmocka_unit_test(test_not_one_key), cmocka_unit_test(test_foreign_forms),
        cmocka_unit_test(test_fields),      cmocka_unit_test(test_function_names),
    };

    return cmocka_run_group_tests_name("restore", tests, start, stop);
}
