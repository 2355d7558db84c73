/*
 * test_frame - the codec against the golden vectors, damage, and random frames.
 *
 *   test_frame --random CNT SEED    prints random frames, sound and damaged, a line each: the hex,
 *                                   then the fields as JSON or "null" when the decoder refused it;
 *                                   integration/test_vectors.py compares them with its own reader
 */
#include "common/frame.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"

#define VECTORS "common/vectors"

enum { CRC_AT = 8, TEXT_MAX = 4096 };

static json_t *number(uint64_t v)
{
    return json_sprintf("%" PRIu64, v);
}

static json_t *signed_number(int64_t v)
{
    return json_sprintf("%" PRId64, v);
}

static json_t *hex(const uint8_t *data, size_t len)
{
    struct buf b;
    json_t *text;

    buf_init(&b);
    for (size_t i = 0; i < len; i++)
        buf_printf(&b, "%02x", data[i]);
    text = json_stringn((const char *)buf_data(&b), b.len);
    buf_release(&b);
    return text;
}

static const char *phase_name(enum phase phase)
{
    return phase == PHASE_STREAM ? "stream" : "snapshot";
}

static json_t *entry_json(const struct entry *e)
{
    static const char *const names[] = {[ENTRY_COMMAND] = "command",
                                        [ENTRY_TXN] = "transaction",
                                        [ENTRY_LINK] = "link",
                                        [ENTRY_RDB_META] = "rdb_meta",
                                        [ENTRY_RDB_FUNCTION] = "rdb_function",
                                        [ENTRY_RDB_KEY] = "rdb_key",
                                        [ENTRY_RDB_END] = "rdb_end"};

    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:b, s:b}", "kind", names[e->kind], "db",
                     (json_int_t)e->db, "db_end", (json_int_t)e->db_end, "start",
                     number(e->start), "data", hex(e->data, e->len), "first",
                     (e->flags & ENTRY_CONTINUES) == 0, "last",
                     (e->flags & ENTRY_CONTINUED) == 0);
}

static json_t *start_json(const struct start *s)
{
    json_t *prev_end = s->has_prev_end ? number(s->prev_end) : json_null();

    return json_pack("{s:s, s:i, s:I, s:o, s:s, s:o, s:o, s:o, s:o, s:s}", "kind",
                     s->kind == START_STREAM ? "stream" : "snapshot", "partitions",
                     (int)s->partition_cnt, "db", (json_int_t)s->db, "epoch", number(s->epoch),
                     "replid", s->replid, "base", number(s->base), "prev_epoch",
                     number(s->prev_epoch), "prev_end", prev_end, "snapshot_epoch",
                     number(s->snapshot_epoch), "owner", s->owner);
}

/* All that was decoded; NULL with *err when a body is refused. */
static json_t *frame_json(const struct frame *f, struct err *err)
{
    static const char *const types[] = {
        [FRAME_DATA] = "data", [FRAME_START] = "start", [FRAME_HEARTBEAT] = "heartbeat"};
    json_t *entries = json_array(), *start = json_null(), *beat = json_null(), *all;
    struct heartbeat h;
    struct entry_cursor c;
    struct entry e;

    if (f->type == FRAME_DATA) {
        entry_first(&c, f);
        while (entry_next(&c, &e))
            json_array_append_new(entries, entry_json(&e));
        assert_int_equal(json_array_size(entries), f->entry_cnt);
    }
    if ((f->type == FRAME_START && frame_start(f, &h.start, err) != 0) ||
        (f->type == FRAME_HEARTBEAT && frame_heartbeat(f, &h, err) != 0)) {
        json_decref(entries);
        return NULL;
    }
    if (f->type == FRAME_START)
        start = start_json(&h.start);
    if (f->type == FRAME_HEARTBEAT)
        beat = json_pack("{s:o, s:o, s:o, s:o}", "start", start_json(&h.start), "read_lsn",
                         number(h.read_lsn), "source_lsn", number(h.source_lsn),
                         "source_clock_ms", signed_number(h.source_clock_ms));
    all =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:s, s:o, s:I, s:o, "
                  "s:o, s:o, s:o, s:o}",
                  "type", types[f->type], "phase", phase_name(f->phase), "source_id",
                  number(f->source_id), "owner_id", number(f->owner_id), "owner_run",
                  number(f->owner_run), "epoch", number(f->epoch), "replid", f->replid, "base",
                  number(f->base), "end", number(f->end), "d_epoch", number(f->d.epoch),
                  "d_phase", phase_name(f->d.phase), "d_position", number(f->d.lsn), "d_db",
                  (json_int_t)f->d_db, "recv_ms", signed_number(f->recv_ms), "origin",
                  number(f->origin), "entries", entries, "start", start, "heartbeat", beat);
    assert_non_null(all);
    return all;
}

