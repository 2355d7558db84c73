/*
 * producer - the journal's transactional producer and its settings: what is fixed, what the user
 * may change, and what must fit together (design: W5, W8).
 */
#ifndef JOURNAL_PRODUCER_H
#define JOURNAL_PRODUCER_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

struct conf_map;
struct err;

#define PRODUCER_MESSAGE_MIN (16 * 1024) /* least max.message.bytes of a topic */
#define PRODUCER_OVERHEAD                                                                      \
    1024 /* Kafka's batch and record headers, our frame and entry header */

/* Checks the Kafka properties without making a client: ERR_INPUT names the key. */
int producer_check_conf(const struct conf_map *kafka, struct err *err);
/* transaction.timeout.ms in force. */
int64_t producer_transaction_ms(const struct conf_map *kafka);
/* Largest piece of an entry, so that a frame with one fits into what the topic
 * (max_message_bytes) and librdkafka take. */
size_t producer_fragment_bytes(const struct conf_map *kafka, int64_t max_message_bytes);

/* Its transactional.id is `redis-wal.<source>`. Kafka's batches have at most batch_bytes. As
 * kafka_new(). */
int producer_new(const struct conf_map *kafka, const char *source, size_t batch_bytes,
                 void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *),
                 void *opaque, rd_kafka_t **out, struct err *err);

#endif
