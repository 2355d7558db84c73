/* merge - frames of all partitions in, entries in order of position out. */
#include "common/merge.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"

/* A data frame that waits for its turn. */
struct queued {
    int64_t offset;
    size_t size;
    struct frame frame;
    void *owner;
};

/* What frames of a partition prove: everything of d.epoch before d, and all of the epochs before
 * max_epoch, was seen in it. */
struct proof {
    uint64_t max_epoch;
    struct wal_pos d;
};

struct part {
    struct queued *q; /* ring of cap slots; the first is q[head] */
    size_t head, cnt, cap;
    size_t bytes;
    /* Of the first queued frame: entry is valid when loaded, cursor stands behind it. */
    bool loaded;
    struct entry_cursor cursor;
    struct entry entry;
    int64_t next_offset; /* behind the last frame pushed, -1: none */
    struct proof pushed;
    /* By merge_look(): only good while a kept frame stands before what was looked at. */
    struct proof ahead;
};

/* A START that was read but whose turn has not come. */
struct pending {
    struct start start;
    int64_t offset;
};

struct merge {
    uint32_t part_cnt;
    struct part *part;
    void (*release)(void *owner, void *arg);
    void *arg;
    struct merge_from from;
    bool chained;        /* a first START is known (or the position stands for it) */
    uint64_t last_start; /* epoch of the last START read, or of the position */
    struct pending *start;
    size_t start_cnt, start_cap;
    struct wal_pos pos;   /* behind the last entry or fragment given out; epoch 0: none */
    struct wal_pos whole; /* behind the last whole entry given out */
    uint32_t db;          /* in force at `whole` */
    uint64_t base;        /* of the current epoch */
    bool partial;         /* an entry was given out in part */
    uint32_t partial_part;
    int64_t partial_offset; /* of the frame with its first fragment */
    int64_t shown_start;    /* offset of the START just given out, -1 */
    void *used;             /* owner of a used-up frame whose bytes the caller may still read */
    bool has_used;
};

struct merge *merge_new(uint32_t partition_cnt, const struct merge_from *from,
                        void (*release)(void *owner, void *arg), void *arg)
{
    struct merge *m = xcalloc(1, sizeof(*m));

    m->part_cnt = partition_cnt;
    m->part = xcalloc(partition_cnt, sizeof(*m->part));
    for (uint32_t i = 0; i < partition_cnt; i++)
        m->part[i].next_offset = -1;
    m->release = release;
    m->arg = arg;
    m->from = *from;
    m->shown_start = -1;
    if (!from->fresh) {
        m->chained = true;
        m->last_start = from->at.epoch;
        m->pos = from->at;
        m->whole = from->at;
        m->db = from->db;
        m->base = from->base;
    }
    return m;
}

static struct queued *part_first(const struct part *p)
{
    return &p->q[p->head];
}

static void part_push(struct part *p, const struct queued *item)
{
    if (p->cnt == p->cap) {
        size_t cap = p->cap != 0 ? p->cap * 2 : 16;
        struct queued *q = xmalloc(cap * sizeof(*q));

        for (size_t i = 0; i < p->cnt; i++)
            q[i] = p->q[(p->head + i) % p->cap];
        free(p->q);
        p->q = q;
        p->head = 0;
        p->cap = cap;
    }
    p->q[(p->head + p->cnt) % p->cap] = *item;
    p->cnt++;
    p->bytes += item->size;
}

/* Takes the first frame off the queue and returns its owner. */
static void *part_pop(struct part *p)
{
    struct queued *first = part_first(p);

    p->bytes -= first->size;
    p->head = (p->head + 1) % p->cap;
    p->cnt--;
    p->loaded = false;
    return first->owner;
}

static void release_used(struct merge *m)
{
    if (m->has_used && m->release != NULL)
        m->release(m->used, m->arg);
    m->has_used = false;
}

static void part_drop(struct merge *m, struct part *p)
{
    void *owner = part_pop(p);

    if (m->release != NULL)
        m->release(owner, m->arg);
}

