/*
 * engine_apply - entries from the merge into batches, and batches to the session.
 *
 * While a batch is being applied the next one fills; it goes out when it is full or when the
 * target has nothing to do. So under load batches are large, and a lone write goes at once.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/engine_priv.h"
#include "applier/src/keyset.h"
#include "applier/src/plan.h"
#include "applier/src/sweep.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

void engine_apply_reset(struct engine *e)
{
    sweep_free(e->sweep);
    e->sweep = NULL;
    keyset_free(e->keys);
    e->keys = NULL;
    for (size_t i = 0; i < BATCHES; i++)
        e->batch_busy[i] = false;
    e->filling = &e->batch[0];
    e->batch_busy[0] = true;
    batch_begin(e->filling, e->conf.session.position_db);
    buf_reset(&e->whole);
    e->is_snapshot = false;
    e->sweep_due = false;
    e->moved = false;
}

/* ---- batches ---- */

void engine_seal(struct engine *e, struct batch *b)
{
    struct position *p = &b->position;

    if (p->partition_cnt != e->part_cnt) {
        position_release(p);
        p->offset = xcalloc(e->part_cnt, sizeof(*p->offset));
        p->partition_cnt = e->part_cnt;
    }
    p->present = true;
    p->at = e->at;
    p->db = e->db;
    for (uint32_t i = 0; i < e->part_cnt; i++)
        p->offset[i] = e->is_snapshot ? e->part[i].start : engine_log_offset(e, i);
    p->guard_ms = e->conf.guard_ms;
    p->time_ms = e->time_ms;
    p->applied_at_ms = clock_wall_ms();
    (void)snprintf(p->source, sizeof(p->source), "%s", e->conf.source_name);
    (void)snprintf(p->topic, sizeof(p->topic), "%s", e->conf.topic);
    memcpy(p->writer, e->writer, sizeof(p->writer));
    e->moved = false;
    e->submitted_ms = clock_mono_ms();
}

static bool is_full(const struct engine *e)
{
    return e->filling->cmd_cnt >= e->conf.batch_commands ||
           e->filling->bytes.len >= e->conf.batch_bytes;
}

static void submit(struct engine *e)
{
    struct batch *b = e->filling;

    engine_seal(e, b);
    for (size_t i = 0; i < BATCHES; i++) {
        if (!e->batch_busy[i]) {
            e->batch_busy[i] = true;
            e->filling = &e->batch[i];
            batch_begin(e->filling, e->conf.session.position_db);
            break;
        }
    }
    session_submit(e->session, b);
}

/* Returns whether something was sent. */
static bool flush(struct engine *e)
{
    if (e->filling->cmd_cnt == 0 || !session_has_room(e->session))
        return false;
    if (!is_full(e) && !session_is_idle(e->session))
        return false;
    submit(e);
    return true;
}

void engine_flush_idle(struct engine *e)
{
    if (session_is_idle(e->session))
        submit(e);
}

void engine_flush_all(struct engine *e)
{
    submit(e);
}

void engine_applied(struct engine *e, struct batch *b)
{
    e->cnt.batches++;
    e->cnt.commands += b->log_cmd_cnt;
    e->cnt.entries += b->log_entry_cnt;
    e->cnt.bytes += b->bytes.len;
    e->tries = 0;
    position_copy(&e->position, &b->position);
    for (size_t i = 0; i < BATCHES; i++) {
        if (b == &e->batch[i])
            e->batch_busy[i] = false;
    }
}

/* ---- entries ---- */

int engine_check_standstill(const struct engine *e, int64_t last_ms, int64_t now_ms,
                            struct err *err)
{
    if (e->conf.guard_ms <= 0 || now_ms - last_ms <= e->conf.guard_ms)
        return 0;
    return err_set(err, ERR_CORRUPT, 0,
                   "the log was received %" PRId64 " s ago, ttl_guard is %" PRId64
                   " s: keys may have expired here that were extended there; a new snapshot "
                   "is needed (take one, delete '%s' in db %" PRIu32
                   " and start with target.overwrite)",
                   (now_ms - last_ms) / 1000, e->conf.guard_ms / 1000, e->key,
                   e->conf.session.position_db);
}

static int take_stream(struct engine *e, const struct entry *entry, int64_t recv_ms,
                       struct err *err)
{
    struct plan_entry pe = {.kind = entry->kind,
                            .db = entry->db,
                            .data = entry->data,
                            .len = entry->len,
                            .recv_ms = recv_ms,
                            .where = &e->where};

    return plan_add(e->plan, &pe, e->filling, err);
}

static int take_whole(struct engine *e, const struct merge_item *item,
                      const struct entry *entry, int64_t now_ms, struct err *err)
{
    struct batch_mark mark = batch_mark(e->filling);
    int64_t recv_ms = e->whole_recv_ms;
    int rc;

    if (engine_check_standstill(e, e->is_snapshot ? recv_ms : e->time_ms, now_ms, err) != 0)
        return -1;
    rc = e->is_snapshot ? engine_snapshot_entry(e, entry, recv_ms, &e->where, err)
                        : take_stream(e, entry, recv_ms, err);
    if (rc != 0) {
        batch_undo(e->filling, &mark);
        (void)err_wrap(err,
                       "partition %" PRIu32 " offset %" PRId64 " epoch %" PRIu64 " [%" PRIu64
                       ", %" PRIu64 ")",
                       e->where.partition, e->where.kafka_offset, item->pos.epoch,
                       e->where.begin, e->where.end);
        return -1;
    }
    e->at = item->pos;
    if (e->is_snapshot)
        e->at = (struct wal_pos){
            .epoch = item->pos.epoch, .phase = PHASE_SNAPSHOT, .lsn = e->where.end};
    e->db = entry->db_end;
    e->time_ms = recv_ms;
    e->moved = true;
    return 0;
}

