/*
 * topics - keeps the target's topics as wide as the source's. Blocks; for worker threads.
 *
 * A topic is created with the source's number of partitions, retention, cleanup policy and
 * largest message; partitions are added when the source gets more, and never taken away.
 */
#ifndef MIRROR_TOPICS_H
#define MIRROR_TOPICS_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "mirror/src/open.h"

struct topic_sync {
    /* In. */
    rd_kafka_t *source;
    rd_kafka_t *target;
    const char *topic;
    int replication_factor;
    int timeout_ms;
    const atomic_bool *stop;
    /* Out. */
    int32_t partition_cnt; /* of the source; the target has at least as many */
    bool created;
    int32_t added;
    bool is_same;   /* both sides are one cluster; with ERR_INPUT */
    enum side side; /* whom the error is about */
    struct err err;
};

/* 0, or -1 with sync->err. ERR_INPUT: the source has no such topic, or the target refuses it. */
int topic_sync(struct topic_sync *sync);

#endif
