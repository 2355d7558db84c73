/*
 * kafka_topic - the blocking half of kafka.h: what topics are, their creation, the ends of
 * their logs. Everything goes through the admin API, which never creates a topic by asking for
 * it, and whose isolation level is chosen by the call and not by the client's configuration.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/kafka.h"
#include "common/mem.h"

#define ANSWER_MARGIN_MS 1000 /* librdkafka's own time-out has the first word */
#define LEADER_RETRY_MS  50

/* One request: its own queue, so that several threads may use a client at once. */
struct call {
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_event_t *event;
    int timeout_ms;
};

static void call_init(struct call *call, rd_kafka_t *rk, rd_kafka_admin_op_t op, int timeout_ms)
{
    char text[128];

    call->queue = rd_kafka_queue_new(rk);
    call->options = rd_kafka_AdminOptions_new(rk, op);
    call->event = NULL;
    call->timeout_ms = timeout_ms;
    (void)rd_kafka_AdminOptions_set_request_timeout(call->options, timeout_ms, text,
                                                    sizeof(text));
}

static void call_release(struct call *call)
{
    if (call->event)
        rd_kafka_event_destroy(call->event);
    rd_kafka_AdminOptions_destroy(call->options);
    rd_kafka_queue_destroy(call->queue);
}

/* Waits for the answer; it is in call->event. */
static int call_wait(struct call *call, const char *what, const char *topic, struct err *err)
{
    rd_kafka_resp_err_t code;

    call->event = rd_kafka_queue_poll(call->queue, call->timeout_ms + ANSWER_MARGIN_MS);
    code = call->event ? rd_kafka_event_error(call->event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (code)
        return kafka_err(err, code, "%s '%s'", what, topic);
    return 0;
}

/* Partitions, their leaders and the replicas of the first. */
static int describe_partitions(rd_kafka_t *rk, const char *topic, int timeout_ms,
                               struct kafka_topic *out, size_t *leaderless, struct err *err)
{
    const rd_kafka_TopicDescription_t **desc;
    const rd_kafka_TopicPartitionInfo_t **part;
    const rd_kafka_Uuid_t *id;
    rd_kafka_TopicCollection_t *names = rd_kafka_TopicCollection_of_topic_names(&topic, 1);
    rd_kafka_resp_err_t code;
    struct call call;
    size_t cnt, replicas;
    int rc = -1;

    call_init(&call, rk, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout_ms);
    rd_kafka_DescribeTopics(rk, names, call.options, call.queue);
    rd_kafka_TopicCollection_destroy(names);
    if (call_wait(&call, "describe topic", topic, err) != 0)
        goto out;
    desc = rd_kafka_DescribeTopics_result_topics(
        rd_kafka_event_DescribeTopics_result(call.event), &cnt);
    code = cnt ? rd_kafka_error_code(rd_kafka_TopicDescription_error(desc[0]))
               : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (code) {
        (void)kafka_err(err, code, "describe topic '%s'", topic);
        if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            err->kind = ERR_INPUT;
        goto out;
    }
    id = rd_kafka_TopicDescription_topic_id(desc[0]);
    if (rd_kafka_Uuid_most_significant_bits(id) || rd_kafka_Uuid_least_significant_bits(id))
        (void)snprintf(out->id, sizeof(out->id), "%s", rd_kafka_Uuid_base64str(id));
    part = rd_kafka_TopicDescription_partitions(desc[0], &cnt);
    out->partition_cnt = (int32_t)cnt;
    *leaderless = 0;
    for (size_t i = 0; i < cnt; i++) {
        const rd_kafka_Node_t *leader = rd_kafka_TopicPartitionInfo_leader(part[i]);

        *leaderless += !leader || rd_kafka_Node_id(leader) < 0;
        (void)rd_kafka_TopicPartitionInfo_replicas(part[i], &replicas);
        if (rd_kafka_TopicPartitionInfo_partition(part[i]) == 0)
            out->replication_factor = (int)replicas;
    }
    rc = 0;
out:
    call_release(&call);
    return rc;
}

static void read_setting(const char *name, const char *value, struct kafka_topic *out)
{
    if (strcmp(name, "cleanup.policy") == 0)
        (void)snprintf(out->cleanup_policy, sizeof(out->cleanup_policy), "%s", value);
    else if (strcmp(name, "retention.ms") == 0)
        out->retention_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "retention.bytes") == 0)
        out->retention_bytes = strtoll(value, NULL, 10);
    else if (strcmp(name, "max.message.bytes") == 0)
        out->max_message_bytes = strtoll(value, NULL, 10);
    else if (strcmp(name, "min.insync.replicas") == 0)
        out->min_insync_replicas = (int)strtol(value, NULL, 10);
}

