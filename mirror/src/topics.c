/* topics - keeps the target's topics as wide as the source's. */
#include "mirror/src/topics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/kafka.h"

static int fail(struct topic_sync *sync, enum side side)
{
    sync->side = side;
    return -1;
}

static int create(struct topic_sync *sync, const struct kafka_topic *like)
{
    char retention_ms[24], retention_bytes[24], max_message[24];
    const struct kafka_prop config[] = {
        {"cleanup.policy", like->cleanup_policy},
        {"retention.ms", retention_ms},
        {"retention.bytes", retention_bytes},
        {"max.message.bytes", max_message},
        {"message.timestamp.type", "CreateTime"}, /* or the target would make up its own */
        {NULL, NULL},
    };

    (void)snprintf(retention_ms, sizeof(retention_ms), "%" PRId64, like->retention_ms);
    (void)snprintf(retention_bytes, sizeof(retention_bytes), "%" PRId64, like->retention_bytes);
    (void)snprintf(max_message, sizeof(max_message), "%" PRId64, like->max_message_bytes);
    return kafka_topic_create(sync->target, sync->topic, like->partition_cnt,
                              sync->replication_factor, config, sync->timeout_ms,
                              &sync->created, &sync->err);
}

/* Grows the target's topic to `cnt` partitions. */
static int grow(struct topic_sync *sync, int32_t cnt)
{
    char text[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(sync->target);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(sync->target, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    rd_kafka_NewPartitions_t *want =
        rd_kafka_NewPartitions_new(sync->topic, (size_t)cnt, text, sizeof(text));
    rd_kafka_event_t *event = NULL;
    const rd_kafka_topic_result_t **results;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__INVALID_ARG;
    size_t n;

    (void)rd_kafka_AdminOptions_set_request_timeout(options, sync->timeout_ms, text,
                                                    sizeof(text));
    if (want) {
        rd_kafka_CreatePartitions(sync->target, &want, 1, options, queue);
        event = rd_kafka_queue_poll(queue, sync->timeout_ms + 1000);
        code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (event && !code) {
        results = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(event), &n);
        code = n ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    if (code)
        (void)kafka_err(&sync->err, code, "grow target's '%s' to %d partitions", sync->topic,
                        (int)cnt);
    if (event)
        rd_kafka_event_destroy(event);
    if (want)
        rd_kafka_NewPartitions_destroy(want);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return code ? -1 : 0;
}

int topic_sync(struct topic_sync *sync)
{
    struct kafka_topic source, target;

    if (kafka_topic_describe(sync->source, sync->topic, sync->timeout_ms, &source,
                             &sync->err) != 0) {
        (void)err_wrap(&sync->err, "source");
        return fail(sync, SIDE_SOURCE);
    }
    if (atomic_load(sync->stop)) {
        (void)err_set(&sync->err, ERR_AGAIN, 0, "stopping");
        return fail(sync, SIDE_TARGET);
    }
    if (kafka_topic_describe(sync->target, sync->topic, sync->timeout_ms, &target,
                             &sync->err) != 0) {
        if (sync->err.kind != ERR_INPUT || create(sync, &source) != 0) {
            (void)err_wrap(&sync->err, "target");
            return fail(sync, SIDE_TARGET);
        }
    } else if (source.id[0] != '\0' && strcmp(source.id, target.id) == 0) {
        sync->is_same = true;
        (void)err_set(&sync->err, ERR_INPUT, 0,
                      "keys 'source.kafka' and 'target.kafka' lead to the same cluster: topic "
                      "'%s' would be copied into itself",
                      sync->topic);
        return fail(sync, SIDE_TARGET);
    } else if (target.partition_cnt < source.partition_cnt) {
        if (grow(sync, source.partition_cnt) != 0)
            return fail(sync, SIDE_TARGET);
        sync->added = source.partition_cnt - target.partition_cnt;
    }
    sync->partition_cnt = source.partition_cnt;
    return 0;
}