void merge_free(struct merge *m)
{
    if (m == NULL)
        return;
    release_used(m);
    for (uint32_t i = 0; i < m->part_cnt; i++) {
        while (m->part[i].cnt != 0)
            part_drop(m, &m->part[i]);
        free(m->part[i].q);
    }
    free(m->part);
    free(m->start);
    free(m);
}

static int take_start(struct merge *m, int64_t offset, const struct frame *f, struct err *err)
{
    struct start s;

    if (frame_start(f, &s, err) != 0)
        return -1;
    if (s.epoch <= m->last_start)
        return 0; /* delivered twice, or read again */
    if (!m->chained && (s.kind != START_SNAPSHOT || s.epoch < m->from.at.epoch))
        return 0; /* nothing to begin with */
    /* A second copy of a START that stood before the begin: what stands between was not kept. */
    if (!m->chained && s.epoch <= m->part[0].pushed.max_epoch)
        return 0;
    if (s.partition_cnt != m->part_cnt)
        return err_set(err, ERR_CORRUPT, 0,
                       "the START of epoch %" PRIu64 " says %" PRIu32
                       " partitions, the topic has %" PRIu32,
                       s.epoch, s.partition_cnt, m->part_cnt);
    if (m->chained && s.prev_epoch != m->last_start)
        return err_set(err, ERR_CORRUPT, 0,
                       "the START of epoch %" PRIu64 " follows epoch %" PRIu64
                       ", but the one read before it is %" PRIu64 ": an epoch is missing",
                       s.epoch, s.prev_epoch, m->last_start);
    if (!s.has_prev_end && s.kind != START_SNAPSHOT)
        return err_set(err, ERR_CORRUPT, 0,
                       "the START of epoch %" PRIu64
                       " continues a stream, but names no end of the epoch before",
                       s.epoch);
    if (m->start_cnt == m->start_cap) {
        m->start_cap = m->start_cap != 0 ? m->start_cap * 2 : 4;
        m->start = xrealloc(m->start, m->start_cap * sizeof(*m->start));
    }
    m->start[m->start_cnt++] = (struct pending){.start = s, .offset = offset};
    m->last_start = s.epoch;
    m->chained = true;
    return 0;
}

static void proof_add(struct proof *proof, uint64_t epoch, const struct wal_pos *d)
{
    if (epoch > proof->max_epoch)
        proof->max_epoch = epoch;
    if (wal_pos_cmp(d, &proof->d) > 0)
        proof->d = *d;
}

/* Learns what a frame says about the log, whether or not its entries are kept. */
static int learn(struct merge *m, uint32_t partition, int64_t offset, const struct frame *f,
                 struct proof *proof, struct err *err)
{
    if (m->from.source_id != 0 && f->source_id != m->from.source_id)
        return err_set(err, ERR_CORRUPT, 0,
                       "the frame is of another source than 'source.name' (id %016" PRIx64 ")",
                       f->source_id);
    if (f->type == FRAME_START) {
        if (partition != 0)
            return err_set(err, ERR_CORRUPT, 0, "a START stands outside partition 0");
        if (take_start(m, offset, f, err) != 0)
            return -1;
    } else if (partition == 0 && m->chained && f->epoch > m->last_start) {
        return err_set(
            err, ERR_CORRUPT, 0,
            "the frame is of epoch %" PRIu64
            ", whose START was not in partition 0; the last one is of epoch %" PRIu64,
            f->epoch, m->last_start);
    }
    proof_add(proof, f->epoch, &f->d);
    return 0;
}

/* Whether entries of a data frame may still be needed. */
static bool is_needed(const struct merge *m, uint32_t partition, const struct frame *f)
{
    struct wal_pos end = {.epoch = f->epoch, .phase = f->phase, .lsn = f->end};

    if (f->type != FRAME_DATA)
        return false;
    /* Before the first START of partition 0 nothing of it can be used. */
    if (!m->chained && (partition == 0 || f->epoch < m->from.at.epoch))
        return false;
    return wal_pos_cmp(&end, &m->pos) > 0;
}

