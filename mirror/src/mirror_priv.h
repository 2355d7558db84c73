/* mirror_priv - what mirror.c, mirror_store.c and mirror_status.c share, and nobody else. */
#ifndef MIRROR_MIRROR_PRIV_H
#define MIRROR_MIRROR_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/kafka.h"
#include "mirror/src/lane.h"
#include "mirror/src/mirror.h"

/* A topic and its lanes; the lanes point at `topic`, so routes do not move. */
struct route {
    struct lane_topic topic;
    struct lane **lane;
    int32_t lane_cnt;
    bool sync_runs;
    int64_t sync_at_ms;
    struct err err; /* of the last sync; ERR_NONE: it went well */
};

/* A question to a cluster from time to time: are you there? */
struct probe {
    uv_work_t work;
    struct mirror *mirror;
    rd_kafka_t *rk;
    const char *name;
    int64_t *down_ms; /* in lane_env */
    bool runs;
    int64_t at_ms;
    int failures;
    int rc;
    struct err err;
};

enum stop_step { STOP_NOT, STOP_DRAIN, STOP_STORE, STOP_DONE };

struct mirror {
    struct daemon *daemon;
    const struct mirror_conf *conf;
    struct lane_env env;
    struct route *route;
    size_t route_cnt;
    struct probe probe[2]; /* source, target */

    uv_timer_t tick;
    uv_idle_t idle; /* active while a lane has something to do */

    /* The producer, also while env.producer is NULL because it is being replaced. */
    rd_kafka_t *producer;
    rd_kafka_queue_t *producer_queue;
    struct kafka_watch *producer_watch;
    bool replacing;
    bool purged; /* in-flight requests too */
    int64_t replace_ms;

    /* Positions. */
    rd_kafka_queue_t *store_queue;
    struct kafka_watch *store_watch;
    bool store_runs;
    bool store_failing;
    int64_t store_at_ms;
    int64_t store_all_at_ms;

    enum stop_step stop_step;
    int64_t stop_until_ms;
    char not_ready[512];
};

/* Stores the pairs that moved, or all. Does nothing while a store is under way. */
void mirror_store(struct mirror *m, bool all);
/* The store queue has something. */
void mirror_stored(void *arg);

#endif
