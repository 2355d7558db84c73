/*
 * test_merge - each rule of the merge by itself. A case pushes frames and compares what comes out,
 * as text: "S5" START of epoch 5, "0-10" an entry, "(0-4" and "4-10)" its fragments, "." wait,
 * "!" an error whose text must then hold the words given. test_merge_model.c mixes them at random.
 */
#include "common/merge.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/err.h"

enum { PARTS = 3, NONE = -1 };

struct rig {
    struct merge *m;
    size_t kept;
    int64_t offset[PARTS]; /* of the next frame */
    struct err err;
};

static void release(void *owner, void *arg)
{
    struct rig *r = arg;

    assert_true(r->kept > 0);
    r->kept--;
    free(owner);
}

static void rig_open(struct rig *r, struct merge_from from)
{
    *r = (struct rig){0};
    from.source_id = 7;
    r->m = merge_new(PARTS, &from, release, r);
}

static void rig_fresh(struct rig *r)
{
    rig_open(r, (struct merge_from){.fresh = true});
}

/* In the stream of epoch 5, database 2. */
static void rig_at(struct rig *r, uint64_t lsn)
{
    rig_open(r, (struct merge_from){.at = {5, PHASE_STREAM, lsn}, .db = 2});
}

static void rig_close(struct rig *r)
{
    merge_free(r->m);
    assert_int_equal(r->kept, 0);
}

static int push_bytes(struct rig *r, uint32_t part, struct buf *b, bool look)
{
    struct frame f;
    size_t len;
    uint8_t *bytes = buf_detach(b, &len);
    int rc;

    assert_int_equal(frame_decode(bytes, len, &f, &r->err), 0);
    rc = look ? merge_look(r->m, part, r->offset[part], &f, &r->err)
              : merge_push(r->m, part, r->offset[part], &f, bytes, &r->err);
    r->offset[part]++;
    if (rc == 1)
        r->kept++;
    else
        free(bytes);
    return rc;
}

static struct start a_start(enum start_kind kind, uint64_t epoch, uint64_t base,
                            uint64_t prev_epoch, int64_t prev_end)
{
    return (struct start){.kind = kind,
                          .epoch = epoch,
                          .base = base,
                          .db = kind == START_STREAM ? 2 : 0,
                          .prev_epoch = prev_epoch,
                          .prev_end = prev_end == NONE ? 0 : (uint64_t)prev_end,
                          .has_prev_end = prev_end != NONE,
                          .partition_cnt = PARTS};
}

static int push_start(struct rig *r, struct start s)
{
    struct frame f = {.source_id = 7};
    struct buf b;

    buf_init(&b);
    frame_put_start(&b, &f, &s);
    return push_bytes(r, 0, &b, false);
}

static int stream_start(struct rig *r, uint64_t epoch, uint64_t at)
{
    return push_start(r, a_start(START_STREAM, epoch, at, epoch - 1, (int64_t)at));
}

static void beat_buf(struct buf *b, uint64_t epoch, struct wal_pos d)
{
    struct heartbeat h = {.start = a_start(START_STREAM, epoch, 0, 0, NONE)};
    struct frame f = {.source_id = 7, .d = d};

    buf_init(b);
    frame_put_heartbeat(b, &f, &h);
}

static int beat(struct rig *r, uint32_t part, uint64_t epoch, enum phase phase, uint64_t d)
{
    struct buf b;

    beat_buf(&b, epoch, (struct wal_pos){epoch, phase, d});
    return push_bytes(r, part, &b, false);
}

static void beats(struct rig *r, uint64_t epoch, uint64_t d)
{
    for (uint32_t i = 0; i < PARTS; i++)
        assert_int_equal(beat(r, i, epoch, PHASE_STREAM, d), 0);
}