static int describe_settings(rd_kafka_t *rk, const char *topic, int timeout_ms,
                             struct kafka_topic *out, struct err *err)
{
    rd_kafka_ConfigResource_t *res =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    const rd_kafka_ConfigResource_t **results;
    const rd_kafka_ConfigEntry_t **entry;
    rd_kafka_resp_err_t code;
    struct call call;
    size_t cnt;
    int rc = -1;

    call_init(&call, rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_DescribeConfigs(rk, &res, 1, call.options, call.queue);
    rd_kafka_ConfigResource_destroy(res);
    if (call_wait(&call, "describe settings of topic", topic, err) != 0)
        goto out;
    results = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(call.event), &cnt);
    code = cnt ? rd_kafka_ConfigResource_error(results[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    if (code) {
        (void)kafka_err(err, code, "describe settings of topic '%s'", topic);
        goto out;
    }
    entry = rd_kafka_ConfigResource_configs(results[0], &cnt);
    for (size_t i = 0; i < cnt; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entry[i]);

        if (value)
            read_setting(rd_kafka_ConfigEntry_name(entry[i]), value, out);
    }
    rc = 0;
out:
    call_release(&call);
    return rc;
}

int kafka_topic_describe(rd_kafka_t *rk, const char *topic, int timeout_ms,
                         struct kafka_topic *out, struct err *err)
{
    struct kafka_topic found = {0};
    size_t leaderless;

    if (describe_partitions(rk, topic, timeout_ms, &found, &leaderless, err) != 0 ||
        describe_settings(rk, topic, timeout_ms, &found, err) != 0)
        return -1;
    *out = found;
    return 0;
}

/* Until every partition of a new topic has a leader, on the broker that was asked at least. */
static int wait_for_leaders(rd_kafka_t *rk, const char *topic, int32_t partition_cnt,
                            int timeout_ms, struct err *err)
{
    int64_t until = clock_mono_ms() + timeout_ms;

    for (;;) {
        struct kafka_topic found = {0};
        size_t leaderless = 0;
        struct err why;
        bool absent =
            describe_partitions(rk, topic, timeout_ms, &found, &leaderless, &why) != 0;

        if (!absent && leaderless == 0 && found.partition_cnt >= partition_cnt)
            return 0;
        if (absent && why.kind != ERR_AGAIN && why.kind != ERR_INPUT) {
            *err = why;
            return -1;
        }
        if (clock_mono_ms() >= until)
            return err_set(err, ERR_AGAIN, 0, "topic '%s': no leader for %zu of %d partitions",
                           topic, leaderless, (int)partition_cnt);
        /* Kafka tells nobody when a leader was elected: ask again. */
        (void)poll(NULL, 0, LEADER_RETRY_MS);
    }
}

/* NULL with *err set. */
static rd_kafka_NewTopic_t *new_topic(const char *topic, int32_t partition_cnt,
                                      int replication_factor, const struct kafka_prop *config,
                                      struct err *err)
{
    char text[256];
    rd_kafka_NewTopic_t *new =
        rd_kafka_NewTopic_new(topic, partition_cnt, replication_factor, text, sizeof(text));

