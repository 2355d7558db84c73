/* lane - one partition on its way. */
#include "mirror/src/lane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/kafka.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "mirror/src/match.h"
#include "mirror/src/record.h"

#define LANE_BATCH      64
#define RETRY_FIRST_MS  50 /* doubled RETRY_STEPS times */
#define RETRY_STEPS     5
#define RETRY_MS        1000
#define SETTLE_MS       10000 /* how late a former run's appends may still come */
#define HEAL_TRIES      8     /* some 5 s: a new leader may show an older end for a moment */
#define TARGET_QUIET_MS 5000  /* without an acknowledgement while something is in flight */

enum lane_state { LANE_OPENING, LANE_MATCHING, LANE_RUNNING, LANE_HALTED };

struct lane {
    struct lane_env *env;
    const struct lane_topic *topic;
    int32_t partition;
    enum lane_state state;
    int64_t since_ms;
    struct err err; /* why it is halted or can't be opened; ERR_NONE: nothing is wrong */
    enum side err_side;

    /* Opening. */
    bool job_runs;
    bool open_wanted; /* as soon as nothing is in flight, at open_at_ms */
    int64_t open_at_ms;
    unsigned tries; /* in a row that failed */

    /* The place. */
    struct pair next; /* of acknowledged records */
    bool known;       /* next is what is stored, or newer */
    bool moved;       /* next was not stored yet */
    int64_t settle_until_ms;
    bool acked; /* since it was opened */
    struct match *match;
    bool anchored;
    int64_t skipped; /* while matching: behind the last source record that is on the target */
    int64_t end;     /* the target's, while matching */

    /* From the source. */
    rd_kafka_queue_t *queue;
    struct kafka_watch *watch;
    bool consuming;
    rd_kafka_message_t *held[LANE_BATCH]; /* held[held_at..held_cnt) came and was not sent */
    size_t held_at, held_cnt;
    bool ready;   /* the queue may have something */
    bool blocked; /* too much in flight */
    bool at_end;  /* everything the source had was seen */

    /* To the target. */
    uint64_t inflight_cnt;
    int64_t inflight_bytes;
    int64_t heard_ms;      /* last acknowledgement, or when the first one was sent */
    int64_t failed_src;    /* lowest source offset whose delivery failed, -1: none */
    int64_t careful_until; /* one at a time up to this source offset: one there is refused */
    bool sent_alone;       /* the record in flight was sent that way */

    struct metric *records, *bytes, *doubled, *lag, *halted;
};

static struct metric *add_metric(struct lane *lane, enum metric_kind kind, const char *name,
                                 const char *help)
{
    char labels[512];

    (void)snprintf(labels, sizeof(labels), "topic=\"%s\",partition=\"%d\"", lane->topic->name,
                   (int)lane->partition);
    return metrics_add(lane->env->metrics, kind, name, help, labels);
}

struct lane *lane_new(struct lane_env *env, const struct lane_topic *topic, int32_t partition)
{
    struct lane *lane = xcalloc(1, sizeof(*lane));

    lane->env = env;
    lane->topic = topic;
    lane->partition = partition;
    lane->state = LANE_OPENING;
    lane->since_ms = clock_mono_ms();
    lane->open_wanted = true;
    lane->failed_src = -1;
    lane->careful_until = -1;
    lane->records = add_metric(lane, METRIC_COUNTER, "rwal_mirror_records_total",
                               "Records that the target acknowledged.");
    lane->bytes = add_metric(lane, METRIC_COUNTER, "rwal_mirror_bytes_total",
                             "Bytes of keys and values that the target acknowledged.");
    lane->doubled = add_metric(lane, METRIC_COUNTER, "rwal_mirror_doubled_total",
                               "Records found twice on the target after a crash.");
    lane->lag = add_metric(lane, METRIC_GAUGE, "rwal_mirror_lag_records",
                           "Records of the source that the target lacks, at most.");
    lane->halted = add_metric(lane, METRIC_GAUGE, "rwal_mirror_lane_halted",
                              "1 for a partition that stands still and needs a human.");
    return lane;
}

static void set_state(struct lane *lane, enum lane_state state)
{
    if (lane->state == state)
        return;
    lane->state = state;
    lane->since_ms = clock_mono_ms();
}

/* ---- the source ---- */

static void drop_held(struct lane *lane)
{
    while (lane->held_at < lane->held_cnt)
        rd_kafka_message_destroy(lane->held[lane->held_at++]);
    lane->held_at = lane->held_cnt = 0;
}

