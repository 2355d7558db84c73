/*
 * session - one connection to the target: fenced batches in a pipeline, and plain calls.
 *
 * Each batch is
 *     WATCH position, HMGET position …          ("armed")
 *     MULTI, the commands, HSET position …      ("filled")
 *     EXEC
 * and its EXEC is sent only when the reply to the EXEC before and the position that HMGET read
 * are checked. WATCH alone would not fence: it does not see what was written before it. What
 * can be sent ahead is sent ahead, so that the target always has the next batch's commands
 * while it runs the one before.
 *
 * A session ends once, by `lost`, `fenced` or `refused`; then only session_free() may follow (but
 * not from within the event). How far the target came is then only to be known by reading the
 * position again, with a new session.
 */
#ifndef APPLIER_SESSION_H
#define APPLIER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/net.h"

struct batch;
struct buf;
struct err;
struct position;
struct reply;
struct session;

struct session_conf {
    struct net_addr addr;
    struct net_tls *tls;     /* NULL: none */
    const char *server_name; /* of the certificate; NULL: addr.host */
    const char *username;    /* NULL or "": the default user */
    const char *password;    /* NULL: no AUTH */
    uint32_t position_db;
    const char *position_key;
    int64_t connect_timeout_ms;
};

/* A command of a batch that the target did not take. */
struct refusal {
    const struct batch *batch;
    size_t cmd;       /* index; batch->cmd_cnt: the write of the position */
    const char *text; /* the target's error */
    size_t cnt;       /* commands that failed */
    bool applied;     /* the batch's other commands and its position were applied */
};

struct session_events {
    /* Connected and logged in, and the position is read: borrowed for the call. Where it is halted
     * there is no room for batches, only for session_call(). */
    void (*ready)(void *arg, const struct position *pos);
    /* EXEC applied the batch; it is the caller's again. */
    void (*applied)(void *arg, struct batch *b);
    /* session_has_room() became true. */
    void (*room)(void *arg);
    /* ERR_AGAIN: connection lost or the target can't take writes now; AUTH: it refuses us;
     * CORRUPT: the position is unreadable; FATAL: it does not speak as a Redis does. */
    void (*lost)(void *arg, const struct err *err);
    /* Somebody else wrote the position. */
    void (*fenced)(void *arg);
    void (*refused)(void *arg, const struct refusal *r);
};

/* Starts to connect. The strings of *conf must live as long as the session. */
struct session *session_new(uv_loop_t *loop, const struct session_conf *conf,
                            const struct session_events *events, void *arg);
void session_free(struct session *s);
/* Closes the connection: no event and no reply follows, only session_free() may. Allowed from
 * within an event. */
void session_end(struct session *s);

/* Whether session_submit() is allowed: at most one batch waits behind the one being applied. */
bool session_has_room(const struct session *s);
/* No batch is on its way. */
bool session_is_idle(const struct session *s);
/*
 * Sends a complete batch; batch->position is what the target will have behind it. The batch's
 * bytes get the write of the position added; it must stay until `applied`, or until the session
 * ended.
 */
void session_submit(struct session *s, struct batch *b);

/*
 * Sends plain commands (`cnt` of them), in the position's database; they must leave it selected.
 * Only while the session is idle, or halted. `cb` gets each reply in order, `index` from 0; a reply that is
 * an error ends the session instead.
 */
void session_call(struct session *s, const struct buf *cmds, size_t cnt,
                  void (*cb)(void *arg, size_t index, const struct reply *reply), void *arg);

/* What INFO said: "7.0.15"; "" before `ready`. */
const char *session_target_version(const struct session *s);
/* Its own replication id, "" if it does not tell. */
const char *session_target_replid(const struct session *s);
/* The target has functions (Redis 7). */
bool session_has_functions(const struct session *s);

#endif
