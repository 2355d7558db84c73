/* sink - entries into frames, frames into Kafka, delivery reports into D. */
#include "journal/src/sink.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/conf.h"
#include "common/err.h"
#include "common/kafka.h"
#include "common/log.h"
#include "common/mem.h"
#include "journal/src/ledger.h"
#include "journal/src/producer.h"

enum {
    TICK_MS = 100,
    FRAME_SOFT = 64 * 1024, /* an open frame of this size goes out at once */
    FRAMES_AHEAD = 24,      /* sent frames above which smaller ones wait for company */
    QUIET_MS = 1000,        /* longest wait for acknowledgements before a commit is put off */
    KAFKA_CALL_MS = 30000,
    FENCE_MS = 10000,
};

/* A partition's frame that still takes entries. */
struct open_frame {
    bool open;
    struct buf b;
    struct frame_writer w;
    enum phase phase;
    int64_t recv_ms;
    uint64_t seq;    /* in the ledger */
    int64_t sent_ms; /* when the partition last got any frame */
};

/* A frame that was ready while a commit ran; it goes out, in order, right after it. */
struct sealed {
    uint32_t partition;
    struct buf b;
    uint64_t seq;
    int64_t recv_ms;
};

struct sink {
    struct sink_conf conf;
    struct sink_events ev;
    void *arg;
    uv_loop_t *loop;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* of rk's events */
    rd_kafka_topic_t *topic; /* asked for by the fence, so that its leaders are known early */
    struct kafka_watch *watch;
    uv_timer_t tick;
    uv_work_t commit;
    struct err commit_err;
    int commit_rc;
    bool committing, quiesce, freed, dead;
    bool pinned; /* a worker thread uses rk */
    bool closed; /* freed, and the loop has let go of the handles */
    bool final;  /* the commit under way is the last one */
    struct sealed *sealed;
    size_t sealed_cnt, sealed_cap;
    int64_t last_commit_ms, quiesce_ms; /* since when acknowledgements are waited for */
    int64_t heartbeat0_ms;              /* last heartbeat of partition 0 */
    size_t frame_max, fragment;
    struct open_frame *part;
    struct ledger ledger;
    size_t sent;  /* frames handed to Kafka and not acknowledged */
    size_t bytes; /* open and sent */
    bool full;
    struct frame head; /* fields that all frames share */
    bool has_start, starting, started;
    bool draining;        /* a START waits for everything to be acknowledged */
    struct start start;   /* last one known */
    struct wal_pos whole; /* behind the last whole entry added */
    uint32_t whole_db;
    struct wal_pos d;
    uint32_t d_db;
    uint64_t read_lsn, source_lsn;
    void (*finish)(void *arg);
    struct sink_stats stats;
};

/* Answers sink_finish(), at most once. */
static void finish_done(struct sink *s)
{
    void (*done)(void *arg) = s->finish;

    s->finish = NULL;
    if (done != NULL)
        done(s->arg);
}

static void fail(struct sink *s, const struct err *err)
{
    if (s->dead || s->freed)
        return;
    s->dead = true;
    s->ev.failed(s->arg, err);
    finish_done(s);
}

/* The producer is of no use any more when librdkafka says so; a fatal error names the cause. */
static void fail_code(struct sink *s, rd_kafka_resp_err_t code, const char *what)
{
    struct err err;
    char text[256];
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(s->rk, text, sizeof(text));

    if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR)
        code = fatal;
    (void)kafka_err(&err, code, "%s", what);
    fail(s, &err);
}

static void set_durable(struct sink *s)
{
    const struct ledger_item *front = ledger_front(&s->ledger);
    struct wal_pos d = front != NULL ? front->base : s->whole;

    if (front != NULL && front->is_start)
        return;
    assert(wal_pos_cmp(&d, &s->d) >= 0);
    s->d = d;
    s->d_db = front != NULL ? front->db : s->whole_db;
    if (d.phase == PHASE_STREAM && s->start.kind == START_SNAPSHOT && d.epoch == s->start.epoch)
        s->start.snapshot_epoch = d.epoch;
}