void lane_stop(struct lane *lane)
{
    if (lane->consuming)
        (void)rd_kafka_consume_stop(lane->topic->source, lane->partition);
    lane->consuming = false;
    drop_held(lane);
    kafka_watch_free(lane->watch);
    lane->watch = NULL;
    if (lane->queue)
        rd_kafka_queue_destroy(lane->queue);
    lane->queue = NULL;
    lane->ready = lane->blocked = lane->at_end = false;
}

void lane_free(struct lane *lane)
{
    if (!lane)
        return;
    lane_stop(lane);
    match_free(lane->match);
    free(lane);
}

static void log_lane(const struct lane *lane, enum log_level level, const char *event)
{
    log_fields(level, event, F_STR("topic", lane->topic->name),
               F_I64("partition", lane->partition), F_I64("source_offset", lane->next.src),
               F_I64("target_offset", lane->next.dst),
               lane->err.kind == ERR_NONE ? F_NONE : F_ERR(&lane->err));
}

static void halt(struct lane *lane, const struct err *err)
{
    if (lane->state == LANE_HALTED)
        return;
    lane->err = *err;
    set_state(lane, LANE_HALTED);
    lane->open_wanted = false;
    lane_stop(lane);
    log_lane(lane, LOG_ERROR, "partition halted");
}

static void on_queue(void *arg)
{
    struct lane *lane = arg;

    lane->ready = true;
    lane->env->on_ready(lane->env->arg);
}

static int start_source(struct lane *lane, int64_t offset, struct err *err)
{
    lane->queue = rd_kafka_queue_new(lane->env->source);
    if (rd_kafka_consume_start_queue(lane->topic->source, lane->partition, offset,
                                     lane->queue) != 0)
        return kafka_err(err, rd_kafka_last_error(), "consume '%s' partition %d",
                         lane->topic->name, (int)lane->partition);
    lane->consuming = true;
    lane->watch = kafka_watch_new(lane->env->loop, lane->queue, on_queue, lane);
    return 0;
}

/* Everything that is in flight ends first: its acknowledgements are the place. */
static void want_open(struct lane *lane, int64_t delay_ms)
{
    lane_stop(lane);
    match_free(lane->match);
    lane->match = NULL;
    set_state(lane, LANE_OPENING);
    lane->open_wanted = true;
    lane->open_at_ms = clock_mono_ms() + delay_ms;
}

/* ---- opening ---- */

struct lane_job {
    uv_work_t work;
    struct lane *lane;
    struct open_job open;
    int rc;
};

static void run_job(uv_work_t *work)
{
    struct lane_job *job = work->data;

    job->rc = open_lane(&job->open);
}

static void opened_fails(struct lane *lane, const struct open_job *open)
{
    unsigned step = lane->tries < RETRY_STEPS ? lane->tries : RETRY_STEPS;

    lane->tries++;
    if (open->known) { /* shown, and stored again so that it does not expire */
        lane->next = open->pair;
        lane->known = true;
    }
    if (open->err.kind == ERR_CORRUPT && !(open->may_heal && lane->tries < HEAL_TRIES)) {
        halt(lane, &open->err);
        return;
    }
    lane->err = open->err;
    lane->err_side = open->side;
    lane->open_wanted = true;
    lane->open_at_ms = clock_mono_ms() + (RETRY_FIRST_MS << step);
    log_lane(lane, lane->tries == RETRY_STEPS ? LOG_WARN : LOG_DEBUG,
             "partition can't be opened yet, retrying");
}

static void report_doubled(struct lane *lane, int64_t src, int64_t dst, int64_t cnt)
{
    metric_inc(lane->doubled, (uint64_t)cnt);
    log_warn("doubled records on the target, in flight when a former run ended",
             F_STR("topic", lane->topic->name), F_I64("partition", lane->partition),
             F_I64("source_offset", src), F_I64("target_first", dst),
             F_I64("target_last", dst + cnt - 1), F_I64("count", cnt));
}

/* All of the target's records are explained: what comes is new. */
static void start_running(struct lane *lane)
{
    const struct match_run *runs;
    size_t cnt = lane->match ? match_runs(lane->match, &runs) : 0;

    for (size_t i = 0; i < cnt; i++)
        report_doubled(lane, runs[i].src, runs[i].dst, runs[i].cnt);
    match_free(lane->match);
    lane->match = NULL;
    lane->next = (struct pair){.src = lane->skipped, .dst = lane->end};
    lane->moved = true;
    set_state(lane, LANE_RUNNING);
    log_lane(lane, LOG_INFO, "partition runs");
}

