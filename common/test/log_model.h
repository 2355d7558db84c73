/*
 * log_model - random logs as journals and a mirror could have left them, for test_merge_model.c
 * alone (it holds functions, so that the one build rule for tests does). It knows what was written,
 * what landed, and where each epoch ended.
 */
#ifndef COMMON_TEST_LOG_MODEL_H
#define COMMON_TEST_LOG_MODEL_H

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
#include "common/mem.h"

enum {
    PARTS_MAX = 5,
    EPOCHS_MAX = 7,
    PIECES_MAX = 400,
    RECORDS_MAX = 2000, /* in one partition */
    FLIGHT_MAX = 400,
    PIECE_LEN_MAX = 12,
};

/* An entry, or a fragment of one. */
struct piece {
    struct entry e; /* data is not set: content() is the truth */
    enum phase phase;
    struct wal_pos behind;
    unsigned frame; /* the record it is in */
    bool landed, acked;
};

struct epoch {
    struct start s;
    struct piece piece[PIECES_MAX];
    size_t cnt;
    size_t whole; /* pieces up to P: what merges without a hole and is whole */
    struct wal_pos p;
    uint32_t p_db;
};

struct record {
    uint8_t *bytes;
    size_t len;
    unsigned id;
    enum frame_type type;
    int64_t offset; /* in the copy that is read */
    bool doubled;   /* the copy holds it twice */
    bool again;     /* this is a later copy */
};

struct lane {
    struct record rec[RECORDS_MAX];
    size_t cnt;
};

struct open_frame {
    struct buf b;
    struct frame_writer w;
    enum phase phase;
    unsigned id;
};

struct world {
    uint64_t seed;
    uint64_t round_seed; /* of the run; 0: none failed */
    uint32_t parts;
    struct epoch *epoch;
    int epoch_cnt; /* those whose START landed */
    struct lane *log, *copy;
    struct record flight[PARTS_MAX][FLIGHT_MAX];
    size_t flight_cnt[PARTS_MAX];
    struct open_frame open[PARTS_MAX];
    struct wal_pos d; /* as the owner last computed it */
    unsigned next_id;
    uint64_t next_epoch;
    enum phase phase; /* where the owner writes */
    uint64_t lsn;
    uint32_t db;
};

