/*
 * merge - the reading side of the log: frames of all partitions in, entries in order of
 * position out. A pure function of what was pushed: no clock, no I/O. Journal (to find where
 * the log ends) and applier use the same code, so no applier can be ahead of a journal's P.
 *
 * Contiguity is the order: the next entry is the one that starts where the last ended. What is
 * already covered is dropped. A hole is waited for until it is proven that nothing can fill it;
 * then merge_next() fails with ERR_CORRUPT and the exact range.
 */
#ifndef COMMON_MERGE_H
#define COMMON_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/frame.h"

struct err;
struct merge;

/* Where to begin. */
struct merge_from {
    bool fresh;        /* no position: begin with the first START(snapshot) that is pushed whose
                         * epoch is at least at.epoch */
    struct wal_pos at; /* not fresh: everything below is done; the end of a whole entry */
    uint32_t db;       /* not fresh: database in force there */
    uint64_t base;     /* not fresh, snapshot phase: where the stream phase will begin */
    uint64_t source_id; /* frames of another source are refused; 0: any */
};

enum merge_type { MERGE_WAIT, MERGE_ENTRY, MERGE_START };

/* Only type and pos are set in a MERGE_WAIT, all but start in a MERGE_ENTRY. */
struct merge_item {
    enum merge_type type;
    uint32_t partition;
    int64_t offset;     /* Kafka offset of the frame */
    struct wal_pos pos; /* MERGE_ENTRY: behind this entry or fragment. MERGE_START: base or 0 */
    int64_t recv_ms;
    uint64_t origin;
    struct entry entry; /* may be a fragment; fragments of an entry come one after the other */
    struct start start; /* MERGE_START: a new epoch begins; a half-delivered entry is void */
};

/* `release` is called once for every frame that merge_push() kept, when its bytes are no longer
 * needed. */
struct merge *merge_new(uint32_t partition_cnt, const struct merge_from *from,
                        void (*release)(void *owner, void *arg), void *arg);
void merge_free(struct merge *m);

/*
 * Takes a decoded frame of a partition; offsets of one partition must grow. Returns 1 when the
 * frame is kept (its bytes must stay until `release(owner)`), 0 when it is not needed any more,
 * -1 with ERR_CORRUPT when the log is proven damaged (an epoch without its START, a START that
 * contradicts, another number of partitions).
 */
int merge_push(struct merge *m, uint32_t partition, int64_t offset, const struct frame *f,
               void *owner, struct err *err);
/* As merge_push, but keeps no entries: learns STARTs and D only. For a reader that has no memory
 * left and looks ahead; it must later push the same frames again. Only for partitions of which
 * frames are kept (merge_bytes() > 0): what is missing can't stand behind those, so a proof of
 * loss stays sound. What was learned is not used while the partition has no kept frame. */
int merge_look(struct merge *m, uint32_t partition, int64_t offset, const struct frame *f,
               struct err *err);

/*
 * The next thing to do; borrowed bytes are valid until the next call. MERGE_WAIT: push more.
 * -1 with ERR_CORRUPT: a hole that nothing can fill; the message has the epoch, the range of
 * positions, and the partitions' offsets around it.
 */
int merge_next(struct merge *m, struct merge_item *out, struct err *err);

/* Behind the last whole entry given out. */
struct wal_pos merge_pos(const struct merge *m);
uint32_t merge_db(const struct merge *m);
/* No START(snapshot) was found yet (fresh). */
bool merge_waits_for_start(const struct merge *m);
/* Where a reader at merge_pos() would have to begin in a partition: the first frame (or START)
 * not fully used; -1: nothing was pushed yet. Right after MERGE_START: that START's own offset in
 * partition 0. */
int64_t merge_offset(const struct merge *m, uint32_t partition);
/* Bytes of frames kept for a partition. */
size_t merge_bytes(const struct merge *m, uint32_t partition);

#endif
