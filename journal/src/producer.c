/* producer - the journal's transactional producer and its settings. */
#include "journal/src/producer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/conf.h"
#include "common/err.h"
#include "common/kafka.h"

enum {
    FRAGMENT = 512 * 1024,
    MESSAGE_MS = 30000,     /* as in DEFAULTS */
    TRANSACTION_MS = 60000, /* as in DEFAULTS */
};

/* message.timeout.ms below transaction.timeout.ms, as librdkafka demands; both may be raised.
 * The number of bytes under way is bounded by the sink, not by librdkafka's queue. */
static const struct kafka_prop DEFAULTS[] = {
    {"linger.ms", "0"},
    {"message.timeout.ms", "30000"},
    {"transaction.timeout.ms", "60000"},
    {"queue.buffering.max.messages", "0"},
    {"queue.buffering.max.kbytes", "2097151"},
    {"message.max.bytes", "4194304"},
    {"socket.nagle.disable", "true"},
    {"reconnect.backoff.max.ms", "2000"},
    {NULL, NULL},
};

/* What the user lets librdkafka send at most; SIZE_MAX: no word on it. */
static size_t own_limit(const struct conf_map *kafka)
{
    const char *value = conf_map_get(kafka, "message.max.bytes");

    return value != NULL ? (size_t)strtoull(value, NULL, 10) : SIZE_MAX;
}

/* A frame must be given up before Kafka gives up its transaction; librdkafka finds it only when it
 * sends. */
static bool times_fit(const struct conf_map *kafka)
{
    static const char *const names[] = {"message.timeout.ms",
                                        "delivery.timeout.ms"}; /* aliases */
    int64_t message_ms = MESSAGE_MS;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = conf_map_get(kafka, names[i]);

        if (value != NULL)
            message_ms = strtoll(value, NULL, 10);
    }
    return message_ms > 0 && message_ms < producer_transaction_ms(kafka);
}

int64_t producer_transaction_ms(const struct conf_map *kafka)
{
    const char *value = conf_map_get(kafka, "transaction.timeout.ms");

    return value != NULL ? strtoll(value, NULL, 10) : TRANSACTION_MS;
}

int producer_check_conf(const struct conf_map *kafka, struct err *err)
{
    static const struct kafka_prop forced[] = {{"enable.idempotence", "true"},
                                               {"acks", "all"},
                                               {"transactional.id", "redis-wal.check"},
                                               {NULL, NULL}};

    if (kafka_conf_check(RD_KAFKA_PRODUCER, kafka, DEFAULTS, forced, err) != 0)
        return -1;
    if (!times_fit(kafka))
        return err_set(err, ERR_INPUT, 0,
                       "key 'kafka.message.timeout.ms' must be above 0 and below "
                       "'kafka.transaction.timeout.ms'");
    if (own_limit(kafka) < PRODUCER_MESSAGE_MIN)
        return err_set(err, ERR_INPUT, 0, "key 'kafka.message.max.bytes' must be at least %d",
                       PRODUCER_MESSAGE_MIN);
    return 0;
}

size_t producer_fragment_bytes(const struct conf_map *kafka, int64_t max_message_bytes)
{
    size_t limit = (size_t)max_message_bytes;

    assert(max_message_bytes >= PRODUCER_MESSAGE_MIN);
    if (own_limit(kafka) < limit)
        limit = own_limit(kafka);
    limit -= PRODUCER_OVERHEAD;
    return limit < FRAGMENT ? limit : FRAGMENT;
}

int producer_new(const struct conf_map *kafka, const char *source, size_t batch_bytes,
                 void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *),
                 void *opaque, rd_kafka_t **out, struct err *err)
{
    char batch_size[24], transactional_id[300];
    const struct kafka_prop forced[] = {{"enable.idempotence", "true"},
                                        {"acks", "all"},
                                        {"transactional.id", transactional_id},
                                        {"batch.size", batch_size},
                                        {NULL, NULL}};

    (void)snprintf(transactional_id, sizeof(transactional_id), "redis-wal.%s", source);
    (void)snprintf(batch_size, sizeof(batch_size), "%zu", batch_bytes);
    return kafka_new(RD_KAFKA_PRODUCER, "journal", kafka, DEFAULTS, forced, dr_msg_cb, opaque,
                     out, err);
}