static int decode_whole(const void *data, size_t len, struct frame *f, json_t **fields,
                        struct err *err)
{
    if (frame_decode(data, len, f, err) != 0)
        return -1;
    *fields = frame_json(f, err);
    return *fields != NULL ? 0 : -1;
}

static void encode(const struct frame *f, struct buf *b)
{
    struct heartbeat h;
    struct entry_cursor c;
    struct entry e;
    struct frame_writer w;
    struct err err;

    if (f->type == FRAME_START) {
        assert_int_equal(frame_start(f, &h.start, &err), 0);
        frame_put_start(b, f, &h.start);
    } else if (f->type == FRAME_HEARTBEAT) {
        assert_int_equal(frame_heartbeat(f, &h, &err), 0);
        frame_put_heartbeat(b, f, &h);
    } else {
        frame_begin(&w, b);
        entry_first(&c, f);
        while (entry_next(&c, &e))
            frame_add(&w, &e);
        frame_end(&w, f);
    }
}

/* ---- vectors ---- */

static void read_hex(const char *name, struct buf *b)
{
    char path[512], line[TEXT_MAX];
    FILE *file;

    (void)snprintf(path, sizeof(path), VECTORS "/%s", name);
    file = fopen(path, "r");
    assert_non_null(file);
    (void)buf_reserve(b, 1); /* an empty record has a place too */
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned byte;

        for (const char *p = line; *line != '#' && sscanf(p, "%2x", &byte) == 1; p += 2)
            buf_put_u8(b, (uint8_t)byte);
    }
    (void)fclose(file);
}

/* An exact copy on the heap, so that ASan sees a read past the end. */
static int decode_copy(const uint8_t *data, size_t len, struct err *err)
{
    uint8_t *copy = malloc(len + (len == 0));
    json_t *fields = NULL;
    struct frame f;
    int rc;

    if (len != 0)
        memcpy(copy, data, len);
    rc = decode_whole(copy, len, &f, &fields, err);
    json_decref(fields);
    free(copy);
    return rc;
}

static void check_refused(const char *name, const struct buf *b, const char *word)
{
    struct err err = {0};

    if (decode_copy(buf_data(b), b->len, &err) == 0)
        fail_msg("%s is accepted", name);
    assert_int_equal(err.kind, ERR_CORRUPT);
    if (strstr(err.msg, word) == NULL)
        fail_msg("%s: '%s' is not in '%s'", name, word, err.msg);
}