/* Entries as text: "0-10 15-20", fragments with parentheses; kind is that of the last one. */
static void data_buf(struct buf *b, uint64_t epoch, enum entry_kind kind, const char *entries)
{
    static const uint8_t bytes[100] = "entry";
    struct frame f = {.type = FRAME_DATA, .source_id = 7, .epoch = epoch};
    struct frame_writer w;

    f.phase = kind < ENTRY_RDB_META ? PHASE_STREAM : PHASE_SNAPSHOT;
    buf_init(b);
    frame_begin(&w, b);
    for (const char *p = entries; p != NULL; p = strchr(p, ' ')) {
        struct entry e = {.kind = kind, .db = 2, .data = bytes};
        bool first = p[*p == ' '] == '(', last = true, open = first;
        uint64_t end;
        char *rest;

        p += (*p == ' ') + first;
        e.start = strtoull(p, &rest, 10);
        last = *rest != '~'; /* "4~7" goes on, "4-7)" ends */
        end = strtoull(rest + 1, &rest, 10);
        if (*rest == ')')
            e.flags |= ENTRY_CONTINUES;
        if (open)
            e.flags |= ENTRY_CONTINUED;
        if (!last)
            e.flags |= ENTRY_CONTINUES | ENTRY_CONTINUED;
        e.len = (size_t)(end - e.start);
        frame_add(&w, &e);
    }
    frame_end(&w, &f);
}

static int data(struct rig *r, uint32_t part, uint64_t epoch, const char *entries)
{
    struct buf b;

    data_buf(&b, epoch, ENTRY_COMMAND, entries);
    return push_bytes(r, part, &b, false);
}

static int rdb(struct rig *r, uint32_t part, uint64_t epoch, enum entry_kind kind,
               const char *entries)
{
    struct buf b;

    data_buf(&b, epoch, kind, entries);
    return push_bytes(r, part, &b, false);
}

static void look(struct rig *r, uint32_t part, struct buf *b)
{
    int64_t offset = r->offset[part];

    assert_int_equal(push_bytes(r, part, b, true), 0);
    r->offset[part] = offset + 1;
}

/* Takes all there is. */
static void gives(struct rig *r, const char *want)
{
    char got[512] = "";
    struct merge_item item = {.type = MERGE_ENTRY};

    while (item.type != MERGE_WAIT) {
        size_t len = strlen(got);
        const struct entry *e = &item.entry;

        if (merge_next(r->m, &item, &r->err) != 0) {
            assert_int_equal(r->err.kind, ERR_CORRUPT);
            (void)snprintf(got + len, sizeof(got) - len, "! ");
            break;
        }
        if (item.type == MERGE_START)
            (void)snprintf(got + len, sizeof(got) - len, "S%" PRIu64 " ", item.start.epoch);
        else if (item.type == MERGE_WAIT)
            (void)snprintf(got + len, sizeof(got) - len, ". ");
        else
            (void)snprintf(got + len, sizeof(got) - len, "%s%" PRIu64 "%s%" PRIu64 "%s ",
                           e->flags == ENTRY_CONTINUED ? "(" : "", e->start,
                           e->flags == 3 ? "~" : "-", e->start + e->len,
                           e->flags == ENTRY_CONTINUES ? ")" : "");
    }
    got[strlen(got) - 1] = '\0';
    assert_string_equal(got, want);
}

static void says(const struct rig *r, const char *words)
{
    if (strstr(r->err.msg, words) == NULL)
        fail_msg("'%s' is not in '%s'", words, r->err.msg);
}

/* ---- order ---- */

static void partitions_in_any_order(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 0);
    assert_int_equal(data(&r, 2, 5, "10-20 40-50"), 1);
    gives(&r, ".");
    assert_int_equal(data(&r, 1, 5, "20-40 50-60"), 1);
    gives(&r, ".");
    assert_int_equal(data(&r, 0, 5, "0-10"), 1);
    gives(&r, "0-10 10-20 20-40 40-50 50-60 .");
    assert_int_equal(r.kept, 0);
    rig_close(&r);
}

static void doubled_frames_are_dropped(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 0);
    (void)data(&r, 0, 5, "0-10 20-30");
    (void)data(&r, 0, 5, "0-10 20-30");
    (void)data(&r, 1, 5, "10-20 30-40");
    gives(&r, "0-10 10-20 20-30 30-40 .");
    assert_int_equal(data(&r, 1, 5, "10-20 30-40"), 0); /* late */
    assert_int_equal(data(&r, 1, 5, "30-40 50-60"), 1); /* half covered */
    (void)data(&r, 0, 5, "40-50");
    gives(&r, "40-50 50-60 .");
    rig_close(&r);
}

