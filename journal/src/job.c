/* job - the journal's calls that block, one at a time. */
#include "journal/src/job.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/kafka.h"
#include "common/log.h"
#include "common/mem.h"
#include "journal/src/options.h"
#include "journal/src/producer.h"
#include "journal/src/sink.h"

enum {
    CALL_MS = 15000,
    DESCRIBE_MS = 5000, /* a missing broker is told after this */
};

enum job_kind { JOB_LOOK, JOB_FENCE, JOB_FIND_END };

struct job {
    uv_loop_t *loop;
    const struct journal_conf *conf;
    uv_work_t work;
    bool busy, freed;
    enum job_kind kind;
    void (*done)(void *, const struct job_result *);
    void *arg;
    struct job_result result;
    rd_kafka_t *admin;
    struct tail *tail;
    struct sink *sink; /* of job_fence, pinned */
    struct kafka_topic topic;
    int32_t partition_cnt; /* that the tail was opened with */
    bool told;
};

struct job *job_new(uv_loop_t *loop, const struct journal_conf *conf)
{
    struct job *j = xcalloc(1, sizeof(*j));

    j->loop = loop;
    j->conf = conf;
    return j;
}

static void destroy(struct job *j)
{
    tail_close(j->tail);
    kafka_free(j->admin);
    free(j);
}

void job_free(struct job *j)
{
    j->freed = true;
    if (!j->busy)
        destroy(j);
}

bool job_busy(const struct job *j)
{
    return j->busy;
}

/* Says once what of the topic weakens the promises. */
static int judge_topic(struct job *j, struct err *err)
{
    const struct kafka_topic *t = &j->topic;

    if (strstr(t->cleanup_policy, "compact") != NULL)
        return err_set(err, ERR_INPUT, 0,
                       "topic '%s' has cleanup.policy=%s: compaction would remove writes; it "
                       "must be delete",
                       j->conf->topic, t->cleanup_policy);
    if (t->max_message_bytes < PRODUCER_MESSAGE_MIN)
        return err_set(err, ERR_INPUT, 0,
                       "topic '%s' has max.message.bytes=%" PRId64 "; it must be at least %d",
                       j->conf->topic, t->max_message_bytes, PRODUCER_MESSAGE_MIN);
    if (j->told)
        return 0;
    j->told = true;
    log_info("topic", F_STR("topic", j->conf->topic), F_I64("partitions", t->partition_cnt),
             F_I64("replication_factor", t->replication_factor),
             F_I64("min_insync_replicas", t->min_insync_replicas),
             F_I64("retention_ms", t->retention_ms),
             F_I64("max_message_bytes", t->max_message_bytes));
    if (t->replication_factor > 1 && t->min_insync_replicas < 2)
        log_warn("min.insync.replicas is 1: a write counts as durable on one broker alone",
                 F_STR("topic", j->conf->topic));
    if (t->replication_factor == 1)
        log_warn("the topic has one replica: the loss of a broker's disk loses writes",
                 F_STR("topic", j->conf->topic));
    if (t->partition_cnt != j->conf->partitions)
        log_info("the topic exists with another number of partitions than configured; it is "
                 "taken as it is",
                 F_I64("partitions", t->partition_cnt),
                 F_I64("configured", j->conf->partitions));
    return 0;
}

static int create_topic(struct job *j, struct err *err)
{
    const struct journal_conf *c = j->conf;
    int rf = (int)c->replication_factor, brokers;
    char retention[24];
    struct kafka_prop config[] = {{"cleanup.policy", "delete"},
                                  {"retention.ms", retention},
                                  {"min.insync.replicas", "2"},
                                  {NULL, NULL}};
    bool created;

    (void)snprintf(retention, sizeof(retention), "%" PRId64, c->retention_ms);
    if (rf < 0) {
        if (kafka_broker_cnt(j->admin, CALL_MS, &brokers, err) != 0)
            return -1;
        rf = brokers < 3 ? brokers : 3;
    }
    if (rf < 3)
        config[2] = (struct kafka_prop){NULL, NULL};
    if (kafka_topic_create(j->admin, c->topic, (int32_t)c->partitions, rf, config, CALL_MS,
                           &created, err) != 0)
        return -1; /* names the topic */
    if (created)
        log_info("topic created", F_STR("topic", c->topic), F_I64("partitions", c->partitions),
                 F_I64("replication_factor", rf));
    return 0;
}

