/*
 * session - one connection to the target.
 *
 * What is expected from the target is a queue of steps in the order the commands were sent;
 * every reply is checked against the first of them.
 */
#include "applier/src/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/batch.h"
#include "applier/src/position.h"
#include "applier/src/refuse.h"
#include "applier/src/reply.h"
#include "applier/src/wire.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"

#define READ_SIZE ((size_t)64 * 1024)
#define READS_MAX 16 /* of READ_SIZE before the loop's other work gets its turn */

enum step_kind {
    STEP_AUTH,
    STEP_OK,       /* WATCH, SELECT, MULTI */
    STEP_INFO,     /* INFO server */
    STEP_POSITION, /* the whole position */
    STEP_CHECK,    /* the short HMGET */
    STEP_PROBE,    /* SELECT of the highest database of a batch */
    STEP_QUEUED,
    STEP_EXEC,
    STEP_CALL,
};

struct step {
    enum step_kind kind;
    size_t left; /* replies still to come */
    size_t done; /* replies that came */
    void (*cb)(void *arg, size_t index, const struct reply *reply);
    void *arg;
};

enum arm { ARM_NONE, ARM_SENT, ARM_OK };

struct session {
    struct session_conf conf;
    struct session_events ev;
    void *arg;
    struct net *net;
    struct replies *replies;
    bool ended;
    char version[32];
    char replid[64];
    unsigned major;
    struct step *step; /* ring */
    size_t step_head, step_cnt, step_cap;
    struct position expected; /* what the next check must read */
    enum arm arm;
    struct batch *running; /* its EXEC was sent */
    struct batch *next;    /* all but its EXEC was sent */
    size_t next_cmd_cnt;   /* commands in `next`, the position's write included */
    size_t running_cmd_cnt;
    bool probing; /* a SELECT of a database never used before is on its way */
    uint32_t known_db;
    /* First command of `next` or `running` that was not queued. */
    bool queue_failed;
    size_t queue_failed_cmd;
    char queue_error[256];
    uint8_t input[READ_SIZE];
};

/* ---- the queue of steps ---- */

static void expect(struct session *s, const struct step *step)
{
    if (step->left == 0)
        return;
    if (s->step_cnt == s->step_cap) {
        size_t cap = s->step_cap != 0 ? s->step_cap * 2 : 32;
        struct step *grown = xmalloc(cap * sizeof(*grown));

        for (size_t i = 0; i < s->step_cnt; i++)
            grown[i] = s->step[(s->step_head + i) % s->step_cap];
        free(s->step);
        s->step = grown;
        s->step_head = 0;
        s->step_cap = cap;
    }
    s->step[(s->step_head + s->step_cnt) % s->step_cap] = *step;
    s->step_cnt++;
}

static void expect_one(struct session *s, enum step_kind kind)
{
    expect(s, &(struct step){.kind = kind, .left = 1});
}

static bool is_full(enum step_kind kind)
{
    return kind == STEP_INFO || kind == STEP_POSITION || kind == STEP_CHECK ||
           kind == STEP_CALL;
}

/* ---- the end ---- */

static void end(struct session *s)
{
    s->ended = true;
    net_free(s->net);
    s->net = NULL;
}

void session_end(struct session *s)
{
    if (!s->ended)
        end(s);
}

static void lose(struct session *s, const struct err *err)
{
    end(s);
    s->ev.lost(s->arg, err);
}

static void lose_to_error(struct session *s, const char *what, const char *text)
{
    struct err err;

    (void)err_set(&err, refuse_kind(text), 0, "target refuses %s: %s", what, text);
    if (err.kind == ERR_CORRUPT)
        err.kind = ERR_FATAL;
    lose(s, &err);
}

/* ---- sending ---- */

static void send_arm(struct session *s, struct buf *out)
{
    wire_command(out, "WATCH", s->conf.position_key, NULL);
    position_put_check(out, s->conf.position_key);
    expect_one(s, STEP_OK);
    expect_one(s, STEP_CHECK);
    s->arm = ARM_SENT;
}