static void update_full(struct sink *s)
{
    if (s->bytes > s->conf.in_flight_bytes)
        s->full = true;
    else if (s->bytes <= s->conf.in_flight_bytes / 2)
        s->full = false;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    struct sink *s = opaque;
    uint64_t seq = (uint64_t)(uintptr_t)msg->_private;
    struct ledger_item *item = ledger_get(&s->ledger, seq);

    (void)rk;
    if (s->freed || s->dead || item == NULL)
        return;
    if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        char what[128];

        (void)snprintf(what, sizeof(what),
                       "frame of %zu bytes at position %" PRIu64 " for partition %" PRId32
                       " was not delivered",
                       msg->len, item->base.lsn, msg->partition);
        fail_code(s, msg->err, what);
        return;
    }
    s->sent--;
    s->bytes -= item->size;
    s->stats.ack_ms = clock_mono_ms() - item->sent_ms;
    if (item->is_start) {
        s->starting = false;
        s->started = true;
    }
    (void)ledger_ack(&s->ledger, seq);
}

static void try_commit(struct sink *s);

/* Delivery reports and errors are waiting. */
static void on_queue(void *arg)
{
    struct sink *s = arg;

    (void)rd_kafka_poll(s->rk, 0);
    if (s->freed || s->dead)
        return;
    update_full(s);
    set_durable(s);
    try_commit(s);
    if (!s->dead)
        sink_flush(s);
    if (!s->dead)
        s->ev.progress(s->arg);
}

/* Hands the bytes of `b` to Kafka, who frees them. */
static void produce(struct sink *s, uint32_t partition, struct buf *b, uint64_t seq,
                    int64_t recv_ms)
{
    size_t len;
    uint8_t *data = buf_detach(b, &len);
    /* Readers find an epoch by time: never below its number. */
    int64_t stamp = recv_ms;
    rd_kafka_error_t *e;

    if (s->has_start && stamp < (int64_t)s->start.epoch)
        stamp = (int64_t)s->start.epoch;
    e = rd_kafka_produceva(
        s->rk,
        (const rd_kafka_vu_t[]){
            {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = s->conf.topic},
            {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = (int32_t)partition},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_FREE},
            {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = data, .size = len}},
            {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = stamp},
            {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)seq},
        },
        6);
    if (e != NULL) {
        rd_kafka_resp_err_t code = rd_kafka_error_code(e);

        rd_kafka_error_destroy(e);
        free(data);
        fail_code(s, code, "produce");
        return;
    }
    s->sent++;
    s->part[partition].sent_ms = clock_mono_ms();
    s->stats.frames++;
    s->stats.bytes += len;
}

static void seal(struct sink *s, uint32_t partition, struct open_frame *o)
{
    if (s->sealed_cnt == s->sealed_cap) {
        s->sealed_cap = s->sealed_cap != 0 ? s->sealed_cap * 2 : 16;
        s->sealed = xrealloc(s->sealed, s->sealed_cap * sizeof(*s->sealed));
    }
    s->sealed[s->sealed_cnt++] = (struct sealed){
        .partition = partition, .b = o->b, .seq = o->seq, .recv_ms = o->recv_ms};
    buf_init(&o->b);
}

static void send_sealed(struct sink *s)
{
    for (size_t i = 0; i < s->sealed_cnt; i++) {
        struct sealed *x = &s->sealed[i];

        if (s->dead)
            buf_release(&x->b);
        else
            produce(s, x->partition, &x->b, x->seq, x->recv_ms);
    }
    s->sealed_cnt = 0;
}

static void send_open(struct sink *s, uint32_t partition)
{
    struct open_frame *o = &s->part[partition];
    struct ledger_item *item = ledger_get(&s->ledger, o->seq);
    struct frame f = s->head;

    o->open = false;
    f.type = FRAME_DATA;
    f.phase = o->phase;
    f.d = s->d;
    f.d_db = s->d_db;
    f.recv_ms = o->recv_ms;
    frame_end(&o->w, &f);
    s->bytes += o->b.len - item->size;
    item->size = o->b.len;
    item->sent_ms = clock_mono_ms();
    if (s->committing)
        seal(s, partition, o);
    else
        produce(s, partition, &o->b, o->seq, o->recv_ms);
}

static void send_control(struct sink *s, uint32_t partition, struct buf *b, bool is_start)
{
    struct ledger_item item = {.base = s->whole,
                               .db = s->whole_db,
                               .size = b->len,
                               .sent_ms = clock_mono_ms(),
                               .is_start = is_start};
    uint64_t seq = ledger_open(&s->ledger, &item);

    s->bytes += b->len;
    produce(s, partition, b, seq, s->head.recv_ms);
}