static int named(struct err *err, uint32_t partition, int64_t offset)
{
    return err_wrap(err, "partition %" PRIu32 " offset %" PRId64, partition, offset);
}

int merge_push(struct merge *m, uint32_t partition, int64_t offset, const struct frame *f,
               void *owner, struct err *err)
{
    struct part *p;

    assert(partition < m->part_cnt);
    p = &m->part[partition];
    if (learn(m, partition, offset, f, &p->pushed, err) != 0)
        return named(err, partition, offset);
    p->next_offset = offset + 1;
    if (!is_needed(m, partition, f))
        return 0;
    part_push(p, &(struct queued){.offset = offset,
                                  .size = FRAME_HEAD + f->body_len,
                                  .frame = *f,
                                  .owner = owner});
    return 1;
}

int merge_look(struct merge *m, uint32_t partition, int64_t offset, const struct frame *f,
               struct err *err)
{
    assert(partition < m->part_cnt && m->part[partition].cnt != 0);
    if (learn(m, partition, offset, f, &m->part[partition].ahead, err) != 0)
        return named(err, partition, offset);
    return 0;
}

/* Drops what is covered, so that the partition's first entry, if it is of the current epoch
 * and phase, is loaded. Returns whether it is. */
static bool part_settle(struct merge *m, struct part *p)
{
    while (p->cnt != 0) {
        const struct frame *f = &part_first(p)->frame;
        struct wal_pos at = {.epoch = f->epoch, .phase = f->phase, .lsn = m->pos.lsn};
        int order = wal_pos_cmp(&at, &m->pos);

        if (order > 0)
            return false; /* a later epoch or phase waits */
        if (order == 0 && !p->loaded) {
            entry_first(&p->cursor, f);
            p->loaded = entry_next(&p->cursor, &p->entry);
        }
        while (order == 0 && p->loaded && p->entry.start + p->entry.len <= m->pos.lsn)
            p->loaded = entry_next(&p->cursor, &p->entry);
        if (order == 0 && p->loaded)
            return true;
        part_drop(m, p);
    }
    return false;
}

/* Whether the first pending START may be switched to now: 1, 0, or -1 when it contradicts. */
static int start_is_due(const struct merge *m, struct err *err)
{
    const struct start *s;
    struct wal_pos end;
    int order;

    if (m->start_cnt == 0)
        return 0;
    s = &m->start[0].start;
    if (m->pos.epoch == 0)
        return 1;
    if (!s->has_prev_end && m->whole.phase == PHASE_STREAM)
        return err_set(err, ERR_CORRUPT, 0,
                       "the START of epoch %" PRIu64 " says that epoch %" PRIu64
                       " ended in an incomplete snapshot, but LSN %" PRIu64
                       " of it was already read",
                       s->epoch, s->prev_epoch, m->whole.lsn);
    if (!s->has_prev_end)
        return 1;
    end = (struct wal_pos){.epoch = m->pos.epoch, .phase = PHASE_STREAM, .lsn = s->prev_end};
    order = wal_pos_cmp(&m->whole, &end);
    if (order > 0)
        return err_set(err, ERR_CORRUPT, 0,
                       "the START of epoch %" PRIu64 " says that epoch %" PRIu64
                       " ended at LSN %" PRIu64 ", but LSN %" PRIu64 " of it was already read",
                       s->epoch, s->prev_epoch, s->prev_end, m->whole.lsn);
    if (order == 0 && s->kind == START_STREAM && (s->base != s->prev_end || s->db != m->db))
        return err_set(err, ERR_CORRUPT, 0,
                       "the START of epoch %" PRIu64 " continues at LSN %" PRIu64
                       " in db %" PRIu32 ", but the epoch before ended at LSN %" PRIu64
                       " in db %" PRIu32,
                       s->epoch, s->base, s->db, s->prev_end, m->db);
    return order == 0;
}