/* Sends the EXEC that is due, and arms the batch behind it. */
static void send_exec(struct session *s)
{
    struct buf out;

    if (s->arm != ARM_OK || s->next == NULL || s->probing)
        return;
    buf_init(&out);
    wire_command(&out, "EXEC", NULL);
    expect_one(s, STEP_EXEC);
    s->running = s->next;
    s->running_cmd_cnt = s->next_cmd_cnt;
    s->next = NULL;
    send_arm(s, &out);
    net_write(s->net, buf_data(&out), out.len);
    buf_release(&out);
}

static void send_probe(struct session *s, uint32_t db)
{
    struct buf out;

    buf_init(&out);
    wire_select(&out, db);
    wire_select(&out, s->conf.position_db);
    expect_one(s, STEP_PROBE);
    expect_one(s, STEP_OK);
    s->probing = true;
    net_write(s->net, buf_data(&out), out.len);
    buf_release(&out);
}

void session_submit(struct session *s, struct batch *b)
{
    /* A SELECT that fails inside MULTI would let the commands behind it run elsewhere. */
    if (b->max_db > s->known_db)
        send_probe(s, b->max_db);
    batch_select(b, s->conf.position_db);
    position_put_write(&b->bytes, s->conf.position_key, &b->position);
    s->next = b;
    s->next_cmd_cnt = b->cmd_cnt + 1;
    expect_one(s, STEP_OK);
    expect(s, &(struct step){.kind = STEP_QUEUED, .left = s->next_cmd_cnt});
    net_write(s->net, buf_data(&b->bytes), b->bytes.len);
    send_exec(s);
}

void session_call(struct session *s, const struct buf *cmds, size_t cnt,
                  void (*cb)(void *arg, size_t index, const struct reply *reply), void *arg)
{
    expect(s, &(struct step){.kind = STEP_CALL, .left = cnt, .cb = cb, .arg = arg});
    net_write(s->net, buf_data(cmds), cmds->len);
}

bool session_has_room(const struct session *s)
{
    return !s->ended && s->arm != ARM_NONE && s->next == NULL;
}

bool session_is_idle(const struct session *s)
{
    return !s->ended && s->arm != ARM_NONE && s->next == NULL && s->running == NULL;
}

/* ---- replies ---- */

static void say_refused(struct session *s, const struct refusal *r)
{
    end(s);
    s->ev.refused(s->arg, r);
}

static void on_position(struct session *s, const struct reply *reply)
{
    struct position_text value[POSITION_FIELDS];
    struct position pos;
    struct err err;
    struct buf out;

    position_init(&pos);
    if (reply->type != REPLY_ARRAY || reply->cnt != POSITION_FIELDS ||
        reply->node_cnt != POSITION_FIELDS + 1) {
        (void)err_set(&err, ERR_FATAL, 0, "target: unexpected reply to HMGET");
        lose(s, &err);
        return;
    }
    reply_texts(reply, 1, value, POSITION_FIELDS);
    if (position_parse(value, POSITION_FIELDS, &pos, &err) != 0) {
        lose(s, &err);
        return;
    }
    position_copy(&s->expected, &pos);
    position_release(&pos);
    if (s->expected.halted[0] == 0) {
        buf_init(&out);
        send_arm(s, &out);
        net_write(s->net, buf_data(&out), out.len);
        buf_release(&out);
    }
    s->ev.ready(s->arg, &s->expected);
}

static void on_check(struct session *s, const struct reply *reply)
{
    struct position_text value[POSITION_CHECKS];

    if (reply->type != REPLY_ARRAY || reply->node_cnt != POSITION_CHECKS + 1) {
        struct err err;

        (void)err_set(&err, ERR_FATAL, 0, "target: unexpected reply to HMGET");
        lose(s, &err);
        return;
    }
    reply_texts(reply, 1, value, POSITION_CHECKS);
    if (!position_is(&s->expected, value, POSITION_CHECKS)) {
        end(s);
        s->ev.fenced(s->arg);
        return;
    }
    s->arm = ARM_OK;
    if (s->next != NULL) {
        send_exec(s);
        if (s->next == NULL)
            s->ev.room(s->arg);
    }
}