static void send_heartbeat(struct sink *s, uint32_t partition)
{
    struct heartbeat h = {
        .start = s->start, .read_lsn = s->read_lsn, .source_lsn = s->source_lsn};
    struct buf b;

    buf_init(&b);
    s->head.d = s->d;
    s->head.d_db = s->d_db;
    s->head.recv_ms = clock_wall_ms();
    frame_put_heartbeat(&b, &s->head, &h);
    send_control(s, partition, &b, false);
    s->stats.heartbeats++;
}

/* Partition 0 gets one every heartbeat_ms, the others where nothing was sent for that long. */
static void heartbeats(struct sink *s, int64_t now)
{
    if (!s->has_start || s->starting || s->draining || s->committing || s->quiesce)
        return;
    for (uint32_t i = 0; i < s->conf.partition_cnt && !s->dead; i++) {
        int64_t last = i == 0 ? s->heartbeat0_ms : s->part[i].sent_ms;

        if (now - last < s->conf.heartbeat_ms)
            continue;
        /* What the partition already holds must stand before a heartbeat that counts it. */
        if (s->part[i].open)
            send_open(s, i);
        if (!s->dead)
            send_heartbeat(s, i);
        if (i == 0)
            s->heartbeat0_ms = now;
    }
}

static void commit_work(uv_work_t *work)
{
    struct sink *s = work->data;
    rd_kafka_error_t *e;
    int64_t give_up = clock_mono_ms() + 2 * (int64_t)KAFKA_CALL_MS;

    s->commit_rc = 0;
    while ((e = rd_kafka_commit_transaction(s->rk, KAFKA_CALL_MS)) != NULL) {
        if (!rd_kafka_error_is_retriable(e) || clock_mono_ms() > give_up) {
            s->commit_rc = kafka_error(&s->commit_err, e, "commit");
            return;
        }
        rd_kafka_error_destroy(e);
    }
    if (s->final)
        return;
    e = rd_kafka_begin_transaction(s->rk);
    if (e != NULL)
        s->commit_rc = kafka_error(&s->commit_err, e, "begin transaction");
}

static void reap(struct sink *s);

static void commit_done(uv_work_t *work, int status)
{
    struct sink *s = work->data;

    (void)status;
    s->committing = false;
    s->quiesce = false;
    s->last_commit_ms = clock_mono_ms();
    if (s->freed) {
        reap(s);
        return;
    }
    if (s->commit_rc != 0)
        fail(s, &s->commit_err);
    else
        s->stats.commits++;
    if (s->final)
        s->dead = true; /* no transaction is open any more */
    send_sealed(s);
    if (s->final)
        finish_done(s);
    else if (s->finish != NULL)
        sink_finish(s, s->finish);
    else if (!s->dead)
        sink_flush(s);
    if (!s->dead)
        s->ev.progress(s->arg);
}

/*
 * Housekeeping (design: W8): librdkafka refuses to produce during a commit and waits for every
 * message under way, so the sink first waits a moment, without sending, until all is acknowledged;
 * where that takes too long (a partition without a leader) it goes on without a commit.
 */
