/* Tests of kafka.c and kafka_topic.c against librdkafka's mock cluster. It knows no admin calls
 * but ListOffsets and Metadata; creation and description of topics are tested in integration/. */
#include "common/kafka.h"

#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/conf.h"

#define TOPIC      "t"
#define WAIT_MS    10000
#define RECORD_CNT 100

struct env {
    rd_kafka_t *host; /* the client that carries the mock cluster */
    rd_kafka_mock_cluster_t *mock;
    struct conf_pair pair;
    struct conf_map user;
};

static int setup(void **state)
{
    struct env *env = calloc(1, sizeof(*env));
    struct err err;

    assert_non_null(env);
    assert_int_equal(
        kafka_new(RD_KAFKA_PRODUCER, "mock", NULL, NULL, NULL, NULL, NULL, &env->host, &err),
        0);
    env->mock = rd_kafka_mock_cluster_new(env->host, 3);
    assert_non_null(env->mock);
    assert_int_equal(rd_kafka_mock_topic_create(env->mock, TOPIC, 2, 3), 0);
    env->pair.key = strdup("bootstrap.servers");
    env->pair.value = strdup(rd_kafka_mock_cluster_bootstraps(env->mock));
    env->user = (struct conf_map){.pair = &env->pair, .cnt = 1};
    *state = env;
    return 0;
}

static int teardown(void **state)
{
    struct env *env = *state;

    rd_kafka_mock_cluster_destroy(env->mock);
    kafka_free(env->host);
    free(env->pair.key);
    free(env->pair.value);
    free(env);
    return 0;
}

static int check_one(const char *key, const char *value, int line,
                     const struct kafka_prop *forced, struct err *err)
{
    struct conf_pair pair = {.key = strdup(key), .value = strdup(value), .line = line};
    struct conf_map user = {.pair = &pair, .cnt = 1};
    int rc =
        kafka_conf_check(RD_KAFKA_PRODUCER, &user,
                         (const struct kafka_prop[]){{"linger.ms", "0"}, {0}}, forced, err);

    free(pair.key);
    free(pair.value);
    return rc;
}

static void test_conf(void **state)
{
    static const struct kafka_prop forced[] = {
        {"acks", "all"}, {"enable.idempotence", "true"}, {NULL, NULL}};
    static const struct kafka_prop in_flight[] = {{"max.in.flight", "10"}, {NULL, NULL}};
    rd_kafka_t *rk = NULL;
    struct err err;

    (void)state;
    assert_int_equal(check_one("linger.ms", "7", 3, forced, &err), 0);
    assert_int_equal(check_one("acks", "-1", 3, forced, &err), 0);
    assert_int_equal(check_one("acks", "1", 3, forced, &err), -1);
    assert_int_equal(err.kind, ERR_INPUT);
    assert_non_null(strstr(err.msg, "line 3: kafka property 'acks' can't be changed"));
    /* The same by another name. */
    assert_int_equal(check_one("request.required.acks", "1", 0, forced, &err), -1);
    assert_non_null(
        strstr(err.msg, "'request.required.acks' can't be changed from 'acks=all'"));
    assert_int_equal(check_one("liger.ms", "7", 0, forced, &err), -1);
    assert_int_equal(err.kind, ERR_INPUT);
    assert_non_null(strstr(err.msg, "liger.ms"));
    assert_int_equal(check_one("linger.ms", "soon", 0, forced, &err), -1);
    /* Each is right, both together are not: only kafka_new() finds it. */
    assert_int_equal(check_one("max.in.flight", "10", 0, forced, &err), 0);
    assert_int_equal(
        kafka_new(RD_KAFKA_PRODUCER, "test", NULL, in_flight, forced, NULL, NULL, &rk, &err),
        -1);
    assert_int_equal(err.kind, ERR_INPUT);
    assert_non_null(strstr(err.msg, "max.in.flight"));
}

static void test_kinds(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR_NO_ERROR), ERR_NONE);
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR__TRANSPORT), ERR_AGAIN);
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS), ERR_AGAIN);
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), ERR_AUTH);
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET), ERR_CORRUPT);
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR__FENCED), ERR_FENCED);
    assert_int_equal(kafka_err_kind(RD_KAFKA_RESP_ERR__FATAL), ERR_FATAL);
    assert_int_equal(kafka_err(&err, RD_KAFKA_RESP_ERR__TRANSPORT, "fetch %d", 7), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    assert_int_equal(strncmp(err.msg, "fetch 7: ", 9), 0);
    assert_int_equal(kafka_error(&err,
                                 rd_kafka_error_new(RD_KAFKA_RESP_ERR__FENCED, "by a rival"),
                                 "commit"),
                     -1);
    assert_int_equal(err.kind, ERR_FENCED);
    assert_string_equal(err.msg, "commit: by a rival");
}

