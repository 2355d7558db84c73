/* mirror - clients, topics, lanes, and the end. */
#include "mirror/src/mirror.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/daemon.h"
#include "common/log.h"
#include "common/mem.h"
#include "mirror/src/mirror_priv.h"
#include "mirror/src/topics.h"

#define TICK_MS        100
#define PUMP_RECORDS   256 /* a lane a turn, so that none waits long for the others */
#define REQUEST_MS     5000
#define PROBE_MS       2000 /* between probes; also the time-out of one */
#define PROBE_FAILURES 2    /* in a row: one may be the old connection that broke */
#define REPLACE_MS     1000 /* at least, between two producers */
#define PURGE_MS       5000 /* for requests in flight when a producer is replaced */
#define SYNC_RETRY_MS  1000
#define STORE_ALL_MS   (10 * 60 * 1000)
#define STORE_STOP_MS  5000

static void each_lane(struct mirror *m, void (*fn)(struct lane *))
{
    for (size_t i = 0; i < m->route_cnt; i++)
        for (int32_t p = 0; p < m->route[i].lane_cnt; p++)
            fn(m->route[i].lane[p]);
}

/* ---- records ---- */

static void on_idle(uv_idle_t *idle)
{
    struct mirror *m = idle->data;
    bool more = false;

    for (size_t i = 0; i < m->route_cnt; i++)
        for (int32_t p = 0; p < m->route[i].lane_cnt; p++)
            more = lane_pump(m->route[i].lane[p], PUMP_RECORDS) || more;
    if (!more)
        (void)uv_idle_stop(idle);
}

static void on_ready(void *arg)
{
    struct mirror *m = arg;

    if (m->stop_step == STOP_NOT)
        (void)uv_idle_start(&m->idle, on_idle);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *report, void *opaque)
{
    rd_kafka_message_t *msg = report->_private; /* as it was consumed */
    struct route *route = rd_kafka_topic_opaque(msg->rkt);

    (void)rk;
    (void)opaque;
    lane_delivered(route->lane[msg->partition], msg, report);
}

static void poll_producer(void *arg)
{
    struct mirror *m = arg;

    while (rd_kafka_poll(m->producer, 0) > 0)
        ;
    each_lane(m, lane_unblock); /* those that other lanes' bytes had stopped */
}

/* ---- the producer ---- */

static int make_producer(struct mirror *m, struct err *err)
{
    if (mirror_producer_new(m->conf, on_delivery, m, &m->producer, err) != 0)
        return -1;
    for (size_t i = 0; i < m->route_cnt; i++)
        m->route[i].topic.target =
            rd_kafka_topic_new(m->producer, m->route[i].topic.name, NULL);
    m->producer_queue = rd_kafka_queue_get_main(m->producer);
    m->producer_watch = kafka_watch_new(m->env.loop, m->producer_queue, poll_producer, m);
    m->env.producer = m->producer;
    m->replace_ms = clock_mono_ms();
    return 0;
}

/* Everything of it but the client itself, which is returned. */
static rd_kafka_t *detach_producer(struct mirror *m)
{
    rd_kafka_t *old = m->producer;

    m->env.producer = m->producer = NULL;
    if (!old)
        return NULL;
    kafka_watch_free(m->producer_watch);
    m->producer_watch = NULL;
    rd_kafka_queue_destroy(m->producer_queue);
    for (size_t i = 0; i < m->route_cnt; i++)
        rd_kafka_topic_destroy(m->route[i].topic.target);
    return old;
}

struct end_job {
    uv_work_t work;
    struct mirror *mirror;
    rd_kafka_t *producer;
};

static void run_end(uv_work_t *work)
{
    struct end_job *job = work->data;

    kafka_free(job->producer);
}

static void on_ended(uv_work_t *work, int status)
{
    struct end_job *job = work->data;

    (void)status;
    job->mirror->env.job_cnt--;
    free(job);
}

