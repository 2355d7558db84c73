/*
 * engine_log - frames into the merge, in bounded memory.
 *
 * A partition that runs ahead is paused. When the merge waits although partitions are paused,
 * what it waits for may stand behind the frames that have no room: then they are read on for
 * STARTs and durable positions alone, and read again when the merge went on.
 */
#include <stdlib.h>
#include <string.h>

#include "applier/src/engine_priv.h"
#include "common/clock.h"
#include "common/frame.h"
#include "common/log.h"
#include "common/mem.h"

#define SHARE_MIN ((size_t)256 * 1024)
#define DAMAGE_MS 1000

static size_t share(const struct engine *e)
{
    size_t bytes = e->conf.memory_bytes / e->part_cnt;

    return bytes > SHARE_MIN ? bytes : SHARE_MIN;
}

static void on_release(void *owner, void *arg)
{
    struct engine *e = arg;

    e->conf.ops->release(e->conf.source, owner);
}

void engine_log_begin(struct engine *e, const struct position *pos)
{
    int64_t *offset = xcalloc(e->part_cnt, sizeof(*offset));
    struct merge_from from = {.source_id = frame_name_id(e->conf.source_name)};
    int64_t now = clock_wall_ms();

    engine_log_end(e);
    if (!pos->present) {
        from.fresh = true;
        /* An older snapshot could not be followed safely; its epoch is the time it was made. */
        from.at.epoch = e->conf.guard_ms > 0 && now > e->conf.guard_ms
                            ? (uint64_t)(now - e->conf.guard_ms)
                            : 0;
    } else if (pos->at.phase == PHASE_SNAPSHOT) {
        from.fresh = true; /* the same snapshot again, and with it the set of its keys */
        from.at.epoch = pos->at.epoch;
    } else {
        from.at = pos->at;
        from.db = pos->db;
    }
    for (uint32_t i = 0; i < e->part_cnt; i++) {
        struct engine_part *p = &e->part[i];

        offset[i] = pos->present ? pos->offset[i] : p->low;
        p->begin = offset[i];
        p->start = offset[i];
        p->next = -1;
        p->paused = false;
        p->looking = false;
        p->looked = -1;
        p->sought = -1;
        p->hold = -1;
        p->damaged = false;
    }
    e->damage.kind = ERR_NONE; /* it will be met again, if it is still there */
    e->paused_cnt = 0;
    e->looking = false;
    e->merge = merge_new(e->part_cnt, &from, on_release, e);
    e->conf.ops->begin(e->conf.source, offset);
    free(offset);
}

void engine_log_end(struct engine *e)
{
    if (e->merge == NULL)
        return;
    e->conf.ops->stop(e->conf.source);
    merge_free(e->merge);
    e->merge = NULL;
}

int64_t engine_log_offset(const struct engine *e, uint32_t partition)
{
    int64_t offset = e->merge != NULL ? merge_offset(e->merge, partition) : -1;

    if (offset < 0)
        offset = e->part[partition].begin;
    if (e->part[partition].hold >= 0 && e->part[partition].hold < offset)
        offset = e->part[partition].hold;
    return offset;
}

static void set_paused(struct engine *e, uint32_t partition, bool on)
{
    struct engine_part *p = &e->part[partition];

    p->paused = on;
    if (on)
        e->paused_cnt++;
    else
        e->paused_cnt--;
    e->conf.ops->pause(e->conf.source, partition, on);
}

void engine_log_resume(struct engine *e)
{
    size_t enough;

    if (e->paused_cnt == 0 || e->merge == NULL)
        return;
    enough = share(e) / 2;
    for (uint32_t i = 0; i < e->part_cnt; i++) {
        if (e->part[i].paused && !e->part[i].looking && merge_bytes(e->merge, i) < enough)
            set_paused(e, i, false);
    }
}

void engine_log_look(struct engine *e)
{
    if (e->paused_cnt == 0 || e->looking)
        return;
    e->looking = true;
    e->cnt.lookaheads++;
    for (uint32_t i = 0; i < e->part_cnt; i++) {
        struct engine_part *p = &e->part[i];

        if (!p->paused)
            continue;
        p->looking = true;
        p->looked = -1;
        e->conf.ops->pause(e->conf.source, i, false);
    }
}

