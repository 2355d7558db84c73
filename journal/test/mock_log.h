/*
 * mock_log - what the tests of sink, feed and tail share: a log in librdkafka's mock cluster, a
 * loop that runs until something holds, and a reader of what the log has.
 * Header only, because each test is one program of one file.
 *
 * The mock knows transactions but no fencing and no markers; those are tested in integration/.
 * Broker 1 coordinates, each partition has a broker of its own (2 + partition), which can be away.
 */
#ifndef JOURNAL_TEST_MOCK_LOG_H
#define JOURNAL_TEST_MOCK_LOG_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/kafka.h"
#include "common/mem.h"

#define LOG_TOPIC  "log"
#define LOG_SOURCE "dc"
#define LOG_REPLID "0123456789abcdef0123456789abcdef01234567"
#define LOG_REPL2  "ffffffffffffffffffffffffffffffffffffffff"

enum { LOG_PARTS = 3, LOG_WAIT_MS = 30000, LOG_PROPS = 6 };

struct mock_log {
    rd_kafka_t *host; /* the client that carries the mock cluster */
    rd_kafka_mock_cluster_t *mock;
    struct conf_pair pair[LOG_PROPS];
    struct conf_map kafka;
    rd_kafka_t *writer; /* of log_put() */
    uv_loop_t loop;
    uv_timer_t tick;
};

/* A frame of the log, with its bytes. */
struct log_rec {
    int32_t partition;
    int64_t offset, time_ms;
    struct frame f;
    uint8_t *bytes;
    size_t len;
};

struct log_view {
    struct log_rec *rec;
    size_t cnt;
};

static inline void log_prop(struct mock_log *m, const char *key, const char *value)
{
    assert_true(m->kafka.cnt < LOG_PROPS);
    m->pair[m->kafka.cnt++] = (struct conf_pair){.key = xstrdup(key), .value = xstrdup(value)};
}

static inline void log_tick(uv_timer_t *t)
{
    (void)t;
}

static inline struct mock_log *log_open(void)
{
    struct mock_log *m = xcalloc(1, sizeof(*m));
    struct err err;

    assert_int_equal(
        kafka_new(RD_KAFKA_PRODUCER, "mock", NULL, NULL, NULL, NULL, NULL, &m->host, &err), 0);
    m->mock = rd_kafka_mock_cluster_new(m->host, 1 + LOG_PARTS);
    assert_non_null(m->mock);
    assert_int_equal(rd_kafka_mock_topic_create(m->mock, LOG_TOPIC, LOG_PARTS, 1), 0);
    for (int32_t i = 0; i < LOG_PARTS; i++)
        assert_int_equal(rd_kafka_mock_partition_set_leader(m->mock, LOG_TOPIC, i, 2 + i), 0);
    assert_int_equal(
        rd_kafka_mock_coordinator_set(m->mock, "transaction", "redis-wal." LOG_SOURCE, 1), 0);
    m->kafka.pair = m->pair;
    log_prop(m, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(m->mock));
    log_prop(m, "reconnect.backoff.ms", "10");
    log_prop(m, "reconnect.backoff.max.ms", "50");
    assert_int_equal(kafka_new(RD_KAFKA_PRODUCER, "put", &m->kafka, NULL, NULL, NULL, NULL,
                               &m->writer, &err),
                     0);
    assert_int_equal(uv_loop_init(&m->loop), 0);
    assert_int_equal(uv_timer_init(&m->loop, &m->tick), 0);
    assert_int_equal(uv_timer_start(&m->tick, log_tick, 5, 5), 0);
    return m;
}

/* The loop must close: nothing of what was tested may have left a handle. */
static inline void log_close(struct mock_log *m)
{
    uv_close((uv_handle_t *)&m->tick, NULL);
    assert_int_equal(uv_run(&m->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&m->loop), 0);
    kafka_free(m->writer);
    rd_kafka_mock_cluster_destroy(m->mock);
    kafka_free(m->host);
    for (size_t i = 0; i < m->kafka.cnt; i++) {
        free(m->pair[i].key);
        free(m->pair[i].value);
    }
    free(m);
}

