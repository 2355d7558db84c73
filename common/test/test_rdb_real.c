/* Tests of rdb.c on files of real servers: Redis 7.0 as it runs here, and one that 7.4 wrote. */
#include "common/buf.h"
#include "common/rdb.h"
#include "common/test/rdb_walk.h"
#include "common/test/real_data.h"

#define FILE_7_4 "common/vectors/redis-7.4.rdb"

static int start(void **state)
{
    struct real_redis *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    real_start(s);
    real_fill(s);
    *state = s;
    return 0;
}

static int stop(void **state)
{
    real_stop(*state);
    free(*state);
    return 0;
}

/* The key, also when the walker did not keep it; `out` is the caller's. */
static void key_of(const struct seen *s, const uint8_t *bytes, struct buf *out)
{
    struct err err;
    size_t from = (size_t)s->item.type_off + 1;

    if (s->item.key != NULL)
        buf_append(out, s->item.key, s->item.key_len);
    else
        assert_int_equal(rdb_string(bytes + from, (size_t)s->item.body_off - from, out, &err),
                         0);
    assert_int_equal(out->len, s->item.key_len);
}

/* Takes the key out of the reply to KEYS; false when it is not in it. */
static bool cross_out(redisReply *keys, const struct buf *key)
{
    for (size_t i = 0; i < keys->elements; i++) {
        redisReply *e = keys->element[i];

        if (e != NULL && e->len == key->len &&
            (key->len == 0 || memcmp(e->str, buf_data(key), key->len) == 0)) {
            freeReplyObject(e);
            keys->element[i] = NULL;
            return true;
        }
    }
    return false;
}

static void check_db(struct real_redis *s, const struct walk *w, const uint8_t *data,
                     uint32_t db)
{
    redisReply *size, *keys;
    size_t cnt = 0, live = 0;
    uint64_t at = 0;

    real_do(s, "SELECT %d", (int)db);
    size = real_ask(s, "DBSIZE");
    keys = real_ask(s, "KEYS *");
    for (size_t i = 0; i < w->cnt; at += w->items[i++].item.size) {
        const struct rdb_item *item = &w->items[i].item;
        struct buf key;

        if (item->kind != RDB_KEY || item->db != db)
            continue;
        cnt++;
        buf_init(&key);
        key_of(&w->items[i], data + at, &key);
        if (cross_out(keys, &key))
            live++;
        else
            assert_true(item->has_expire && item->expire_ms < real_ms());
        buf_release(&key);
    }
    assert_int_equal(cnt, size->integer);
    assert_int_equal(live, keys->elements);
    freeReplyObject(size);
    freeReplyObject(keys);
}

static const struct seen *find_key(const struct walk *w, uint32_t db, const char *name)
{
    for (size_t i = 0; i < w->cnt; i++) {
        const struct seen *s = &w->items[i];

        if (s->item.kind == RDB_KEY && s->item.db == db && s->item.key_len == strlen(name) &&
            s->key != NULL && memcmp(s->key, name, strlen(name)) == 0)
            return s;
    }
    fail_msg("no key '%s'", name);
    return NULL;
}

static void test_real_file(void **state)
{
    struct real_redis *s = *state;
    size_t len, functions = 0;
    uint8_t *data = real_save(s, &len);
    struct walk w = walk(data, len, len, 0);

    assert_string_equal(w.err.msg, "");
    assert_true(w.complete);
    assert_int_equal(w.bytes, len);
    check_db(s, &w, data, 3);
    check_db(s, &w, data, 15);
    check_db(s, &w, data, 0);
    for (size_t i = 0; i < w.cnt; i++)
        functions += w.items[i].item.kind == RDB_FUNCTION;
    assert_int_equal(functions, 2);
    assert_memory_equal(w.origin.version, "7.", 2);
    assert_true(w.origin.ctime_s > real_ms() / 1000 - 600);
    assert_int_equal(find_key(&w, 0, "ttl:far")->item.expire_ms, 32503680000123);
    assert_int_equal(find_key(&w, 0, "ttl:max")->item.expire_ms, INT64_MAX);
    assert_false(find_key(&w, 0, "embstr")->item.has_expire);
    assert_int_equal(find_key(&w, 0, "stream")->item.type, 19);
    assert_int_equal(find_key(&w, 0, "list:plain")->item.type, 18);
    assert_int_equal(find_key(&w, 0, "set:int")->item.type, 11);
    assert_int_equal(find_key(&w, 0, "zset:small")->item.type, 17);
    assert_int_equal(find_key(&w, 0, "zset:skiplist")->item.type, 5);
    assert_int_equal(find_key(&w, 0, "hash:small")->item.type, 16);
    assert_int_equal(find_key(&w, 0, "hash:table")->item.type, 4);
    walk_free(&w);
    free(data);
}

