/* link_sentinel - asks the Sentinels, one after the other, where the master is. */
#include "journal/src/link_priv.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#define SEND(l, ...)                                                                           \
    link_send(l, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *),            \
              (const char *const[]){__VA_ARGS__})

static void send_question(struct link *l)
{
    l->state = LINK_ASK_MASTER;
    SEND(l, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", l->master_name);
}

void sentinel_begin(struct link *l)
{
    l->asked_cnt = 0;
    l->name_known = false;
    link_connect(l, &l->sentinels[l->sentinel], LINK_ASK_CONNECT);
}

void sentinel_connected(struct link *l)
{
    if (l->sentinel_password == NULL) {
        send_question(l);
        return;
    }
    l->state = LINK_ASK_AUTH;
    if (l->sentinel_username != NULL)
        SEND(l, "AUTH", l->sentinel_username, l->sentinel_password);
    else
        SEND(l, "AUTH", l->sentinel_password);
}

void sentinel_failed(struct link *l, const struct err *last)
{
    struct err err = *last;

    if (err.kind != ERR_INPUT)
        l->name_known = true;
    l->asked_cnt++;
    l->sentinel = (l->sentinel + 1) % l->sentinel_cnt;
    if (l->asked_cnt < l->sentinel_cnt) {
        link_connect(l, &l->sentinels[l->sentinel], LINK_ASK_CONNECT);
        return;
    }
    /* A wrong name is the user's mistake only when every Sentinel says so. */
    if (err.kind == ERR_INPUT && l->name_known)
        err.kind = ERR_AGAIN;
    if (l->sentinel_cnt > 1)
        err_wrap(&err, "none of %zu Sentinels names the master, the last one", l->sentinel_cnt);
    link_fail(l, &err);
}

static bool parse_answer(const struct redisReply *r, struct net_addr *out)
{
    struct err ignored;
    char text[NET_PEER_MAX];
    const char *host;

    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || r->element[0]->str == NULL ||
        r->element[1]->str == NULL || r->element[0]->len > NET_HOST_MAX ||
        r->element[1]->len > 8)
        return false;
    host = r->element[0]->str;
    (void)snprintf(text, sizeof(text), strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
                   r->element[1]->str);
    return net_addr_parse(text, 0, out, &ignored) == 0 && !out->is_unix;
}

void sentinel_reply(struct link *l, const struct redisReply *r)
{
    struct net_addr master;
    struct err err;

    if (l->state == LINK_ASK_AUTH && r->type == REDIS_REPLY_STATUS) {
        send_question(l);
        return;
    }
    if (l->state == LINK_ASK_MASTER && parse_answer(r, &master)) {
        link_connect(l, &master, LINK_CONNECT);
        return;
    }
    if (r->type == REDIS_REPLY_ERROR) {
        (void)reply_refused(handshake_cmd(l->state), r->str,
                            "ACL SETUSER <user> on +sentinel|get-master-addr-by-name", &err);
        err_wrap(&err, "Sentinel %s", l->stats.peer);
    } else if (r->type == REDIS_REPLY_NIL) {
        err_set(&err, ERR_INPUT, 0, "Sentinel %s knows no master '%s'", l->stats.peer,
                l->master_name);
    } else {
        err_set(&err, ERR_AGAIN, 0, "Sentinel %s: unexpected reply to %s", l->stats.peer,
                handshake_cmd(l->state));
    }
    sentinel_failed(l, &err);
}
