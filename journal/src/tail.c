/* tail - reads the end of the log. */
#include "journal/src/tail.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/kafka.h"
#include "common/mem.h"
#include "common/merge.h"

enum {
    CALL_MS = 10000,
    STALL_MS = 30000, /* without any progress: Kafka is away */
    /* Offsets read of a partition at first, doubled until they suffice. They lie in memory until
     * the end was found, so this times the largest frame (half a MiB) times the partitions. */
    WINDOW = 32,
};

/* What was read of one partition: frames [from, to) in order. */
struct window {
    int64_t low, high; /* of the log */
    int64_t from;
    bool done;
    struct record {
        rd_kafka_message_t *msg;
        struct frame frame;
    } * rec;
    size_t cnt, cap;
};

struct tail {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    char *topic;
    uint32_t partition_cnt;
    uint64_t source_id;
    struct window *win;
};

static const struct kafka_prop FORCED[] = {
    {"isolation.level", "read_uncommitted"}, /* the owner's transaction is open */
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"enable.partition.eof", "true"},
    {"auto.offset.reset", "earliest"},
    {"check.crcs", "true"},
    {NULL, NULL},
};
static const struct kafka_prop DEFAULTS[] = {
    {"group.id", "redis-journal"}, /* required by librdkafka, never joined */
    {"fetch.wait.max.ms", "10"},
    {"reconnect.backoff.max.ms", "2000"},
    {NULL, NULL},
};

int tail_check_conf(const struct conf_map *kafka, struct err *err)
{
    return kafka_conf_check(RD_KAFKA_CONSUMER, kafka, DEFAULTS, FORCED, err);
}

int tail_open(const struct conf_map *kafka, const char *topic, uint32_t partition_cnt,
              uint64_t source_id, struct tail **out, struct err *err)
{
    struct tail *t = xcalloc(1, sizeof(*t));

    if (kafka_new(RD_KAFKA_CONSUMER, "journal-tail", kafka, DEFAULTS, FORCED, NULL, NULL,
                  &t->rk, err) != 0) {
        free(t);
        return -1;
    }
    (void)rd_kafka_poll_set_consumer(t->rk);
    t->queue = rd_kafka_queue_get_consumer(t->rk);
    t->topic = xstrdup(topic);
    t->partition_cnt = partition_cnt;
    t->source_id = source_id;
    t->win = xcalloc(partition_cnt, sizeof(*t->win));
    *out = t;
    return 0;
}

static void window_clear(struct window *w)
{
    for (size_t i = 0; i < w->cnt; i++)
        rd_kafka_message_destroy(w->rec[i].msg);
    w->cnt = 0;
}

void tail_close(struct tail *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        window_clear(&t->win[i]);
        free(t->win[i].rec);
    }
    free(t->win);
    free(t->topic);
    rd_kafka_queue_destroy(t->queue);
    kafka_free(t->rk);
    free(t);
}

static int named(struct err *err, const rd_kafka_message_t *msg)
{
    return err_wrap(err, "partition %" PRId32 " offset %" PRId64, msg->partition, msg->offset);
}

/* Takes a message into its window; its bytes stay with the window. */
static int window_take(struct tail *t, rd_kafka_message_t *msg, struct err *err)
{
    struct window *w = &t->win[msg->partition];
    struct frame f;

    if (msg->offset >= w->high - 1)
        w->done = true;
    if (msg->offset < w->from || msg->offset >= w->high) {
        rd_kafka_message_destroy(msg);
        return 0;
    }
    if (frame_decode(msg->payload, msg->len, &f, err) != 0 ||
        (f.source_id != t->source_id &&
         err_set(err, ERR_CORRUPT, 0, "the frame is of another source"))) {
        (void)named(err, msg);
        rd_kafka_message_destroy(msg);
        return -1;
    }
    if (w->cnt == w->cap) {
        w->cap = w->cap != 0 ? w->cap * 2 : 64;
        w->rec = xrealloc(w->rec, w->cap * sizeof(*w->rec));
    }
    w->rec[w->cnt++] = (struct record){.msg = msg, .frame = f};
    return 0;
}

/* One event of the consumer. Returns 1 when something came, 0 when nothing, -1 on failure. */
static int window_event(struct tail *t, struct err *err)
{
    rd_kafka_message_t *msg = rd_kafka_consume_queue(t->queue, 100) /* ms */;
    rd_kafka_resp_err_t code;

    if (msg == NULL)
        return 0;
    if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return window_take(t, msg, err) != 0 ? -1 : 1;
    code = msg->err;
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF &&
        (uint32_t)msg->partition < t->partition_cnt &&
        msg->offset >= t->win[msg->partition].high)
        t->win[msg->partition].done = true;
    rd_kafka_message_destroy(msg);
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return 0;
    if (kafka_err_kind(code) == ERR_AGAIN)
        return 0; /* librdkafka goes on by itself; STALL_MS bounds it */
    return kafka_err(err, code, "read the end of '%s'", t->topic);
}

