/* options - the settings of kafka-mirror. */
#ifndef MIRROR_OPTIONS_H
#define MIRROR_OPTIONS_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

#include "common/daemon.h"

struct mirror_conf {
    struct daemon_conf daemon;
    char *source_name;
    struct conf_map source_kafka;
    char *target_name;
    struct conf_map target_kafka;
    struct conf_list topics;
    int64_t replication_factor; /* of topics that are created; -1: the default */
    int64_t refresh_ms;         /* between looks for new partitions */
    int64_t commit_ms;          /* between stores of the positions */
    int64_t inflight_bytes;     /* all lanes together */
    int64_t lane_bytes;         /* one lane */
    int64_t stop_ms;            /* how long SIGTERM waits for acknowledgements */
};

extern const struct conf_key mirror_keys[];

/* What no key can check alone, and both clusters' client properties. ERR_INPUT. */
int mirror_conf_check(const void *conf, struct err *err);

/* The three clients; see kafka_new(). The target's reader holds the positions: it is in the
 * group of them by name and never a member. */
int mirror_source_new(const struct mirror_conf *conf, rd_kafka_t **out, struct err *err);
int mirror_target_new(const struct mirror_conf *conf, rd_kafka_t **out, struct err *err);
int mirror_producer_new(const struct mirror_conf *conf,
                        void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *),
                        void *opaque, rd_kafka_t **out, struct err *err);

#endif