/* Entries of one frame are taken as they are; fragments are put together first. */
static int take_entry(struct engine *e, const struct merge_item *item, int64_t now_ms,
                      struct err *err)
{
    struct entry entry = item->entry;

    if ((entry.flags & ENTRY_CONTINUES) == 0) {
        buf_reset(&e->whole);
        e->where = (struct batch_entry){.epoch = item->pos.epoch,
                                        .partition = item->partition,
                                        .kafka_offset = item->offset,
                                        .begin = entry.start};
        e->whole_recv_ms = item->recv_ms;
    }
    e->where.end = entry.start + entry.len;
    if (e->where.end - e->where.begin > e->conf.max_entry_bytes)
        return err_set(err, ERR_INPUT, 0,
                       "partition %" PRIu32 " offset %" PRId64 " epoch %" PRIu64
                       ": the entry at %" PRIu64 " is larger than max_entry (%zu bytes)",
                       e->where.partition, e->where.kafka_offset, item->pos.epoch,
                       e->where.begin, e->conf.max_entry_bytes);
    if ((entry.flags & (ENTRY_CONTINUES | ENTRY_CONTINUED)) == 0)
        return take_whole(e, item, &entry, now_ms, err);
    buf_append(&e->whole, entry.data, entry.len);
    if ((entry.flags & ENTRY_CONTINUED) != 0)
        return 0;
    entry.start = e->where.begin;
    entry.data = buf_data(&e->whole);
    entry.len = e->whole.len;
    if (take_whole(e, item, &entry, now_ms, err) != 0)
        return -1;
    if (e->whole.cap > e->conf.batch_bytes * 4)
        buf_release(&e->whole);
    return 0;
}

static int take_start(struct engine *e, const struct merge_item *item, int64_t now_ms,
                      struct err *err)
{
    const struct start *s = &item->start;

    /* What is written there would come back through the log, the position first. */
    if (strcmp(s->replid, session_target_replid(e->session)) == 0)
        return err_set(
            err, ERR_INPUT, 0,
            "the target is the source of this log, or a replica of it (replication id "
            "%s): target.redis must name the other site's Redis",
            s->replid);

    log_info("epoch begins", F_U64("epoch", s->epoch),
             F_STR("kind", s->kind == START_SNAPSHOT ? "snapshot" : "stream"),
             F_STR("replid", s->replid), F_U64("base", s->base), F_STR("owner", s->owner));
    buf_reset(&e->whole);
    e->at = item->pos;
    e->db = s->kind == START_STREAM ? s->db : 0;
    e->moved = true;
    if (s->kind == START_STREAM) {
        e->is_snapshot = false;
        return 0;
    }
    engine_snapshot_begin(e);
    /* An epoch is the time when it was begun, unless clocks went back. */
    e->time_ms = s->epoch < (uint64_t)now_ms ? (int64_t)s->epoch : now_ms;
    return 0;
}

/* ---- the pump ---- */

/* Fills the batch. Returns whether the merge has no more for now; -1: the engine stops. */
static int fill(struct engine *e, struct err *err)
{
    int64_t now_ms = clock_wall_ms();

    while (!is_full(e) && !e->sweep_due) {
        struct merge_item item;

        if (merge_next(e->merge, &item, err) != 0)
            return -1;
        if (item.type == MERGE_WAIT)
            return 1;
        engine_log_look_end(e);
        if (item.type == MERGE_START) {
            if (take_start(e, &item, now_ms, err) != 0)
                return -1;
        } else if (take_entry(e, &item, now_ms, err) != 0) {
            /* The merge counts it as used, but a later run must read it again. */
            e->part[e->where.partition].hold = e->where.kafka_offset;
            return -1;
        }
    }
    return 0;
}

void engine_pump(struct engine *e)
{
    struct err err;
    int waits = 0;

    while (e->state == ENGINE_RUNNING) {
        waits = fill(e, &err);
        if (waits < 0) {
            e->cnt.errors_log++;
            engine_fail(e, &err);
            return;
        }
        if (!flush(e) || waits > 0)
            break;
    }
    if (e->state != ENGINE_RUNNING)
        return;
    engine_log_resume(e);
    if (e->filling->cmd_cnt != 0 || !session_is_idle(e->session))
        return;
    if (e->sweep_due)
        engine_snapshot_sweep(e);
    else if (waits > 0)
        engine_log_look(e);
}

void engine_snapshot_end(struct engine *e)
{
    e->state = ENGINE_RUNNING;
    e->is_snapshot = false;
    e->at = merge_pos(e->merge);
    e->db = merge_db(e->merge);
    engine_flush_idle(e);
    engine_pump(e);
}
