/*
 * link_handshake - from PING to PSYNC. Each reply is read before the next command goes out:
 * Redis refuses PSYNC to a client with pending output.
 */
#include "common/cmd.h"
#include "journal/src/link_priv.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SEND(l, ...)                                                                           \
    link_send(l, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *),            \
              (const char *const[]){__VA_ARGS__})

const char *handshake_cmd(enum link_state state)
{
    switch (state) {
    case LINK_PING:
        return "PING";
    case LINK_ASK_AUTH:
    case LINK_AUTH:
        return "AUTH";
    case LINK_ASK_MASTER:
        return "SENTINEL";
    case LINK_COMMAND:
        return "COMMAND";
    case LINK_ROLE:
        return "ROLE";
    case LINK_CAPA:
        return "REPLCONF";
    default:
        return "PSYNC";
    }
}

static void send_psync(struct link *l)
{
    const char *replid = NULL;
    uint64_t gen = l->gen, lsn = 0;
    char text[24];

    l->ev.where(l->arg, &replid, &lsn);
    if (l->gen != gen)
        return;
    l->state = LINK_PSYNC;
    reply_line_init(&l->line);
    l->asked_replid[0] = '\0';
    l->asked_lsn = 0;
    /* An id of another length can be none of Redis': then only a snapshot helps. */
    if (replid == NULL || strlen(replid) != REPLY_ID) {
        SEND(l, "PSYNC", "?", "-1");
        return;
    }
    memcpy(l->asked_replid, replid, REPLY_ID + 1);
    l->asked_lsn = lsn;
    /* PSYNC counts from one: it names the first byte that is wanted. */
    (void)snprintf(text, sizeof(text), "%" PRIu64, lsn + 1);
    SEND(l, "PSYNC", l->asked_replid, text);
}

static void send_auth(struct link *l)
{
    l->state = LINK_AUTH;
    if (l->username != NULL)
        SEND(l, "AUTH", l->username, l->password);
    else
        SEND(l, "AUTH", l->password);
}

static void send_command(struct link *l)
{
    l->state = LINK_COMMAND;
    SEND(l, "COMMAND");
}

static void send_capa(struct link *l)
{
    l->state = LINK_CAPA;
    SEND(l, "REPLCONF", "capa", "eof", "capa", "psync2");
}

void handshake_begin(struct link *l)
{
    l->state = LINK_PING;
    SEND(l, "PING");
}

static void refused(struct link *l, const struct redisReply *r)
{
    struct err err;

    if (r->type == REDIS_REPLY_ERROR)
        (void)reply_refused(handshake_cmd(l->state), r->str, l->acl, &err);
    else
        err_set(&err, ERR_AGAIN, 0, "unexpected reply to %s: '%.100s'", handshake_cmd(l->state),
                r->str != NULL ? r->str : "");
    link_fail(l, &err);
}

/* Errors that only say "not without a login" or "not PING" are no reason to stop: a user needs
 * no right to PING. */
static void on_ping(struct link *l, const struct redisReply *r)
{
    bool is_error = r->type == REDIS_REPLY_ERROR;
    bool needs_login = is_error && (strncmp(r->str, "NOAUTH", 6) == 0 ||
                                    strcasestr(r->str, "operation not permitted") != NULL);

    if ((is_error && !needs_login && strncmp(r->str, "NOPERM", 6) != 0) ||
        (!is_error && r->type != REDIS_REPLY_STATUS) || (needs_login && l->password == NULL))
        refused(l, r);
    else if (l->password != NULL)
        send_auth(l);
    else
        send_command(l);
}

/* Errors that pass by themselves. */
static bool is_transient(const char *text)
{
    return strncmp(text, "LOADING", 7) == 0 || strncmp(text, "BUSY", 4) == 0 ||
           strncmp(text, "MASTERDOWN", 10) == 0;
}

static void on_command(struct link *l, const struct redisReply *r)
{
    uint64_t gen = l->gen;

    if (r->type == REDIS_REPLY_ERROR &&
        (is_transient(r->str) || strncmp(r->str, "NOAUTH", 6) == 0)) {
        refused(l, r);
        return;
    }
    l->ev.commands(l->arg, r->type == REDIS_REPLY_ARRAY ? cmd_table_new(r) : NULL);
    if (l->gen != gen)
        return;
    if (l->sentinel_cnt == 0) {
        send_capa(l);
        return;
    }
    l->state = LINK_ROLE;
    SEND(l, "ROLE");
}

static void on_role(struct link *l, const struct redisReply *r)
{
    struct err err;
    const char *role;

    if (r->type != REDIS_REPLY_ARRAY || r->elements == 0 || r->element[0]->str == NULL) {
        refused(l, r);
        return;
    }
    role = r->element[0]->str;
    if (strcmp(role, "master") == 0) {
        send_capa(l);
        return;
    }
    /* A Sentinel that was cut off, or a failover that is not over: the next one may know. */
    l->sentinel = (l->sentinel + 1) % l->sentinel_cnt;
    err_set(&err, ERR_AGAIN, 0, "%s is no master but a '%.20s', though a Sentinel names it",
            l->stats.peer, role);
    link_fail(l, &err);
}

void handshake_reply(struct link *l, const struct redisReply *r)
{
    bool ok = r->type == REDIS_REPLY_STATUS;

    if (l->state == LINK_PING)
        on_ping(l, r);
    else if (l->state == LINK_AUTH && ok)
        send_command(l);
    else if (l->state == LINK_COMMAND)
        on_command(l, r);
    else if (l->state == LINK_ROLE)
        on_role(l, r);
    else if (l->state == LINK_CAPA && ok)
        send_psync(l);
    else
        refused(l, r);
}

void handshake_psync_line(struct link *l, const char *line)
{
    struct reply_psync r;
    struct err err;

    if (reply_psync_parse(line, l->acl, &r, &err) != 0) {
        link_fail(l, &err);
    } else if (r.full) {
        link_full_resync(l, r.replid, r.lsn);
    } else if (l->asked_replid[0] == '\0') {
        err_set(&err, ERR_AGAIN, 0, "unexpected reply to 'PSYNC ? -1': '%.100s'", line);
        link_fail(l, &err);
    } else {
        link_continued(l, r.replid[0] != '\0' ? r.replid : l->asked_replid);
    }
}