static void test_real_file_in_pieces(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 7, 64, 1000, 70000};
    size_t len;
    uint8_t *data = real_save(*state, &len);
    struct walk whole = walk(data, len, len, 0);

    for (size_t i = 0; i < LEN(sizes); i++) {
        for (unsigned seed = 0; seed < 3; seed++) {
            struct walk w = walk(data, len, sizes[i], seed);

            assert_int_equal(w.rc, 0);
            assert_same(&whole, &w);
            walk_free(&w);
        }
    }
    walk_free(&whole);
    free(data);
}

static void test_real_lru_and_lfu(void **state)
{
    struct real_redis *s = *state;
    static const char *const policies[] = {"allkeys-lru", "allkeys-lfu", "noeviction"};

    for (size_t p = 0; p < LEN(policies); p++) {
        size_t len, keys = 0;
        uint8_t *data;
        struct walk w;

        real_do(s, "CONFIG SET maxmemory-policy %s", policies[p]);
        data = real_save(s, &len);
        w = walk(data, len, 1 + len / 2, 0);
        assert_true(w.complete);
        for (size_t i = 0; i < w.cnt; i++) {
            const struct rdb_item *item = &w.items[i].item;

            if (item->kind != RDB_KEY)
                continue;
            keys++;
            assert_int_equal(item->has_idle, p == 0);
            assert_int_equal(item->has_freq, p == 1);
        }
        assert_true(keys > 500);
        walk_free(&w);
        free(data);
    }
}

/* Every file that a prefix or a flipped bit makes of a small one. */
static void test_damage(void **state)
{
    struct real_redis s;
    size_t len;
    uint8_t *data;

    (void)state;
    real_start(&s);
    real_do(&s, "MSET k v 12345 -7 long %s",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    real_do(&s,
            "SET aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa x PX 999999");
    real_do(&s, "RPUSH l a b c");
    real_do(&s, "XADD x 1-1 a b");
    real_do(&s, "XGROUP CREATE x g 0");
    real_do(&s, "XREADGROUP GROUP g c STREAMS x >");
    real_do(&s, "FUNCTION LOAD %s",
            "#!lua name=a\nredis.register_function('f1', function() return 1 end)");
    data = real_save(&s, &len);
    real_stop(&s);
    for (size_t n = 0; n < len; n++) {
        struct walk w = walk(data, n, n + 1, 0);

        assert_int_equal(w.rc, 0);
        assert_false(w.complete);
        walk_free(&w);
    }
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct walk w;

        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        w = walk(data, len, bit % 3 == 0 ? 1 : len, 0);
        assert_false(w.complete);
        walk_free(&w);
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    free(data);
}

/* No key of a real server is empty. */
static void test_real_keys_not_empty(void **state)
{
    size_t len;
    uint8_t *data = real_save(*state, &len);
    struct walk w = walk(data, len, len, 0);
    uint64_t at = 0;

    for (size_t i = 0; i < w.cnt; at += w.items[i++].item.size) {
        if (w.items[i].item.kind == RDB_KEY)
            assert_false(rdb_is_empty(data + at, &w.items[i].item));
    }
    walk_free(&w);
    free(data);
}

/*
 * What Redis 7.4.1 with its JSON and time series modules wrote: RDB 12 with the set as listpack,
 * the hashes with expiring fields and the stream of RDB 11 and 12, module values and module AUX.
 */
static void test_file_of_7_4(void **state)
{
    static const struct {
        const char *key;
        uint8_t type;
    } keys[] = {
        {"set", 20}, {"hash", 24}, {"pack", 25}, {"stream", 21}, {"json", 7}, {"series", 7},
    };
    uint8_t data[4096];
    int fd = open(FILE_7_4, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, data, sizeof(data));
    struct walk whole, w;

    (void)state;
    assert_true(fd >= 0 && len > 0);
    (void)close(fd);
    whole = walk(data, (size_t)len, (size_t)len, 0);
    assert_string_equal(whole.err.msg, "");
    assert_true(whole.complete);
    assert_string_equal(whole.origin.version, "7.4.1");
    for (size_t i = 0; i < LEN(keys); i++)
        assert_int_equal(find_key(&whole, 0, keys[i].key)->item.type, keys[i].type);
    assert_int_equal(find_key(&whole, 0, "pack")->item.expire_ms, 32503680001000);
    assert_int_equal(find_key(&whole, 1, "k")->item.type, 0);
    for (unsigned seed = 0; seed < 200; seed++) {
        w = walk(data, (size_t)len, 1 + seed % 40, seed);
        assert_same(&whole, &w);
        walk_free(&w);
    }
    for (size_t bit = 0; bit < (size_t)len * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        w = walk(data, (size_t)len, (size_t)len, 0);
        /* A version of before the checksum leaves that behind the end. */
        assert_true(w.rc != 0 || !w.complete);
        walk_free(&w);
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    walk_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_file),        cmocka_unit_test(test_real_file_in_pieces),
        cmocka_unit_test(test_real_lru_and_lfu), cmocka_unit_test(test_real_keys_not_empty),
        cmocka_unit_test(test_damage),           cmocka_unit_test(test_file_of_7_4),
    };

    return cmocka_run_group_tests_name("rdb_real", tests, start, stop);
}
