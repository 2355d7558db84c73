/* source - the log's topic in Kafka. */
#include "applier/src/source.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/engine.h"
#include "common/conf.h"
#include "common/err.h"
#include "common/kafka.h"
#include "common/log.h"
#include "common/mem.h"

#define FIND_TIMEOUT_MS 5000
#define FIND_RETRY_MS   1000
#define LOOK_MS         200 /* the queue's wake-up comes once; a lost one costs this long */
#define GONE_TIMEOUT_MS 1000
#define TAKE_MAX        256 /* records between two looks at the loop's other work */

struct source {
    uv_loop_t *loop;
    struct source_conf conf;
    struct engine *engine;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    struct kafka_watch *watch;
    uv_timer_t *timer;
    uv_idle_t *more; /* active while the queue holds more than one turn took */
    bool assigned;
    uint32_t partition_cnt; /* 0: not found yet */
    struct err trouble;     /* the last error that will pass; ERR_NONE: none */
    /* The search, in a thread. */
    uv_work_t work;
    bool working;
    atomic_bool closing;
    int found; /* 0 or -1 with find_err */
    struct err find_err;
    struct kafka_topic topic;
    int64_t *low;
    void (*closed)(void *arg);
    void *closed_arg;
};

static const struct kafka_prop defaults[] = {
    {"fetch.wait.max.ms", "100"},
    {"fetch.queue.backoff.ms", "10"},
    {"fetch.error.backoff.ms", "200"},
    {"queued.max.messages.kbytes", "32768"},
    {"fetch.max.bytes", "16777216"},
    {"reconnect.backoff.max.ms", "2000"},
    {NULL, NULL},
};

static void forced_props(const char *group, struct kafka_prop out[9])
{
    const struct kafka_prop list[9] = {
        {"group.id", group},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"isolation.level", "read_uncommitted"},
        {"check.crcs", "true"},
        {"enable.partition.eof", "false"},
        {"allow.auto.create.topics", "false"},
        {NULL, NULL},
    };

    memcpy(out, list, sizeof(list));
}

int source_check(const struct source_conf *conf, struct err *err)
{
    struct kafka_prop forced[9];

    forced_props(conf->group, forced);
    return kafka_conf_check(RD_KAFKA_CONSUMER, conf->kafka, defaults, forced, err);
}

/* ---- finding the topic ---- */

static void find_topic(uv_work_t *work)
{
    struct source *s = work->data;

    s->found =
        kafka_topic_describe(s->rk, s->conf.topic, FIND_TIMEOUT_MS, &s->topic, &s->find_err);
    if (s->found != 0)
        return;
    free(s->low);
    s->low = xcalloc((size_t)s->topic.partition_cnt, sizeof(*s->low));
    for (int32_t i = 0; i < s->topic.partition_cnt && s->found == 0; i++) {
        int64_t high;

        if (atomic_load(&s->closing))
            return;
        s->found = kafka_log_range(s->rk, s->conf.topic, i, FIND_TIMEOUT_MS, &s->low[i], &high,
                                   &s->find_err);
    }
}

static void find_again(uv_timer_t *timer);
static void on_look(uv_timer_t *timer);

static void on_found(uv_work_t *work, int status)
{
    struct source *s = work->data;

    (void)status;
    s->working = false;
    if (atomic_load(&s->closing)) {
        if (s->closed != NULL)
            s->closed(s->closed_arg);
        return;
    }
    if (s->found == 0) {
        s->trouble.kind = ERR_NONE;
        s->partition_cnt = (uint32_t)s->topic.partition_cnt;
        log_info("topic found", F_STR("topic", s->conf.topic),
                 F_I64("partitions", s->partition_cnt));
        (void)uv_timer_start(s->timer, on_look, LOOK_MS, LOOK_MS);
        engine_source_ready(s->engine, s->partition_cnt, s->low);
        return;
    }
    if (s->trouble.kind == ERR_NONE || strcmp(s->trouble.msg, s->find_err.msg) != 0)
        log_warn(s->find_err.kind == ERR_INPUT ? "the topic is not there yet, retrying"
                                               : "the topic can't be looked up, retrying",
                 F_STR("brokers", conf_map_get(s->conf.kafka, "bootstrap.servers")),
                 F_ERR(&s->find_err));
    s->trouble = s->find_err;
    if (s->find_err.kind == ERR_FATAL)
        engine_source_failed(s->engine, ENGINE_NO_PARTITION, &s->find_err);
    else
        (void)uv_timer_start(s->timer, find_again, FIND_RETRY_MS, 0);
}