    if (!new) {
        (void)err_set(err, ERR_INPUT, 0, "create topic '%s': %s", topic, text);
        return NULL;
    }
    for (; config && config->key; config++) {
        rd_kafka_resp_err_t code =
            rd_kafka_NewTopic_set_config(new, config->key, config->value);

        if (code) {
            (void)kafka_err(err, code, "create topic '%s': setting '%s'", topic, config->key);
            rd_kafka_NewTopic_destroy(new);
            return NULL;
        }
    }
    return new;
}

int kafka_topic_create(rd_kafka_t *rk, const char *topic, int32_t partition_cnt,
                       int replication_factor, const struct kafka_prop *config, int timeout_ms,
                       bool *created, struct err *err)
{
    rd_kafka_NewTopic_t *new = new_topic(topic, partition_cnt, replication_factor, config, err);
    const rd_kafka_topic_result_t **results;
    rd_kafka_resp_err_t code;
    struct call call;
    size_t cnt;
    int rc = -1;

    if (!new)
        return -1;
    call_init(&call, rk, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
    rd_kafka_CreateTopics(rk, &new, 1, call.options, call.queue);
    rd_kafka_NewTopic_destroy(new);
    if (call_wait(&call, "create topic", topic, err) != 0)
        goto out;
    results = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(call.event), &cnt);
    code = cnt ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    if (code && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        const char *text = rd_kafka_topic_result_error_string(results[0]);

        (void)err_set(err, kafka_err_kind(code), 0, "create topic '%s': %s", topic,
                      text ? text : rd_kafka_err2str(code));
        goto out;
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR &&
        wait_for_leaders(rk, topic, partition_cnt, timeout_ms, err) != 0)
        goto out;
    *created = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    rc = 0;
out:
    call_release(&call);
    return rc;
}

int kafka_broker_cnt(rd_kafka_t *rk, int timeout_ms, int *out, struct err *err)
{
    const struct rd_kafka_metadata *md;
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, NULL, &md, timeout_ms);

    if (code)
        return kafka_err(err, code, "list brokers");
    *out = md->broker_cnt;
    rd_kafka_metadata_destroy(md);
    return 0;
}

/* The offset that `spec` stands for. */
static int list_offset(rd_kafka_t *rk, const char *topic, int32_t partition,
                       rd_kafka_OffsetSpec_t spec, int timeout_ms, int64_t *out,
                       struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    const rd_kafka_ListOffsetsResultInfo_t **info;
    const rd_kafka_topic_partition_t *found;
    rd_kafka_error_t *bad;
    struct call call;
    size_t cnt;
    int rc = -1;

    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = (int64_t)spec;
    call_init(&call, rk, RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout_ms);
    bad = rd_kafka_AdminOptions_set_isolation_level(call.options,
                                                    RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED);
    if (bad) {
        (void)kafka_error(err, bad, "offsets of '%s'", topic);
        goto out;
    }
    rd_kafka_ListOffsets(rk, list, call.options, call.queue);
    if (call_wait(&call, "offsets of", topic, err) != 0)
        goto out;
    info =
        rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(call.event), &cnt);
    if (cnt != 1) {
        (void)err_set(err, ERR_AGAIN, 0, "offsets of '%s': no answer for partition %d", topic,
                      (int)partition);
        goto out;
    }
    found = rd_kafka_ListOffsetsResultInfo_topic_partition(info[0]);
    if (found->err) {
        (void)kafka_err(err, found->err, "offsets of '%s' partition %d", topic, (int)partition);
        goto out;
    }
    /* librdkafka 2.8.0 answers like this, without an error, when the leader is away. */
    if (found->offset < 0) {
        (void)err_set(err, ERR_AGAIN, 0, "offsets of '%s' partition %d: no answer in %d ms",
                      topic, (int)partition, timeout_ms);
        goto out;
    }
    *out = found->offset;
    rc = 0;
out:
    call_release(&call);
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

int kafka_log_range(rd_kafka_t *rk, const char *topic, int32_t partition, int timeout_ms,
                    int64_t *low, int64_t *high, struct err *err)
{
    int64_t first, end;

    if (list_offset(rk, topic, partition, RD_KAFKA_OFFSET_SPEC_EARLIEST, timeout_ms, &first,
                    err) != 0 ||
        list_offset(rk, topic, partition, RD_KAFKA_OFFSET_SPEC_LATEST, timeout_ms, &end, err) !=
            0)
        return -1;
    *low = first;
    *high = end;
    return 0;
}