static void check_damage(const char *name, struct buf *b)
{
    uint8_t *p = buf_data(b);
    struct err err;

    for (size_t len = 0; len < b->len; len++)
        if (decode_copy(p, len, &err) == 0)
            fail_msg("%s is accepted when cut to %zu bytes", name, len);
    for (size_t bit = 0; bit < b->len * 8; bit++) {
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (decode_copy(p, b->len, &err) == 0)
            fail_msg("%s is accepted with bit %zu flipped", name, bit);
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void check_sound(const char *name, struct buf *b, json_t *want)
{
    json_t *fields = NULL;
    struct frame f;
    struct err err;
    struct buf again;

    if (decode_whole(buf_data(b), b->len, &f, &fields, &err) != 0)
        fail_msg("%s: %s", name, err.msg);
    if (!json_equal(fields, want)) {
        (void)json_dumpf(fields, stderr, JSON_INDENT(2));
        fail_msg("%s: the fields differ", name);
    }
    json_decref(fields);
    if (get_u32le(buf_data(b) + 12) == 0) { /* extensions are not written */
        buf_init(&again);
        encode(&f, &again);
        assert_int_equal(again.len, b->len);
        assert_memory_equal(buf_data(&again), buf_data(b), b->len);
        buf_release(&again);
    }
    check_damage(name, b);
}

static void check_vector(const char *name, unsigned *sound, unsigned *refused)
{
    char path[512];
    const char *word;
    struct buf b;
    json_t *want;

    buf_init(&b);
    read_hex(name, &b);
    (void)snprintf(path, sizeof(path), VECTORS "/%.*s.json", (int)strlen(name) - 4, name);
    want = json_load_file(path, 0, NULL);
    assert_non_null(want);
    word = json_string_value(json_object_get(want, "error"));
    if (word != NULL)
        check_refused(name, &b, word);
    else
        check_sound(name, &b, want);
    *(word != NULL ? refused : sound) += 1;
    json_decref(want);
    buf_release(&b);
}

static void vectors(void **state)
{
    unsigned sound = 0, refused = 0;
    DIR *dir = opendir(VECTORS);
    const struct dirent *item;

    (void)state;
    assert_non_null(dir);
    while ((item = readdir(dir)) != NULL) {
        size_t len = strlen(item->d_name);

        if (len > 4 && strcmp(item->d_name + len - 4, ".hex") == 0)
            check_vector(item->d_name, &sound, &refused);
    }
    (void)closedir(dir);
    assert_true(sound >= 15 && refused >= 60);
}

static void no_value(void **state)
{
    struct frame f;
    struct err err;

    (void)state;
    assert_int_equal(frame_decode(NULL, 0, &f, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
}

static void positions_in_order(void **state)
{
    static const struct wal_pos order[] = {
        {0, PHASE_SNAPSHOT, 0}, {1, PHASE_SNAPSHOT, UINT64_MAX},
        {1, PHASE_STREAM, 0},   {1, PHASE_STREAM, UINT64_MAX},
        {2, PHASE_SNAPSHOT, 0}, {UINT64_MAX, PHASE_STREAM, 5}};
    int cnt = (int)(sizeof(order) / sizeof(*order));

    (void)state;
    for (int i = 0; i < cnt; i++)
        for (int j = 0; j < cnt; j++)
            assert_int_equal(wal_pos_cmp(&order[i], &order[j]), (i > j) - (i < j));
    /* XXH64's published value of the empty input with seed 0. */
    assert_true(frame_name_id("") == 0xef46db3751d8e999ULL);
}

/* The writer gives no frame that the reader refuses for a field that has no meaning there. */
static void writer_leaves_out_what_has_no_meaning(void **state)
{
    struct frame f = {.epoch = 4, .d = {0, PHASE_STREAM, 5}, .d_db = 6, .phase = PHASE_STREAM};
    struct start s = {.kind = START_SNAPSHOT, .epoch = 9, .db = 3, .prev_end = 8};
    struct start got;
    struct err err;
    struct buf b;

    (void)state;
    buf_init(&b);
    s.partition_cnt = FRAME_PARTITIONS_MAX;
    memset(s.replid, 'a', FRAME_REPLID);
    memset(s.owner, 'o', FRAME_NAME_MAX);
    frame_put_start(&b, &f, &s);
    assert_int_equal(frame_decode(buf_data(&b), b.len, &f, &err), 0);
    assert_int_equal(frame_start(&f, &got, &err), 0);
    assert_true(f.epoch == 9 && f.d.epoch == 0 && f.d.lsn == 0 && f.d_db == 0);
    assert_true(got.db == 0 && got.prev_end == 0 && !got.has_prev_end);
    assert_string_equal(got.owner, s.owner);
    assert_string_equal(f.replid, s.replid);
    buf_release(&b);
}

/* ---- random frames ---- */

static uint64_t rnd64(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* All magnitudes are alike, so that every length of a varint comes. */
static uint64_t any(uint64_t *seed)
{
    uint64_t v = rnd64(seed);

    return v >> (rnd64(seed) % 64);
}

static void random_entries(uint64_t *seed, struct frame *f, struct buf *b)
{
    uint8_t bytes[300];
    struct frame_writer w;
    uint64_t cnt = 1 + rnd64(seed) % 6, at = any(seed) / 2;

    frame_begin(&w, b);
    for (uint64_t i = 0; i < cnt; i++) {
        struct entry e = {.start = at, .db = (uint32_t)any(seed), .data = bytes};

        e.len = 1 + (size_t)(rnd64(seed) % (rnd64(seed) % 4 != 0 ? 8 : sizeof(bytes)));
        for (size_t j = 0; j < e.len; j++)
            bytes[j] = (uint8_t)rnd64(seed);
        e.kind = f->phase == PHASE_STREAM ? (enum entry_kind)(ENTRY_COMMAND + rnd64(seed) % 3)
                                          : (enum entry_kind)(ENTRY_RDB_META + rnd64(seed) % 4);
        e.flags = (uint8_t)(rnd64(seed) % 4 == 0 ? rnd64(seed) % 4 : 0);
        e.db_end = (uint32_t)any(seed);
        if (!(e.flags & ENTRY_CONTINUED) && e.db_end != e.db && rnd64(seed) % 2)
            e.flags |= ENTRY_DB_END;
        frame_add(&w, &e);
        at += e.len + (rnd64(seed) % 2 ? any(seed) / 16 : 0);
    }
    frame_end(&w, f);
}

static void random_frame(uint64_t *seed, struct buf *b)
{
    struct frame f = {.type = FRAME_DATA, .source_id = any(seed), .owner_id = any(seed)};
    struct heartbeat h = {.read_lsn = any(seed), .source_lsn = any(seed)};
    struct start *s = &h.start;

    f.phase = (enum phase)(rnd64(seed) % 2);
    f.owner_run = any(seed);
    f.epoch = any(seed);
    f.d = (struct wal_pos){any(seed), (enum phase)(rnd64(seed) % 2), any(seed)};
    f.d_db = (uint32_t)any(seed);
    f.recv_ms = (int64_t)rnd64(seed);
    f.origin = any(seed);
    for (size_t i = 0; i < FRAME_REPLID; i++)
        s->replid[i] = f.replid[i] = "0123456789abcdef"[rnd64(seed) % 16];
    s->kind = (enum start_kind)(1 + rnd64(seed) % 2);
    s->has_prev_end = rnd64(seed) % 2;
    s->prev_end = any(seed);
    s->epoch = f.epoch;
    s->db = (uint32_t)any(seed);
    s->base = any(seed);
    s->prev_epoch = any(seed);
    s->snapshot_epoch = any(seed);
    s->partition_cnt = 1 + (uint32_t)(rnd64(seed) % FRAME_PARTITIONS_MAX);
    (void)snprintf(s->owner, sizeof(s->owner), "%.*s", (int)(rnd64(seed) % 9), "journal-");
    h.source_clock_ms = (int64_t)rnd64(seed);
    switch (rnd64(seed) % 4) {
    case 0:
        frame_put_start(b, &f, s);
        break;
    case 1:
        frame_put_heartbeat(b, &f, &h);
        break;
    default:
        random_entries(seed, &f, b);
    }
}

/* Another byte somewhere, and the CRC made right again. In a control block only letters, so that
 * an owner stays a text. */
static void damage(uint64_t *seed, struct buf *b)
{
    uint8_t *p = buf_data(b);
    size_t at = (size_t)(rnd64(seed) % b->len);
    uint32_t crc;

    if (rnd64(seed) % 3 == 0)
        at %= 24; /* magic to entry count */
    p[at] = (uint8_t)(rnd64(seed) % 2 ? rnd64(seed) : p[at] ^ (1U << rnd64(seed) % 8));
    if (p[5] != FRAME_DATA && at >= FRAME_HEAD + 69)
        p[at] = (uint8_t)('a' + rnd64(seed) % 26);
    crc = crc32c(crc32c(0, p, CRC_AT), p + CRC_AT + 4, b->len - CRC_AT - 4);
    if (at < CRC_AT || at >= CRC_AT + 4)
        put_u32le(p + CRC_AT, crc);
}

static void round_trips(void **state)
{
    uint64_t seed = 1;
    struct buf b, again;
    struct frame f;
    struct err err;

    (void)state;
    buf_init(&b);
    buf_init(&again);
    for (int i = 0; i < 20000; i++) {
        buf_reset(&b);
        buf_reset(&again);
        random_frame(&seed, &b);
        if (frame_decode(buf_data(&b), b.len, &f, &err) != 0)
            fail_msg("round %d: %s", i, err.msg);
        encode(&f, &again);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(buf_data(&again), buf_data(&b), b.len);
        damage(&seed, &b);
        (void)decode_copy(buf_data(&b), b.len, &err);
    }
    buf_release(&again);
    buf_release(&b);
}

static int print_random(long cnt, uint64_t seed)
{
    struct buf b;

    buf_init(&b);
    for (long i = 0; i < cnt; i++) {
        json_t *fields = NULL;
        struct frame f;
        struct err err;

        buf_reset(&b);
        random_frame(&seed, &b);
        if (i % 2)
            damage(&seed, &b);
        for (size_t j = 0; j < b.len; j++)
            (void)printf("%02x", buf_data(&b)[j]);
        (void)putchar(' ');
        if (decode_whole(buf_data(&b), b.len, &f, &fields, &err) == 0)
            (void)json_dumpf(fields, stdout, JSON_COMPACT);
        else
            (void)fputs("null", stdout);
        (void)putchar('\n');
        json_decref(fields);
    }
    buf_release(&b);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(no_value),
        cmocka_unit_test(positions_in_order),
        cmocka_unit_test(writer_leaves_out_what_has_no_meaning),
        cmocka_unit_test(round_trips),
    };

    if (argc == 4 && strcmp(argv[1], "--random") == 0)
        return print_random(strtol(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
