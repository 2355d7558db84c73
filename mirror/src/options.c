/* options - the settings of kafka-mirror and the client properties that its promises rest on. */
#include "mirror/src/options.h"

#include <stdio.h>
#include <string.h>

#include "common/kafka.h"

#define GROUP_MAX 256

const struct conf_key mirror_keys[] = {
    DAEMON_CONF_KEYS("127.0.0.1:9502"),
    {.name = "source.name",
     .type = CONF_STR,
     .offset = offsetof(struct mirror_conf, source_name),
     .def = "DC",
     .doc = "Name of the source; positions are kept in the target's group "
            "'kafka-mirror.<name>'."},
    {.name = "source.kafka",
     .type = CONF_MAP,
     .offset = offsetof(struct mirror_conf, source_kafka),
     .doc = "Properties of librdkafka for the source cluster; bootstrap.servers is required."},
    {.name = "target.name",
     .type = CONF_STR,
     .offset = offsetof(struct mirror_conf, target_name),
     .def = "DR",
     .doc = "Name of the target, for status and logs."},
    {.name = "target.kafka",
     .type = CONF_MAP,
     .offset = offsetof(struct mirror_conf, target_kafka),
     .doc = "Properties of librdkafka for the target cluster; bootstrap.servers is required."},
    {.name = "topics",
     .type = CONF_LIST,
     .offset = offsetof(struct mirror_conf, topics),
     .def = "redis-writes",
     .doc = "Exact names of the topics to mirror; they keep their names."},
    {.name = "replication_factor",
     .type = CONF_INT,
     .offset = offsetof(struct mirror_conf, replication_factor),
     .def = "-1",
     .min = -1,
     .max = 32767,
     .doc = "Replication factor of topics that are created on the target; -1: the cluster's "
            "default."},
    {.name = "refresh_interval",
     .type = CONF_TIME,
     .offset = offsetof(struct mirror_conf, refresh_ms),
     .def = "10s",
     .min = 100,
     .max = 3600000,
     .doc = "How often the source is asked for new partitions."},
    {.name = "commit_interval",
     .type = CONF_TIME,
     .offset = offsetof(struct mirror_conf, commit_ms),
     .def = "1s",
     .min = 50,
     .max = 60000,
     .doc = "How often positions that moved are stored on the target."},
    {.name = "inflight_bytes",
     .type = CONF_SIZE,
     .offset = offsetof(struct mirror_conf, inflight_bytes),
     .def = "32MiB",
     .min = 65536,
     .max = 1073741824,
     .doc = "Most bytes that wait for the target's acknowledgement, all partitions together."},
    {.name = "lane_inflight_bytes",
     .type = CONF_SIZE,
     .offset = offsetof(struct mirror_conf, lane_bytes),
     .def = "4MiB",
     .min = 65536,
     .max = 1073741824,
     .doc = "The same for one partition."},
    {.name = "stop_timeout",
     .type = CONF_TIME,
     .offset = offsetof(struct mirror_conf, stop_ms),
     .def = "20s",
     .min = 100,
     .max = 600000,
     .doc = "How long a stop waits for acknowledgements of what was sent."},
    CONF_KEYS_END,
};

/* What the user may change. */
static const struct kafka_prop reader_defaults[] = {
    /* A full queue stops fetching for a second by default; it is our back-pressure, so look
     * again soon. */
    {"fetch.queue.backoff.ms", "10"},
    {"queued.max.messages.kbytes", "4096"}, /* a partition */
    {"topic.metadata.refresh.interval.ms", "5000"},
    {"reconnect.backoff.max.ms", "2000"},
    {"socket.keepalive.enable", "true"},
    {NULL, NULL},
};
static const struct kafka_prop target_defaults[] = {
    {"topic.metadata.refresh.interval.ms", "5000"},
    {"reconnect.backoff.max.ms", "2000"},
    {"socket.keepalive.enable", "true"},
    {"socket.timeout.ms", "10000"},
    /* It is never a member of a group, so this only says how long a commit waits for the group's
     * coordinator; as long the client can't be ended. */
    {"session.timeout.ms", "3000"},
    {"heartbeat.interval.ms", "1000"},
    {NULL, NULL},
};
/* Every record counts, also those of open transactions; no jump in silence; positions are ours
 * to store (auto.commit.enable is for reading without a group). */
