/* Tests of feed.c with a real sink on librdkafka's mock cluster: the entries are the bytes. */
#include "common/resp.h"
#include "common/slot.h"
#include "journal/src/feed.h"
#include "journal/src/producer.h"
#include "journal/test/sink_rig.h"

/* What a reader makes of the log: the bytes in order, the pieces, and where they stood. */
struct got {
    struct buf bytes;
    size_t entries, fragments;
    struct {
        enum entry_kind kind;
        uint8_t flags;
        uint32_t partition, db, db_end;
        uint64_t start;
        size_t len;
    } e[4096];
};

static void read_log(struct rig *r, enum phase phase, uint64_t from_lsn, struct got *g)
{
    struct log_view v = log_read(r->log);
    struct merge_from from = {.at = {.epoch = r->epoch, .phase = phase, .lsn = from_lsn},
                              .base = RIG_BASE};
    struct merge *m = merge_new(LOG_PARTS, &from, NULL, NULL);
    struct merge_item item;
    struct err err;

    memset(g, 0, sizeof(*g));
    buf_init(&g->bytes);
    for (size_t i = 0; i < v.cnt; i++)
        assert_true(merge_push(m, (uint32_t)v.rec[i].partition, v.rec[i].offset, &v.rec[i].f,
                               NULL, &err) >= 0);
    for (;;) {
        if (merge_next(m, &item, &err) != 0)
            fail_msg("%s", err.msg);
        if (item.type == MERGE_WAIT)
            break;
        assert_true(g->entries < 4096);
        g->e[g->entries].kind = item.entry.kind;
        g->e[g->entries].flags = item.entry.flags;
        g->e[g->entries].partition = item.partition;
        g->e[g->entries].db = item.entry.db;
        g->e[g->entries].db_end = item.entry.db_end;
        g->e[g->entries].start = item.entry.start;
        g->e[g->entries++].len = item.entry.len;
        buf_append(&g->bytes, item.entry.data, item.entry.len);
    }
    merge_free(m);
    log_view_release(&v);
}

static void command(struct buf *b, size_t argc, ...)
{
    va_list ap;

    va_start(ap, argc);
    buf_printf(b, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        const char *arg = va_arg(ap, const char *);

        buf_printf(b, "$%zu\r\n%s\r\n", strlen(arg), arg);
    }
    va_end(ap);
}

/* Feeds in pieces of `step` bytes. */
static void feed_all(struct rig *r, struct feed *f, const struct buf *b, size_t step)
{
    struct err err;

    for (size_t at = 0; at < b->len; at += step) {
        size_t n = b->len - at < step ? b->len - at : step;

        if (feed_stream(f, buf_data(b) + at, n, clock_wall_ms(), &err) != 0)
            fail_msg("%s", err.msg);
        sink_flush(r->s);
    }
}

static uint32_t place(const char *key)
{
    return (uint32_t)slot_of_key((const uint8_t *)key, strlen(key)) % LOG_PARTS;
}

static void make_stream(struct buf *b)
{
    char key[16];

    buf_init(b);
    command(b, 1, "PING");
    command(b, 2, "SELECT", "3");
    for (int i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        command(b, 3, "SET", key, "value");
    }
    command(b, 1, "MULTI");
    command(b, 3, "SET", "k5", "x");
    command(b, 3, "SET", "k6", "y");
    command(b, 1, "EXEC");
    command(b, 3, "REPLCONF", "GETACK", "*");
}