static bool all_done(const struct tail *t)
{
    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        if (!t->win[i].done)
            return false;
    }
    return true;
}

/* Reads [from, high) of every window that is not done. */
static int read_windows(struct tail *t, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)t->partition_cnt);
    int64_t last_ms = clock_mono_ms();
    rd_kafka_resp_err_t code;
    int rc = -1;

    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        struct window *w = &t->win[i];

        if (w->done)
            continue;
        window_clear(w);
        rd_kafka_topic_partition_list_add(list, t->topic, (int32_t)i)->offset = w->from;
    }
    code = rd_kafka_assign(t->rk, list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)kafka_err(err, code, "assign '%s'", t->topic);
        goto out;
    }
    while (!all_done(t)) {
        int n = window_event(t, err);

        if (n < 0)
            goto out;
        if (n > 0)
            last_ms = clock_mono_ms();
        if (clock_mono_ms() - last_ms > STALL_MS) {
            (void)err_set(err, ERR_AGAIN, 0,
                          "the end of '%s' can't be read: no answer for %d s", t->topic,
                          STALL_MS / 1000);
            goto out;
        }
    }
    rc = 0;
out:
    (void)rd_kafka_assign(t->rk, NULL);
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

static void window_set(struct window *w, int64_t size)
{
    w->from = w->high - size > w->low ? w->high - size : w->low;
    w->done = w->from >= w->high;
}

/* The START with the highest epoch that the window of partition 0 names. */
static int last_start(const struct window *w, bool *found, struct start *out, struct err *err)
{
    *found = false;
    for (size_t i = 0; i < w->cnt; i++) {
        const struct frame *f = &w->rec[i].frame;
        struct heartbeat h;
        int rc = 0;

        if (f->type == FRAME_START)
            rc = frame_start(f, &h.start, err);
        else if (f->type == FRAME_HEARTBEAT)
            rc = frame_heartbeat(f, &h, err);
        else
            continue;
        if (rc != 0)
            return named(err, w->rec[i].msg);
        if (!*found || h.start.epoch > out->epoch) {
            *out = h.start;
            *found = true;
        } else if (h.start.epoch == out->epoch &&
                   h.start.snapshot_epoch > out->snapshot_epoch) {
            out->snapshot_epoch = h.start.snapshot_epoch;
        }
    }
    return 0;
}

/* Widens the window of partition 0 until it names a START or is the whole log. */
static int find_start(struct tail *t, bool *found, struct start *out, struct err *err)
{
    struct window *w = &t->win[0];

    for (int64_t size = 4 * WINDOW;; size *= 2) {
        window_set(w, size);
        if (read_windows(t, err) != 0 || last_start(w, found, out, err) != 0)
            return -1;
        if (*found || w->from <= w->low)
            return 0;
    }
}

static int find_ranges(struct tail *t, uint32_t cnt, struct err *err)
{
    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        struct window *w = &t->win[i];

        window_clear(w);
        w->done = true;
        if (i < cnt &&
            kafka_log_range(t->rk, t->topic, (int32_t)i, CALL_MS, &w->low, &w->high, err) != 0)
            return err_wrap(err, "end of '%s' partition %" PRIu32, t->topic, i);
    }
    return 0;
}

int tail_owner(struct tail *t, struct tail_owner *out, struct err *err)
{
    struct tail_owner o = {0};
    struct window *w = &t->win[0];

    if (find_ranges(t, 1, err) != 0 || find_start(t, &o.has_start, &o.start, err) != 0)
        return -1;
    if (w->cnt != 0) {
        const struct record *last = &w->rec[w->cnt - 1];

        o.any = true;
        o.offset = last->msg->offset;
        o.owner_id = last->frame.owner_id;
        o.owner_run = last->frame.owner_run;
    }
    window_clear(w);
    *out = o;
    return 0;
}

/* The highest D of the last START's epoch that any window shows; its begin where none does. */
static struct wal_pos find_durable(const struct tail *t, const struct start *s, uint32_t *db)
{
    bool stream = s->kind == START_STREAM;
    struct wal_pos d = {.epoch = s->epoch,
                        .phase = stream ? PHASE_STREAM : PHASE_SNAPSHOT,
                        .lsn = stream ? s->base : 0};

