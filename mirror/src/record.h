/* record - one Kafka record: its digest, and its way from a consumer to a producer uncopied. */
#ifndef MIRROR_RECORD_H
#define MIRROR_RECORD_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

/* What a record holds in memory while it is in flight, librdkafka's own part estimated. */
size_t record_size(const rd_kafka_message_t *msg);

/* XXH3 of timestamp, key, value and headers; null and empty differ. */
uint64_t record_digest(const rd_kafka_message_t *msg);

/*
 * Gives a consumed record to the producer: same partition, key, value, headers, timestamp.
 * On 0 `msg` belongs to the producer until its delivery report, whose _private it is; there it
 * is destroyed. On an error code it stays the caller's, unchanged.
 */
rd_kafka_resp_err_t record_produce(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                                   rd_kafka_message_t *msg);

#endif