static void test_stream(void **state)
{
    static const size_t steps[] = {1, 7, 100, 1 << 20};
    struct got *g = xmalloc(sizeof(*g));
    struct buf b;

    (void)state;
    make_stream(&b);
    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        struct feed *f = feed_new(LOG_PARTS);
        struct rig r;
        uint32_t db;
        uint64_t getack =
            RIG_BASE + b.len - strlen("*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");

        rig_open(&r);
        rig_own(&r, START_STREAM);
        feed_begin_stream(f, r.s, RIG_BASE, 1);
        feed_all(&r, f, &b, steps[k]);
        assert_int_equal(feed_read_lsn(f), RIG_BASE + b.len);
        assert_int_equal(feed_take_getack(f), getack);
        assert_int_equal(feed_take_getack(f), 0);
        rig_wait_idle(&r);
        assert_int_equal(sink_durable(r.s).lsn, RIG_BASE + b.len);
        (void)sink_end(r.s, &db);
        assert_int_equal(db, 3);
        read_log(&r, PHASE_STREAM, RIG_BASE, g);
        assert_int_equal(g->bytes.len, b.len);
        assert_memory_equal(buf_data(&g->bytes), buf_data(&b), b.len);
        assert_int_equal(g->entries, 44);
        assert_int_equal(g->e[0].kind, ENTRY_LINK);
        assert_int_equal(g->e[0].db, 1);
        assert_int_equal(g->e[1].db, 1);
        assert_int_equal(g->e[1].db_end, 3);
        assert_int_equal(g->e[1].partition, 0);
        for (int i = 0; i < 40; i++) {
            char key[16];

            (void)snprintf(key, sizeof(key), "k%d", i);
            assert_int_equal(g->e[2 + i].kind, ENTRY_COMMAND);
            assert_int_equal(g->e[2 + i].db, 3);
            assert_int_equal(g->e[2 + i].partition, place(key));
        }
        assert_int_equal(g->e[42].kind, ENTRY_TXN);
        assert_int_equal(g->e[42].partition, place("k5"));
        assert_int_equal(g->e[43].kind, ENTRY_LINK);
        buf_release(&g->bytes);
        feed_free(f);
        rig_close(&r);
    }
    buf_release(&b);
    free(g);
}

/* A command whose key comes behind `filler` bytes: EVAL-like, by the fallback of a NULL table the
 * first argument is the key, so the filler is in the key itself or in the value. */
static void large_command(struct buf *b, const char *key, size_t filler)
{
    char *value = xmalloc(filler + 1);

    memset(value, 'v', filler);
    value[filler] = '\0';
    command(b, 3, "SET", key, value);
    free(value);
}

/* Pieces are of exactly the fragment size, in one partition, the same however bytes arrive. */
static void test_fragments(void **state)
{
    static const size_t steps[] = {1000, 15360, 15361, 1 << 20};
    struct got *g = xmalloc(sizeof(*g));
    struct buf b;

    (void)state;
    buf_init(&b);
    command(&b, 3, "SET", "a", "b");
    large_command(&b, "key", 50000);
    command(&b, 3, "SET", "a", "b");
    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        struct feed *f = feed_new(LOG_PARTS);
        struct rig r;
        size_t max;

        rig_open(&r);
        r.conf.max_message_bytes = PRODUCER_MESSAGE_MIN;
        rig_own(&r, START_STREAM);
        max = sink_fragment_bytes(r.s);
        feed_begin_stream(f, r.s, RIG_BASE, 0);
        feed_all(&r, f, &b, steps[k]);
        rig_wait_idle(&r);
        read_log(&r, PHASE_STREAM, RIG_BASE, g);
        assert_int_equal(g->bytes.len, b.len);
        assert_memory_equal(buf_data(&g->bytes), buf_data(&b), b.len);
        assert_int_equal(g->entries, 2 + (50000 + max) / max);
        for (size_t i = 1; i + 1 < g->entries; i++) {
            bool first = i == 1, last = i + 2 == g->entries;

            assert_int_equal(g->e[i].partition, place("key"));
            assert_int_equal(g->e[i].flags,
                             (first ? 0 : ENTRY_CONTINUES) | (last ? 0 : ENTRY_CONTINUED));
            assert_true(last ? g->e[i].len <= max : g->e[i].len == max);
        }
        buf_release(&g->bytes);
        feed_free(f);
        rig_close(&r);
    }
    buf_release(&b);
    free(g);
}

/* The link is lost inside of an entry at any place, and its bytes come again in other pieces: the
 * log's bytes are right, and all fragments, old and new, stand in one partition. The key ends
 * behind the first fragment, so that pieces alone would tell it sooner or later. */
