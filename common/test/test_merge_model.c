/*
 * test_merge_model - random logs, as a journal and its successors could have left them, read by
 * random readers.
 *
 * A writer model knows what it wrote, what landed, and where each epoch ended; a reader must
 * deliver exactly that, whatever its pace and however often it restarts. With one record taken
 * out it must deliver the same, or stop at the hole.
 *
 *   MERGE_ROUNDS=n  rounds (2000)      MERGE_SEED=n  first seed (1); a failure prints its own
 */
#include "common/test/log_model.h"

struct place {
    int epoch;      /* index of the epoch that is being read, -1: none */
    size_t next;    /* its next piece */
    bool any_start; /* any START(snapshot) may come first */
};

struct reading {
    struct world *w;
    struct merge *m;
    size_t at[PARTS_MAX]; /* next record to push */
    size_t kept;
    struct place place;
    /* Where a restart begins: only for the snapshot phase, as noted at MERGE_START. */
    struct merge_from redo;
    struct place redo_place;
    int64_t redo_offset[PARTS_MAX];
    /* The record that this reader does not get. */
    const struct record *hidden;
    bool looks, stopped;
    struct err err;
};

static void release(void *owner, void *arg)
{
    struct reading *r = arg;

    free(owner);
    assert_true(r->kept > 0);
    r->kept--;
}

static size_t index_of(const struct lane *lane, int64_t offset)
{
    size_t i = 0;

    while (i < lane->cnt && lane->rec[i].offset < offset)
        i++;
    return i;
}

static void reader_open(struct reading *r, const struct merge_from *from)
{
    if (r->m != NULL) {
        merge_free(r->m);
        assert_int_equal(r->kept, 0);
    }
    r->m = merge_new(r->w->parts, from, release, r);
}

/* Pushes (or only looks at) one record of a partition. */
static void reader_push(struct reading *r, uint32_t part, const struct record *rec, bool look)
{
    uint8_t *bytes;
    struct frame f;
    int rc;

    if (rec == r->hidden)
        return;
    bytes = xmalloc(rec->len);
    memcpy(bytes, rec->bytes, rec->len);
    assert_int_equal(frame_decode(bytes, rec->len, &f, &r->err), 0);
    rc = look ? merge_look(r->m, part, rec->offset, &f, &r->err)
              : merge_push(r->m, part, rec->offset, &f, bytes, &r->err);
    if (rc == 1 && !look)
        r->kept++;
    else
        free(bytes);
    r->stopped = rc < 0;
}

static void on_start(struct reading *r, const struct merge_item *item)
{
    struct world *w = r->w;
    struct place before = r->place;
    const struct epoch *was = before.epoch >= 0 ? &w->epoch[before.epoch] : NULL;
    const struct epoch *now;

    r->place.epoch++;
    if (before.any_start)
        while (r->place.epoch < w->epoch_cnt &&
               w->epoch[r->place.epoch].s.epoch != item->start.epoch)
            r->place.epoch++;
    assert_true(r->place.epoch < w->epoch_cnt);
    now = &w->epoch[r->place.epoch];
    r->place.next = 0;
    r->place.any_start = false;
    assert_true(now->s.epoch == item->start.epoch && now->s.base == item->start.base);
    if (was != NULL && !before.any_start && now->s.has_prev_end) {
        size_t whole = before.next; /* less what is void of a half-delivered entry */

        while (whole > 0 && (was->piece[whole - 1].e.flags & ENTRY_CONTINUED))
            whole--;
        assert_int_equal(whole, was->whole);
    }
    r->redo = (struct merge_from){.fresh = true, .at.epoch = now->s.epoch, .source_id = 7};
    r->redo_place = before;
    for (uint32_t i = 0; i < w->parts; i++) {
        int64_t offset = merge_offset(r->m, i);

        if (offset >= 0)
            r->redo_offset[i] = offset;
    }
    assert_true(merge_offset(r->m, 0) <= item->offset);
}

static void on_entry(struct reading *r, const struct merge_item *item)
{
    const struct epoch *e;
    const struct piece *q;

    assert_true(r->place.epoch >= 0 && !r->place.any_start);
    e = &r->w->epoch[r->place.epoch];
    assert_true(r->place.next < e->cnt);
    q = &e->piece[r->place.next++];
    assert_true(q->landed);
    assert_true(q->e.kind == item->entry.kind && q->e.flags == item->entry.flags);
    assert_true(q->e.db == item->entry.db && q->e.db_end == item->entry.db_end);
    assert_true(q->e.start == item->entry.start && q->e.len == item->entry.len);
    for (size_t i = 0; i < q->e.len; i++)
        assert_int_equal(item->entry.data[i], content(e->s.epoch, q->phase, q->e.start + i));
    assert_int_equal(wal_pos_cmp(&q->behind, &item->pos), 0);
    if (!(q->e.flags & ENTRY_CONTINUED)) {
        struct wal_pos pos = merge_pos(r->m);

        assert_true(r->place.next <= e->whole);
        assert_int_equal(wal_pos_cmp(&q->behind, &pos), 0);
        assert_int_equal(merge_db(r->m), q->e.db_end);
    }
}

