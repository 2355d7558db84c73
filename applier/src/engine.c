/*
 * engine - life of the applier: connections, positions, standing by, halting, the end.
 */
#include "applier/src/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "applier/src/engine_priv.h"
#include "applier/src/keyset.h"
#include "applier/src/keyspace.h"
#include "applier/src/plan.h"
#include "applier/src/reply.h"
#include "applier/src/sweep.h"
#include "applier/src/wire.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define TICK_MS      100
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define POSITION_MS  1000 /* a position without commands is written at most this often */
#define LOOK_MS      1000 /* one who stands by reads the position this often */
#define COMMIT_MS    5000
#define DRAIN_MS     5000
#define KEYSPACE_MAX 4096

static void connect_target(struct engine *e);
static void begin(struct engine *e);

static void set_state(struct engine *e, enum engine_state state, const char *detail)
{
    e->state = state;
    (void)snprintf(e->detail, sizeof(e->detail), "%s", detail);
}

/* ---- the end ---- */

static void drop_run(struct engine *e)
{
    engine_log_end(e);
    engine_apply_reset(e);
}

static void close_session(struct engine *e)
{
    session_free(e->session);
    e->session = NULL;
}

static void stop(struct engine *e, const struct err *err)
{
    if (e->state == ENGINE_STOPPED)
        return;
    set_state(e, ENGINE_STOPPED, err != NULL ? err->msg : "");
    if (e->session != NULL)
        session_end(e->session); /* replies still on their way are for nobody */
    e->session_over = true;
    drop_run(e);
    e->conf.stopped(e->conf.arg, err);
}

void engine_try_end(struct engine *e)
{
    bool late = clock_mono_ms() >= e->drain_until_ms;

    if (e->state != ENGINE_DRAINING)
        return;
    if (!late && e->session != NULL && !e->session_over) {
        if (e->filling->cmd_cnt != 0 && session_has_room(e->session))
            engine_flush_all(e);
        if (!session_is_idle(e->session))
            return;
    }
    stop(e, e->end.kind != ERR_NONE ? &e->end : NULL);
}

void engine_fail(struct engine *e, const struct err *err)
{
    if (e->state == ENGINE_STOPPED || e->state == ENGINE_DRAINING)
        return;
    e->end = *err;
    e->drain_until_ms = clock_mono_ms() + DRAIN_MS;
    if (e->state != ENGINE_RUNNING) {
        stop(e, &e->end);
        return;
    }
    set_state(e, ENGINE_DRAINING, err->msg);
    engine_try_end(e);
}

void engine_drain(struct engine *e)
{
    bool busy = e->state == ENGINE_RUNNING || e->state == ENGINE_SWEEPING;

    if (e->state == ENGINE_STOPPED || e->state == ENGINE_DRAINING)
        return;
    if (!busy) {
        stop(e, NULL);
        return;
    }
    e->drain_until_ms = clock_mono_ms() + DRAIN_MS;
    set_state(e, ENGINE_DRAINING, "asked to stop");
    engine_try_end(e);
}

/* ---- the session's events ---- */

static void retry_later(struct engine *e, const char *why)
{
    int64_t wait = (int64_t)RETRY_MIN_MS << (e->tries < 6 ? e->tries : 6);

    if (wait > RETRY_MAX_MS)
        wait = RETRY_MAX_MS;
    e->tries++;
    e->retry_at_ms = clock_mono_ms() + wait;
    set_state(e, ENGINE_CONNECTING, why);
}

static void on_lost(void *arg, const struct err *err)
{
    struct engine *e = arg;

    e->session_over = true;
    if (e->state == ENGINE_STOPPED)
        return;
    if (e->state == ENGINE_DRAINING) {
        engine_try_end(e);
        return;
    }
    drop_run(e);
    if (err->kind != ERR_AGAIN && err->kind != ERR_AUTH) {
        stop(e, err);
        return;
    }
    /* Rights can be given while it waits, but somebody has to do it. */
    if (e->tries != 0 && strcmp(e->detail, err->msg) == 0)
        log_debug("target lost, retrying", F_ERR(err));
    else if (err->kind == ERR_AUTH)
        log_error("target refuses us, retrying", F_ERR(err));
    else
        log_warn("target lost, retrying", F_ERR(err));
    e->cnt.errors_transient++;
    retry_later(e, err->msg);
}