struct sent {
    rd_kafka_t *rk;
    uv_loop_t loop;
    struct kafka_watch *watch;
    uv_timer_t limit;
    int want;
    int got;
    int calls;
    bool late;
};

static void on_limit(uv_timer_t *timer)
{
    struct sent *sent = timer->data;

    sent->late = true;
    uv_stop(&sent->loop);
}

static void on_dr(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    struct sent *sent = opaque;

    assert_ptr_equal(rk, sent->rk);
    assert_int_equal(msg->err, 0);
    sent->got++;
}

static void on_producer(void *arg)
{
    struct sent *sent = arg;

    sent->calls++;
    while (rd_kafka_poll(sent->rk, 0) > 0)
        ;
    if (sent->got == sent->want)
        uv_stop(&sent->loop);
}

/* Without the RD_KAFKA_V_ macros, which are no ISO C. */
static void produce(rd_kafka_t *rk, int32_t partition, int i)
{
    const rd_kafka_vu_t args[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = TOPIC},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = &i, .size = sizeof(i)}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    };
    rd_kafka_error_t *bad = rd_kafka_produceva(rk, args, sizeof(args) / sizeof(args[0]));

    assert_null(bad);
}

static void sent_init(struct sent *sent)
{
    memset(sent, 0, sizeof(*sent));
    assert_int_equal(uv_loop_init(&sent->loop), 0);
    assert_int_equal(uv_timer_init(&sent->loop, &sent->limit), 0);
    sent->limit.data = sent;
    assert_int_equal(uv_timer_start(&sent->limit, on_limit, WAIT_MS, 0), 0);
}

/* The loop must close without a handle left. */
static void sent_release(struct sent *sent)
{
    kafka_watch_free(sent->watch);
    uv_close((uv_handle_t *)&sent->limit, NULL);
    assert_int_equal(uv_run(&sent->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&sent->loop), 0);
}

/* Delivery reports wake the loop, record by record, and the owner's opaque arrives. */
static void test_watch_producer(void **state)
{
    struct env *env = *state;
    struct sent sent;
    rd_kafka_queue_t *queue;
    struct err err;

    sent_init(&sent);
    assert_int_equal(kafka_new(RD_KAFKA_PRODUCER, "test", &env->user, NULL, NULL, on_dr, &sent,
                               &sent.rk, &err),
                     0);
    assert_non_null(strstr(rd_kafka_name(sent.rk), "redis-wal-test"));
    queue = rd_kafka_queue_get_main(sent.rk);
    sent.watch = kafka_watch_new(&sent.loop, queue, on_producer, &sent);
    for (int i = 0; i < RECORD_CNT; i++) {
        sent.want++;
        produce(sent.rk, 0, i);
        (void)uv_run(&sent.loop, UV_RUN_DEFAULT);
        assert_false(sent.late);
        assert_int_equal(sent.got, sent.want);
    }
    assert_true(sent.calls >= RECORD_CNT);
    sent_release(&sent);
    rd_kafka_queue_destroy(queue);
    kafka_free(sent.rk);
}

struct read {
    struct sent base;
    rd_kafka_queue_t *queue;
    bool batch;
};

static void on_consumer(void *arg)
{
    struct read *rd = arg;
    rd_kafka_message_t *msg[8];
    ssize_t n;

    rd->base.calls++;
    for (;;) {
        if (rd->batch) {
            n = rd_kafka_consume_batch_queue(rd->queue, 0, msg, 8);
        } else {
            msg[0] = rd_kafka_consume_queue(rd->queue, 0);
            n = msg[0] != NULL;
        }
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            rd->base.got += msg[i]->err == 0;
            rd_kafka_message_destroy(msg[i]);
        }
    }
    if (rd->base.got >= rd->base.want)
        uv_stop(&rd->base.loop);
}