static void opened(struct lane *lane, struct open_job *open)
{
    struct err err;

    lane->err = (struct err){.kind = ERR_NONE};
    lane->tries = 0;
    lane->next = open->pair;
    lane->known = true;
    lane->skipped = open->pair.src;
    lane->end = open->end;
    lane->match = open->match;
    lane->anchored = open->anchored;
    lane->failed_src = -1;
    lane->acked = false;
    lane->settle_until_ms = clock_mono_ms() + SETTLE_MS;
    if (start_source(lane, open->fresh ? RD_KAFKA_OFFSET_BEGINNING : open->start, &err) != 0) {
        lane->err = err;
        lane->err_side = SIDE_SOURCE;
        want_open(lane, RETRY_MS);
        return;
    }
    if (!lane->match || match_left(lane->match) == 0)
        start_running(lane);
    else
        set_state(lane, LANE_MATCHING);
}

static void on_job(uv_work_t *work, int status)
{
    struct lane_job *job = work->data;
    struct lane *lane = job->lane;
    struct open_job *open = &job->open;

    (void)status;
    lane->job_runs = false;
    lane->env->job_cnt--;
    if (atomic_load(&lane->env->stop) || job->rc != 0) {
        match_free(open->match);
        if (!atomic_load(&lane->env->stop))
            opened_fails(lane, open);
    } else if (lane->open_wanted) { /* the producer was replaced meanwhile */
        match_free(open->match);
    } else {
        opened(lane, open);
    }
    free(job);
}

static void start_job(struct lane *lane)
{
    struct lane_job *job = xcalloc(1, sizeof(*job));

    job->lane = lane;
    job->work.data = job;
    job->open = (struct open_job){.source = lane->env->source,
                                  .target = lane->env->target,
                                  .topic = lane->topic->name,
                                  .partition = lane->partition,
                                  .known = lane->known,
                                  .timeout_ms = lane->env->timeout_ms,
                                  .stop = &lane->env->stop,
                                  .pair = lane->next};
    lane->open_wanted = false;
    lane->job_runs = true;
    lane->env->job_cnt++;
    (void)uv_queue_work(lane->env->loop, &job->work, run_job, on_job);
}

void lane_tick(struct lane *lane, int64_t now_ms)
{
    if (lane->open_wanted && !lane->job_runs && lane->inflight_cnt == 0 &&
        lane->env->producer && now_ms >= lane->open_at_ms)
        start_job(lane);
    if (lane->held_at < lane->held_cnt && !lane->ready && !lane->blocked)
        on_queue(lane); /* the producer refused it for a moment */
}

void lane_reopen(struct lane *lane)
{
    if (lane->state == LANE_HALTED)
        return;
    want_open(lane, 0);
    lane_tick(lane, clock_mono_ms());
}

/* ---- from source to target ---- */

/* What the source's queue holds instead of a record. */
static void take_event(struct lane *lane, const rd_kafka_message_t *msg)
{
    struct err err;

    switch (msg->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        lane->at_end = true;
        lane->err = (struct err){.kind = ERR_NONE};
        if (lane->state == LANE_MATCHING && match_finish(lane->match))
            start_running(lane);
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR__LOG_TRUNCATION:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        /* Opening asks both sides for their ends, and names the range. */
        want_open(lane, 0);
        return;
    default:
        break;
    }
    (void)kafka_err(&err, msg->err, "consume '%s' partition %d at offset %" PRId64 " (%s)",
                    lane->topic->name, (int)lane->partition, msg->offset,
                    rd_kafka_message_errstr(msg));
    if (err.kind == ERR_AGAIN || err.kind == ERR_AUTH) {
        lane->err = err; /* librdkafka tries again */
        lane->err_side = SIDE_SOURCE;
    } else {
        halt(lane, &err);
    }
}

/* True: the record is on the target already. */
static bool match_record(struct lane *lane, const rd_kafka_message_t *msg)
{
    struct err err;

    if (lane->anchored && msg->offset >= lane->next.src)
        match_drop_first(lane->match); /* compaction took the record before the pair */
    lane->anchored = false;            /* it is the first record or none */
    switch (match_feed(lane->match, msg->offset, record_digest(msg))) {
    case MATCH_SKIP:
        lane->skipped = msg->offset + 1;
        if (match_left(lane->match) == 0)
            start_running(lane);
        return true;
    case MATCH_SEND:
        start_running(lane);
        return false;
    case MATCH_BREAK:
        break;
    }
    (void)err_set(&err, ERR_CORRUPT, 0,
                  "target's record at offset %" PRId64
                  " of '%s' partition %d is no copy of the "
                  "source's at offset %" PRId64 ": foreign writer or another source topic",
                  match_dst(lane->match), lane->topic->name, (int)lane->partition, msg->offset);
    halt(lane, &err);
    return true;
}