static void try_commit(struct sink *s)
{
    int64_t now = clock_mono_ms();

    if (s->committing || s->dead || !s->has_start)
        return;
    if (!s->quiesce) {
        if (s->finish == NULL && now - s->last_commit_ms < s->conf.commit_interval_ms)
            return;
        s->quiesce = true;
        s->quiesce_ms = now;
    }
    if (s->sent == 0) {
        s->committing = true;
        s->final = s->finish != NULL;
        s->commit.data = s;
        (void)uv_queue_work(s->loop, &s->commit, commit_work, commit_done);
    } else if (now - s->quiesce_ms > QUIET_MS && s->finish == NULL) {
        s->quiesce = false;
        s->last_commit_ms = now - s->conf.commit_interval_ms + QUIET_MS;
        s->stats.commits_put_off++;
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct sink *s = timer->data;

    if (s->dead)
        return;
    try_commit(s);
    heartbeats(s, clock_mono_ms());
    if (!s->dead)
        sink_flush(s);
}

int sink_new(uv_loop_t *loop, const struct sink_conf *conf, const struct sink_events *ev,
             void *arg, struct sink **out, struct err *err)
{
    struct sink *s = xcalloc(1, sizeof(*s));

    s->conf = *conf;
    s->conf.topic = xstrdup(conf->topic);
    s->conf.source = xstrdup(conf->source);
    s->conf.instance = xstrdup(conf->instance);
    s->ev = *ev;
    s->arg = arg;
    s->loop = loop;
    s->fragment = producer_fragment_bytes(conf->kafka, conf->max_message_bytes);
    s->frame_max = s->fragment + PRODUCER_OVERHEAD / 2;
    ledger_init(&s->ledger);
    if (producer_new(conf->kafka, conf->source, s->fragment + PRODUCER_OVERHEAD, on_delivery, s,
                     &s->rk, err) != 0) {
        free((char *)(uintptr_t)s->conf.topic);
        free((char *)(uintptr_t)s->conf.source);
        free((char *)(uintptr_t)s->conf.instance);
        free(s);
        return -1;
    }
    s->part = xcalloc(conf->partition_cnt, sizeof(*s->part));
    for (uint32_t i = 0; i < conf->partition_cnt; i++)
        buf_init(&s->part[i].b);
    s->head.source_id = frame_name_id(conf->source);
    s->head.owner_id = frame_name_id(conf->instance);
    s->head.owner_run = conf->owner_run;
    s->last_commit_ms = clock_mono_ms();
    s->queue = rd_kafka_queue_get_main(s->rk);
    s->watch = kafka_watch_new(loop, s->queue, on_queue, s);
    (void)uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    *out = s;
    return 0;
}

static void destroy_work(uv_work_t *work)
{
    struct sink *s = work->data;

    if (s->topic != NULL)
        rd_kafka_topic_destroy(s->topic);
    kafka_free(s->rk);
}

static void destroy_done(uv_work_t *work, int status)
{
    struct sink *s = work->data;

    (void)status;
    for (uint32_t i = 0; i < s->conf.partition_cnt; i++)
        buf_release(&s->part[i].b);
    free(s->part);
    s->dead = true;
    send_sealed(s);
    free(s->sealed);
    ledger_release(&s->ledger);
    free((char *)(uintptr_t)s->conf.topic);
    free((char *)(uintptr_t)s->conf.source);
    free((char *)(uintptr_t)s->conf.instance);
    free(s);
}

/* Called when one of three things ended that must all have: the handles, a commit, a worker's
 * use. Closing Kafka's side may block: it is done in a worker. */
static void reap(struct sink *s)
{
    if (!s->closed || s->committing || s->pinned)
        return;
    s->commit.data = s;
    (void)uv_queue_work(s->loop, &s->commit, destroy_work, destroy_done);
}

static void tick_closed(uv_handle_t *handle)
{
    struct sink *s = handle->data;

    s->closed = true;
    reap(s);
}

void sink_free(struct sink *s)
{
    if (s == NULL)
        return;
    s->freed = true;
    s->dead = true;
    kafka_watch_free(s->watch);
    rd_kafka_queue_destroy(s->queue);
    uv_close((uv_handle_t *)&s->tick, tick_closed);
}

void sink_pin(struct sink *s)
{
    s->pinned = true;
}

void sink_unpin(struct sink *s)
{
    s->pinned = false;
    reap(s);
}

int sink_fence(struct sink *s, struct err *err)
{
    rd_kafka_error_t *e = rd_kafka_init_transactions(s->rk, FENCE_MS);

    if (e != NULL)
        return kafka_error(err, e, "init transactions");
    e = rd_kafka_begin_transaction(s->rk);
    if (e != NULL)
        return kafka_error(err, e, "begin transaction");
    /* A topic that librdkafka meets first in a produce waits for its next look at all topics, up
     * to 1 s: START, and all behind it, would wait with it. */
    if (s->topic == NULL)
        s->topic = rd_kafka_topic_new(s->rk, s->conf.topic, NULL);
    return 0;
}

void sink_begin(struct sink *s, const struct start *last)
{
    if (last != NULL) {
        s->start = *last;
        s->has_start = true;
        s->head.epoch = last->epoch;
        (void)snprintf(s->head.replid, sizeof(s->head.replid), "%s", last->replid);
    }
    (void)uv_timer_start(&s->tick, on_tick, 0, TICK_MS);
}

void sink_drain(struct sink *s, bool on)
{
    s->draining = on;
    sink_flush(s);
}

void sink_send_start(struct sink *s, const struct start *start)
{
    bool stream = start->kind == START_STREAM;
    struct buf b;

    if (s->dead)
        return;
    assert(sink_idle(s) && start->epoch > s->head.epoch);
    s->start = *start;
    s->has_start = true;
    s->draining = false;
    s->starting = true;
    s->started = false;
    s->head.epoch = start->epoch;
    (void)snprintf(s->head.replid, sizeof(s->head.replid), "%s", start->replid);
    s->head.d = s->d;
    s->head.d_db = s->d_db;
    s->head.recv_ms = clock_wall_ms();
    s->whole = (struct wal_pos){.epoch = start->epoch,
                                .phase = stream ? PHASE_STREAM : PHASE_SNAPSHOT,
                                .lsn = stream ? start->base : 0};
    s->whole_db = stream ? start->db : 0;
    s->read_lsn = stream ? start->base : 0;
    buf_init(&b);
    frame_put_start(&b, &s->head, start);
    send_control(s, 0, &b, true);
}

bool sink_started(const struct sink *s)
{
    return s->started;
}

static void open_frame(struct sink *s, struct open_frame *o, enum phase phase, uint32_t db,
                       int64_t recv_ms)
{
    struct ledger_item item = {.base = s->whole, .db = db};

    frame_begin(&o->w, &o->b);
    o->open = true;
    o->phase = phase;
    o->recv_ms = recv_ms;
    o->seq = ledger_open(&s->ledger, &item);
}

void sink_add(struct sink *s, uint32_t partition, const struct entry *e, enum phase phase,
              int64_t recv_ms)
{
    struct open_frame *o = &s->part[partition];
    struct ledger_item *item;

    if (s->dead)
        return;
    assert(s->started && phase == s->whole.phase);
    assert((e->flags & ENTRY_CONTINUES) || e->start == s->whole.lsn);
    /* What begins before the frame's end is an entry that comes again: of its first fragments
     * the link was lost. A frame goes forward only. */
    if (o->open &&
        (o->phase != phase || o->b.len + e->len > s->frame_max || e->start < o->w.end))
        send_open(s, partition);
    if (s->dead)
        return;
    if (!o->open)
        open_frame(s, o, phase, e->db, recv_ms);
    frame_add(&o->w, e);
    item = ledger_get(&s->ledger, o->seq);
    s->bytes += o->b.len - item->size;
    item->size = o->b.len;
    if (!(e->flags & ENTRY_CONTINUED)) {
        s->whole.lsn = e->start + e->len;
        s->whole_db = e->db_end;
    }
    s->stats.entries++;
    update_full(s);
    if (o->b.len >= FRAME_SOFT && !s->quiesce && !s->committing)
        send_open(s, partition);
}

void sink_enter_stream(struct sink *s, uint32_t db)
{
    s->whole.phase = PHASE_STREAM;
    s->whole.lsn = s->start.base;
    s->whole_db = db;
    s->read_lsn = s->start.base;
}

void sink_flush(struct sink *s)
{
    if (s->quiesce || s->committing)
        return;
    for (uint32_t i = 0; i < s->conf.partition_cnt && !s->dead; i++) {
        if (s->part[i].open && (s->sent < FRAMES_AHEAD || s->part[i].b.len >= FRAME_SOFT))
            send_open(s, i);
    }
}

void sink_set_source(struct sink *s, uint64_t read_lsn, uint64_t source_lsn)
{
    /* Never back: after a lost link an unfinished entry is read again, but fragments of it are
     * in the log already. */
    if (s->whole.phase == PHASE_STREAM && s->started && read_lsn > s->read_lsn)
        s->read_lsn = read_lsn;
    s->source_lsn = source_lsn;
}

struct wal_pos sink_end(const struct sink *s, uint32_t *db)
{
    *db = s->whole_db;
    return s->whole;
}

struct wal_pos sink_durable(const struct sink *s)
{
    return s->d;
}

bool sink_idle(const struct sink *s)
{
    return ledger_front(&s->ledger) == NULL && !s->committing;
}

bool sink_writable(const struct sink *s)
{
    return !s->full;
}

size_t sink_fragment_bytes(const struct sink *s)
{
    return s->fragment;
}

void sink_finish(struct sink *s, void (*done)(void *arg))
{
    s->finish = done;
    if (s->committing)
        return; /* goes on when that commit is done */
    for (uint32_t i = 0; i < s->conf.partition_cnt && !s->dead; i++) {
        if (s->part[i].open)
            send_open(s, i);
    }
    if (s->dead || !s->has_start)
        finish_done(s);
    else
        try_commit(s);
}

void sink_get_stats(const struct sink *s, struct sink_stats *out)
{
    *out = s->stats;
    out->in_flight_bytes = s->bytes;
}