/* Takes at most `max` items; false when there is nothing more for now. */
static bool reader_take(struct reading *r, uint32_t max)
{
    struct merge_item item;

    for (; max > 0; max--) {
        if (merge_next(r->m, &item, &r->err) != 0) {
            r->stopped = true;
            return false;
        }
        if (item.type == MERGE_WAIT)
            return false;
        if (item.type == MERGE_START)
            on_start(r, &item);
        else
            on_entry(r, &item);
    }
    return true;
}

/* Dies and comes back: at its position, or in a snapshot at what it noted at MERGE_START. */
static void reader_restart(struct reading *r)
{
    struct wal_pos pos = merge_pos(r->m);
    struct merge_from from = r->redo;
    int64_t offset[PARTS_MAX];

    memcpy(offset, r->redo_offset, sizeof(offset));
    if (!merge_waits_for_start(r->m) && pos.phase == PHASE_STREAM) {
        const struct epoch *e = &r->w->epoch[r->place.epoch];

        for (uint32_t i = 0; i < r->w->parts; i++)
            if (merge_offset(r->m, i) >= 0)
                offset[i] = merge_offset(r->m, i);
        from = (struct merge_from){.at = pos, .db = merge_db(r->m), .base = e->s.base};
        while (r->place.next > 0 && (e->piece[r->place.next - 1].e.flags & ENTRY_CONTINUED))
            r->place.next--;
        memcpy(r->redo_offset, offset, sizeof(offset));
    } else {
        r->place = r->redo_place;
    }
    reader_open(r, &from);
    for (uint32_t i = 0; i < r->w->parts; i++)
        r->at[i] = index_of(&r->w->copy[i], offset[i]);
}

/* Looks ahead in a partition that holds frames, as a reader without memory does. */
static void reader_look(struct reading *r, uint32_t part)
{
    uint32_t cnt = 1 + rnd(r->w, 30);

    for (size_t i = r->at[part]; cnt > 0 && i < r->w->copy[part].cnt && !r->stopped; i++, cnt--)
        reader_push(r, part, &r->w->copy[part].rec[i], true);
}

static bool at_end(const struct reading *r)
{
    for (uint32_t i = 0; i < r->w->parts; i++)
        if (r->at[i] < r->w->copy[i].cnt)
            return false;
    return true;
}

static void read_all(struct reading *r)
{
    struct world *w = r->w;
    uint32_t burst = 1 + rnd(w, 40), restarts = rnd(w, 4) * 3;
    uint32_t slow = rnd(w, w->parts);

    while (!r->stopped && !at_end(r)) {
        uint32_t part = rnd(w, w->parts);

        if (part == slow && chance(w, 80))
            continue;
        for (uint32_t n = 1 + rnd(w, burst);
             n > 0 && !r->stopped && r->at[part] < w->copy[part].cnt; n--)
            reader_push(r, part, &w->copy[part].rec[r->at[part]++], false);
        if (r->stopped)
            break;
        if (!reader_take(r, chance(w, 50) ? UINT32_MAX : rnd(w, 20)) && !r->stopped &&
            r->looks && merge_bytes(r->m, part) != 0)
            reader_look(r, part);
        if (restarts != 0 && !r->stopped && chance(w, 5)) {
            restarts--;
            reader_restart(r);
        }
    }
    /* Heartbeats go on: one that restarted behind the last ones sees the next. */
    for (uint32_t i = 0; i < w->parts && !r->stopped; i++) {
        struct record rec = w->log[i].rec[w->log[i].cnt - 1];

        rec.offset = w->copy[i].rec[w->copy[i].cnt - 1].offset + 1;
        reader_push(r, i, &rec, false);
    }
    if (!r->stopped)
        (void)reader_take(r, UINT32_MAX);
}

static void reader_init_at(struct reading *r, struct world *w)
{
    *r = (struct reading){.w = w, .place = {.epoch = -1}};
    r->redo = (struct merge_from){.fresh = true, .source_id = 7};
    r->redo_place = r->place;
    r->looks = chance(w, 50);
}

static void reader_close(struct reading *r)
{
    merge_free(r->m);
    assert_int_equal(r->kept, 0);
}