static bool is_full(struct lane *lane, const rd_kafka_message_t *msg)
{
    if (lane->inflight_cnt > 0 && (lane->sent_alone || msg->offset <= lane->careful_until))
        return true;
    return lane->inflight_bytes >= lane->env->lane_bytes ||
           lane->env->inflight_bytes >= lane->env->inflight_limit;
}

/* False: the record stays held. */
static bool send_record(struct lane *lane, rd_kafka_message_t *msg)
{
    struct lane_env *env = lane->env;
    int64_t size = (int64_t)record_size(msg);
    rd_kafka_resp_err_t code;
    struct err err;

    if (!env->producer || lane->failed_src >= 0 || is_full(lane, msg)) {
        lane->blocked = true;
        return false;
    }
    code = record_produce(env->producer, lane->topic->target, msg);
    if (code) {
        (void)kafka_err(&err, code, "produce source offset %" PRId64 " of '%s' partition %d",
                        msg->offset, lane->topic->name, (int)lane->partition);
        if (err.kind == ERR_INPUT)
            halt(lane, &err);
        else if (err.kind == ERR_AGAIN)
            lane->ready = false; /* the next tick tries again */
        else
            env->on_broken(env->arg, err.msg);
        return false;
    }
    if (lane->inflight_cnt++ == 0)
        lane->heard_ms = clock_mono_ms();
    lane->inflight_bytes += size;
    lane->sent_alone = msg->offset <= lane->careful_until;
    env->inflight_bytes += size;
    env->inflight_cnt++;
    return true;
}

/* Handles the first held message; false when it must stay. */
static bool take_held(struct lane *lane)
{
    rd_kafka_message_t *msg = lane->held[lane->held_at];
    bool sent = false;

    if (msg->err) {
        lane->held_at++; /* before: a halt drops what is held */
        take_event(lane, msg);
    } else {
        lane->at_end = false;
        if (lane->state == LANE_RUNNING && lane->err.kind != ERR_NONE)
            lane->err = (struct err){.kind = ERR_NONE};
        if (lane->state == LANE_RUNNING) {
            if (!send_record(lane, msg))
                return false;
            sent = true;
            lane->held_at++;
        } else {
            lane->held_at++;
            if (!match_record(lane, msg)) {
                lane->held_at--;
                return true; /* runs now: once more, to be sent */
            }
        }
    }
    if (!sent)
        rd_kafka_message_destroy(msg);
    return true;
}

bool lane_pump(struct lane *lane, size_t max)
{
    if (!lane->ready || lane->blocked || !lane->queue)
        return false;
    for (size_t i = 0; i < max; i++) {
        if (lane->held_at == lane->held_cnt) {
            ssize_t cnt = rd_kafka_consume_batch_queue(lane->queue, 0, lane->held, LANE_BATCH);

            lane->held_at = 0;
            lane->held_cnt = cnt > 0 ? (size_t)cnt : 0;
            if (lane->held_cnt == 0) {
                lane->ready = false;
                return false;
            }
        }
        if (!take_held(lane) || !lane->queue)
            return false;
    }
    return true;
}

void lane_unblock(struct lane *lane)
{
    const struct lane_env *env = lane->env;

    if (!lane->blocked || lane->inflight_bytes > env->lane_bytes / 2 ||
        env->inflight_bytes > env->inflight_limit / 2)
        return;
    lane->blocked = false;
    if (lane->queue)
        on_queue(lane);
}

/* ---- what the target says ---- */

/* The broker refused this very record, whatever may come: not a matter of time. */
static bool is_refusal(rd_kafka_resp_err_t code)
{
    return kafka_err_kind(code) == ERR_INPUT || code == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
           code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
}

