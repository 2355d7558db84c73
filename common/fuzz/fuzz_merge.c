/*
 * fuzz_merge - any sequence of frames, steered by the input: entries that come out are contiguous,
 * every kept frame is released once, and nothing crashes.
 *
 * The input is a list of commands of 8 bytes: what, partition, epoch, phase and flags, position,
 * length, D, prev.
 */
#include "common/merge.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"

enum { PARTS = 3, COMMAND = 8 };

struct run {
    struct merge *m;
    size_t kept;
    int64_t offset[PARTS];
    struct wal_pos pos; /* behind the last item */
    bool placed;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void release(void *owner, void *arg)
{
    struct run *run = arg;

    must(run->kept > 0);
    run->kept--;
    free(owner);
}

static void build(const uint8_t *p, struct buf *b)
{
    static const uint8_t bytes[16] = {0};
    struct frame f = {.type = FRAME_DATA, .epoch = p[2] % 8};
    struct frame_writer w;

    f.phase = p[3] & 1 ? PHASE_STREAM : PHASE_SNAPSHOT;
    f.d = (struct wal_pos){p[6] >> 5, p[6] & 16 ? PHASE_STREAM : PHASE_SNAPSHOT, p[6] & 15};
    if (p[0] % 4 == 0) {
        struct start s = {.kind = p[3] & 1 ? START_STREAM : START_SNAPSHOT,
                          .has_prev_end = (p[3] & 2) != 0,
                          .epoch = f.epoch,
                          .prev_epoch = p[7] >> 5,
                          .prev_end = p[7] & 31,
                          .base = p[4] & 31,
                          .partition_cnt = PARTS - (p[5] == 255)};

        frame_put_start(b, &f, &s);
    } else if (p[0] % 4 == 1) {
        struct heartbeat h = {
            .start = {.kind = START_STREAM, .epoch = f.epoch, .partition_cnt = PARTS}};

        frame_put_heartbeat(b, &f, &h);
    } else {
        struct entry e = {.kind = f.phase == PHASE_STREAM ? ENTRY_COMMAND : ENTRY_RDB_KEY,
                          .start = p[4] & 31,
                          .data = bytes};

        frame_begin(&w, b);
        for (unsigned i = 0; i <= p[7] % 3U; i++) {
            e.flags = (uint8_t)(p[3] >> (2 * i + 2) & 3);
            e.len = 1 + (p[5] >> i) % 4;
            if (f.phase == PHASE_SNAPSHOT && (p[7] & 0x80))
                e.kind = ENTRY_RDB_END;
            frame_add(&w, &e);
            e.start += e.len + (p[7] >> 4 & 1);
        }
        frame_end(&w, &f);
    }
}

static bool push(struct run *run, const uint8_t *p)
{
    uint32_t part = p[1] % PARTS;
    bool look = (p[1] & 0x40) != 0 && merge_bytes(run->m, part) != 0;
    struct frame f;
    struct err err;
    struct buf b;
    uint8_t *bytes;
    size_t len;
    int rc;

    buf_init(&b);
    build(p, &b);
    bytes = buf_detach(&b, &len);
    must(frame_decode(bytes, len, &f, &err) == 0);
    rc = look ? merge_look(run->m, part, run->offset[part], &f, &err)
              : merge_push(run->m, part, run->offset[part], &f, bytes, &err);
    run->offset[part]++;
    if (rc == 1)
        run->kept++;
    else
        free(bytes);
    must(rc >= 0 || err.kind == ERR_CORRUPT);
    return rc >= 0;
}

static bool take(struct run *run)
{
    struct merge_item item;
    struct err err;

    if (merge_next(run->m, &item, &err) != 0) {
        must(err.kind == ERR_CORRUPT);
        return false;
    }
    if (item.type == MERGE_ENTRY) {
        must(run->placed && item.entry.start == run->pos.lsn &&
             item.pos.epoch == run->pos.epoch);
        must(item.entry.data[item.entry.len - 1] == 0);
    }
    if (item.type == MERGE_START)
        must(!run->placed || item.pos.epoch > run->pos.epoch);
    if (item.type != MERGE_WAIT) {
        run->pos = item.pos;
        run->placed = true;
    }
    must(merge_offset(run->m, 0) <= run->offset[0]);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct merge_from from = {.fresh = true};
    struct run run = {0};
    bool going = true;

    if (size == 0)
        return 0;
    if (data[0] & 1) {
        from = (struct merge_from){.at = {1, data[0] & 2 ? PHASE_STREAM : PHASE_SNAPSHOT, 0}};
        run.pos = from.at;
        run.placed = true;
    }
    run.m = merge_new(PARTS, &from, release, &run);
    for (size_t at = 1; going && at + COMMAND <= size; at += COMMAND) {
        going = push(&run, data + at);
        for (unsigned n = data[at] >> 2 & 7; going && n > 0; n--)
            going = take(&run);
    }
    merge_free(run.m);
    must(run.kept == 0);
    return 0;
}