static void find_again(uv_timer_t *timer)
{
    struct source *s = timer->data;

    s->work.data = s;
    s->working = uv_queue_work(s->loop, &s->work, find_topic, on_found) == 0;
}

/* ---- records ---- */

/* Asked while nothing else is left to do, so this may block for a moment. */
static void say_gone(const struct source *s, const rd_kafka_message_t *msg, struct err *err)
{
    int64_t low, high;
    struct err scratch;

    if (kafka_log_range(s->rk, s->conf.topic, msg->partition, GONE_TIMEOUT_MS, &low, &high,
                        &scratch) != 0)
        return;
    if (msg->offset < low)
        (void)err_set(err, ERR_CORRUPT, 0,
                      "partition %" PRId32 " offset %" PRId64
                      " is needed next, but Kafka has only [%" PRId64 ", %" PRId64
                      ") of topic '%s': records were removed before they were applied",
                      msg->partition, msg->offset, low, high, s->conf.topic);
    else if (msg->offset > high)
        (void)err_set(err, ERR_CORRUPT, 0,
                      "partition %" PRId32 " offset %" PRId64
                      " is needed next, but topic '%s' ends at %" PRId64
                      ": records were lost, or the topic was made anew",
                      msg->partition, msg->offset, s->conf.topic, high);
}

static void take_error(struct source *s, const rd_kafka_message_t *msg)
{
    struct err err;

    (void)kafka_err(&err, msg->err, "topic '%s' partition %" PRId32 " offset %" PRId64,
                    s->conf.topic, msg->partition, msg->offset);
    switch (msg->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__LOG_TRUNCATION:
        err.kind =
            ERR_CORRUPT; /* offsets that are gone, or bytes that are not what was written */
        if (msg->err != RD_KAFKA_RESP_ERR__BAD_MSG)
            say_gone(s, msg, &err);
        break;
    default:
        break;
    }
    if (err.kind == ERR_AGAIN || err.kind == ERR_INPUT || err.kind == ERR_AUTH) {
        /* A topic that is gone may be back: a leader change shows the same for a moment. So may
         * rights. */
        if (s->trouble.kind == ERR_NONE || strcmp(s->trouble.msg, err.msg) != 0)
            log_warn("log can't be read now, retrying", F_ERR(&err));
        err.kind = ERR_AGAIN;
        s->trouble = err;
    }
    engine_source_failed(
        s->engine, msg->partition >= 0 ? (uint32_t)msg->partition : ENGINE_NO_PARTITION, &err);
}

/* Hands records to the engine; returns whether there may be more. */
static bool take_some(struct source *s)
{
    rd_kafka_message_t *msg[TAKE_MAX];
    ssize_t cnt = rd_kafka_consume_batch_queue(s->queue, 0, msg, TAKE_MAX);

    for (ssize_t i = 0; i < cnt; i++) {
        if (msg[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            take_error(s, msg[i]);
        } else if (s->assigned && msg[i]->partition >= 0 &&
                   (uint32_t)msg[i]->partition < s->partition_cnt) {
            s->trouble.kind = ERR_NONE;
            engine_frame(s->engine, (uint32_t)msg[i]->partition, msg[i]->offset,
                         msg[i]->payload, msg[i]->len, msg[i]);
            continue; /* it is the engine's now */
        }
        rd_kafka_message_destroy(msg[i]);
    }
    if (cnt > 0)
        engine_frames_end(s->engine);
    return cnt > 0;
}

static void on_more(uv_idle_t *idle)
{
    struct source *s = idle->data;

    if (!take_some(s))
        (void)uv_idle_stop(idle);
}

static void on_look(uv_timer_t *timer)
{
    struct source *s = timer->data;

    (void)uv_idle_start(s->more, on_more);
}

static void on_queue(void *arg)
{
    struct source *s = arg;

    (void)uv_idle_start(s->more, on_more);
}

/* ---- what the engine asks for ---- */

static rd_kafka_topic_partition_list_t *one(const struct source *s, uint32_t partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    (void)rd_kafka_topic_partition_list_add(list, s->conf.topic, (int32_t)partition);
    return list;
}

static void say_failed(struct source *s, rd_kafka_resp_err_t code, const char *what)
{
    struct err err;

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    (void)kafka_err(&err, code, "%s topic '%s'", what, s->conf.topic);
    err.kind = ERR_FATAL; /* these calls only fail when they are used wrongly */
    engine_source_failed(s->engine, ENGINE_NO_PARTITION, &err);
}

static rd_kafka_topic_partition_list_t *all(const struct source *s, const int64_t *offset)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)s->partition_cnt);

    for (uint32_t i = 0; i < s->partition_cnt; i++)
        rd_kafka_topic_partition_list_add(list, s->conf.topic, (int32_t)i)->offset = offset[i];
    return list;
}