/* splitmix64: each seed is a run of its own. */
static uint64_t rnd64(struct world *w)
{
    uint64_t z = w->seed += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static uint32_t rnd(struct world *w, uint32_t below)
{
    return (uint32_t)(rnd64(w) % below);
}

static bool chance(struct world *w, uint32_t percent)
{
    return rnd(w, 100) < percent;
}

/* The byte of an epoch at a position: other epochs and phases have others. */
static uint8_t content(uint64_t epoch, enum phase phase, uint64_t at)
{
    uint64_t z =
        (epoch * 2 + (uint64_t)phase) * 0x9e3779b97f4a7c15ULL + at * 0xbf58476d1ce4e5b9ULL;

    return (uint8_t)(z >> 37);
}

static struct epoch *current(struct world *w)
{
    return &w->epoch[w->epoch_cnt - 1];
}

static void lane_add(struct lane *lane, const struct record *rec)
{
    assert_true(lane->cnt < RECORDS_MAX);
    lane->rec[lane->cnt++] = *rec;
}

static struct frame header(struct world *w)
{
    struct frame f = {.source_id = 7, .phase = w->phase, .d = w->d};

    if (w->epoch_cnt != 0)
        f.epoch = current(w)->s.epoch;
    return f;
}

static void fly(struct world *w, uint32_t part, struct buf *b, enum frame_type type,
                unsigned id)
{
    struct record rec = {.id = id, .type = type};

    rec.bytes = buf_detach(b, &rec.len);
    assert_true(w->flight_cnt[part] < FLIGHT_MAX);
    w->flight[part][w->flight_cnt[part]++] = rec;
}

static void flush(struct world *w, uint32_t part)
{
    struct open_frame *o = &w->open[part];
    struct frame f = header(w);

    if (o->w.cnt == 0)
        return;
    f.type = FRAME_DATA;
    f.phase = o->phase;
    frame_end(&o->w, &f);
    fly(w, part, &o->b, FRAME_DATA, o->id);
    o->w.cnt = 0;
}

static void heartbeat(struct world *w, uint32_t part)
{
    struct frame f = header(w);
    struct heartbeat h = {.start = {.kind = START_SNAPSHOT, .partition_cnt = w->parts}};
    struct buf b;

    if (w->epoch_cnt != 0)
        h.start = current(w)->s;
    buf_init(&b);
    frame_put_heartbeat(&b, &f, &h);
    fly(w, part, &b, FRAME_HEARTBEAT, w->next_id++);
}

static void mark(struct world *w, unsigned frame, bool acked)
{
    struct epoch *e = current(w);

    for (size_t i = 0; i < e->cnt; i++) {
        if (e->piece[i].frame != frame)
            continue;
        e->piece[i].landed = true;
        e->piece[i].acked = acked;
    }
}

/* The first message in flight of a partition lands and is acknowledged. */
static void land(struct world *w, uint32_t part, bool acked)
{
    const struct record rec = w->flight[part][0];

    w->flight_cnt[part]--;
    memmove(w->flight[part], w->flight[part] + 1, w->flight_cnt[part] * sizeof(rec));
    if (rec.type == FRAME_DATA)
        mark(w, rec.id, acked);
    lane_add(&w->log[part], &rec);
}

static void lose(struct world *w, uint32_t part)
{
    free(w->flight[part][0].bytes);
    w->flight_cnt[part]--;
    memmove(w->flight[part], w->flight[part] + 1,
            w->flight_cnt[part] * sizeof(w->flight[part][0]));
}

static struct wal_pos begin_of(const struct start *s)
{
    if (s->kind == START_SNAPSHOT)
        return (struct wal_pos){.epoch = s->epoch, .phase = PHASE_SNAPSHOT};
    return (struct wal_pos){.epoch = s->epoch, .phase = PHASE_STREAM, .lsn = s->base};
}

/* The end of the last whole entry below which all is there: acknowledged, or only landed. */
static struct wal_pos prefix(const struct epoch *e, bool acked, size_t *whole, uint32_t *db)
{
    struct wal_pos p = begin_of(&e->s);

    *whole = 0;
    *db = e->s.db;
    for (size_t i = 0; i < e->cnt; i++) {
        const struct piece *q = &e->piece[i];

        if (!(acked ? q->acked : q->landed))
            break;
        if (q->e.flags & ENTRY_CONTINUED)
            continue;
        p = q->behind;
        *whole = i + 1;
        *db = q->e.db_end;
    }
    return p;
}

static void learn_d(struct world *w)
{
    size_t whole;
    uint32_t db;

    w->d = prefix(current(w), true, &whole, &db);
}

static void add_piece(struct world *w, uint32_t part, struct entry e, enum phase phase)
{
    struct epoch *ep = current(w);
    struct open_frame *o = &w->open[part];
    uint8_t bytes[PIECE_LEN_MAX];
    struct piece *q = &ep->piece[ep->cnt];

    if (o->w.cnt != 0 && o->phase != phase)
        flush(w, part);
    if (o->w.cnt == 0) {
        frame_begin(&o->w, &o->b);
        o->phase = phase;
        o->id = w->next_id++;
    }
    for (size_t i = 0; i < e.len; i++)
        bytes[i] = content(ep->s.epoch, phase, e.start + i);
    assert_true(ep->cnt < PIECES_MAX);
    *q = (struct piece){.e = e, .phase = phase, .frame = o->id};
    q->behind = (struct wal_pos){.epoch = ep->s.epoch, .phase = w->phase, .lsn = w->lsn};
    ep->cnt++;
    e.data = bytes;
    frame_add(&o->w, &e);
    if (chance(w, 15))
        flush(w, part);
}

static enum entry_kind pick_kind(struct world *w)
{
    static const enum entry_kind stream[] = {ENTRY_COMMAND, ENTRY_TXN, ENTRY_LINK};
    static const enum entry_kind rdb[] = {ENTRY_RDB_META, ENTRY_RDB_FUNCTION, ENTRY_RDB_KEY};

    if (w->phase == PHASE_STREAM)
        return stream[rnd(w, 3)];
    return chance(w, 15) ? ENTRY_RDB_END : rdb[rnd(w, 3)];
}

static void add_entry(struct world *w)
{
    uint32_t part = rnd(w, w->parts);
    enum phase phase = w->phase;
    struct entry e = {.kind = pick_kind(w), .db = w->db};
    uint32_t db_end = chance(w, 15) ? rnd(w, 4) : w->db;
    uint32_t fragments = chance(w, 20) ? 2 + rnd(w, 3) : 1;

    if (current(w)->cnt + fragments > PIECES_MAX)
        return;
    for (uint32_t i = 0; i < fragments; i++) {
        bool last = i + 1 == fragments;

        e.flags = (uint8_t)((i != 0 ? ENTRY_CONTINUES : 0) | (!last ? ENTRY_CONTINUED : 0));
        if (last && db_end != e.db)
            e.flags |= ENTRY_DB_END;
        e.db_end = last ? db_end : e.db;
        e.start = w->lsn;
        e.len = 1 + rnd(w, PIECE_LEN_MAX);
        w->lsn += e.len;
        if (last)
            w->db = db_end;
        if (last && e.kind == ENTRY_RDB_END) {
            w->phase = PHASE_STREAM;
            w->lsn = current(w)->s.base;
        }
        add_piece(w, part, e, phase);
    }
}

static void write_some(struct world *w)
{
    for (uint32_t step = rnd(w, 150); step > 0; step--) {
        uint32_t part = rnd(w, w->parts);
        uint32_t what = rnd(w, 100);

        if (what < 50) {
            add_entry(w);
        } else if (what < 60) {
            flush(w, part);
        } else if (what < 85) {
            for (uint32_t n = rnd(w, 4); n > 0 && w->flight_cnt[part] != 0; n--)
                land(w, part, true);
        } else if (what < 95) {
            learn_d(w);
        } else {
            for (uint32_t i = 0; i < w->parts; i++)
                heartbeat(w, i);
        }
    }
}

/* What the dead owner had in flight: all of it lands, or a suffix of a partition is lost, or any
 * message (one was refused, later ones not). What was not handed to Kafka is lost. */
static void crash(struct world *w)
{
    uint32_t mode = rnd(w, 3);

    for (uint32_t part = 0; part < w->parts; part++) {
        size_t keep = rnd(w, (uint32_t)w->flight_cnt[part] + 1);

        if (mode == 0 || chance(w, 50))
            flush(w, part);
        if (w->open[part].w.cnt != 0)
            buf_reset(&w->open[part].b);
        w->open[part].w.cnt = 0;
        while (w->flight_cnt[part] != 0) {
            if (mode == 0 || (mode == 1 ? keep != 0 : chance(w, 60)))
                land(w, part, false);
            else
                lose(w, part);
            keep -= keep != 0;
        }
    }
}

/* Where the frames of a partition that may be needed above d begin. */
static size_t tail_of(struct world *w, uint32_t part, const struct wal_pos *d)
{
    const struct lane *lane = &w->log[part];
    struct err err;
    size_t first = 0;

    while (first < lane->cnt) {
        struct frame f;

        assert_int_equal(frame_decode(lane->rec[first].bytes, lane->rec[first].len, &f, &err),
                         0);
        if (wal_pos_cmp(&(struct wal_pos){f.epoch, f.phase, f.end}, d) > 0)
            break;
        first++;
    }
    return rnd(w, (uint32_t)first + 1);
}

/* Where a journal that takes over begins to merge: at the D that partition 0 shows last, or where
 * the epoch began. */
static struct merge_from journal_from(struct world *w)
{
    const struct epoch *e = current(w);
    const struct record *rec = &w->log[0].rec[w->log[0].cnt - 1];
    struct merge_from from = {.base = e->s.base, .source_id = 7, .db = e->s.db};
    struct frame f;
    struct err err;

    assert_int_equal(frame_decode(rec->bytes, rec->len, &f, &err), 0);
    from.at = f.d;
    if (f.d.epoch != e->s.epoch)
        from.at = begin_of(&e->s);
    for (size_t i = 0; i < e->cnt && wal_pos_cmp(&e->piece[i].behind, &from.at) <= 0; i++)
        from.db = e->piece[i].e.db_end;
    return from;
}

/* P as a journal finds it: the readers' merge, until it has to wait. */
static void journal_finds_p(struct world *w)
{
    struct epoch *e = current(w);
    struct merge_from from = journal_from(w);
    struct merge *m = merge_new(w->parts, &from, NULL, NULL);
    struct merge_item item;
    struct wal_pos p;
    struct err err;

    for (uint32_t part = 0; part < w->parts; part++) {
        for (size_t i = tail_of(w, part, &from.at); i < w->log[part].cnt; i++) {
            const struct record *rec = &w->log[part].rec[i];
            struct frame f;

            assert_int_equal(frame_decode(rec->bytes, rec->len, &f, &err), 0);
            if (merge_push(m, part, (int64_t)i, &f, NULL, &err) < 0)
                fail_msg("journal: %s", err.msg);
        }
    }
    do {
        if (merge_next(m, &item, &err) != 0)
            fail_msg("journal: %s", err.msg);
        assert_int_not_equal(item.type, MERGE_START);
    } while (item.type != MERGE_WAIT);
    p = merge_pos(m);
    e->p = prefix(e, false, &e->whole, &e->p_db);
    if (wal_pos_cmp(&e->p, &p) != 0)
        fail_msg("P is %d:%" PRIu64 ", the journal finds %d:%" PRIu64, (int)e->p.phase,
                 e->p.lsn, (int)p.phase, p.lsn);
    assert_int_equal(merge_db(m), e->p_db);
    merge_free(m);
}

/* A START of a new owner or timeline; it may be lost with its owner before it lands. */
static void open_epoch(struct world *w)
{
    struct epoch *last = w->epoch_cnt != 0 ? current(w) : NULL;
    bool usable = last != NULL && last->p.phase == PHASE_STREAM;
    struct start s = {.kind = START_SNAPSHOT, .partition_cnt = w->parts, .owner = "a"};
    struct frame f;
    struct buf b;

    w->next_epoch += 1 + rnd(w, 3);
    if (last != NULL && usable && chance(w, 60))
        w->d = last->p; /* the tails are final: all below P is in the log */
    for (uint32_t i = 0; i < w->parts && chance(w, 40); i++) {
        heartbeat(w, i);
        land(w, i, true);
    }
    s.epoch = w->next_epoch;
    s.prev_epoch = last != NULL ? last->s.epoch : 0;
    s.base = 1000 + rnd(w, 1000);
    if (usable) {
        s.has_prev_end = true;
        s.prev_end = last->p.lsn;
        s.kind = chance(w, 70) ? START_STREAM : START_SNAPSHOT;
    }
    if (s.kind == START_STREAM) {
        s.base = s.prev_end;
        s.db = last->p_db;
    }
    f = header(w);
    f.epoch = s.epoch;
    buf_init(&b);
    frame_put_start(&b, &f, &s);
    fly(w, 0, &b, FRAME_START, w->next_id++);
    if (chance(w, 10)) {
        lose(w, 0);
        return;
    }
    land(w, 0, true);
    w->epoch[w->epoch_cnt++] = (struct epoch){.s = s};
    w->phase = s.kind == START_STREAM ? PHASE_STREAM : PHASE_SNAPSHOT;
    w->lsn = w->phase == PHASE_STREAM ? s.base : 0;
    w->db = s.db;
    if (chance(w, 70))
        learn_d(w);
}

/* The owner ends in order: all is acknowledged and a last round of heartbeats says so. */
static void finish(struct world *w)
{
    for (uint32_t part = 0; part < w->parts; part++) {
        flush(w, part);
        while (w->flight_cnt[part] != 0)
            land(w, part, true);
    }
    learn_d(w);
    for (uint32_t part = 0; part < w->parts; part++) {
        heartbeat(w, part);
        land(w, part, true);
    }
    current(w)->p = prefix(current(w), false, &current(w)->whole, &current(w)->p_db);
}

/* What a mirror makes of a partition: all in order, some of it a second time, later. */
static void mirror(struct world *w)
{
    uint32_t percent = chance(w, 50) ? rnd(w, 15) : 0;

    for (uint32_t part = 0; part < w->parts; part++) {
        struct lane *log = &w->log[part], *copy = &w->copy[part];
        int64_t offset = rnd(w, 3);

        for (size_t i = 0; i < log->cnt; i++) {
            size_t from = i + 1;

            if (chance(w, percent)) /* the last few again, or one from long ago */
                from = i + 1 - rnd(w, (uint32_t)(i < 6 ? i + 1 : 6));
            lane_add(copy, &log->rec[i]);
            for (size_t j = from; j <= i && copy->cnt < RECORDS_MAX - log->cnt; j++) {
                lane_add(copy, &log->rec[j]);
                copy->rec[copy->cnt - 1].again = true;
            }
            if (chance(w, percent / 2) && copy->cnt < RECORDS_MAX - log->cnt) {
                lane_add(copy, &log->rec[rnd(w, (uint32_t)i + 1)]);
                copy->rec[copy->cnt - 1].again = true;
            }
        }
        for (size_t i = 0; i < copy->cnt; i++) {
            copy->rec[i].offset = offset;
            offset += chance(w, 10) ? 2 : 1;
            for (size_t j = i + 1; j < copy->cnt; j++)
                if (copy->rec[j].id == copy->rec[i].id)
                    copy->rec[i].doubled = copy->rec[j].doubled = true;
        }
    }
}

static void world_build(struct world *w)
{
    uint32_t epochs = 1 + rnd(w, EPOCHS_MAX);

    w->parts = 1 + rnd(w, PARTS_MAX);
    w->next_epoch = 10;
    while (w->epoch_cnt == 0)
        open_epoch(w);
    while (epochs-- > 1 && w->epoch_cnt < EPOCHS_MAX) {
        int before = w->epoch_cnt;

        write_some(w);
        do {
            crash(w);
            journal_finds_p(w);
            open_epoch(w);
        } while (w->epoch_cnt == before);
    }
    write_some(w);
    finish(w);
    mirror(w);
}

static void world_release(struct world *w)
{
    for (uint32_t i = 0; i < PARTS_MAX; i++) {
        for (size_t j = 0; j < w->log[i].cnt; j++)
            free(w->log[i].rec[j].bytes);
        buf_release(&w->open[i].b);
        w->log[i].cnt = w->copy[i].cnt = 0;
    }
}

#endif