static void switch_epoch(struct merge *m, struct merge_item *out)
{
    const struct pending next = m->start[0];
    const struct start *s = &next.start;

    m->start_cnt--;
    memmove(m->start, m->start + 1, m->start_cnt * sizeof(*m->start));
    m->pos.epoch = s->epoch;
    m->pos.phase = s->kind == START_STREAM ? PHASE_STREAM : PHASE_SNAPSHOT;
    m->pos.lsn = s->kind == START_STREAM ? s->base : 0;
    m->whole = m->pos;
    m->db = s->kind == START_STREAM ? s->db : 0;
    m->base = s->base;
    m->partial = false;
    m->shown_start = next.offset;
    *out = (struct merge_item){
        .type = MERGE_START, .offset = next.offset, .pos = m->pos, .start = *s};
}

/* The partition's loaded entry starts at the position: gives it out. */
static int give_entry(struct merge *m, uint32_t partition, struct merge_item *out,
                      struct err *err)
{
    struct part *p = &m->part[partition];
    const struct queued *first = part_first(p);
    const struct entry e = p->entry;
    bool continues = (e.flags & ENTRY_CONTINUES) != 0;

    if (continues != m->partial) {
        (void)err_set(err, ERR_CORRUPT, 0, "epoch %" PRIu64 ": at position %" PRIu64 " %s",
                      m->pos.epoch, e.start,
                      continues ? "a fragment stands without its beginning"
                                : "an entry stands where a fragment must follow");
        return named(err, partition, first->offset);
    }
    if (!m->partial) {
        m->partial_part = partition;
        m->partial_offset = first->offset;
    }
    m->partial = (e.flags & ENTRY_CONTINUED) != 0;
    m->pos.lsn = e.start + e.len;
    if (!m->partial) {
        if (e.kind == ENTRY_RDB_END) {
            m->pos.phase = PHASE_STREAM;
            m->pos.lsn = m->base;
        }
        m->whole = m->pos;
        m->db = e.db_end;
    }
    /* Field by field: clearing a whole item, with its START, would cost more than the rest. */
    out->type = MERGE_ENTRY;
    out->partition = partition;
    out->offset = first->offset;
    out->pos = m->pos;
    out->recv_ms = first->frame.recv_ms;
    out->origin = first->frame.origin;
    out->entry = e;
    p->loaded = entry_next(&p->cursor, &p->entry);
    if (!p->loaded) {
        m->used = part_pop(p);
        m->has_used = true;
    }
    return 0;
}

/* The first position above the current one that is there, for the message of a loss; UINT64_MAX:
 * none was read. */
static uint64_t hole_end(const struct merge *m)
{
    uint64_t end = UINT64_MAX;

    for (uint32_t i = 0; i < m->part_cnt; i++) {
        const struct part *p = &m->part[i];

        if (p->loaded && p->entry.start < end)
            end = p->entry.start;
    }
    return end;
}

static int lost(const struct merge *m, const struct wal_pos *floor, bool is_epoch_end,
                struct err *err)
{
    struct buf where;
    uint64_t end = floor->phase == m->pos.phase ? floor->lsn : UINT64_MAX;
    uint64_t next = hole_end(m);
    const char *phase = m->pos.phase == PHASE_STREAM ? "LSN" : "snapshot byte";
    /* A D only says that so much was there; more may be missing behind it. */
    const char *more = next > end && !is_epoch_end ? " at least" : "";

    buf_init(&where);
    for (uint32_t i = 0; i < m->part_cnt; i++)
        buf_printf(&where, "%s%" PRIu32 ":%" PRId64, i != 0 ? " " : "", i, merge_offset(m, i));
    if (next < end)
        end = next;
    if (end == UINT64_MAX)
        (void)err_set(err, ERR_CORRUPT, 0,
                      "lost: epoch %" PRIu64 " %s %" PRIu64
                      " to the end of the snapshot; no partition can hold it any more "
                      "(partition:offset %.*s)",
                      m->pos.epoch, phase, m->pos.lsn, (int)where.len,
                      (char *)buf_data(&where));
    else
        (void)err_set(err, ERR_CORRUPT, 0,
                      "lost: epoch %" PRIu64 " %s [%" PRIu64 ", %" PRIu64
                      ")%s; no partition can hold it any more (partition:offset %.*s)",
                      m->pos.epoch, phase, m->pos.lsn, end, more, (int)where.len,
                      (char *)buf_data(&where));
    buf_release(&where);
    return -1;
}