static void an_overlap_is_damage(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 0);
    (void)data(&r, 0, 5, "0-10");
    (void)data(&r, 1, 5, "5-15");
    gives(&r, "0-10 !");
    says(&r, "partition 1 offset 0");
    says(&r, "[5, 15) overlaps position 10");
    rig_close(&r);
}

static void frames_of_another_source(void **state)
{
    struct frame f = {.type = FRAME_HEARTBEAT, .source_id = 8, .epoch = 5};
    struct rig r;

    (void)state;
    rig_at(&r, 0);
    assert_int_equal(merge_push(r.m, 1, 4, &f, NULL, &r.err), -1);
    says(&r, "partition 1 offset 4");
    says(&r, "another source");
    rig_close(&r);
}

static void fragments_over_frames(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 0);
    (void)data(&r, 1, 5, "(0-4");
    (void)data(&r, 1, 5, "4~7");
    (void)data(&r, 0, 5, "10-12");
    gives(&r, "(0-4 4~7 .");
    assert_true(merge_pos(r.m).lsn == 0 && merge_offset(r.m, 1) == 0);
    assert_int_equal(merge_offset(r.m, 0), 0);
    (void)data(&r, 1, 5, "7-10) 12-14");
    gives(&r, "7-10) 10-12 12-14 .");
    assert_true(merge_pos(r.m).lsn == 14 && merge_offset(r.m, 1) == 3);
    (void)data(&r, 2, 5, "14-16)");
    gives(&r, "!");
    says(&r, "without its beginning");
    rig_close(&r);
    rig_at(&r, 0);
    (void)data(&r, 1, 5, "(0-4 4-9");
    gives(&r, "(0-4 !");
    says(&r, "a fragment must follow");
    rig_close(&r);
}

/* ---- loss ---- */

static void a_hole_waits_until_it_is_proven(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    (void)data(&r, 1, 5, "120-130");
    gives(&r, ".");
    (void)beat(&r, 0, 5, PHASE_STREAM, 140);
    (void)beat(&r, 1, 5, PHASE_STREAM, 140);
    gives(&r, "."); /* partition 2 may have it */
    (void)beat(&r, 2, 5, PHASE_STREAM, 100);
    gives(&r, "."); /* it may still, behind */
    (void)beat(&r, 2, 5, PHASE_STREAM, 101);
    gives(&r, "!");
    says(&r, "lost: epoch 5 LSN [100, 101)");
    says(&r, "0:1 1:0 2:2");
    (void)beat(&r, 2, 5, PHASE_STREAM, 140);
    gives(&r, "!");
    says(&r, "lost: epoch 5 LSN [100, 120)");
    rig_close(&r);
}

static void a_late_frame_below_d_fills_the_hole(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    (void)beat(&r, 0, 5, PHASE_STREAM, 110);
    (void)beat(&r, 1, 5, PHASE_STREAM, 110);
    gives(&r, ".");
    (void)data(&r, 2, 5, "100-110");
    (void)beat(&r, 2, 5, PHASE_STREAM, 110);
    gives(&r, "100-110 .");
    rig_close(&r);
}

static void a_later_epoch_proves_the_one_before(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    assert_int_equal(stream_start(&r, 6, 120), 0);
    (void)data(&r, 1, 6, "120-130");
    gives(&r, ".");
    (void)data(&r, 2, 6, "130-140");
    gives(&r, "!");
    says(&r, "lost: epoch 5 LSN [100, 120)");
    rig_close(&r);
}

static void a_lost_end_of_a_snapshot(void **state)
{
    struct rig r;

    (void)state;
    rig_fresh(&r);
    (void)push_start(&r, a_start(START_SNAPSHOT, 5, 1000, 0, NONE));
    (void)rdb(&r, 1, 5, ENTRY_RDB_META, "0-9");
    gives(&r, "S5 0-9 .");
    beats(&r, 5, 1000);
    gives(&r, "!");
    says(&r, "lost: epoch 5 snapshot byte 9 to the end of the snapshot");
    rig_close(&r);
}