static void check_end(struct reading *r)
{
    const struct world *w = r->w;
    const struct epoch *last = &w->epoch[w->epoch_cnt - 1];

    assert_int_equal(r->place.epoch, w->epoch_cnt - 1);
    assert_int_equal(r->place.next, last->whole);
    assert_int_equal(last->whole, last->cnt);
}

static void read_whole(struct world *w)
{
    struct reading r;

    reader_init_at(&r, w);
    reader_open(&r, &r.redo);
    read_all(&r);
    if (r.stopped)
        fail_msg("%s", r.err.msg);
    check_end(&r);
    reader_close(&r);
}

/* Whether a START is there a second time, but not what stood behind it the first time. */
static bool start_alone(const struct lane *lane, size_t from)
{
    for (size_t i = from; i < lane->cnt; i++) {
        size_t first = from;

        while (lane->rec[first].id != lane->rec[i].id)
            first++;
        if (first == i && lane->rec[i].again && lane->rec[i].type == FRAME_START)
            return true;
    }
    return false;
}

/* Begins anywhere in partition 0: with the first START(snapshot) that comes. */
static void read_from_middle(struct world *w)
{
    struct reading r;

    reader_init_at(&r, w);
    r.redo_offset[0] = (int64_t)rnd(w, (uint32_t)w->copy[0].cnt + 1);
    r.at[0] = index_of(&w->copy[0], r.redo_offset[0]);
    if (start_alone(&w->copy[0], r.at[0]))
        return;
    r.place.any_start = true;
    r.redo_place = r.place;
    reader_open(&r, &r.redo);
    read_all(&r);
    if (r.stopped)
        fail_msg("%s", r.err.msg);
    if (!merge_waits_for_start(r.m))
        check_end(&r);
    reader_close(&r);
}

/* Whether the log says the same without this record. Of a doubled record only the later copy is
 * sure to be of no use: the earlier one stood before its successors, the later one may not. */
static bool is_redundant(const struct world *w, const struct record *rec)
{
    if (rec->type == FRAME_HEARTBEAT || rec->again)
        return true;
    if (rec->type == FRAME_START)
        return false;
    for (int k = 0; k < w->epoch_cnt; k++)
        for (size_t i = 0; i < w->epoch[k].whole; i++)
            if (w->epoch[k].piece[i].frame == rec->id)
                return false;
    return true;
}

static void read_with_hole(struct world *w)
{
    uint32_t part = rnd(w, w->parts);
    const struct record *rec;
    struct reading r;

    if (w->copy[part].cnt < 2)
        return;
    reader_init_at(&r, w);
    rec = &w->copy[part].rec[rnd(w, (uint32_t)w->copy[part].cnt - 1)];
    r.hidden = rec;
    /* Without the first START a later snapshot is the begin. */
    r.place.any_start = r.redo_place.any_start = rec->type == FRAME_START;
    reader_open(&r, &r.redo);
    read_all(&r);
    if (r.stopped) {
        assert_int_equal(r.err.kind, ERR_CORRUPT);
        if (is_redundant(w, rec))
            fail_msg("not needed (type %d, again %d), partition %u offset %d: %s",
                     (int)rec->type, rec->again, (unsigned)part, (int)rec->offset, r.err.msg);
        /* It stands in front of a piece that the hidden record has. */
        if (rec->type == FRAME_DATA)
            assert_int_equal(w->epoch[r.place.epoch].piece[r.place.next].frame, rec->id);
    } else if (rec->type != FRAME_START || !merge_waits_for_start(r.m)) {
        check_end(&r);
    }
    reader_close(&r);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static int world_setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->epoch = xcalloc(EPOCHS_MAX, sizeof(*w->epoch));
    w->log = xcalloc(PARTS_MAX, sizeof(*w->log));
    w->copy = xcalloc(PARTS_MAX, sizeof(*w->copy));
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    if (w->round_seed != 0)
        print_error("the failing run: MERGE_ROUNDS=1 MERGE_SEED=%" PRIu64 "\n", w->round_seed);
    free(w->epoch);
    free(w->log);
    free(w->copy);
    free(w);
    return 0;
}

static void random_logs(void **state)
{
    uint64_t rounds = setting("MERGE_ROUNDS", 2000), seed = setting("MERGE_SEED", 1);
    struct world *w = *state;

    for (uint64_t i = 0; i < rounds; i++) {
        *w = (struct world){.seed = seed + i,
                            .round_seed = seed + i,
                            .epoch = w->epoch,
                            .log = w->log,
                            .copy = w->copy};
        world_build(w);
        read_whole(w);
        read_whole(w);
        read_from_middle(w);
        for (int j = 0; j < 4; j++)
            read_with_hole(w);
        world_release(w);
    }
    w->round_seed = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_logs, world_setup, world_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