    *db = stream ? s->db : 0;
    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        for (size_t k = 0; k < t->win[i].cnt; k++) {
            const struct frame *f = &t->win[i].rec[k].frame;

            if (f->d.epoch == s->epoch && wal_pos_cmp(&f->d, &d) > 0) {
                d = f->d;
                *db = f->d_db;
            }
        }
    }
    return d;
}

/* Whether nothing before this frame, in its partition, can hold an entry behind D. */
static bool is_below(const struct frame *f, const struct wal_pos *d)
{
    struct wal_pos end = {.epoch = f->epoch, .phase = f->phase, .lsn = f->end};
    struct heartbeat h;
    struct err err;

    if (f->epoch < d->epoch)
        return true;
    switch (f->type) {
    case FRAME_DATA:
        return wal_pos_cmp(&end, d) <= 0;
    case FRAME_START:
        return true; /* the first frame of its epoch in this partition */
    case FRAME_HEARTBEAT:
        /* Its sender had read no further when it was sent. */
        return f->epoch == d->epoch && f->d.epoch == d->epoch && f->d.phase == PHASE_STREAM &&
               d->phase == PHASE_STREAM && frame_heartbeat(f, &h, &err) == 0 &&
               h.read_lsn != 0 && h.read_lsn <= d->lsn;
    }
    return false;
}

/* Whether the window reaches back far enough to hold all that may be behind D. */
static bool window_suffices(const struct window *w, const struct wal_pos *d)
{
    if (w->from <= w->low)
        return true;
    for (size_t i = 0; i < w->cnt; i++) {
        if (is_below(&w->rec[i].frame, d))
            return true;
    }
    return false;
}

/* Merges what the windows hold from D on; *out gets P. */
static int merge_windows(struct tail *t, const struct wal_pos *d, uint32_t db,
                         struct tail_end *out, struct err *err)
{
    struct merge_from from = {.at = *d, .db = db, .base = out->start.base};
    struct merge *m = merge_new(t->partition_cnt, &from, NULL, NULL);
    struct merge_item item;
    struct wal_pos p;
    int rc = -1;

    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        for (size_t k = 0; k < t->win[i].cnt; k++) {
            const struct record *r = &t->win[i].rec[k];

            out->frames++;
            if (merge_push(m, i, r->msg->offset, &r->frame, NULL, err) < 0)
                goto out;
        }
    }
    do {
        if (merge_next(m, &item, err) != 0)
            goto out;
    } while (item.type != MERGE_WAIT);
    p = merge_pos(m);
    out->usable = p.phase == PHASE_STREAM;
    out->lsn = p.lsn;
    out->db = merge_db(m);
    rc = 0;
out:
    merge_free(m);
    return rc;
}

/* Reads all partitions back to where D is proven, doubling what does not suffice. */
static int read_back(struct tail *t, const struct start *s, struct wal_pos *d, uint32_t *db,
                     struct err *err)
{
    bool enough;

    for (;;) {
        if (read_windows(t, err) != 0)
            return -1;
        *d = find_durable(t, s, db);
        enough = true;
        for (uint32_t i = 0; i < t->partition_cnt; i++) {
            if (window_suffices(&t->win[i], d))
                continue;
            window_set(&t->win[i], (t->win[i].high - t->win[i].from) * 2);
            enough = false;
        }
        if (enough)
            return 0;
    }
}

int tail_end(struct tail *t, struct tail_end *out, struct err *err)
{
    struct tail_end e = {0};
    struct wal_pos d = {0};
    uint32_t db = 0;
    int rc = -1;

    if (find_ranges(t, t->partition_cnt, err) != 0 ||
        find_start(t, &e.has_start, &e.start, err) != 0)
        return -1;
    for (uint32_t i = 1; i < t->partition_cnt; i++)
        window_set(&t->win[i], WINDOW);
    if (e.has_start ? read_back(t, &e.start, &d, &db, err) : read_windows(t, err))
        goto out;
    for (uint32_t i = 0; i < t->partition_cnt; i++) {
        for (size_t k = 0; k < t->win[i].cnt; k++) {
            if (t->win[i].rec[k].frame.epoch > e.max_epoch)
                e.max_epoch = t->win[i].rec[k].frame.epoch;
        }
    }
    if (e.has_start && merge_windows(t, &d, db, &e, err) != 0)
        goto out;
    *out = e;
    rc = 0;
out:
    for (uint32_t i = 0; i < t->partition_cnt; i++)
        window_clear(&t->win[i]);
    return rc;
}