static void look_end(struct engine *e, uint32_t partition)
{
    struct engine_part *p = &e->part[partition];

    p->looking = false;
    e->conf.ops->pause(e->conf.source, partition, true);
    if (p->looked >= 0) {
        e->conf.ops->seek(e->conf.source, partition, p->looked);
        p->sought = p->looked;
        p->next = p->looked;
    }
    p->looked = -1;
}

void engine_log_look_end(struct engine *e)
{
    if (!e->looking)
        return;
    e->looking = false;
    for (uint32_t i = 0; i < e->part_cnt; i++) {
        if (e->part[i].looking)
            look_end(e, i);
    }
    engine_log_resume(e);
}

static void learn_heartbeat(struct engine *e, const struct frame *f)
{
    struct heartbeat h;
    struct err err;

    if (f->type != FRAME_HEARTBEAT || frame_heartbeat(f, &h, &err) != 0)
        return; /* the merge tells what is wrong with it */
    e->beat_epoch = h.start.epoch;
    e->beat_lsn = h.source_lsn > h.read_lsn ? h.source_lsn : h.read_lsn;
}

void engine_log_damaged(struct engine *e, uint32_t partition, const struct err *err)
{
    if (partition < e->part_cnt)
        e->part[partition].damaged = true;
    if (e->damage.kind != ERR_NONE)
        return;
    e->damage = *err;
    e->damaged_ms = clock_mono_ms();
}

void engine_damage_tick(struct engine *e, int64_t now_ms)
{
    int64_t since = e->damaged_ms > e->submitted_ms ? e->damaged_ms : e->submitted_ms;

    if (e->damage.kind == ERR_NONE || !session_is_idle(e->session) || e->filling->cmd_cnt != 0)
        return;
    if (e->moved) {
        engine_flush_idle(e);
    } else if (now_ms - since >= DAMAGE_MS) {
        e->cnt.errors_log++;
        engine_fail(e, &e->damage);
    }
}

void engine_frame(struct engine *e, uint32_t partition, int64_t offset, const void *data,
                  size_t len, void *owner)
{
    struct engine_part *p = &e->part[partition];
    struct frame f;
    struct err err;
    int kept = 0;

    if (e->merge == NULL || p->damaged || offset < p->next)
        goto out;
    if (p->sought >= 0 && offset != p->sought)
        goto out; /* on its way when it was sought: taken now, it would leave a hole */
    p->sought = -1;
    if (frame_decode(data, len, &f, &err) != 0) {
        (void)err_wrap(&err, "partition %u offset %lld", partition, (long long)offset);
        engine_log_damaged(e, partition, &err);
        goto out;
    }
    e->cnt.frames++;
    learn_heartbeat(e, &f);
    if (p->looking && merge_bytes(e->merge, partition) != 0) {
        if (p->looked < 0)
            p->looked = offset;
        p->next = offset + 1;
        if (merge_look(e->merge, partition, offset, &f, &err) != 0)
            engine_log_damaged(e, partition, &err);
        goto out;
    }
    if (p->looking) {
        /* What it held was of no use after all: there is room again. */
        bool again = p->looked >= 0;

        look_end(e, partition);
        engine_log_resume(e);
        if (again)
            goto out;
    }
    kept = merge_push(e->merge, partition, offset, &f, owner, &err);
    if (kept < 0) {
        engine_log_damaged(e, partition, &err);
        goto out;
    }
    p->next = offset + 1;
    if (kept == 0 && f.type == FRAME_DATA)
        e->cnt.frames_dropped++;
    if (!p->paused && merge_bytes(e->merge, partition) > share(e))
        set_paused(e, partition, true);
out:
    if (kept <= 0)
        e->conf.ops->release(e->conf.source, owner);
}

void engine_frames_end(struct engine *e)
{
    engine_pump(e);
}