static void on_fenced(void *arg)
{
    struct engine *e = arg;

    e->session_over = true;
    if (e->state == ENGINE_STOPPED)
        return;
    e->cnt.fenced++;
    if (e->state == ENGINE_DRAINING) {
        engine_try_end(e);
        return;
    }
    drop_run(e);
    log_warn("another writer moved the position, standing by", F_STR("position", e->key));
    e->standby = true;
    e->still_since_ms = clock_mono_ms();
    retry_later(e, "another writer moved the position");
}

/* Cuts what may hold arguments: Redis quotes those of an unknown command. */
static void error_text(const char *text, char *out, size_t size)
{
    const char *args = strstr(text, ", with args");

    (void)snprintf(out, size, "%.*s", args != NULL ? (int)(args - text) : 160, text);
}

static void on_refused(void *arg, const struct refusal *r)
{
    struct engine *e = arg;
    const struct batch *b = r->batch;
    const struct batch_entry *where = NULL;
    char name[48] = "HSET of the position";
    char text[176];

    e->session_over = true;
    if (e->state == ENGINE_STOPPED)
        return;
    e->cnt.errors_divergence++;
    error_text(r->text, text, sizeof(text));
    if (r->cmd < b->cmd_cnt) {
        batch_cmd_name(b, r->cmd, name, sizeof(name));
        if (b->cmd[r->cmd].entry != BATCH_OWN)
            where = &b->entry[b->cmd[r->cmd].entry];
    }
    if (where != NULL)
        (void)snprintf(e->halt, sizeof(e->halt),
                       "%s was refused: %s (epoch %" PRIu64 " [%" PRIu64 ", %" PRIu64
                       "), partition %" PRIu32 " offset %" PRId64 "); ",
                       name, text, where->epoch, where->begin, where->end, where->partition,
                       where->kafka_offset);
    else
        (void)snprintf(e->halt, sizeof(e->halt),
                       "%s was refused: %s (epoch %" PRIu64 " before %" PRIu64 "); ", name,
                       text, b->position.at.epoch, b->position.at.lsn);
    if (r->applied)
        (void)snprintf(e->halt + strlen(e->halt), sizeof(e->halt) - strlen(e->halt),
                       "the batch up to %" PRIu64
                       " is applied, but this command (%zu in all) is not",
                       b->position.at.lsn, r->cnt);
    else
        (void)snprintf(e->halt + strlen(e->halt), sizeof(e->halt) - strlen(e->halt),
                       "nothing of its batch is applied");
    drop_run(e);
    retry_later(e, e->halt);
}

static void on_applied(void *arg, struct batch *b)
{
    struct engine *e = arg;

    if (e->state == ENGINE_STOPPED)
        return;
    engine_applied(e, b);
    if (e->state == ENGINE_SWEEPING)
        sweep_applied(e->sweep);
    else if (e->state == ENGINE_DRAINING)
        engine_try_end(e);
    else
        engine_pump(e);
}

static void on_room(void *arg)
{
    struct engine *e = arg;

    engine_try_end(e);
    engine_pump(e);
}

/* ---- divergence: the reason is written before anything else happens ---- */

static void stop_halted(struct engine *e, const char *why)
{
    struct err err;

    (void)err_set(&err, ERR_CORRUPT, 0, "the target differs from the source: %s", why);
    stop(e, &err);
}

static void on_halt_written(void *arg, size_t index, const struct reply *reply)
{
    struct engine *e = arg;

    (void)index;
    (void)reply;
    stop_halted(e, e->halt);
}

