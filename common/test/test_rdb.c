/* Tests of rdb.c and rdb_value.c on made-up bytes: every type and opcode, every refusal. */
#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"
#include "common/rdb.h"
#include "common/test/rdb_walk.h"

/* ---- types and opcodes that 7.0 does not write -------------------------------------------- */

struct vector {
    const char *name;
    const char *bytes;
    size_t len;
    enum rdb_kind kind;
    uint8_t type;
};

#define META(name, bytes)                                                                      \
    {                                                                                          \
        name, bytes, sizeof(bytes) - 1, RDB_META, 0                                            \
    }
#define KEY(type, bytes)                                                                       \
    {                                                                                          \
        "type " #type, bytes, sizeof(bytes) - 1, RDB_KEY, type                                 \
    }
#define ID16 "0123456789abcdef"
#define MS8  "\1\2\3\4\5\6\7\0"

static const struct vector vectors[] = {
    META("select", "\xfe\x03"),
    META("select 64 bit", "\xfe\x81\0\0\0\0\0\0\0\7"),
    META("resize", "\xfb\x80\0\1\0\0\x41\x00"),
    META("slot info", "\xf4\x7f\xff\x05\x81\0\0\0\0\0\0\0\5"),
    META("aux", "\xfa\x03xyz\xc1\x00\x01"),
    META("aux lzf", "\xfa\x03lua\xc3\x05\x05\x01zz\x20\x00"),
    META("module aux",
         "\xf7\x81\1\2\3\4\5\6\7\x08\x02\x01\x01\x05\x02\x7f\xff\x03zzzz\x04zzzzzzzz"
         "\x05\x03xyz\x05\xc0z\x00"),
    {"library", "\xf5\x03xyz", 5, RDB_FUNCTION, 0},
    KEY(0, "\x00\x01k\x80\0\0\0\3xyz"),
    KEY(0, "\x00\x01k\x81\0\0\0\0\0\0\0\3xyz"),
    KEY(0, "\x00\xc0\x80\xc1zz"),
    KEY(0, "\x00\xc2zzzz\xc3\x05\x05\x01zz\x20\x00"),
    KEY(0, "\x00\xc3\x80\0\0\0\x05\x81\0\0\0\0\0\0\0\x05\x01zz\x20\x00\x00"),
    KEY(1, "\x01\x01k\x02\x01x\xc0y"),
    KEY(1, "\x01\x01k\x00"),
    KEY(2, "\x02\x01k\x81\0\0\0\0\0\0\0\x02\x01x\x00"),
    KEY(3, "\x03\x01k\x05\x01x\x03"
           "1.5\x01y\xfd\x01z\xfe\x01z\xff\x01z\x00"),
    KEY(4, "\x04\x01k\x02\x01x\x01y\x01z\x02zz"),
    KEY(5, "\x05\x01k\x02\x01xzzzzzzzz\x00zzzzzzzz"),
    KEY(7,
        "\x07\x01k\x81\1\2\3\4\5\6\7\x08\x01\x05\x02\x05\x03zzzz\x04zzzzzzzz\x05\x03xyz\x00"),
    KEY(7, "\x07\x01k\x05\x00"),
    KEY(9, "\x09\x01k\x02\x00\xff"),
    KEY(10, "\x0a\x01k\x03xyz"),
    KEY(11, "\x0b\x01k\x03xyz"),
    KEY(12, "\x0c\x01k\x03xyz"),
    KEY(13, "\x0d\x01k\x03xyz"),
    KEY(14, "\x0e\x01k\x02\x03xyz\x02zz"),
    KEY(15,
        "\x0f\x01k\x01\x10" ID16 "\x03xyz\x05\x41\x00\x05\x02\x01g\x01\x02\x01" ID16 MS8 "\x01"
        "\x02\x01"
        "a" MS8 "\x01" ID16 "\x01"
        "b" MS8 "\x00\x01h\x05\x06\x00\x00"),
    KEY(15, "\x0f\x01k\x00\x00\x00\x00\x00"),
    KEY(16, "\x10\x01k\x03xyz"),
    KEY(17, "\x11\x01k\x03xyz"),
    KEY(18, "\x12\x01k\x03\x01\x03xyz\x02\x02zz\x01\xc3\x05\x05\x01zz\x20\x00"),
    KEY(19,
        "\x13\x01k\x01\x10" ID16 "\x03xyz\x05\x41\x00\x05\x01\x02\x03\x04\x05\x01\x01g\x01\x02"
        "\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01" ID16 MS8 "\x01\x01\x01"
        "a" MS8 "\x01" ID16),
    KEY(20, "\x14\x01k\x03xyz"),
    KEY(21,
        "\x15\x01k\x01\x10" ID16 "\x03xyz\x05\x41\x00\x05\x01\x02\x03\x04\x05\x01\x01g\x01\x02"
        "\x03\x01" ID16 MS8 "\x01\x02\x01"
        "a" MS8 MS8 "\x02" ID16 ID16 "\x01"
        "b" MS8 MS8 "\x00"),
    KEY(24, "\x18\x01k" MS8 "\x02\x00\x01x\x01y\x41\x01\x01z\x02zz"),
    KEY(25, "\x19\x01k" MS8 "\x03xyz"),
    /* prefixes of a key */
    KEY(0, "\xfd\xff\xff\xff\x7f\x00\x01k\x01v"),
    KEY(0, "\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xf8\x80\0\0\1\0\x00\x01k\x01v"),
    KEY(0, "\xf9\xff\xfc" MS8 "\x00\x01k\x01v"),
};

