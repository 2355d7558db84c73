/*
 * engine_rig - a log in memory and a source that reads it, for tests of the engine.
 *
 * The log is built as a journal would: epochs with a START, snapshots cut from real RDB files,
 * streams of commands, entries spread over the partitions.
 */
#ifndef APPLIER_TEST_ENGINE_RIG_H
#define APPLIER_TEST_ENGINE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "applier/src/engine.h"
#include "applier/src/wire.h"
#include "applier/test/target.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/rdb.h"

#define RIG_PARTS 3
#define RIG_KEY   "redis-wal:position:redis"
#define RIG_GUARD ((int64_t)3600 * 1000)

struct rig_record {
    uint8_t *data;
    size_t len;
};

struct rig_log {
    struct rig_record *rec[RIG_PARTS];
    size_t cnt[RIG_PARTS];
    int64_t base[RIG_PARTS]; /* offset of the first record kept */
    uint64_t epoch, last_epoch, lsn;
    enum phase phase;
    uint32_t db;
    uint64_t next_part;
    int64_t age_ms; /* frames say that they were received this long ago */
};

static inline void log_put(struct rig_log *l, uint32_t part, struct buf *b)
{
    struct rig_record *r;

    l->rec[part] = realloc(l->rec[part], (l->cnt[part] + 1) * sizeof(*r));
    r = &l->rec[part][l->cnt[part]++];
    r->data = buf_detach(b, &r->len);
}

static inline struct frame log_header(const struct rig_log *l)
{
    return (struct frame){.phase = l->phase,
                          .source_id = frame_name_id("redis"),
                          .epoch = l->epoch,
                          .replid = "0123456789abcdef0123456789abcdef01234567",
                          .recv_ms = clock_wall_ms() - l->age_ms};
}

static inline void log_start(struct rig_log *l, enum start_kind kind, uint64_t base)
{
    struct start s = {.kind = kind,
                      .has_prev_end = l->epoch != 0 && l->phase == PHASE_STREAM,
                      .replid = "0123456789abcdef0123456789abcdef01234567",
                      .db = l->db,
                      .base = base,
                      .prev_epoch = l->epoch,
                      .prev_end = l->lsn,
                      .partition_cnt = RIG_PARTS,
                      .owner = "test"};
    uint64_t now = (uint64_t)(clock_wall_ms() - l->age_ms);
    struct frame f;
    struct buf b;

    s.epoch = l->epoch + 1 > now ? l->epoch + 1 : now;
    l->epoch = s.epoch;
    l->phase = kind == START_SNAPSHOT ? PHASE_SNAPSHOT : PHASE_STREAM;
    l->lsn = kind == START_SNAPSHOT ? 0 : base;
    f = log_header(l);
    buf_init(&b);
    frame_put_start(&b, &f, &s);
    log_put(l, 0, &b);
}

/* One frame with the entry (or a fragment of it) in `part`. */
static inline void log_entry_in(struct rig_log *l, uint32_t part, enum entry_kind kind,
                                uint8_t flags, const void *data, size_t len)
{
    struct entry e = {.kind = kind,
                      .flags = flags,
                      .db = l->db,
                      .db_end = l->db,
                      .start = l->lsn,
                      .data = data,
                      .len = len};
    struct frame f = log_header(l);
    struct frame_writer w;
    struct buf b;

    f.type = FRAME_DATA;
    buf_init(&b);
    frame_begin(&w, &b);
    frame_add(&w, &e);
    frame_end(&w, &f);
    log_put(l, part, &b);
    l->lsn += len;
}

static inline void log_entry(struct rig_log *l, enum entry_kind kind, const void *data,
                             size_t len)
{
    log_entry_in(l, (uint32_t)(l->next_part++ % RIG_PARTS), kind, 0, data, len);
}

/* A heartbeat in every partition that says: all up to here is in the log. */
static inline void log_beat(struct rig_log *l)
{
    for (uint32_t i = 0; i < RIG_PARTS; i++) {
        struct frame f = log_header(l);
        struct heartbeat h = {.start = {.kind = START_STREAM,
                                        .epoch = l->epoch,
                                        .replid = "0123456789abcdef0123456789abcdef01234567",
                                        .partition_cnt = RIG_PARTS,
                                        .owner = "test"},
                              .read_lsn = l->lsn};
        struct buf b;

        f.d = (struct wal_pos){.epoch = l->epoch, .phase = l->phase, .lsn = l->lsn};
        buf_init(&b);
        frame_put_heartbeat(&b, &f, &h);
        log_put(l, i, &b);
    }
}

static inline void put_words(struct buf *b, const char *line)
{
    char *text = strdup(line);
    char *word[32];
    size_t cnt = 0;
    char *save = NULL;

    for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        word[cnt++] = w;
    wire_array(b, cnt);
    for (size_t i = 0; i < cnt; i++)
        wire_text(b, word[i]);
    free(text);
}