/*
 * Nothing starts at the position. It is lost when every partition has shown that it holds
 * nothing more below some place beyond the position: by a D, or by a frame of a later epoch
 * (then all of this epoch, up to the end that the next START names, was there).
 */
static int check_loss(const struct merge *m, struct err *err)
{
    struct wal_pos floor = {.epoch = UINT64_MAX};
    bool is_epoch_end;

    for (uint32_t i = 0; i < m->part_cnt; i++) {
        const struct part *p = &m->part[i];
        struct proof proof = p->pushed;

        /* The first kept frame is beyond the position, and so is all that was looked at behind
         * it. With no frame kept, what is missing may be among the frames looked at. */
        if (p->cnt != 0)
            proof_add(&proof, p->ahead.max_epoch, &p->ahead.d);
        if (proof.max_epoch > m->pos.epoch)
            continue;
        if (proof.d.epoch != m->pos.epoch)
            return 0; /* it has not shown anything of this epoch */
        if (wal_pos_cmp(&proof.d, &floor) < 0)
            floor = proof.d;
    }
    is_epoch_end = floor.epoch == UINT64_MAX;
    if (is_epoch_end) {
        /* Partition 0 shows a later epoch only by its START. */
        assert(m->start_cnt != 0);
        floor = (struct wal_pos){
            .epoch = m->pos.epoch, .phase = PHASE_STREAM, .lsn = m->start[0].start.prev_end};
    }
    return wal_pos_cmp(&m->pos, &floor) < 0 ? lost(m, &floor, is_epoch_end, err) : 0;
}

int merge_next(struct merge *m, struct merge_item *out, struct err *err)
{
    int due;

    release_used(m);
    m->shown_start = -1;
    due = start_is_due(m, err);
    if (due < 0)
        return named(err, 0, m->start[0].offset);
    if (due > 0) {
        switch_epoch(m, out);
        return 0;
    }
    out->type = MERGE_WAIT;
    out->pos = m->pos;
    if (m->pos.epoch == 0)
        return 0;
    for (uint32_t i = 0; i < m->part_cnt; i++) {
        struct part *p = &m->part[i];

        if (!part_settle(m, p))
            continue;
        if (p->entry.start == m->pos.lsn)
            return give_entry(m, i, out, err);
        if (p->entry.start < m->pos.lsn) {
            (void)err_set(err, ERR_CORRUPT, 0,
                          "epoch %" PRIu64 ": an entry at [%" PRIu64 ", %" PRIu64
                          ") overlaps position %" PRIu64,
                          m->pos.epoch, p->entry.start, p->entry.start + p->entry.len,
                          m->pos.lsn);
            return named(err, i, part_first(p)->offset);
        }
    }
    return check_loss(m, err);
}

struct wal_pos merge_pos(const struct merge *m)
{
    return m->whole;
}

uint32_t merge_db(const struct merge *m)
{
    return m->db;
}

bool merge_waits_for_start(const struct merge *m)
{
    return m->pos.epoch == 0;
}

int64_t merge_offset(const struct merge *m, uint32_t partition)
{
    const struct part *p = &m->part[partition];
    int64_t offset = p->cnt != 0 ? part_first(p)->offset : p->next_offset;

    if (m->partial && m->partial_part == partition)
        offset = m->partial_offset;
    if (partition == 0) {
        if (m->start_cnt != 0 && m->start[0].offset < offset)
            offset = m->start[0].offset;
        if (m->shown_start >= 0 && m->shown_start < offset)
            offset = m->shown_start;
    }
    return offset;
}

size_t merge_bytes(const struct merge *m, uint32_t partition)
{
    return m->part[partition].bytes;
}