static void looking_ahead_proves_only_behind_kept_frames(void **state)
{
    struct rig r;
    struct buf b;

    (void)state;
    rig_at(&r, 100);
    (void)beat(&r, 0, 5, PHASE_STREAM, 120);
    (void)beat(&r, 2, 5, PHASE_STREAM, 120);
    (void)data(&r, 1, 5, "110-120"); /* beyond prev P, as it turns out */
    beat_buf(&b, 5, (struct wal_pos){5, PHASE_STREAM, 90});
    look(&r, 1, &b);
    gives(&r, ".");
    data_buf(&b, 6, ENTRY_COMMAND, "100-105");
    look(&r, 1, &b);
    beat_buf(&b, 6, (struct wal_pos){6, PHASE_STREAM, 105});
    look(&r, 1, &b);
    (void)stream_start(&r, 6, 100);
    (void)beat(&r, 0, 6, PHASE_STREAM, 105);
    (void)beat(&r, 2, 6, PHASE_STREAM, 105);
    gives(&r, "S6 ."); /* not lost: what was looked at has it */
    assert_int_equal(merge_bytes(r.m, 1), 0);
    r.offset[1] = merge_offset(r.m, 1);
    (void)data(&r, 1, 6, "100-105");
    gives(&r, "100-105 .");
    rig_close(&r);
    rig_at(&r, 100);
    (void)data(&r, 1, 5, "110-120");
    gives(&r, ".");
    beat_buf(&b, 5, (struct wal_pos){5, PHASE_STREAM, 120});
    look(&r, 1, &b);
    (void)beat(&r, 0, 5, PHASE_STREAM, 120);
    (void)beat(&r, 2, 5, PHASE_STREAM, 120);
    gives(&r, "!"); /* behind 110-120 it can't be */
    says(&r, "[100, 110)");
    rig_close(&r);
}

/* ---- epochs ---- */

static void the_next_epoch_begins_at_prev_p(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    (void)data(&r, 1, 6, "110-115");         /* waits for its START */
    (void)data(&r, 2, 5, "105-110 120-130"); /* 120-130: the dead owner's, beyond P */
    (void)data(&r, 2, 6, "115-120");
    gives(&r, ".");
    (void)data(&r, 0, 5, "100-105");
    (void)data(&r, 0, 5, "(110-113"); /* half delivered, void */
    gives(&r, "100-105 105-110 (110-113 .");
    assert_true(merge_pos(r.m).lsn == 110 && merge_offset(r.m, 0) == 1);
    assert_int_equal(stream_start(&r, 6, 110), 0);
    gives(&r, "S6 110-115 115-120 .");
    assert_int_equal(data(&r, 0, 5, "113-118)"), 0); /* a late one of the older epoch */
    assert_int_equal(r.kept, 0);
    assert_true(merge_pos(r.m).epoch == 6 && merge_pos(r.m).lsn == 120);
    rig_close(&r);
}

static void a_start_waits_for_prev_p(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    (void)stream_start(&r, 6, 120);
    (void)stream_start(&r, 7, 130);
    gives(&r, ".");
    assert_int_equal(merge_offset(r.m, 0), 0); /* both are read again */
    (void)data(&r, 1, 5, "100-120");
    gives(&r, "100-120 S6 .");
    assert_int_equal(merge_offset(r.m, 0), 1);
    (void)data(&r, 1, 6, "120-130");
    gives(&r, "120-130 S7 .");
    rig_close(&r);
}

static void a_start_twice_or_skipped(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    assert_int_equal(stream_start(&r, 6, 100), 0);
    assert_int_equal(stream_start(&r, 6, 100), 0);
    gives(&r, "S6 .");
    assert_int_equal(stream_start(&r, 6, 100), 0);
    assert_int_equal(stream_start(&r, 5, 90), 0);
    gives(&r, ".");
    assert_int_equal(stream_start(&r, 8, 100), -1);
    says(&r, "partition 0 offset 4");
    says(&r, "epoch 8 follows epoch 7, but the one read before it is 6");
    assert_int_equal(beat(&r, 1, 9, PHASE_STREAM, 0), 0); /* elsewhere it waits */
    assert_int_equal(beat(&r, 0, 9, PHASE_STREAM, 0), -1);
    says(&r, "epoch 9, whose START was not in partition 0");
    rig_close(&r);
}