/* Runs the loop until it holds; fails after LOG_WAIT_MS. */
static inline void log_until(struct mock_log *m, bool (*holds)(void *), void *arg,
                             const char *what)
{
    int64_t limit = clock_mono_ms() + LOG_WAIT_MS;

    while (!holds(arg)) {
        (void)uv_run(&m->loop, UV_RUN_ONCE);
        if (clock_mono_ms() > limit)
            fail_msg("waited in vain: %s", what);
    }
}

static inline void log_run_ms(struct mock_log *m, int64_t ms)
{
    int64_t end = clock_mono_ms() + ms;

    while (clock_mono_ms() < end)
        (void)uv_run(&m->loop, UV_RUN_ONCE);
}

/* Appends bytes to a partition. */
static inline void log_put(struct mock_log *m, int32_t partition, const void *data, size_t len)
{
    const rd_kafka_vu_t args[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = LOG_TOPIC},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = (void *)(uintptr_t)data, .size = len}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    };

    assert_null(rd_kafka_produceva(m->writer, args, sizeof(args) / sizeof(args[0])));
    assert_int_equal(rd_kafka_flush(m->writer, LOG_WAIT_MS), 0);
}

static inline void log_take(struct log_view *v, const rd_kafka_message_t *msg)
{
    struct log_rec r = {.partition = msg->partition, .offset = msg->offset, .len = msg->len};
    struct err err;

    r.time_ms = rd_kafka_message_timestamp(msg, NULL);
    r.bytes = xmalloc(msg->len + 1);
    memcpy(r.bytes, msg->payload, msg->len);
    if (frame_decode(r.bytes, r.len, &r.f, &err) != 0)
        fail_msg("partition %d offset %lld: %s", (int)r.partition, (long long)r.offset,
                 err.msg);
    v->rec = xrealloc(v->rec, (v->cnt + 1) * sizeof(*v->rec));
    v->rec[v->cnt++] = r;
}

/* Everything that the log has, partition by partition; each frame must be sound. */
static inline struct log_view log_read(struct mock_log *m)
{
    static const struct kafka_prop props[] = {{"group.id", "test"},
                                              {"isolation.level", "read_uncommitted"},
                                              {"enable.partition.eof", "true"},
                                              {"fetch.wait.max.ms", "5"},
                                              {NULL, NULL}};
    struct log_view v = {0};
    rd_kafka_t *rk;
    struct err err;

    assert_int_equal(
        kafka_new(RD_KAFKA_CONSUMER, "read", &m->kafka, NULL, props, NULL, NULL, &rk, &err), 0);
    for (int32_t i = 0; i < LOG_PARTS; i++) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        int64_t limit = clock_mono_ms() + LOG_WAIT_MS;
        bool end = false;

        rd_kafka_topic_partition_list_add(list, LOG_TOPIC, i)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
        assert_int_equal(rd_kafka_assign(rk, list), 0);
        while (!end && clock_mono_ms() < limit) {
            rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, 100);

            if (msg == NULL)
                continue;
            if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                log_take(&v, msg);
            end = msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && msg->partition == i;
            rd_kafka_message_destroy(msg);
        }
        assert_true(end);
        rd_kafka_topic_partition_list_destroy(list);
    }
    kafka_free(rk);
    return v;
}

static inline void log_view_release(struct log_view *v)
{
    for (size_t i = 0; i < v->cnt; i++)
        free(v->rec[i].bytes);
    free(v->rec);
    *v = (struct log_view){0};
}

/* The n-th frame of a type in a partition, NULL: there are fewer. */
static inline const struct log_rec *log_nth(const struct log_view *v, int32_t partition,
                                            enum frame_type type, size_t n)
{
    for (size_t i = 0; i < v->cnt; i++) {
        if (v->rec[i].partition == partition && v->rec[i].f.type == type && n-- == 0)
            return &v->rec[i];
    }
    return NULL;
}

static inline size_t log_count_type(const struct log_view *v, int32_t partition,
                                    enum frame_type type)
{
    size_t n = 0;

    while (log_nth(v, partition, type, n) != NULL)
        n++;
    return n;
}

#endif
