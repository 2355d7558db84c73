/*
 * kafka - what every Kafka client of the suite needs around librdkafka: configuration with
 * pass-through, log and error callbacks, wake-up of the loop, topics, watermarks, error kinds.
 *
 * It hides librdkafka's ownership traps (rd_kafka_new takes conf only on success). Functions
 * marked "blocks" are for uv_queue_work() threads and one-shot tools, never for the loop.
 */
#ifndef COMMON_KAFKA_H
#define COMMON_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/err.h"

struct conf_map;

/* A property with its value; lists end with {NULL, NULL}. */
struct kafka_prop {
    const char *key;
    const char *value;
};

/*
 * A client of `type`. `defaults` may be overridden by the user's map, `forced` may not: a forced
 * key in the map that differs is ERR_INPUT naming the key. librdkafka's own log lines come out
 * as level debug, its warnings and errors through `log_warn` at most once in 10 s for the same
 * text. `role` becomes part of client.id. `dr_msg_cb` may be NULL; `opaque` is given to it.
 * Never blocks. -1 with ERR_INPUT for a bad property. On success *out is destroyed with
 * kafka_free().
 */
int kafka_new(rd_kafka_type_t type, const char *role, const struct conf_map *user,
              const struct kafka_prop *defaults, const struct kafka_prop *forced,
              void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *), void *opaque,
              rd_kafka_t **out, struct err *err);
/* Checks the properties one by one as kafka_new does, without making a client (for --check).
 * Properties that contradict each other are found by kafka_new() only. */
int kafka_conf_check(rd_kafka_type_t type, const struct conf_map *user,
                     const struct kafka_prop *defaults, const struct kafka_prop *forced,
                     struct err *err);
/* Destroys; for a producer everything not yet sent is purged, nothing is waited for. NULL is
 * allowed. May block: librdkafka takes up to a second to end its threads. What was consumed or
 * is being asked for must have been destroyed before. */
void kafka_free(rd_kafka_t *rk);

/* What to do about a librdkafka error, and its text as *err ("produce: Broker: …"); gives -1. */
enum err_kind kafka_err_kind(rd_kafka_resp_err_t code);
int kafka_err(struct err *err, rd_kafka_resp_err_t code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for an rd_kafka_error_t, which is destroyed. Fenced and fatal are told apart. */
int kafka_error(struct err *err, rd_kafka_error_t *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Calls cb on the loop whenever `queue` went from empty to non-empty; cb must drain it. */
struct kafka_watch;
struct kafka_watch *kafka_watch_new(uv_loop_t *loop, rd_kafka_queue_t *queue,
                                    void (*cb)(void *), void *arg);
/* Stops at once; the memory goes when the loop closed the handle. NULL is allowed. */
void kafka_watch_free(struct kafka_watch *w);

struct kafka_topic {
    int32_t partition_cnt;
    int replication_factor; /* of partition 0 */
    char cleanup_policy[32];
    int64_t retention_ms;    /* -1: for ever */
    int64_t retention_bytes; /* -1: no limit */
    int64_t max_message_bytes;
    int min_insync_replicas;
    char id[32]; /* Kafka's own, as text; "" from a broker before 2.8 */
};

/* What the topic is; ERR_INPUT when it does not exist. Blocks up to timeout_ms. */
int kafka_topic_describe(rd_kafka_t *rk, const char *topic, int timeout_ms,
                         struct kafka_topic *out, struct err *err);
/* Creates it; replication_factor -1: the cluster's default. `config` is a list of topic
 * settings. *created is false where it existed already (then nothing is changed). Waits until
 * every partition has a leader. Blocks. */
int kafka_topic_create(rd_kafka_t *rk, const char *topic, int32_t partition_cnt,
                       int replication_factor, const struct kafka_prop *config, int timeout_ms,
                       bool *created, struct err *err);
/* The number of brokers in the cluster. Blocks. */
int kafka_broker_cnt(rd_kafka_t *rk, int timeout_ms, int *out, struct err *err);
/* First offset and end of the log (one past the last record, transaction markers included,
 * uncommitted records included). Blocks. */
int kafka_log_range(rd_kafka_t *rk, const char *topic, int32_t partition, int timeout_ms,
                    int64_t *low, int64_t *high, struct err *err);

#endif