static void write_halt(struct engine *e)
{
    struct buf out;

    set_state(e, ENGINE_HALTING, e->halt);
    buf_init(&out);
    position_put_halt(&out, e->key, e->halt);
    session_call(e->session, &out, 1, on_halt_written, e);
    buf_release(&out);
}

/* ---- standing by ---- */

static void on_standby_position(void *arg, size_t index, const struct reply *reply);

static void standby_read(struct engine *e)
{
    struct buf out;

    e->retry_at_ms = clock_mono_ms() + LOOK_MS;
    buf_init(&out);
    position_put_read(&out, e->key);
    session_call(e->session, &out, 1, on_standby_position, e);
    buf_release(&out);
}

static void standby_see(struct engine *e, const struct position *pos)
{
    bool same = e->seen.present == pos->present && wal_pos_cmp(&e->seen.at, &pos->at) == 0 &&
                e->seen.applied_at_ms == pos->applied_at_ms &&
                strcmp(e->seen.writer, pos->writer) == 0;

    if (pos->halted[0] != 0) {
        stop_halted(e, pos->halted);
        return;
    }
    /* Decided by what was read just now: this program may have been stopped for long itself. */
    if (!same)
        e->still_since_ms = clock_mono_ms();
    e->take_over = clock_mono_ms() - e->still_since_ms >= e->conf.standby_ms;
    position_copy(&e->seen, pos);
    position_copy(&e->position, pos);
}

static void on_standby_position(void *arg, size_t index, const struct reply *reply)
{
    struct engine *e = arg;
    struct position_text value[POSITION_FIELDS];
    struct position pos;
    struct err err;

    (void)index;
    if (e->state != ENGINE_STANDBY || reply->node_cnt != POSITION_FIELDS + 1)
        return;
    position_init(&pos);
    reply_texts(reply, 1, value, POSITION_FIELDS);
    if (position_parse(value, POSITION_FIELDS, &pos, &err) != 0)
        stop(e, &err);
    else
        standby_see(e, &pos);
    position_release(&pos);
}

static void standby_tick(struct engine *e, int64_t now)
{
    if (e->take_over) {
        log_info("the other writer stands still, taking over", F_STR("position", e->key));
        e->standby = false;
        e->take_over = false;
        close_session(e);
        connect_target(e); /* what was watched since then counts for nothing */
        return;
    }
    if (now >= e->retry_at_ms)
        standby_read(e);
}

/* ---- beginning ---- */

static int check_position(struct engine *e, const struct position *pos, struct err *err)
{
    int64_t now = clock_wall_ms();

    if (strcmp(pos->topic, e->conf.topic) != 0)
        return err_set(err, ERR_INPUT, 0,
                       "the position in the target is one of topic '%s', not of '%s'",
                       pos->topic, e->conf.topic);
    if (pos->partition_cnt != e->part_cnt)
        return err_set(err, ERR_CORRUPT, 0,
                       "the position in the target is one of %" PRIu32
                       " partitions, the topic has %" PRIu32,
                       pos->partition_cnt, e->part_cnt);
    if (pos->guard_ms != e->conf.guard_ms)
        return err_set(err, ERR_INPUT, 0,
                       "the target's data was written with a ttl_guard of %" PRId64
                       " ms, this run has %" PRId64
                       " ms; keep the old one, or load a new snapshot with the new one",
                       pos->guard_ms, e->conf.guard_ms);
    if (pos->at.phase == PHASE_STREAM)
        return engine_check_standstill(e, pos->time_ms, now, err);
    return 0;
}

static void run(struct engine *e)
{
    const struct position *pos = &e->position;

    engine_apply_reset(e);
    e->at = pos->at;
    e->db = pos->db;
    e->time_ms = pos->time_ms;
    e->is_snapshot = pos->present && pos->at.phase == PHASE_SNAPSHOT;
    e->submitted_ms = clock_mono_ms();
    set_state(e, ENGINE_RUNNING, "");
    log_info("applying",
             F_STR("from", !pos->present    ? "the first snapshot in the log"
                           : e->is_snapshot ? "the begin of its snapshot"
                                            : "the position in the target"),
             F_U64("epoch", pos->at.epoch), F_U64("lsn", pos->at.lsn));
    engine_log_begin(e, pos);
}