/* Each record wakes the loop; the first ones are there before the watch is. */
static void read_back(struct env *env, int32_t partition, bool batch)
{
    static const struct kafka_prop props[] = {
        {"group.id", "g"},
        {"isolation.level", "read_uncommitted"},
        {"fetch.wait.max.ms", "5"}, /* the mock answers no earlier when something comes */
        {NULL, NULL}};
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    struct read rd = {.batch = batch};
    rd_kafka_t *producer;
    struct err err;

    sent_init(&rd.base);
    assert_int_equal(kafka_new(RD_KAFKA_PRODUCER, "test", &env->user, NULL, NULL, NULL, NULL,
                               &producer, &err),
                     0);
    assert_int_equal(kafka_new(RD_KAFKA_CONSUMER, "test", &env->user, NULL, props, NULL, NULL,
                               &rd.base.rk, &err),
                     0);
    produce(producer, partition, 0);
    assert_int_equal(rd_kafka_flush(producer, WAIT_MS), 0);
    rd_kafka_topic_partition_list_add(list, TOPIC, partition)->offset = 0;
    assert_int_equal(rd_kafka_assign(rd.base.rk, list), 0);
    rd.queue = rd_kafka_queue_get_consumer(rd.base.rk);
    while (rd_kafka_queue_length(rd.queue) == 0)
        assert_int_equal(rd_kafka_poll(producer, 10), 0);
    rd.base.watch = kafka_watch_new(&rd.base.loop, rd.queue, on_consumer, &rd);
    for (rd.base.want = 1; rd.base.want <= RECORD_CNT / 4; rd.base.want++) {
        (void)uv_run(&rd.base.loop, UV_RUN_DEFAULT);
        assert_false(rd.base.late);
        assert_int_equal(rd.base.got, rd.base.want);
        produce(producer, partition, rd.base.want);
    }
    assert_int_equal(rd_kafka_flush(producer, WAIT_MS), 0);
    sent_release(&rd.base);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(rd.queue);
    kafka_free(rd.base.rk);
    kafka_free(producer);
}

static void test_watch_consumer(void **state)
{
    read_back(*state, 0, false);
    read_back(*state, 1, true);
}

static void test_log_range(void **state)
{
    struct env *env = *state;
    int64_t low = -5, high = -5;
    int brokers = 0;
    rd_kafka_t *producer;
    struct err err;

    assert_int_equal(kafka_new(RD_KAFKA_PRODUCER, "test", &env->user, NULL, NULL, NULL, NULL,
                               &producer, &err),
                     0);
    assert_int_equal(kafka_broker_cnt(producer, WAIT_MS, &brokers, &err), 0);
    assert_int_equal(brokers, 3);
    for (int i = 0; i < RECORD_CNT; i++)
        produce(producer, 1, i);
    assert_int_equal(rd_kafka_flush(producer, WAIT_MS), 0);
    assert_int_equal(kafka_log_range(producer, TOPIC, 1, WAIT_MS, &low, &high, &err), 0);
    assert_int_equal(low, 0);
    assert_int_equal(high, RECORD_CNT);
    assert_int_equal(kafka_log_range(producer, TOPIC, 0, WAIT_MS, &low, &high, &err), 0);
    assert_int_equal(high, 0);
    high = -5;
    assert_int_equal(kafka_log_range(producer, TOPIC, 9, 1000, &low, &high, &err), -1);
    assert_int_equal(high, -5);
    /* A log that can't be asked is not an empty one. */
    for (int32_t i = 1; i <= 3; i++)
        assert_int_equal(rd_kafka_mock_broker_set_down(env->mock, i), 0);
    assert_int_equal(kafka_log_range(producer, TOPIC, 1, 1000, &low, &high, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    assert_int_equal(high, -5);
    kafka_free(producer);
}

/* A cluster that is away gives ERR_AGAIN in time, and freeing waits for nothing. */
static void test_away(void **state)
{
    struct conf_pair pair = {.key = strdup("bootstrap.servers"),
                             .value = strdup("127.0.0.1:1")};
    struct conf_map user = {.pair = &pair, .cnt = 1};
    struct kafka_topic topic = {.partition_cnt = -5};
    int64_t low, high;
    bool created;
    int cnt;
    rd_kafka_t *producer;
    struct err err;

    (void)state;
    assert_int_equal(
        kafka_new(RD_KAFKA_PRODUCER, "test", &user, NULL, NULL, NULL, NULL, &producer, &err),
        0);
    produce(producer, 0, 1);
    assert_int_equal(kafka_topic_describe(producer, TOPIC, 200, &topic, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    assert_int_equal(topic.partition_cnt, -5);
    assert_int_equal(kafka_topic_create(producer, TOPIC, 1, 1, NULL, 200, &created, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    assert_int_equal(kafka_log_range(producer, TOPIC, 0, 200, &low, &high, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    assert_int_equal(kafka_broker_cnt(producer, 200, &cnt, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    kafka_free(producer);
    free(pair.key);
    free(pair.value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test_setup_teardown(test_watch_producer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_consumer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_range, setup, teardown),
        cmocka_unit_test(test_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
