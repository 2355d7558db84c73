/*
 * open - where a lane goes on: everything that has to be asked of both clusters before the
 * first record moves. Blocks; for worker threads.
 */
#ifndef MIRROR_OPEN_H
#define MIRROR_OPEN_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "mirror/src/offsets.h"

struct match;

enum side { SIDE_SOURCE, SIDE_TARGET };

struct open_job {
    /* In. */
    rd_kafka_t *source;
    rd_kafka_t *target;
    const char *topic;
    int32_t partition;
    bool known; /* `pair` is exact, there is no need to read it; out: it was found, also on
                 * failure */
    int timeout_ms;
    const atomic_bool *stop; /* give up soon */
    /* In if `known`, and out. */
    struct pair pair;
    /* Out, on success. */
    bool fresh;          /* nothing is on the target: begin at the source's log start */
    bool anchored;       /* the match begins with the record before the pair */
    int64_t start;       /* source offset to consume from, unless fresh */
    int64_t end;         /* the target's end */
    struct match *match; /* the target's records from the pair (or the one before) on; the
                          * caller frees it */
    /* Out, on failure. */
    enum side side; /* whom the error is about */
    bool may_heal;  /* ERR_CORRUPT that a new leader may show for a moment: ask again */
    struct err err;
};

/*
 * Reads the pair, both ends of the partition on both sides, and the target's records behind the
 * pair; stores a first pair where the target is empty. Returns 0, or -1 with job->err:
 * ERR_AGAIN, ERR_AUTH: try again later; ERR_CORRUPT: a gap, foreign data, a truncated or
 * recreated topic: with its exact range.
 */
int open_lane(struct open_job *job);

#endif