/* In front of the vector stands another item, and behind it a byte that is none of its own. */
static void check_vector(const struct vector *v, size_t max, unsigned seed)
{
    struct buf b;
    struct walk w;

    buf_init(&b);
    buf_append(&b, "\xfe\x01", 2);
    buf_append(&b, v->bytes, v->len);
    buf_append(&b, "\xfe", 1);
    w = walk_with(rdb_new_items(9), buf_data(&b), b.len, max, seed);
    if (w.rc != 0 || w.cnt != 2 || w.items[1].item.size != v->len)
        fail_msg("%s: %zu items, %s", v->name, w.cnt, w.err.msg);
    assert_int_equal(w.items[1].item.kind, v->kind);
    if (v->kind == RDB_KEY) {
        assert_int_equal(w.items[1].item.db, 1);
        assert_int_equal(w.items[1].item.type, v->type);
        assert_int_equal((uint8_t)v->bytes[w.items[1].item.type_off], v->type);
    }
    walk_free(&w);
    buf_release(&b);
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(vectors); i++) {
        check_vector(&vectors[i], 1000, 0);
        check_vector(&vectors[i], 1, 0);
        for (unsigned seed = 1; seed < 30; seed++)
            check_vector(&vectors[i], 12, seed);
        for (size_t n = 1; n < vectors[i].len; n++) {
            struct walk w =
                walk_with(rdb_new_items(0), (const uint8_t *)vectors[i].bytes, n, n, 0);

            assert_int_equal(w.rc, 0);
            assert_int_equal(w.cnt, 0);
            walk_free(&w);
        }
    }
}

/* Every value type below 26 but these is in the vectors. */
static void test_type_versions(void **state)
{
    static const uint8_t none[] = {6, 8, 22, 23, 26, 27, 28, 100, 255};

    (void)state;
    for (size_t i = 0; i < LEN(none); i++)
        assert_int_equal(rdb_type_version(none[i]), 0);
    for (uint8_t type = 0; type < 26; type++) {
        bool found = false;

        for (size_t i = 0; i < LEN(vectors); i++)
            found = found || (vectors[i].kind == RDB_KEY && vectors[i].type == type);
        assert_int_equal(found, rdb_type_version(type) != 0);
    }
    assert_int_equal(rdb_type_version(0), 6);
    assert_int_equal(rdb_type_version(13), 6);
    assert_int_equal(rdb_type_version(14), 7);
    assert_int_equal(rdb_type_version(5), 8);
    assert_int_equal(rdb_type_version(7), 8);
    assert_int_equal(rdb_type_version(15), 9);
    assert_int_equal(rdb_type_version(19), 10);
    assert_int_equal(rdb_type_version(20), 11);
    assert_int_equal(rdb_type_version(25), 12);
}