static void test_lost_link(void **state)
{
    static const size_t cuts[] = {20, 14000, 15361, 17000, 33000, 60000};
    struct got *g = xmalloc(sizeof(*g));
    char key[20001];
    struct buf b;

    (void)state;
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    buf_init(&b);
    command(&b, 3, "SET", "a", "b");
    large_command(&b, key, 40000);
    for (size_t k = 0; k < sizeof(cuts) / sizeof(cuts[0]); k++) {
        struct feed *f = feed_new(LOG_PARTS);
        struct buf part = {.mem = b.mem, .len = cuts[k]}, again;
        struct log_view v;
        struct wal_pos end;
        uint32_t db;
        struct rig r;

        rig_open(&r);
        r.conf.max_message_bytes = PRODUCER_MESSAGE_MIN;
        rig_own(&r, START_STREAM);
        feed_begin_stream(f, r.s, RIG_BASE, 0);
        feed_all(&r, f, &part, 700);
        feed_end(f);
        end = sink_end(r.s, &db);
        again = (struct buf){.mem = b.mem + (end.lsn - RIG_BASE),
                             .len = b.len - (end.lsn - RIG_BASE)};
        feed_begin_stream(f, r.s, end.lsn, db);
        feed_all(&r, f, &again, 1 << 20);
        rig_wait_idle(&r);
        assert_int_equal(sink_durable(r.s).lsn, RIG_BASE + b.len);
        read_log(&r, PHASE_STREAM, RIG_BASE, g);
        assert_int_equal(g->bytes.len, b.len);
        assert_memory_equal(buf_data(&g->bytes), buf_data(&b), b.len);
        buf_release(&g->bytes);
        v = log_read(r.log);
        for (size_t i = 0; i < v.cnt; i++) {
            if (v.rec[i].f.type == FRAME_DATA && v.rec[i].f.end > end.lsn)
                assert_int_equal(v.rec[i].partition, v.rec[v.cnt - 1].partition);
        }
        log_view_release(&v);
        feed_free(f);
        rig_close(&r);
    }
    buf_release(&b);
    free(g);
}

/* The smallest RDB: header, database 2 with one key, end without a checksum. */
static const uint8_t RDB[] = {'R', 'E', 'D', 'I', 'S',  '0', '0', '0', '9', 0xfe, 2, 0, 3, 'k',
                              'e', 'y', 1,   'v', 0xff, 0,   0,   0,   0,   0,    0, 0, 0};

static void test_snapshot(void **state)
{
    struct got *g = xmalloc(sizeof(*g));
    struct feed *f = feed_new(LOG_PARTS);
    struct rig r;
    struct err err;
    struct buf b;

    (void)state;
    rig_open(&r);
    rig_own(&r, START_SNAPSHOT);
    feed_begin_snapshot(f, r.s);
    assert_int_equal(feed_read_lsn(f), 0);
    for (size_t i = 0; i < sizeof(RDB); i++)
        assert_int_equal(feed_snapshot(f, RDB + i, 1, clock_wall_ms(), &err), 0);
    assert_int_equal(feed_snapshot_end(f, RIG_BASE, &err), 0);
    assert_int_equal(feed_read_lsn(f), RIG_BASE);
    buf_init(&b);
    command(&b, 3, "SET", "a", "b");
    feed_all(&r, f, &b, 5);
    rig_wait_idle(&r);
    assert_int_equal(sink_durable(r.s).lsn, RIG_BASE + b.len);
    read_log(&r, PHASE_SNAPSHOT, 0, g);
    assert_int_equal(g->bytes.len, sizeof(RDB) + b.len);
    assert_memory_equal(buf_data(&g->bytes), RDB, sizeof(RDB));
    assert_memory_equal(buf_data(&g->bytes) + sizeof(RDB), buf_data(&b), b.len);
    assert_int_equal(g->entries, 5);
    assert_int_equal(g->e[2].kind, ENTRY_RDB_KEY);
    assert_int_equal(g->e[2].db, 2);
    assert_int_equal(g->e[2].partition, place("key"));
    assert_int_equal(g->e[3].kind, ENTRY_RDB_END);
    assert_int_equal(g->e[3].db_end, 0); /* where the stream goes on */
    assert_int_equal(g->e[4].db, 0);
    buf_release(&g->bytes);
    buf_release(&b);
    feed_free(f);
    rig_close(&r);
    free(g);
}

static void test_bad_bytes(void **state)
{
    static const char junk[] = "hello\r\n";
    struct feed *f = feed_new(LOG_PARTS);
    struct rig r;
    struct err err;

    (void)state;
    rig_open(&r);
    rig_own(&r, START_SNAPSHOT);
    feed_begin_snapshot(f, r.s);
    assert_int_equal(feed_snapshot(f, RDB, sizeof(RDB) - 1, 0, &err), 0);
    assert_int_equal(feed_snapshot_end(f, RIG_BASE, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    assert_int_equal(feed_snapshot(f, RDB + sizeof(RDB) - 1, 1, 0, &err), 0);
    assert_int_equal(feed_snapshot(f, RDB, 1, 0, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    feed_end(f);
    feed_free(f);
    rig_close(&r);

    f = feed_new(LOG_PARTS);
    rig_open(&r);
    rig_own(&r, START_STREAM);
    feed_begin_stream(f, r.s, RIG_BASE, 0);
    assert_int_equal(feed_stream(f, (const uint8_t *)junk, strlen(junk), 0, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    feed_end(f);
    feed_free(f);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),    cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_lost_link), cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_bad_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