/* The target has no position: it must be empty, or the user has said that it may be replaced. */
static void on_keyspace(void *arg, size_t index, const struct reply *reply)
{
    struct engine *e = arg;
    struct keyspace_db *db;
    struct buf list;
    struct err err;
    uint64_t keys = 0;
    size_t cnt;

    (void)index;
    if (reply->type != REPLY_STRING || reply->node_cnt != 1) {
        (void)err_set(&err, ERR_FATAL, 0,
                      "unexpected reply to INFO: whether the target has keys is not known");
        stop(e, &err);
        return;
    }
    db = xcalloc(KEYSPACE_MAX, sizeof(*db));
    cnt = keyspace_parse(reply->node[0].p, reply->node[0].len, db, KEYSPACE_MAX);
    buf_init(&list);
    for (size_t i = 0; i < cnt; i++) {
        keys += db[i].key_cnt;
        if (i < 16)
            buf_printf(&list, "%s%" PRIu64 " in db %" PRIu32, i == 0 ? "" : ", ", db[i].key_cnt,
                       db[i].db);
    }
    free(db);
    if (keys != 0 && !e->conf.overwrite) {
        (void)err_set(&err, ERR_INPUT, 0,
                      "the target has no position but %" PRIu64 " keys (%.*s); they would be "
                      "replaced by the source's data: set target.overwrite to allow that",
                      keys, (int)list.len, (char *)buf_data(&list));
        stop(e, &err);
    } else {
        if (keys != 0)
            log_warn("the target's keys will be replaced by the source's data",
                     F_U64("keys", keys));
        run(e);
    }
    buf_release(&list);
}

static void check_empty(struct engine *e)
{
    struct buf out;

    set_state(e, ENGINE_CHECKING, "");
    buf_init(&out);
    wire_command(&out, "INFO", "keyspace", NULL);
    session_call(e->session, &out, 1, on_keyspace, e);
    buf_release(&out);
}

/* The session is ready and so is the source. */
static void begin(struct engine *e)
{
    struct err err;

    if (!e->position.present)
        check_empty(e);
    else if (check_position(e, &e->position, &err) != 0)
        stop(e, &err);
    else
        run(e);
}

static void on_ready(void *arg, const struct position *pos)
{
    struct engine *e = arg;

    log_info("connected to the target",
             F_STR("redis_version", session_target_version(e->session)));
    if (e->halt[0] != 0) {
        write_halt(e);
    } else if (pos->halted[0] != 0) {
        stop_halted(e, pos->halted);
    } else if (e->standby) {
        set_state(e, ENGINE_STANDBY, "another writer moves the position");
        e->still_since_ms = clock_mono_ms(); /* the other one lost the target too */
        e->retry_at_ms = clock_mono_ms() + LOOK_MS;
        standby_see(e, pos);
    } else {
        if (e->position.present && !pos->present)
            log_warn("the position in the target is gone", F_STR("position", e->key));
        position_copy(&e->position, pos);
        set_state(e, ENGINE_WAITING, "the topic was not found yet");
        if (e->part_cnt != 0)
            begin(e);
    }
}

static void connect_target(struct engine *e)
{
    static const struct session_events events = {
        .ready = on_ready,
        .applied = on_applied,
        .room = on_room,
        .lost = on_lost,
        .fenced = on_fenced,
        .refused = on_refused,
    };

    close_session(e);
    e->session_over = false;
    e->cnt.reconnects++;
    e->state = ENGINE_CONNECTING; /* `detail` still says why the last one was lost */
    e->session = session_new(e->loop, &e->conf.session, &events, e);
}

/* ---- the source's events ---- */