/* In a worker: it takes up to a second. */
static void end_producer(struct mirror *m, rd_kafka_t *old)
{
    struct end_job *job = xcalloc(1, sizeof(*job));

    job->mirror = m;
    job->producer = old;
    job->work.data = job;
    m->env.job_cnt++;
    (void)uv_queue_work(m->env.loop, &job->work, run_end, on_ended);
}

/* May be called while the producer is being polled: only takes the first steps. */
static void on_broken(void *arg, const char *why)
{
    struct mirror *m = arg;

    if (m->replacing)
        return;
    log_warn("delivery failed, replacing the producer", F_STR("reason", why));
    m->replacing = true;
    m->purged = false;
    m->env.producer = NULL;
    m->replace_ms = m->replace_ms + REPLACE_MS > clock_mono_ms() ? m->replace_ms + REPLACE_MS
                                                                 : clock_mono_ms();
    (void)rd_kafka_purge(m->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* Gives up what is in flight. Called again until nothing is: a request that waits for its retry
 * escapes a purge. */
static void purge_all(struct mirror *m)
{
    if (!m->purged)
        log_warn("target did not acknowledge in time, records will be sent again",
                 F_U64("records", m->env.inflight_cnt));
    m->purged = true;
    (void)rd_kafka_purge(m->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                          RD_KAFKA_PURGE_F_NON_BLOCKING);
}

static void replace_producer(struct mirror *m, int64_t now)
{
    struct err err;

    if (m->env.inflight_cnt > 0) {
        /* What is under way is waited for: it would be doubled. */
        if (now >= m->replace_ms + PURGE_MS)
            purge_all(m);
        return;
    }
    if (now < m->replace_ms || m->stop_step != STOP_NOT)
        return;
    m->replacing = false;
    end_producer(m, detach_producer(m));
    if (make_producer(m, &err) != 0) {
        daemon_stop(m->daemon, &err);
        return;
    }
    each_lane(m, lane_reopen);
}

static void check_producer(struct mirror *m)
{
    char text[256];

    if (!m->replacing && rd_kafka_fatal_error(m->producer, text, sizeof(text)))
        on_broken(m, text);
}

/* ---- topics ---- */

struct sync_job {
    uv_work_t work;
    struct mirror *mirror;
    struct route *route;
    struct topic_sync sync;
    int rc;
};

static void run_sync(uv_work_t *work)
{
    struct sync_job *job = work->data;

    job->rc = topic_sync(&job->sync);
}

static void add_lanes(struct mirror *m, struct route *route, int32_t cnt)
{
    route->lane = xrealloc(route->lane, (size_t)cnt * sizeof(route->lane[0]));
    while (route->lane_cnt < cnt) {
        struct lane *lane = lane_new(&m->env, &route->topic, route->lane_cnt);

        route->lane[route->lane_cnt++] = lane;
        lane_tick(lane, clock_mono_ms());
    }
}

static void synced(struct mirror *m, struct route *route, const struct topic_sync *sync)
{
    if (sync->created || sync->added > 0)
        log_info(sync->created ? "topic created on the target"
                               : "partitions added on the target",
                 F_STR("topic", route->topic.name), F_I64("partitions", sync->partition_cnt));
    if (sync->partition_cnt > route->lane_cnt)
        add_lanes(m, route, sync->partition_cnt);
}

static void on_sync(uv_work_t *work, int status)
{
    struct sync_job *job = work->data;
    struct mirror *m = job->mirror;
    struct route *route = job->route;
    bool failed = job->rc != 0;

    (void)status;
    m->env.job_cnt--;
    route->sync_runs = false;
    route->sync_at_ms = clock_mono_ms() + (failed ? SYNC_RETRY_MS : m->conf->refresh_ms);
    if (job->sync.is_same) {
        daemon_stop(m->daemon, &job->sync.err);
    } else if (m->stop_step == STOP_NOT) {
        if (failed && route->err.kind != job->sync.err.kind)
            log_warn("topic can't be looked up or made, retrying",
                     F_STR("topic", route->topic.name), F_ERR(&job->sync.err));
        route->err = failed ? job->sync.err : (struct err){.kind = ERR_NONE};
        if (!failed)
            synced(m, route, &job->sync);
    }
    free(job);
}

static void start_sync(struct mirror *m, struct route *route)
{
    struct sync_job *job = xcalloc(1, sizeof(*job));

    job->mirror = m;
    job->route = route;
    job->work.data = job;
    job->sync = (struct topic_sync){.source = m->env.source,
                                    .target = m->env.target,
                                    .topic = route->topic.name,
                                    .replication_factor = (int)m->conf->replication_factor,
                                    .timeout_ms = REQUEST_MS,
                                    .stop = &m->env.stop};
    route->sync_runs = true;
    m->env.job_cnt++;
    (void)uv_queue_work(m->env.loop, &job->work, run_sync, on_sync);
}

/* ---- are the clusters there? ---- */

static void run_probe(uv_work_t *work)
{
    struct probe *probe = work->data;
    int brokers;

    probe->rc = kafka_broker_cnt(probe->rk, PROBE_MS, &brokers, &probe->err);
}

static void on_probe(uv_work_t *work, int status)
{
    struct probe *probe = work->data;
    struct mirror *m = probe->mirror;
    int64_t now = clock_mono_ms();

    (void)status;
    m->env.job_cnt--;
    probe->runs = false;
    probe->at_ms = now + PROBE_MS;
    if (m->stop_step != STOP_NOT)
        return;
    probe->failures = probe->rc == 0 ? 0 : probe->failures + 1;
    if (probe->failures == PROBE_FAILURES && !*probe->down_ms) {
        *probe->down_ms = now;
        log_warn("cluster is away, waiting", F_STR("cluster", probe->name), F_ERR(&probe->err));
    } else if (probe->rc == 0 && *probe->down_ms) {
        log_info("cluster is back", F_STR("cluster", probe->name),
                 F_I64("away_ms", now - *probe->down_ms));
        *probe->down_ms = 0;
    }
}

static void start_probe(struct mirror *m, struct probe *probe)
{
    probe->work.data = probe;
    probe->runs = true;
    m->env.job_cnt++;
    (void)uv_queue_work(m->env.loop, &probe->work, run_probe, on_probe);
}

/* ---- time ---- */

static void finish_stop(struct mirror *m)
{
    m->stop_step = STOP_DONE;
    (void)uv_timer_stop(&m->tick);
    uv_close((uv_handle_t *)&m->tick, NULL);
    uv_close((uv_handle_t *)&m->idle, NULL);
    kafka_watch_free(m->store_watch);
    kafka_watch_free(m->producer_watch);
    m->producer_watch = NULL;
    daemon_drained(m->daemon);
}

static void stop_tick(struct mirror *m, int64_t now)
{
    if (m->stop_step == STOP_DRAIN) {
        if (m->env.inflight_cnt > 0 && now >= m->stop_until_ms)
            purge_all(m);
        if (m->env.inflight_cnt > 0 || (m->store_runs && now < m->stop_until_ms))
            return;
        m->stop_step = STOP_STORE;
        m->stop_until_ms = now + STORE_STOP_MS;
        mirror_store(m, false);
    }
    if ((m->store_runs && now < m->stop_until_ms) || m->env.job_cnt > 0)
        return;
    finish_stop(m);
}

static void on_tick(uv_timer_t *timer)
{
    struct mirror *m = timer->data;
    int64_t now = clock_mono_ms();
    rd_kafka_message_t *msg;

    (void)rd_kafka_poll(m->env.source, 0);
    if ((msg = rd_kafka_consumer_poll(m->env.target, 0)))
        rd_kafka_message_destroy(msg); /* errors that librdkafka has logged */
    check_producer(m);
    if (m->replacing)
        replace_producer(m, now);
    if (m->stop_step != STOP_NOT) {
        stop_tick(m, now);
        return;
    }
    for (size_t i = 0; i < m->route_cnt; i++) {
        if (!m->route[i].sync_runs && now >= m->route[i].sync_at_ms)
            start_sync(m, &m->route[i]);
        for (int32_t p = 0; p < m->route[i].lane_cnt; p++)
            lane_tick(m->route[i].lane[p], now);
    }
    for (size_t i = 0; i < 2; i++)
        if (!m->probe[i].runs && now >= m->probe[i].at_ms)
            start_probe(m, &m->probe[i]);
    if (now >= m->store_at_ms) {
        bool all = now >= m->store_all_at_ms;

        mirror_store(m, all);
        m->store_at_ms = now + m->conf->commit_ms;
        if (all)
            m->store_all_at_ms = now + STORE_ALL_MS;
    }
}

/* ---- life ---- */

static void init_route(struct mirror *m, struct route *route, const char *name)
{
    rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(m->env.source);

    rd_kafka_topic_conf_set_opaque(conf, route);
    route->topic.name = xstrdup(name);
    route->topic.source = rd_kafka_topic_new(m->env.source, name, conf);
}

static int make_clients(struct mirror *m, struct err *err)
{
    const struct mirror_conf *conf = m->conf;

    if (mirror_source_new(conf, &m->env.source, err) != 0 ||
        mirror_target_new(conf, &m->env.target, err) != 0)
        return -1;
    m->route_cnt = conf->topics.cnt;
    m->route = xcalloc(m->route_cnt, sizeof(m->route[0]));
    for (size_t i = 0; i < m->route_cnt; i++)
        init_route(m, &m->route[i], conf->topics.item[i]);
    return make_producer(m, err);
}

int mirror_new(struct daemon *d, const struct mirror_conf *conf, struct mirror **out,
               struct err *err)
{
    struct mirror *m = xcalloc(1, sizeof(*m));

    m->daemon = d;
    m->conf = conf;
    m->env = (struct lane_env){.loop = daemon_loop(d),
                               .metrics = daemon_metrics(d),
                               .lane_bytes = conf->lane_bytes,
                               .inflight_limit = conf->inflight_bytes,
                               .timeout_ms = REQUEST_MS,
                               .on_ready = on_ready,
                               .on_broken = on_broken,
                               .arg = m};
    if (make_clients(m, err) != 0) {
        mirror_free(m);
        return -1;
    }
    m->probe[0] = (struct probe){.mirror = m,
                                 .rk = m->env.source,
                                 .name = conf->source_name,
                                 .down_ms = &m->env.source_down_ms};
    m->probe[1] = (struct probe){.mirror = m,
                                 .rk = m->env.target,
                                 .name = conf->target_name,
                                 .down_ms = &m->env.target_down_ms};
    m->store_queue = rd_kafka_queue_new(m->env.target);
    m->store_watch = kafka_watch_new(m->env.loop, m->store_queue, mirror_stored, m);
    m->store_all_at_ms = clock_mono_ms() + STORE_ALL_MS;
    (void)uv_idle_init(m->env.loop, &m->idle);
    m->idle.data = m;
    (void)uv_timer_init(m->env.loop, &m->tick);
    m->tick.data = m;
    (void)uv_timer_start(&m->tick, on_tick, 0, TICK_MS);
    *out = m;
    return 0;
}

void mirror_stop(struct mirror *m)
{
    atomic_store(&m->env.stop, true);
    m->stop_step = STOP_DRAIN;
    m->stop_until_ms = clock_mono_ms() + m->conf->stop_ms;
    m->purged = false;
    (void)uv_idle_stop(&m->idle);
    each_lane(m, lane_stop);
}

void mirror_free(struct mirror *m)
{
    for (size_t i = 0; i < m->route_cnt; i++) {
        struct route *route = &m->route[i];

        for (int32_t p = 0; p < route->lane_cnt; p++)
            lane_free(route->lane[p]);
        free(route->lane);
        rd_kafka_topic_destroy(route->topic.source);
    }
    kafka_free(detach_producer(m));
    for (size_t i = 0; i < m->route_cnt; i++)
        free(m->route[i].topic.name);
    free(m->route);
    if (m->store_queue)
        rd_kafka_queue_destroy(m->store_queue);
    kafka_free(m->env.target);
    kafka_free(m->env.source);
    free(m);
}