static void src_stop(void *src)
{
    struct source *s = src;

    s->assigned = false;
    (void)rd_kafka_assign(s->rk, NULL);
}

static void src_begin(void *src, const int64_t *offset)
{
    struct source *s = src;
    rd_kafka_topic_partition_list_t *list = all(s, offset);

    src_stop(s);
    /* librdkafka keeps a partition paused over assignments. */
    (void)rd_kafka_resume_partitions(s->rk, list);
    s->assigned = true;
    say_failed(s, rd_kafka_assign(s->rk, list), "assign");
    rd_kafka_topic_partition_list_destroy(list);
}

static void src_pause(void *src, uint32_t partition, bool on)
{
    struct source *s = src;
    rd_kafka_topic_partition_list_t *list = one(s, partition);

    (void)(on ? rd_kafka_pause_partitions(s->rk, list)
              : rd_kafka_resume_partitions(s->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
}

static void src_seek(void *src, uint32_t partition, int64_t offset)
{
    struct source *s = src;
    rd_kafka_topic_partition_list_t *list = one(s, partition);
    rd_kafka_error_t *e;

    list->elems[0].offset = offset;
    e = rd_kafka_seek_partitions(s->rk, list, 0); /* 0: does not wait for it */
    if (e != NULL) {
        struct err err;

        (void)kafka_error(&err, e, "seek");
        engine_source_failed(s->engine, ENGINE_NO_PARTITION, &err);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void src_commit(void *src, const int64_t *offset)
{
    struct source *s = src;
    rd_kafka_topic_partition_list_t *list;

    if (!s->assigned || s->conf.group[0] == 0)
        return;
    list = all(s, offset);
    (void)rd_kafka_commit(s->rk, list, 1); /* a failure only shows in the tools */
    rd_kafka_topic_partition_list_destroy(list);
}

static void src_release(void *src, void *owner)
{
    (void)src;
    rd_kafka_message_destroy(owner);
}

const struct source_ops source_kafka_ops = {
    .begin = src_begin,
    .stop = src_stop,
    .pause = src_pause,
    .seek = src_seek,
    .commit = src_commit,
    .release = src_release,
};

/* ---- life ---- */

int source_new(uv_loop_t *loop, const struct source_conf *conf, struct source **out,
               struct err *err)
{
    struct source *s = xcalloc(1, sizeof(*s));
    struct kafka_prop forced[9];

    s->loop = loop;
    s->conf = *conf;
    forced_props(conf->group, forced);
    if (kafka_new(RD_KAFKA_CONSUMER, "applier", conf->kafka, defaults, forced, NULL, NULL,
                  &s->rk, err) != 0) {
        free(s);
        return -1;
    }
    (void)rd_kafka_poll_set_consumer(s->rk);
    s->queue = rd_kafka_queue_get_consumer(s->rk);
    s->timer = xcalloc(1, sizeof(*s->timer));
    (void)uv_timer_init(loop, s->timer);
    s->timer->data = s;
    s->more = xcalloc(1, sizeof(*s->more));
    (void)uv_idle_init(loop, s->more);
    s->more->data = s;
    *out = s;
    return 0;
}

void source_run(struct source *s, struct engine *engine)
{
    s->engine = engine;
    s->watch = kafka_watch_new(s->loop, s->queue, on_queue, s);
    (void)uv_timer_start(s->timer, find_again, 0, 0);
}

bool source_close(struct source *s, void (*closed)(void *arg), void *arg)
{
    s->closed = closed;
    s->closed_arg = arg;
    atomic_store(&s->closing, true);
    (void)uv_timer_stop(s->timer);
    (void)uv_idle_stop(s->more);
    kafka_watch_free(s->watch);
    s->watch = NULL;
    return !s->working;
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

void source_free(struct source *s)
{
    if (s == NULL)
        return;
    kafka_watch_free(s->watch);
    uv_close((uv_handle_t *)s->timer, free_handle);
    uv_close((uv_handle_t *)s->more, free_handle);
    rd_kafka_queue_destroy(s->queue);
    kafka_free(s->rk);
    free(s->low);
    free(s);
}

const char *source_not_ready(const struct source *s)
{
    if (s->partition_cnt == 0)
        return s->trouble.kind != ERR_NONE ? s->trouble.msg : "the topic was not found yet";
    return s->trouble.kind != ERR_NONE ? s->trouble.msg : NULL;
}
