/*
 * tail - reads the end of the log: who owned it last, and how far it is without a hole (P).
 * The log is its own checkpoint (design: W4); after sink_fence() what is read here is final.
 *
 * Everything blocks: for a worker thread or a one-shot tool.
 */
#ifndef JOURNAL_TAIL_H
#define JOURNAL_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/frame.h"

struct conf_map;
struct err;
struct tail;

/* The last frame of partition 0, and the last START that it or an earlier one names. */
struct tail_owner {
    bool any; /* there was a frame at all */
    int64_t offset;
    uint64_t owner_id, owner_run;
    bool has_start;
    struct start start;
};

/* Where the log ends. */
struct tail_end {
    uint64_t max_epoch; /* highest in any partition; 0: the log is empty */
    bool has_start;
    struct start start; /* the last one */
    bool usable;        /* P is a place in the stream: it can be continued there */
    uint64_t lsn;       /* P */
    uint32_t db;        /* in force there */
    uint64_t frames;    /* read to find it */
};

/* Checks the Kafka properties without making a client: ERR_INPUT names the key. */
int tail_check_conf(const struct conf_map *kafka, struct err *err);

int tail_open(const struct conf_map *kafka, const char *topic, uint32_t partition_cnt,
              uint64_t source_id, struct tail **out, struct err *err);
void tail_close(struct tail *t);

/* Reads the end of partition 0. -1: AGAIN (Kafka away) or CORRUPT (not our frames). */
int tail_owner(struct tail *t, struct tail_owner *out, struct err *err);

/* Computes P with the readers' own merge. -1: AGAIN, or CORRUPT with partition and offset. */
int tail_end(struct tail *t, struct tail_end *out, struct err *err);

#endif