static void test_keys_and_prefixes(void **state)
{
    static const char bytes[] = "\xfd\xfe\xff\xff\xff\x00\xc0\x80\x01v"
                                "\xf8\x41\x00\xfc\x01\0\0\0\0\0\0\x80\x00\xc1\x00\x80\x01v"
                                "\xf9\xff\x00\xc2\x00\x00\x00\x80\x01v"
                                "\x00\xc3\x05\x05\x01zz\x20\x00\x01v"
                                "\x00\x00\x01v";
    static const char *const keys[] = {"-128", "-32768", "-2147483648", "zzzzz", ""};
    struct walk w =
        walk_with(rdb_new_items(5), (const uint8_t *)bytes, sizeof(bytes) - 1, 1, 0);

    (void)state;
    assert_int_equal(w.cnt, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(w.items[i].item.db, 5);
        assert_non_null(w.items[i].key);
        assert_int_equal(w.items[i].item.key_len, strlen(keys[i]));
        assert_memory_equal(w.items[i].key, keys[i], strlen(keys[i]));
        assert_int_equal(w.items[i].item.size - w.items[i].item.body_off, 2);
    }
    assert_true(w.items[0].item.has_expire);
    assert_int_equal(w.items[0].item.expire_ms, -2000);
    assert_int_equal(w.items[0].item.type_off, 5);
    assert_int_equal(w.items[1].item.expire_ms, INT64_MIN + 1);
    assert_true(w.items[1].item.has_idle);
    assert_int_equal(w.items[1].item.idle_s, 256);
    assert_true(w.items[2].item.has_freq);
    assert_int_equal(w.items[2].item.freq, 255);
    assert_false(w.items[3].item.has_expire || w.items[3].item.has_idle ||
                 w.items[3].item.has_freq);
    walk_free(&w);
}

/* The key is known before the value is there, and stays. */
static void test_key_before_value(void **state)
{
    static const uint8_t bytes[] = "\x00\x03key\x04valu";
    struct rdb *r = rdb_new_items(2);
    struct rdb_item item;
    struct err err;
    bool end;

    (void)state;
    assert_int_equal(rdb_feed(r, bytes, 4, &end, &item, &err), 4);
    assert_int_equal(item.kind, RDB_KEY);
    assert_int_equal(item.body_off, 0);
    assert_null(item.key);
    for (size_t at = 4; at < 9; at++) {
        assert_int_equal(rdb_feed(r, bytes + at, 1, &end, &item, &err), 1);
        assert_false(end);
        assert_int_equal(item.size, at + 1);
        assert_int_equal(item.body_off, 5);
        assert_int_equal(item.key_len, 3);
        assert_memory_equal(item.key, "key", 3);
    }
    assert_int_equal(rdb_feed(r, bytes + 9, 1, &end, &item, &err), 1);
    assert_true(end);
    rdb_free(r);
}