static const struct kafka_prop source_forced[] = {
    {"isolation.level", "read_uncommitted"},
    {"auto.offset.reset", "error"},
    {"enable.auto.commit", "false"},
    {"auto.commit.enable", "false"},
    {"enable.partition.eof", "true"},
    {"check.crcs", "true"},
    {NULL, NULL},
};
static const struct kafka_prop producer_defaults[] = {
    {"linger.ms", "0"}, /* five requests in flight make batches by themselves */
    {"topic.metadata.refresh.interval.ms", "5000"},
    {"reconnect.backoff.max.ms", "2000"},
    {"socket.keepalive.enable", "true"},
    {NULL, NULL},
};
/* Nothing of a partition is written behind a record that failed; an outage loses nothing, however
 * long; the topic's own limit decides what is too large; the queue is bounded by
 * inflight_bytes. */
static const struct kafka_prop producer_forced[] = {
    {"acks", "all"},
    {"enable.idempotence", "true"},
    {"enable.gapless.guarantee", "true"},
    {"message.timeout.ms", "0"},
    {"message.max.bytes", "1000000000"},
    {"queue.buffering.max.messages", "0"},
    {"queue.buffering.max.kbytes", "2097151"},
    {NULL, NULL},
};

static int make_target(const struct mirror_conf *conf, bool check, rd_kafka_t **out,
                       struct err *err)
{
    char group[GROUP_MAX];
    struct kafka_prop forced[sizeof(source_forced) / sizeof(source_forced[0]) + 1] = {
        {"group.id", group}};

    (void)snprintf(group, sizeof(group), "kafka-mirror.%s", conf->source_name);
    memcpy(forced + 1, source_forced, sizeof(source_forced));
    if (check)
        return kafka_conf_check(RD_KAFKA_CONSUMER, &conf->target_kafka, target_defaults, forced,
                                err);
    return kafka_new(RD_KAFKA_CONSUMER, "mirror-position", &conf->target_kafka, target_defaults,
                     forced, NULL, NULL, out, err);
}

static int check_bootstrap(const char *side, const struct conf_map *map, const char *env,
                           struct err *err)
{
    if (conf_map_get(map, "bootstrap.servers"))
        return 0;
    return err_set(
        err, ERR_INPUT, 0,
        "key '%s.kafka.bootstrap.servers': required, but not set; set it in the file or as %s",
        side, env);
}

static int check_topics(const struct mirror_conf *conf, struct err *err)
{
    if (conf->topics.cnt == 0)
        return err_set(err, ERR_INPUT, 0, "key 'topics' names none");
    for (size_t i = 0; i < conf->topics.cnt; i++) {
        if (conf->topics.item[i][0] == '\0')
            return err_set(err, ERR_INPUT, 0, "key 'topics' has an empty name");
        for (size_t j = 0; j < i; j++)
            if (strcmp(conf->topics.item[i], conf->topics.item[j]) == 0)
                return err_set(err, ERR_INPUT, 0, "key 'topics' names '%s' twice",
                               conf->topics.item[i]);
    }
    return 0;
}

int mirror_conf_check(const void *p, struct err *err)
{
    const struct mirror_conf *conf = p;

    if (check_bootstrap("source", &conf->source_kafka, "MIRROR_SOURCE_KAFKA_BOOTSTRAP_SERVERS",
                        err) != 0 ||
        check_bootstrap("target", &conf->target_kafka, "MIRROR_TARGET_KAFKA_BOOTSTRAP_SERVERS",
                        err) != 0 ||
        check_topics(conf, err) != 0)
        return -1;
    if (conf->source_name[0] == '\0' || strlen(conf->source_name) > GROUP_MAX - 32)
        return err_set(err, ERR_INPUT, 0, "key 'source.name' must have 1 to %d characters",
                       GROUP_MAX - 32);
    if (kafka_conf_check(RD_KAFKA_CONSUMER, &conf->source_kafka, reader_defaults, source_forced,
                         err) != 0)
        return err_wrap(err, "key 'source.kafka'");
    if (make_target(conf, true, NULL, err) != 0 ||
        kafka_conf_check(RD_KAFKA_PRODUCER, &conf->target_kafka, producer_defaults,
                         producer_forced, err) != 0)
        return err_wrap(err, "key 'target.kafka'");
    return 0;
}

int mirror_source_new(const struct mirror_conf *conf, rd_kafka_t **out, struct err *err)
{
    return kafka_new(RD_KAFKA_CONSUMER, "mirror-source", &conf->source_kafka, reader_defaults,
                     source_forced, NULL, NULL, out, err);
}

int mirror_target_new(const struct mirror_conf *conf, rd_kafka_t **out, struct err *err)
{
    return make_target(conf, false, out, err);
}

int mirror_producer_new(const struct mirror_conf *conf,
                        void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *),
                        void *opaque, rd_kafka_t **out, struct err *err)
{
    return kafka_new(RD_KAFKA_PRODUCER, "mirror-producer", &conf->target_kafka,
                     producer_defaults, producer_forced, dr_msg_cb, opaque, out, err);
}