void engine_source_ready(struct engine *e, uint32_t partition_cnt, const int64_t *low)
{
    free(e->part);
    e->part = xcalloc(partition_cnt, sizeof(*e->part));
    for (uint32_t i = 0; i < partition_cnt; i++)
        e->part[i] = (struct engine_part){.low = low[i], .next = -1, .hold = -1};
    e->part_cnt = partition_cnt;
    if (e->state == ENGINE_WAITING)
        begin(e);
}

void engine_source_failed(struct engine *e, uint32_t partition, const struct err *err)
{
    if (e->state == ENGINE_STOPPED)
        return;
    if (err->kind == ERR_AGAIN) {
        e->cnt.errors_transient++;
        return;
    }
    if (err->kind == ERR_CORRUPT && e->merge != NULL)
        engine_log_damaged(e, partition, err);
    else
        engine_fail(e, err);
}

/* ---- time ---- */

static void running_tick(struct engine *e, int64_t now)
{
    int64_t since = now - e->submitted_ms;
    int64_t *offset;

    engine_damage_tick(e, now);
    if (e->state != ENGINE_RUNNING)
        return;
    if (session_is_idle(e->session) && e->filling->cmd_cnt == 0 && !e->sweep_due &&
        ((e->moved && since >= POSITION_MS) ||
         (e->position.present && since >= ENGINE_ALIVE_MS)))
        engine_flush_idle(e);
    if (!e->position.present || now - e->committed_ms < COMMIT_MS)
        return;
    e->committed_ms = now;
    offset = e->position.offset;
    e->conf.ops->commit(e->conf.source, offset);
}

static void on_tick(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    int64_t now = clock_mono_ms();
    bool late = e->drain_until_ms != 0 && now >= e->drain_until_ms;

    switch (e->state) {
    case ENGINE_HALTING:
        if (late)
            stop_halted(e, e->halt);
        break;
    case ENGINE_CONNECTING:
        if (late)
            stop_halted(e, e->halt); /* only a halt connects again after the end was begun */
        else if (e->session_over && now >= e->retry_at_ms)
            connect_target(e);
        break;
    case ENGINE_STANDBY:
        standby_tick(e, now);
        break;
    case ENGINE_RUNNING:
        running_tick(e, now);
        break;
    case ENGINE_DRAINING:
        engine_try_end(e);
        break;
    default:
        break;
    }
}

/* ---- life ---- */

static void make_writer(struct engine *e)
{
    uint64_t id;

    if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
        abort(); /* not for so few bytes (getrandom(2)) */
    (void)snprintf(e->writer, sizeof(e->writer), "%016" PRIx64, id);
}

struct engine *engine_new(uv_loop_t *loop, const struct engine_conf *conf)
{
    struct engine *e = xcalloc(1, sizeof(*e));

    e->loop = loop;
    e->conf = *conf;
    e->key = xasprintf(POSITION_PREFIX "position:%s", conf->source_name);
    e->conf.session.position_key = e->key;
    make_writer(e);
    position_init(&e->position);
    position_init(&e->seen);
    for (size_t i = 0; i < BATCHES; i++)
        batch_init(&e->batch[i]);
    buf_init(&e->whole);
    buf_init(&e->functions);
    e->plan = plan_new(&(struct plan_conf){.position_db = conf->session.position_db,
                                           .position_key = e->key,
                                           .guard_ms = conf->guard_ms});
    engine_apply_reset(e);
    e->tick = xcalloc(1, sizeof(*e->tick));
    (void)uv_timer_init(loop, e->tick);
    e->tick->data = e;
    (void)uv_timer_start(e->tick, on_tick, TICK_MS, TICK_MS);
    connect_target(e);
    return e;
}

static void free_handle(uv_handle_t *h)
{
    free(h);
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    drop_run(e);
    close_session(e);
    uv_close((uv_handle_t *)e->tick, free_handle);
    plan_free(e->plan);
    for (size_t i = 0; i < BATCHES; i++)
        batch_release(&e->batch[i]);
    position_release(&e->position);
    position_release(&e->seen);
    buf_release(&e->whole);
    buf_release(&e->functions);
    free(e->function_at);
    free(e->part);
    free(e->key);
    free(e);
}
