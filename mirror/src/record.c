/* record - one Kafka record. */
#include "mirror/src/record.h"

#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the state's size, to have it on the stack */
#include <xxhash.h>

#define RECORD_OVERHEAD 256 /* librdkafka's two message objects */

size_t record_size(const rd_kafka_message_t *msg)
{
    return msg->len + msg->key_len + RECORD_OVERHEAD;
}

static void add_bytes(XXH3_state_t *state, const void *data, size_t len)
{
    uint64_t head = data ? (uint64_t)len + 1 : 0; /* null is told from empty */

    (void)XXH3_64bits_update(state, &head, sizeof(head));
    if (data && len)
        (void)XXH3_64bits_update(state, data, len);
}

uint64_t record_digest(const rd_kafka_message_t *msg)
{
    XXH3_state_t state;
    rd_kafka_timestamp_type_t type;
    int64_t timestamp = rd_kafka_message_timestamp(msg, &type);
    rd_kafka_headers_t *headers;

    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset(&state);
    (void)XXH3_64bits_update(&state, &timestamp, sizeof(timestamp));
    add_bytes(&state, msg->key, msg->key_len);
    add_bytes(&state, msg->payload, msg->len);
    if (rd_kafka_message_headers(msg, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *name;
        const void *value;
        size_t size;

        for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
                           RD_KAFKA_RESP_ERR_NO_ERROR;
             i++) {
            add_bytes(&state, name, strlen(name));
            add_bytes(&state, value, size);
        }
    }
    return XXH3_64bits_digest(&state);
}

rd_kafka_resp_err_t record_produce(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                                   rd_kafka_message_t *msg)
{
    rd_kafka_timestamp_type_t type;
    rd_kafka_headers_t *headers = NULL, *copy = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_error_t *bad;
    rd_kafka_vu_t args[7] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = msg->partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = msg->payload, .size = msg->len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {.ptr = msg->key, .size = msg->key_len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rd_kafka_message_timestamp(msg, &type)},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = msg},
    };
    size_t cnt = 6;

    /* Copied and not detached: after a failed call the record must still be whole. */
    if (rd_kafka_message_headers(msg, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        copy = rd_kafka_headers_copy(headers);
        args[cnt++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = copy};
    }
    bad = rd_kafka_produceva(producer, args, cnt);
    if (bad) {
        code = rd_kafka_error_code(bad);
        rd_kafka_error_destroy(bad);
        if (copy)
            rd_kafka_headers_destroy(copy);
    }
    return code;
}