/* The value of an INFO field, cut to fit; "" when it is not there. */
static void info_field(const struct reply *reply, const char *name, char *out, size_t size)
{
    const char *text = reply->node[0].p;
    const char *p = memmem(text, reply->node[0].len, name, strlen(name));

    out[0] = 0;
    if (p == NULL)
        return;
    p += strlen(name);
    for (size_t i = 0;
         i + 1 < size && p + i < text + reply->node[0].len && p[i] > ' ' && p[i] <= '~'; i++) {
        out[i] = p[i];
        out[i + 1] = 0;
    }
}

static void on_info(struct session *s, const struct reply *reply)
{
    if (reply->type != REPLY_STRING)
        return; /* not allowed to ask: then the newest is assumed */
    info_field(reply, "redis_version:", s->version, sizeof(s->version));
    info_field(reply, "master_replid:", s->replid, sizeof(s->replid));
    s->major = (unsigned)strtoul(s->version, NULL, 10);
}

static void on_queued(struct session *s, const struct step *step, const struct reply *reply)
{
    if (reply->is_queued || s->queue_failed)
        return;
    s->queue_failed = true;
    s->queue_failed_cmd = step->done;
    (void)snprintf(s->queue_error, sizeof(s->queue_error), "%s",
                   reply->type == REPLY_ERROR ? reply->error : "unexpected reply");
}

/* EXEC was refused as a whole: nothing of the batch was applied. */
static void on_exec_error(struct session *s, const struct reply *reply)
{
    const char *text = s->queue_failed ? s->queue_error : refuse_cause(reply->error);
    enum err_kind kind = refuse_kind(text);

    if (kind == ERR_CORRUPT) {
        say_refused(s, &(struct refusal){.batch = s->running,
                                         .cmd = s->queue_failed ? s->queue_failed_cmd
                                                                : s->running->cmd_cnt,
                                         .text = text,
                                         .cnt = 1,
                                         .applied = false});
        return;
    }
    lose_to_error(s, "the batch", text);
}

static void on_exec(struct session *s, const struct reply *reply)
{
    struct batch *b = s->running;

    if (reply->type == REPLY_ERROR) {
        on_exec_error(s, reply);
        return;
    }
    if (reply->type == REPLY_NIL) {
        end(s);
        s->ev.fenced(s->arg);
        return;
    }
    if (reply->error_cnt != 0 || reply->cnt != s->running_cmd_cnt || s->queue_failed) {
        say_refused(
            s, &(struct refusal){.batch = b,
                                 .cmd = reply->error_cnt != 0 ? reply->error_at : b->cmd_cnt,
                                 .text = reply->error_cnt != 0
                                             ? reply->error
                                             : "EXEC gave another number of replies",
                                 .cnt = reply->error_cnt,
                                 .applied = true});
        return;
    }
    s->running = NULL;
    position_copy(&s->expected, &b->position);
    if (b->max_db > s->known_db)
        s->known_db = b->max_db;
    s->ev.applied(s->arg, b);
}

/* The target has not that many databases. */
static void on_probe(struct session *s, const struct reply *reply)
{
    s->probing = false;
    if (reply->type != REPLY_ERROR) {
        send_exec(s);
        return;
    }
    if (refuse_kind(reply->error) != ERR_CORRUPT)
        lose_to_error(s, "SELECT", reply->error);
    else
        say_refused(
            s,
            &(struct refusal){
                .batch = s->next, .cmd = 0, .text = reply->error, .cnt = 1, .applied = false});
}

static const char *step_name(enum step_kind kind)
{
    switch (kind) {
    case STEP_AUTH:
        return "AUTH";
    case STEP_POSITION:
    case STEP_CHECK:
        return "HMGET of the position";
    case STEP_CALL:
        return "a query";
    default:
        return "a command";
    }
}

