/*
 * lane - one partition on its way: consume, compare with what the target has, produce, check
 * every acknowledgement, know the pair to store. Lanes share clients and the budget of bytes in
 * flight, and nothing else: one that halts leaves the others alone.
 *
 *   OPENING ──▶ MATCHING ──▶ RUNNING ──▶ HALTED
 *      ▲            │           │          (named error; until the next start)
 *      └────────────┴───────────┘ the producer was replaced, or the source's log moved away
 *
 * Order: a record is given to the producer only when all before it were. After the first
 * failed delivery nothing more is given; the producer is replaced, and the lane is opened again.
 * Runs on the loop's thread, but for open_lane().
 */
#ifndef MIRROR_LANE_H
#define MIRROR_LANE_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "mirror/src/offsets.h"
#include "mirror/src/open.h"

struct metrics;

/* What all lanes share; owned by the mirror. */
struct lane_env {
    uv_loop_t *loop;
    rd_kafka_t *source;
    rd_kafka_t *target;
    rd_kafka_t *producer; /* NULL while it is being replaced: nothing may be sent */
    struct metrics *metrics;
    int64_t lane_bytes;     /* most bytes in flight, one lane */
    int64_t inflight_limit; /* all lanes */
    int64_t inflight_bytes;
    uint64_t inflight_cnt;
    int timeout_ms;         /* of one blocking request */
    atomic_bool stop;       /* nothing more is started */
    unsigned job_cnt;       /* blocking jobs under way; clients must outlive them */
    int64_t source_down_ms; /* monotonic time since when the source is away; 0: it is not */
    int64_t target_down_ms;
    void (*on_ready)(void *arg);                   /* a lane has something to do: lane_pump() */
    void (*on_broken)(void *arg, const char *why); /* the producer must be replaced */
    void *arg;
};

struct lane_topic {
    char *name;
    rd_kafka_topic_t *source; /* its opaque is the owner of the lanes */
    rd_kafka_topic_t *target; /* of the producer of now */
};

struct lane;

/* Both are borrowed and outlive the lane. */
struct lane *lane_new(struct lane_env *env, const struct lane_topic *topic, int32_t partition);
/* Nothing of it is in flight and no job runs. NULL is allowed. */
void lane_free(struct lane *lane);

/* Moves up to `max` records. Returns false when there is nothing more to do now. */
bool lane_pump(struct lane *lane, size_t max);
/* A record of this lane that was consumed as `msg` (destroyed here), as the producer reports it. */
void lane_delivered(struct lane *lane, rd_kafka_message_t *msg,
                    const rd_kafka_message_t *report);
/* Goes on if fewer bytes are in flight than half of what stopped it. */
void lane_unblock(struct lane *lane);
/* Several times a second. */
void lane_tick(struct lane *lane, int64_t now_ms);
/* The producer was replaced and all of its reports were given: find the place again. */
void lane_reopen(struct lane *lane);
/* No more from the source; what is in flight still counts. */
void lane_stop(struct lane *lane);

/* The pair, if it moved since it was last taken (or `all` of those that are known). */
bool lane_take_pair(struct lane *lane, bool all, struct pair *out);
/* The last one that was taken could not be stored. */
void lane_untake_pair(struct lane *lane);

/* For status and metrics. Texts live as long as nothing else of the lane is called. */
struct lane_view {
    int32_t partition;
    const char
        *state; /* OPENING MATCHING RUNNING SOURCE_UNAVAILABLE TARGET_UNAVAILABLE HALTED */
    int64_t src, dst; /* the pair; -1: not known yet */
    int64_t lag;      /* records, at most; -1: not known */
    uint64_t records, bytes, doubled;
    int64_t since_ms;  /* monotonic time of the last change of state */
    const char *error; /* NULL: none */
};
void lane_view(struct lane *lane, struct lane_view *out);
bool lane_halted(const struct lane *lane);
/* Refreshes the gauges. */
void lane_scrape(struct lane *lane);

#endif