/* A command as one entry: "PING", "SELECT n" are LINK entries. */
static inline void log_cmd(struct rig_log *l, const char *line)
{
    struct buf b;
    unsigned db;

    buf_init(&b);
    put_words(&b, line);
    if (sscanf(line, "SELECT %u", &db) == 1) {
        log_entry(l, ENTRY_LINK, buf_data(&b), b.len);
        l->db = db;
    } else {
        log_entry(l, strcmp(line, "PING") == 0 ? ENTRY_LINK : ENTRY_COMMAND, buf_data(&b),
                  b.len);
    }
    buf_release(&b);
}

/* Lines from MULTI to EXEC, ended by NULL, as one entry. */
static inline void log_txn(struct rig_log *l, const char *const *lines)
{
    struct buf b;

    buf_init(&b);
    for (; *lines != NULL; lines++)
        put_words(&b, *lines);
    log_entry(l, ENTRY_TXN, buf_data(&b), b.len);
    buf_release(&b);
}

static inline enum entry_kind rdb_entry_kind(enum rdb_kind kind)
{
    switch (kind) {
    case RDB_FUNCTION:
        return ENTRY_RDB_FUNCTION;
    case RDB_KEY:
        return ENTRY_RDB_KEY;
    case RDB_END:
        return ENTRY_RDB_END;
    case RDB_META:
        break;
    }
    return ENTRY_RDB_META;
}

/* The RDB file of a server, cut into entries; at most `max` of them. */
static inline void log_rdb(struct rig_log *l, struct target *dc, size_t max)
{
    char path[128], out[64];
    FILE *file;
    static uint8_t data[4 * 1024 * 1024];
    size_t len, at = 0, begin = 0;
    struct rdb *walker = rdb_new();
    uint32_t db = 0;

    TARGET_IS(dc, "OK", "SAVE");
    (void)out;
    snprintf(path, sizeof(path), "%s/dump.rdb", dc->dir);
    file = fopen(path, "rb");
    assert_non_null(file);
    len = fread(data, 1, sizeof(data), file);
    fclose(file);
    for (size_t cnt = 0; at < len && cnt < max;) {
        struct rdb_item item;
        struct err err;
        bool end = false;
        ptrdiff_t n = rdb_feed(walker, data + at, len - at, &end, &item, &err);

        assert_true(n >= 0);
        at += (size_t)n;
        if (!end)
            break;
        l->db = db;
        log_entry(l, rdb_entry_kind(item.kind), data + begin, at - begin);
        begin = at;
        db = item.db;
        cnt++;
    }
    l->db = 0;
    rdb_free(walker);
}

/* A whole snapshot of `dc`; the stream goes on at `base`. */
static inline void log_snapshot(struct rig_log *l, struct target *dc, uint64_t base)
{
    log_start(l, START_SNAPSHOT, base);
    log_rdb(l, dc, SIZE_MAX);
    l->phase = PHASE_STREAM;
    l->lsn = base;
}

static inline void log_free(struct rig_log *l)
{
    for (uint32_t p = 0; p < RIG_PARTS; p++) {
        for (size_t i = 0; i < l->cnt[p]; i++)
            free(l->rec[p][i].data);
        free(l->rec[p]);
    }
    memset(l, 0, sizeof(*l));
}

/* ---- the source and the engine on it ---- */

struct rig {
    uv_loop_t loop;
    struct rig_log *log;
    struct engine *engine;
    int64_t at[RIG_PARTS]; /* next offset to deliver */
    bool on, paused[RIG_PARTS];
    int64_t limit[RIG_PARTS]; /* deliver below this offset only; -1: all */
    uint64_t held;            /* frames that the engine keeps */
    unsigned begins, pauses, seeks;
    bool stopped;
    struct err err; /* ERR_NONE: stopped as asked */
};

static inline void rig_begin(void *src, const int64_t *offset)
{
    struct rig *r = src;

    memcpy(r->at, offset, sizeof(r->at));
    memset(r->paused, 0, sizeof(r->paused));
    r->on = true;
    r->begins++;
}

static inline void rig_stop(void *src)
{
    ((struct rig *)src)->on = false;
}

static inline void rig_pause(void *src, uint32_t partition, bool on)
{
    struct rig *r = src;

    r->paused[partition] = on;
    r->pauses += on;
}

static inline void rig_seek(void *src, uint32_t partition, int64_t offset)
{
    struct rig *r = src;

    r->at[partition] = offset;
    r->seeks++;
}

static inline void rig_commit(void *src, const int64_t *offset)
{
    (void)src;
    (void)offset;
}

static inline void rig_release(void *src, void *owner)
{
    ((struct rig *)src)->held--;
    free(owner);
}