static void delivery_failed(struct lane *lane, int64_t src, rd_kafka_resp_err_t code)
{
    struct err err;

    if (lane->failed_src < 0 || src < lane->failed_src)
        lane->failed_src = src;
    (void)kafka_err(&err, code, "deliver source offset %" PRId64 " of '%s' partition %d", src,
                    lane->topic->name, (int)lane->partition);
    if (is_refusal(code) && src <= lane->careful_until && lane->sent_alone)
        halt(lane, &err);
    else if (is_refusal(code) && src > lane->careful_until)
        lane->careful_until = src; /* which one of its batch? send them one by one */
    if (code != RD_KAFKA_RESP_ERR__PURGE_QUEUE && code != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        lane->env->on_broken(lane->env->arg, err.msg);
}

static void acknowledged(struct lane *lane, int64_t src, int64_t dst)
{
    bool settling = !lane->acked || clock_mono_ms() < lane->settle_until_ms;
    int64_t expected = lane->next.dst, doubled = 0;
    struct err err;

    if (lane->failed_src >= 0 && src > lane->failed_src) {
        (void)err_set(&err, ERR_CORRUPT, 0,
                      "hole on the target: source offset %" PRId64 " failed, %" PRId64
                      " behind it was written at target offset %" PRId64,
                      lane->failed_src, src, dst);
        halt(lane, &err);
        return;
    }
    switch (pair_ack(&lane->next, src, dst, settling, &doubled, &err)) {
    case ACK_DIVERGED:
        halt(lane, &err);
        return;
    case ACK_DOUBLED:
        report_doubled(lane, src, expected, doubled);
        break;
    case ACK_EXPECTED:
        break;
    }
    lane->acked = true;
    lane->moved = true;
}

void lane_delivered(struct lane *lane, rd_kafka_message_t *msg,
                    const rd_kafka_message_t *report)
{
    int64_t size = (int64_t)record_size(msg);
    struct lane_env *env = lane->env;

    lane->inflight_cnt--;
    lane->inflight_bytes -= size;
    env->inflight_cnt--;
    env->inflight_bytes -= size;
    lane->heard_ms = clock_mono_ms();
    if (report->err) {
        delivery_failed(lane, msg->offset, report->err);
    } else {
        metric_inc(lane->records, 1);
        metric_inc(lane->bytes, msg->len + msg->key_len);
        if (lane->state != LANE_HALTED)
            acknowledged(lane, msg->offset, report->offset);
    }
    rd_kafka_message_destroy(msg);
    lane_unblock(lane);
}

/* ---- the pair, and what people see ---- */

bool lane_take_pair(struct lane *lane, bool all, struct pair *out)
{
    if (!lane->known || (!lane->moved && !all))
        return false;
    *out = lane->next;
    lane->moved = false;
    return true;
}

void lane_untake_pair(struct lane *lane)
{
    lane->moved = true;
}

static const char *state_name(const struct lane *lane)
{
    bool quiet = lane->inflight_cnt > 0 && clock_mono_ms() - lane->heard_ms > TARGET_QUIET_MS;

    if (lane->state == LANE_HALTED)
        return "HALTED";
    if (quiet || (lane->err.kind != ERR_NONE && lane->err_side == SIDE_TARGET))
        return "TARGET_UNAVAILABLE";
    if (lane->env->target_down_ms)
        return "TARGET_UNAVAILABLE";
    if (lane->env->source_down_ms || lane->err.kind != ERR_NONE)
        return "SOURCE_UNAVAILABLE";
    if (lane->state == LANE_RUNNING)
        return "RUNNING";
    return lane->state == LANE_MATCHING ? "MATCHING" : "OPENING";
}

/* An upper bound: offsets that the source skips count as records. */
static int64_t lag(const struct lane *lane)
{
    int64_t low, high;

    if (!lane->known)
        return -1;
    if (lane->at_end && lane->inflight_cnt == 0 && lane->held_at == lane->held_cnt &&
        lane->state == LANE_RUNNING)
        return 0;
    if (rd_kafka_get_watermark_offsets(lane->env->source, lane->topic->name, lane->partition,
                                       &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        high < 0)
        return -1;
    return high > lane->next.src ? high - lane->next.src : 0;
}

void lane_view(struct lane *lane, struct lane_view *out)
{
    *out = (struct lane_view){
        .partition = lane->partition,
        .state = state_name(lane),
        .src = lane->known ? lane->next.src : -1,
        .dst = lane->known ? lane->next.dst : -1,
        .lag = lag(lane),
        .records = (uint64_t)metric_value(lane->records),
        .bytes = (uint64_t)metric_value(lane->bytes),
        .doubled = (uint64_t)metric_value(lane->doubled),
        .since_ms = lane->since_ms,
        .error = lane->err.kind == ERR_NONE ? NULL : lane->err.msg,
    };
}

bool lane_halted(const struct lane *lane)
{
    return lane->state == LANE_HALTED;
}

void lane_scrape(struct lane *lane)
{
    int64_t records = lag(lane);

    if (records >= 0) /* else: as it was when it was known */
        metric_set(lane->lag, (double)records);
    metric_set(lane->halted, lane->state == LANE_HALTED);
}