static int open_topic(struct job *j, struct err *err)
{
    static const struct kafka_prop none[] = {{NULL, NULL}};
    int rc;

    if (j->admin == NULL && kafka_new(RD_KAFKA_PRODUCER, "journal-admin", &j->conf->kafka, none,
                                      none, NULL, NULL, &j->admin, err) != 0)
        return -1;
    rc = kafka_topic_describe(j->admin, j->conf->topic, DESCRIBE_MS, &j->topic, err);
    if (rc != 0 && err->kind == ERR_INPUT && j->conf->create)
        rc = create_topic(j, err) != 0
                 ? -1
                 : kafka_topic_describe(j->admin, j->conf->topic, CALL_MS, &j->topic, err);
    if (rc != 0 || judge_topic(j, err) != 0)
        return -1;
    if (j->tail != NULL && j->partition_cnt != j->topic.partition_cnt)
        return err_set(err, ERR_INPUT, 0,
                       "topic '%s' had %" PRId32 " partitions and now has %" PRId32
                       "; the log's partitions must not change",
                       j->conf->topic, j->partition_cnt, j->topic.partition_cnt);
    j->partition_cnt = j->topic.partition_cnt;
    if (j->tail == NULL &&
        tail_open(&j->conf->kafka, j->conf->topic, (uint32_t)j->topic.partition_cnt,
                  frame_name_id(j->conf->source_name), &j->tail, err) != 0)
        return -1;
    return 0;
}

static void work(uv_work_t *w)
{
    struct job *j = w->data;
    struct job_result *r = &j->result;

    switch (j->kind) {
    case JOB_LOOK:
        r->rc = open_topic(j, &r->err);
        if (r->rc == 0)
            r->rc = tail_owner(j->tail, &r->owner, &r->err);
        break;
    case JOB_FENCE:
        r->rc = sink_fence(j->sink, &r->err);
        if (r->rc == 0)
            r->rc = tail_owner(j->tail, &r->owner, &r->err);
        break;
    case JOB_FIND_END:
        r->rc = tail_end(j->tail, &r->end, &r->err);
        break;
    }
}

static void worked(uv_work_t *w, int status)
{
    struct job *j = w->data;
    struct job_result result = j->result;

    (void)status;
    j->busy = false;
    if (j->kind == JOB_FENCE)
        sink_unpin(j->sink);
    if (j->freed) {
        destroy(j);
        return;
    }
    j->done(j->arg, &result);
}

static void run(struct job *j, enum job_kind kind,
                void (*done)(void *, const struct job_result *), void *arg)
{
    assert(!j->busy);
    j->busy = true;
    j->kind = kind;
    j->done = done;
    j->arg = arg;
    j->result = (struct job_result){0};
    j->work.data = j;
    (void)uv_queue_work(j->loop, &j->work, work, worked);
}

void job_look(struct job *j, void (*done)(void *, const struct job_result *), void *arg)
{
    run(j, JOB_LOOK, done, arg);
}

void job_fence(struct job *j, struct sink *sink,
               void (*done)(void *, const struct job_result *), void *arg)
{
    j->sink = sink;
    sink_pin(sink);
    run(j, JOB_FENCE, done, arg);
}

void job_find_end(struct job *j, void (*done)(void *, const struct job_result *), void *arg)
{
    run(j, JOB_FIND_END, done, arg);
}

const struct kafka_topic *job_topic(const struct job *j)
{
    return &j->topic;
}