static void on_reply(struct session *s, const struct step *step, const struct reply *reply)
{
    bool is_error = reply->type == REPLY_ERROR;
    bool may_fail = step->kind == STEP_INFO || step->kind == STEP_QUEUED ||
                    step->kind == STEP_EXEC || step->kind == STEP_PROBE;

    if (is_error && step->kind == STEP_AUTH) {
        struct err err;

        (void)err_set(&err, ERR_AUTH, 0, "target refuses AUTH: %s", reply->error);
        lose(s, &err);
        return;
    }
    if (is_error && !may_fail) {
        lose_to_error(s, step_name(step->kind), reply->error);
        return;
    }
    switch (step->kind) {
    case STEP_AUTH:
    case STEP_OK:
        break;
    case STEP_INFO:
        on_info(s, reply);
        break;
    case STEP_POSITION:
        on_position(s, reply);
        break;
    case STEP_CHECK:
        on_check(s, reply);
        break;
    case STEP_PROBE:
        on_probe(s, reply);
        break;
    case STEP_QUEUED:
        on_queued(s, step, reply);
        break;
    case STEP_EXEC:
        on_exec(s, reply);
        break;
    case STEP_CALL:
        step->cb(step->arg, step->done, reply);
        break;
    }
}

/* Takes every whole reply that has come. */
static void take_replies(struct session *s)
{
    while (!s->ended) {
        const struct reply *reply;
        struct step *first = &s->step[s->step_head];
        struct step step;
        struct err err;
        int rc;

        replies_expect(s->replies,
                       s->step_cnt != 0 && is_full(first->kind) ? REPLY_FULL : REPLY_LEAN);
        rc = replies_next(s->replies, &reply, &err);
        if (rc > 0 && s->step_cnt == 0)
            rc = err_set(&err, ERR_FATAL, 0, "target: a reply to nothing");
        if (rc < 0)
            lose(s, &err);
        if (rc <= 0)
            return;
        step = *first;
        first->done++;
        if (--first->left == 0) {
            s->step_head = (s->step_head + 1) % s->step_cap;
            s->step_cnt--;
        }
        on_reply(s, &step, reply);
    }
}

/* ---- the connection ---- */

static void on_up(void *arg)
{
    struct session *s = arg;
    const struct session_conf *c = &s->conf;
    struct buf out;

    buf_init(&out);
    if (c->password != NULL && c->password[0] != 0) {
        if (c->username != NULL && c->username[0] != 0)
            wire_command(&out, "AUTH", c->username, c->password, NULL);
        else
            wire_command(&out, "AUTH", c->password, NULL);
        expect_one(s, STEP_AUTH);
    }
    wire_command(&out, "INFO", NULL);
    expect_one(s, STEP_INFO);
    wire_select(&out, c->position_db);
    expect_one(s, STEP_OK);
    position_put_read(&out, c->position_key);
    expect_one(s, STEP_POSITION);
    net_write(s->net, buf_data(&out), out.len);
    buf_release(&out);
}

static void on_failed(void *arg, const struct err *err)
{
    lose(arg, err);
}

static void on_readable(void *arg)
{
    struct session *s = arg;

    for (unsigned i = 0; i < READS_MAX && !s->ended; i++) {
        struct err err;
        ptrdiff_t got = net_read(s->net, s->input, sizeof(s->input), &err);

        if (got == 0)
            return;
        if (got < 0) {
            lose(s, &err);
            return;
        }
        replies_feed(s->replies, s->input, (size_t)got);
        take_replies(s);
    }
}

struct session *session_new(uv_loop_t *loop, const struct session_conf *conf,
                            const struct session_events *events, void *arg)
{
    static const struct net_events net_events = {
        .up = on_up, .failed = on_failed, .readable = on_readable};
    struct session *s = xcalloc(1, sizeof(*s));
    struct net_conf net = {.addr = conf->addr,
                           .tls = conf->tls,
                           .server_name = conf->server_name,
                           .connect_timeout_ms = conf->connect_timeout_ms};

    s->conf = *conf;
    s->ev = *events;
    s->arg = arg;
    s->known_db = conf->position_db;
    s->major = 99;
    position_init(&s->expected);
    s->replies = replies_new();
    s->step_cap = 32;
    s->step = xcalloc(s->step_cap, sizeof(*s->step));
    s->net = net_new(loop, &net, &net_events, s);
    return s;
}

void session_free(struct session *s)
{
    if (s == NULL)
        return;
    net_free(s->net);
    replies_free(s->replies);
    position_release(&s->expected);
    free(s->step);
    free(s);
}

const char *session_target_replid(const struct session *s)
{
    return s->replid;
}

const char *session_target_version(const struct session *s)
{
    return s->version;
}

bool session_has_functions(const struct session *s)
{
    return s->major >= 7;
}