/* A string of 1 TiB passes through a piece of memory. */
static void test_large_value(void **state)
{
    static uint8_t piece[1 << 20];
    struct rdb *r = rdb_new_items(0);
    struct rdb_item item;
    struct err err;
    bool end;

    (void)state;
    assert_int_equal(
        rdb_feed(r, (const uint8_t *)"\x00\x01k\x81\0\0\1\0\0\0\0\0", 12, &end, &item, &err),
        12);
    for (uint64_t left = (uint64_t)1 << 40; left != 0; left -= sizeof(piece)) {
        assert_false(end);
        assert_int_equal(rdb_feed(r, piece, sizeof(piece), &end, &item, &err), sizeof(piece));
    }
    assert_true(end);
    assert_int_equal(item.size, ((uint64_t)1 << 40) + 12);
    rdb_free(r);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static void expect_refusal(bool items, const char *bytes, size_t len, const char *message)
{
    for (size_t max = 1; max <= len; max += len - 1 == 0 ? 1 : len - 1) {
        struct walk w = walk_with(items ? rdb_new_items(0) : rdb_new(), (const uint8_t *)bytes,
                                  len, max, 0);

        if (w.rc == 0 || strstr(w.err.msg, message) == NULL)
            fail_msg("'%s' where '%s' must be", w.rc == 0 ? "" : w.err.msg, message);
        walk_free(&w);
    }
}

#define REFUSED_FILE(bytes, message) expect_refusal(false, bytes, sizeof(bytes) - 1, message)
#define REFUSED_ITEM(bytes, message) expect_refusal(true, bytes, sizeof(bytes) - 1, message)

static void test_refusals(void **state)
{
    (void)state;
    REFUSED_FILE("REDIS0013", "version 13");
    REFUSED_FILE("REDIS0000", "version 0");
    REFUSED_FILE("REDIS9999", "version 9999");
    REFUSED_FILE("VALKEY080", "'VALKEY080'");
    REFUSED_FILE("REDIS00x9", "not an RDB file");
    REFUSED_FILE("HTTP/1.1 200 OK", "offset 0: not an RDB file");
    REFUSED_FILE("REDIS0011\x06", "offset 9: value type 6 is of a module");
    REFUSED_FILE("REDIS0011\xfe\x00\x08", "offset 11: value type 8 is unknown");
    REFUSED_FILE("REDIS0012\x16", "offset 9: value type 22");
    REFUSED_FILE("REDIS0012\x17", "offset 9: value type 23");
    REFUSED_FILE("REDIS0012\x1a", "offset 9: value type 26");
    REFUSED_FILE("REDIS0010\xf6", "offset 9: opcode 246 is of functions");
    REFUSED_FILE("REDIS0012\xf3", "offset 9: opcode 243");
    REFUSED_FILE("REDIS0012\xf2", "offset 9: opcode 242");
    REFUSED_FILE("REDIS0012\x80", "offset 9: opcode 128");
    REFUSED_FILE("REDIS0012\xfc" MS8 "\xfe\x00", "offset 18: opcode 254 where a key");
    REFUSED_ITEM("\xfe\x81\0\0\0\1\0\0\0\0", "impossible database 4294967296");
    REFUSED_ITEM("\xfe\xc0\x01", "offset 1: neither");
    REFUSED_ITEM("\xfe\x82\x01", "offset 1: neither");
    REFUSED_ITEM("\x00\x01k\xc4", "offset 3: neither");
    REFUSED_ITEM("\x00\x01k\xc3\xc0", "offset 3: neither");
    REFUSED_ITEM("\x00\x01k\x81\x80\0\0\0\0\0\0\0", "impossible length 9223372036854775808");
    REFUSED_ITEM("\x01\x01k\x81\xff\0\0\0\0\0\0\0", "impossible count");
    REFUSED_ITEM("\x00\xc3\x05\x05\x01zz\x20\x09\x01v", "damaged");
    REFUSED_ITEM("\x00\xc3\x05\x06\x01zz\x20\x00\x01v", "damaged");
    REFUSED_ITEM("\x00\xc3\x00\x01\x01v", "impossible lengths");
    REFUSED_ITEM("\x00\xc3\x01\x7f\xff"
                 "a",
                 "impossible lengths");
    REFUSED_ITEM("\x00\xc3\x80\0\2\0\0\x01", "longer than its content");
    REFUSED_ITEM("\x07\x01k\x01\x06", "unknown module opcode 6");
    REFUSED_ITEM("\xf7\x01\x01\x01", "module opcode 1 where 2");
    REFUSED_ITEM("\xff" MS8 "\xfe", "behind the end");
}

static void test_nothing_after_damage(void **state)
{
    struct rdb *r = rdb_new_items(0);
    struct rdb_item item;
    struct err err;
    bool end;

    (void)state;
    assert_int_equal(rdb_feed(r, (const uint8_t *)"\x06", 1, &end, &item, &err), -1);
    assert_int_equal(rdb_feed(r, (const uint8_t *)"\xfe\x00", 2, &end, &item, &err), -1);
    rdb_free(r);
}

/* ---- checksum, origin ----------------------------------------------------------------------- */

/* magic, `body`, 0xff and, with `sum`, its checksum plus `off`. */
static struct walk walk_file(const char *version, const void *body, size_t len, bool sum,
                             uint64_t off)
{
    struct buf b;
    struct walk w;

    buf_init(&b);
    buf_printf(&b, "REDIS%s", version);
    buf_append(&b, body, len);
    buf_put_u8(&b, 0xff);
    if (sum)
        buf_put_u64(&b, off == 1 ? 0 : crc64(0, buf_data(&b), b.len) + off);
    w = walk(buf_data(&b), b.len, 5, 0);
    buf_release(&b);
    return w;
}

static void test_checksum(void **state)
{
    static const struct {
        const char *version;
        bool sum;
        uint64_t off; /* 1: the checksum is zero */
        int rc;
        bool complete;
    } cases[] = {
        {"0012", true, 0, 0, true},   {"0005", true, 0, 0, true},
        {"0012", true, 1, 0, true},   {"0012", true, 2, -1, false},
        {"0005", true, 2, -1, false}, {"0012", false, 0, 0, false},
        {"0004", false, 0, 0, true},  {"0001", false, 0, 0, true},
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct walk w = walk_file(cases[i].version, "\xfe\x00\x00\x01k\x01v", 7, cases[i].sum,
                                  cases[i].off);

        assert_int_equal(w.rc, cases[i].rc);
        assert_int_equal(w.complete, cases[i].complete);
        if (w.rc != 0)
            assert_non_null(strstr(w.err.msg, "checksum is"));
        walk_free(&w);
    }
}

static void test_origin(void **state)
{
    static const char body[] = "\xfa\x09redis-ver\x05"
                               "7.2.4"
                               "\xfa\x05"
                               "ctime\xc2\x80\xf4\xa0\x65"
                               "\xfa\x0erepl-stream-db\xc0\x07"
                               "\xfa\x07repl-id\x28"
                               "0123456789abcdef0123456789abcdef01234567"
                               "\xfa\x0brepl-offset\x0e"
                               "12345678901234"
                               "\xfa\x05other\x01x";
    struct walk w = walk_file("0011", body, sizeof(body) - 1, true, 0);
    struct walk half = walk_file("0011", body, 56, false, 0);

    (void)state;
    assert_true(w.complete);
    assert_int_equal(w.cnt, 8);
    assert_true(w.origin.has_repl && w.origin.has_stream_db);
    assert_string_equal(w.origin.version, "7.2.4");
    assert_int_equal(w.origin.ctime_s, 0x65a0f480);
    assert_int_equal(w.origin.stream_db, 7);
    assert_string_equal(w.origin.repl_id, "0123456789abcdef0123456789abcdef01234567");
    assert_int_equal(w.origin.repl_offset, 12345678901234);
    assert_false(half.origin.has_repl);
    walk_free(&w);
    walk_free(&half);
}

/* ---- rdb_string, rdb_is_empty ----------------------------------------------------------------- */

static void test_string(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *text; /* NULL: refused */
    } cases[] = {
        {"\x00", 1, ""},
        {"\x03xyz", 4, "xyz"},
        {"\x03xy", 3, NULL},
        {"\x03xyzz", 5, NULL},
        {"", 0, NULL},
        {"\x80\0\0\0\1x", 6, "x"},
        {"\xc0\x85", 2, "-123"},
        {"\xc1\x39\x30", 3, "12345"},
        {"\xc2\xff\xff\xff\xff", 5, "-1"},
        {"\xc3\x04\x05\x01zz\x20\x00", 7, NULL},
        {"\xc3\x05\x05\x01zz\x20\x00", 8, "zzzzz"},
        {"\xc3\x04\x05\x01zz\x20\x00", 8, NULL},
        {"\xc3\x05\x05\x01zz\x20\x01", 8, "zzzzz"},
        {"\xc3\x05\x05\x01zz\x20\x02", 8, NULL},
        {"\xc3\x05\x00\x01zz\x20\x00", 8, NULL},
        {"\xc3\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x01", 11, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct buf out;
        struct err err;
        int rc;

        buf_init(&out);
        rc = rdb_string((const uint8_t *)cases[i].bytes, cases[i].len, &out, &err);
        assert_int_equal(rc, cases[i].text == NULL ? -1 : 0);
        assert_int_equal(out.len, cases[i].text == NULL ? 0 : strlen(cases[i].text));
        if (out.len != 0)
            assert_memory_equal(buf_data(&out), cases[i].text, out.len);
        buf_release(&out);
    }
}

static bool vector_is_empty(const char *bytes, size_t len)
{
    struct walk w = walk_with(rdb_new_items(0), (const uint8_t *)bytes, len, len, 0);
    bool empty;

    assert_int_equal(w.cnt, 1);
    empty = rdb_is_empty((const uint8_t *)bytes, &w.items[0].item);
    walk_free(&w);
    return empty;
}

#define EMPTY_ZL    "\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"
#define EMPTY_LP    "\x07\x07\0\0\0\0\0\xff"
#define IS_EMPTY(b) assert_true(vector_is_empty(b, sizeof(b) - 1))

static void test_empty(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(vectors); i++) {
        uint8_t type = vectors[i].type;

        /* These are never empty: a stream without entries is a key. */
        if (vectors[i].kind == RDB_KEY &&
            (type == 0 || type == 7 || type == 15 || type == 19 || type == 21))
            assert_false(vector_is_empty(vectors[i].bytes, vectors[i].len));
    }
    IS_EMPTY("\x01\x01k\x00");
    IS_EMPTY("\x02\x01k\x80\0\0\0\0");
    IS_EMPTY("\xf9\x01\x03\x01k\x00");
    IS_EMPTY("\x04\x01k\x00");
    IS_EMPTY("\x05\x01k\x00");
    IS_EMPTY("\x09\x01k\x02\x00\xff");
    IS_EMPTY("\x0a\x01k" EMPTY_ZL);
    IS_EMPTY("\x0b\x01k\x08\x02\0\0\0\0\0\0\0");
    IS_EMPTY("\x0c\x01k" EMPTY_ZL);
    IS_EMPTY("\x0d\x01k" EMPTY_ZL);
    IS_EMPTY("\x0e\x01k\x00");
    IS_EMPTY("\x0e\x01k\x02" EMPTY_ZL EMPTY_ZL);
    IS_EMPTY("\x10\x01k" EMPTY_LP);
    IS_EMPTY("\x11\x01k" EMPTY_LP);
    IS_EMPTY("\x12\x01k\x00");
    IS_EMPTY("\x12\x01k\x01\x02" EMPTY_LP);
    IS_EMPTY("\x14\x01k" EMPTY_LP);
    IS_EMPTY("\x18\x01k" MS8 "\x00");
    IS_EMPTY("\x19\x01k" MS8 EMPTY_LP);
    assert_false(vector_is_empty("\x12\x01k\x02\x02" EMPTY_LP "\x01\x01x", 17));
    assert_false(vector_is_empty("\x10\x01k\x0c\x0c\0\0\0\2\0\x01\x01\x02\x01\xff", 16));
    assert_false(vector_is_empty("\x05\x01k\x01\x01xzzzzzzzz", 14));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_type_versions),
        cmocka_unit_test(test_keys_and_prefixes),
        cmocka_unit_test(test_key_before_value),
        cmocka_unit_test(test_large_value),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nothing_after_damage),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_string),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests_name("rdb", tests, NULL, NULL);
}