/* Pushes one START that contradicts epoch 5 at LSN 100 in db 2; the words of the error. */
static void contradicts(struct start s, const char *words)
{
    struct rig r;

    rig_at(&r, 100);
    if (push_start(&r, s) == 0)
        gives(&r, "!");
    says(&r, words);
    assert_int_equal(r.err.kind, ERR_CORRUPT);
    rig_close(&r);
}

static void starts_that_contradict(void **state)
{
    struct start s = a_start(START_STREAM, 6, 100, 5, 100);
    struct rig r;
    struct buf b;
    struct frame f = {.source_id = 7};

    (void)state;
    contradicts(a_start(START_STREAM, 6, 99, 5, 99), "LSN 100 of it was already read");
    contradicts(a_start(START_SNAPSHOT, 6, 500, 5, 99), "LSN 100 of it was already read");
    contradicts(a_start(START_STREAM, 6, 101, 5, 100), "continues at LSN 101");
    contradicts(a_start(START_STREAM, 6, 100, 5, NONE), "names no end");
    contradicts(a_start(START_SNAPSHOT, 6, 500, 5, NONE), "an incomplete snapshot");
    contradicts(a_start(START_STREAM, 6, 100, 4, 100), "follows epoch 4");
    s.db = 3;
    contradicts(s, "in db 3");
    s.db = 2;
    s.partition_cnt = PARTS + 1;
    contradicts(s, "4 partitions, the topic has 3");
    s.partition_cnt = PARTS;
    rig_at(&r, 100);
    buf_init(&b);
    frame_put_start(&b, &f, &s);
    assert_int_equal(push_bytes(&r, 1, &b, false), -1);
    says(&r, "outside partition 0");
    rig_close(&r);
}

/* ---- snapshots ---- */

static void snapshot_then_stream(void **state)
{
    struct rig r;

    (void)state;
    rig_fresh(&r);
    assert_true(merge_waits_for_start(r.m));
    assert_int_equal(merge_offset(r.m, 0), -1);
    (void)data(&r, 1, 5, "1000-1010"); /* of the stream, before the snapshot is through */
    (void)push_start(&r, a_start(START_SNAPSHOT, 5, 1000, 0, NONE));
    (void)rdb(&r, 2, 5, ENTRY_RDB_META, "0-9");
    (void)rdb(&r, 0, 5, ENTRY_RDB_KEY, "9-20");
    (void)rdb(&r, 0, 5, ENTRY_RDB_END, "20-29");
    gives(&r, "S5 0-9 9-20 20-29 1000-1010 .");
    assert_true(!merge_waits_for_start(r.m) && merge_pos(r.m).phase == PHASE_STREAM);
    assert_true(merge_pos(r.m).lsn == 1010 && merge_db(r.m) == 2);
    rig_close(&r);
}

static void an_incomplete_snapshot_is_left_at_once(void **state)
{
    struct rig r;

    (void)state;
    rig_fresh(&r);
    (void)push_start(&r, a_start(START_SNAPSHOT, 5, 1000, 0, NONE));
    (void)rdb(&r, 1, 5, ENTRY_RDB_META, "0-9");
    (void)rdb(&r, 1, 5, ENTRY_RDB_KEY, "15-20");
    gives(&r, "S5 0-9 .");
    (void)push_start(&r, a_start(START_SNAPSHOT, 6, 2000, 5, NONE));
    (void)rdb(&r, 1, 6, ENTRY_RDB_END, "0-9");
    gives(&r, "S6 0-9 .");
    assert_true(merge_pos(r.m).epoch == 6 && merge_pos(r.m).lsn == 2000);
    rig_close(&r);
}

static void a_snapshot_after_a_stream(void **state)
{
    struct rig r;

    (void)state;
    rig_at(&r, 100);
    (void)push_start(&r, a_start(START_SNAPSHOT, 6, 50, 5, 110));
    (void)rdb(&r, 2, 6, ENTRY_RDB_END, "0-9");
    gives(&r, ".");
    (void)data(&r, 1, 5, "100-110");
    gives(&r, "100-110 S6 0-9 .");
    assert_true(merge_pos(r.m).lsn == 50);
    rig_close(&r);
}