static inline void rig_stopped(void *arg, const struct err *err)
{
    struct rig *r = arg;

    r->stopped = true;
    r->err = err != NULL ? *err : (struct err){.kind = ERR_NONE};
}

static inline struct engine_conf rig_conf(struct rig *r, struct target *t)
{
    static const struct source_ops ops = {rig_begin, rig_stop,   rig_pause,
                                          rig_seek,  rig_commit, rig_release};
    struct engine_conf c = {.ops = &ops,
                            .source = r,
                            .source_name = "redis",
                            .topic = "redis-writes",
                            .guard_ms = RIG_GUARD,
                            .batch_commands = 500,
                            .batch_bytes = 1024 * 1024,
                            .memory_bytes = 64 * 1024 * 1024,
                            .max_entry_bytes = 64 * 1024 * 1024,
                            .max_bulk_bytes = 512 * 1024 * 1024,
                            .standby_ms = 1500,
                            .stopped = rig_stopped,
                            .arg = r};
    char text[128];
    struct err err;

    c.session.connect_timeout_ms = 5000;
    snprintf(text, sizeof(text), "unix:%s", t->socket);
    assert_int_equal(net_addr_parse(text, 0, &c.session.addr, &err), 0);
    return c;
}

/* Where `late`, the topic is found only when the target has long been connected. */
static inline void rig_open_when(struct rig *r, struct rig_log *l,
                                 const struct engine_conf *conf, bool late)
{
    int64_t low[RIG_PARTS];
    struct engine_view v = {.state = ENGINE_CONNECTING};

    for (uint32_t i = 0; i < RIG_PARTS; i++) {
        low[i] = l->base[i];
        r->limit[i] = -1;
    }
    r->log = l;
    uv_loop_init(&r->loop);
    r->engine = engine_new(&r->loop, conf);
    for (int turn = 0; late && turn < 3;) {
        uv_run(&r->loop, UV_RUN_ONCE);
        engine_view(r->engine, &v);
        turn += v.state == ENGINE_WAITING; /* replies behind the position have come, too */
    }
    engine_source_ready(r->engine, RIG_PARTS, low);
}

static inline void rig_open(struct rig *r, struct rig_log *l, const struct engine_conf *conf)
{
    rig_open_when(r, l, conf, false);
}

static inline bool rig_deliver_one(struct rig *r, uint32_t p)
{
    int64_t i = r->at[p] - r->log->base[p];
    struct rig_record *rec;
    uint8_t *copy;

    if (!r->on || r->paused[p] || i < 0 || (size_t)i >= r->log->cnt[p] ||
        (r->limit[p] >= 0 && r->at[p] >= r->limit[p]))
        return false;
    rec = &r->log->rec[p][i];
    copy = malloc(rec->len);
    memcpy(copy, rec->data, rec->len);
    r->at[p]++;
    r->held++;
    engine_frame(r->engine, p, r->log->base[p] + i, copy, rec->len, copy);
    return true;
}

/* Some records of every partition, then the loop once. */
static inline void rig_step(struct rig *r, size_t max)
{
    bool any = false;

    for (uint32_t p = 0; p < RIG_PARTS; p++) {
        for (size_t n = 0; n < max && rig_deliver_one(r, p); n++)
            any = true;
    }
    if (any)
        engine_frames_end(r->engine);
    uv_run(&r->loop, any ? UV_RUN_NOWAIT : UV_RUN_ONCE);
}

static inline bool rig_is_at(const struct rig *r, uint64_t lsn)
{
    struct engine_view v;

    engine_view(r->engine, &v);
    return v.has_position && v.position->at.epoch == r->log->epoch &&
           v.position->at.phase == r->log->phase && v.position->at.lsn == lsn;
}

/* Until the position is at the log's end. */
static inline void rig_follow(struct rig *r)
{
    int64_t until = clock_mono_ms() + TARGET_WAIT_S * 1000;

    while (!rig_is_at(r, r->log->lsn)) {
        struct engine_view v;

        engine_view(r->engine, &v);
        if (r->stopped)
            fail_msg("stopped: %s", r->err.msg);
        if (clock_mono_ms() > until)
            fail_msg("does not come to the end: %s at %llu, log at %llu", v.state_name,
                     (unsigned long long)v.position->at.lsn, (unsigned long long)r->log->lsn);
        rig_step(r, 64);
    }
}

static inline void rig_until_stopped(struct rig *r)
{
    int64_t until = clock_mono_ms() + TARGET_WAIT_S * 1000;

    while (!r->stopped) {
        if (clock_mono_ms() > until)
            fail_msg("does not stop");
        rig_step(r, 64);
    }
}

static inline void rig_close(struct rig *r)
{
    engine_free(r->engine);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_int_equal(r->held, 0);
    memset(r, 0, sizeof(*r));
}

#endif