static void fresh_from_the_middle(void **state)
{
    struct rig r;

    (void)state;
    rig_open(&r, (struct merge_from){.fresh = true, .at.epoch = 6});
    (void)data(&r, 0, 5, "90-100");
    assert_int_equal(data(&r, 1, 5, "100-110"), 0);
    assert_int_equal(push_start(&r, a_start(START_SNAPSHOT, 5, 1, 4, 1)), 0); /* too old */
    (void)stream_start(&r, 6, 110); /* no snapshot: nothing to begin with */
    (void)data(&r, 0, 6, "110-120");
    (void)data(&r, 1, 7, "500-510");
    gives(&r, ".");
    assert_true(merge_waits_for_start(r.m));
    assert_int_equal(push_start(&r, a_start(START_SNAPSHOT, 6, 1, 5, 1)),
                     0); /* a second copy */
    gives(&r, ".");
    (void)push_start(&r, a_start(START_SNAPSHOT, 7, 500, 6, 120));
    (void)rdb(&r, 0, 7, ENTRY_RDB_END, "0-9");
    gives(&r, "S7 0-9 500-510 .");
    rig_close(&r);
}

/* ---- places to begin again ---- */

static void offsets_of_a_start(void **state)
{
    struct rig r;
    struct merge_item item;

    (void)state;
    rig_at(&r, 100);
    (void)data(&r, 0, 5, "100-110");
    (void)data(&r, 1, 6, "0-5");
    (void)push_start(&r, a_start(START_SNAPSHOT, 6, 50, 5, 110));
    (void)beat(&r, 0, 6, PHASE_SNAPSHOT, 0);
    assert_int_equal(merge_offset(r.m, 0), 0);
    assert_int_equal(merge_next(r.m, &item, &r.err), 0);
    assert_int_equal(merge_offset(r.m, 0), 1);
    assert_int_equal(merge_next(r.m, &item, &r.err), 0);
    assert_int_equal(item.type, MERGE_START);
    assert_int_equal(item.offset, 1);
    assert_int_equal(merge_offset(r.m, 0), 1);
    assert_int_equal(merge_offset(r.m, 1), 0);
    assert_int_equal(merge_offset(r.m, 2), -1);
    gives(&r, ".");
    assert_int_equal(merge_offset(r.m, 0), 3);
    rig_close(&r);
}

/* What was borrowed stays until the next call, then it is released, once. */
static void bytes_stay_until_the_next_call(void **state)
{
    struct rig r;
    struct merge_item item;

    (void)state;
    rig_at(&r, 0);
    (void)data(&r, 0, 5, "0-10");
    (void)data(&r, 1, 5, "10-20 20-30");
    assert_int_equal(merge_bytes(r.m, 0), FRAME_HEAD + 15);
    assert_int_equal(merge_next(r.m, &item, &r.err), 0);
    assert_int_equal(r.kept, 2);
    assert_memory_equal(item.entry.data, "entry", 5);
    assert_int_equal(merge_next(r.m, &item, &r.err), 0);
    assert_int_equal(r.kept, 1);
    assert_int_equal(merge_bytes(r.m, 0), 0);
    assert_memory_equal(item.entry.data, "entry", 5);
    rig_close(&r); /* half used */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_in_any_order),
        cmocka_unit_test(doubled_frames_are_dropped),
        cmocka_unit_test(an_overlap_is_damage),
        cmocka_unit_test(frames_of_another_source),
        cmocka_unit_test(fragments_over_frames),
        cmocka_unit_test(a_hole_waits_until_it_is_proven),
        cmocka_unit_test(a_late_frame_below_d_fills_the_hole),
        cmocka_unit_test(a_later_epoch_proves_the_one_before),
        cmocka_unit_test(a_lost_end_of_a_snapshot),
        cmocka_unit_test(looking_ahead_proves_only_behind_kept_frames),
        cmocka_unit_test(the_next_epoch_begins_at_prev_p),
        cmocka_unit_test(a_start_waits_for_prev_p),
        cmocka_unit_test(a_start_twice_or_skipped),
        cmocka_unit_test(starts_that_contradict),
        cmocka_unit_test(snapshot_then_stream),
        cmocka_unit_test(an_incomplete_snapshot_is_left_at_once),
        cmocka_unit_test(a_snapshot_after_a_stream),
        cmocka_unit_test(fresh_from_the_middle),
        cmocka_unit_test(offsets_of_a_start),
        cmocka_unit_test(bytes_stay_until_the_next_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
