/*
 * link_priv - what the files link*.c share; for nobody else.
 *
 * Rule of re-entrancy: a callback of the owner may start, stop, pause or acknowledge. So state,
 * and what was taken from the buffer, are up to date before a callback, and after it nothing is
 * touched unless `gen` is still the same.
 */
#ifndef JOURNAL_LINK_PRIV_H
#define JOURNAL_LINK_PRIV_H

#include "common/err.h"
#include "common/net.h"
#include "journal/src/link.h"
#include "journal/src/reply.h"

#define LINK_BUF_SIZE (256U << 10)

/* In the order in which they are gone through. */
enum link_state {
    LINK_STOPPED,
    LINK_WAITING,     /* for the next attempt */
    LINK_ASK_CONNECT, /* a Sentinel: connecting */
    LINK_ASK_AUTH,
    LINK_ASK_MASTER,
    LINK_CONNECT, /* the Redis: connecting */
    LINK_PING,    /* from here on: the reply to ... is awaited */
    LINK_AUTH,
    LINK_COMMAND,
    LINK_ROLE,
    LINK_CAPA,
    LINK_PSYNC,
    LINK_SNAPSHOT,
    LINK_STREAM,
};

struct link {
    uv_loop_t *loop;
    struct link_events ev;
    void *arg;

    /* The configuration, owned. */
    struct net_addr redis;
    struct net_addr *sentinels;
    size_t sentinel_cnt;
    char *master_name, *username, *password, *sentinel_username, *sentinel_password;
    char *server_name;
    char *acl; /* the line that gives the user its rights */
    struct net_tls *tls;
    int64_t connect_timeout_ms, timeout_ms, retry_min_ms, retry_max_ms;

    enum link_state state;
    uint64_t gen; /* changes whenever the connection does */
    struct net *net;
    bool paused;
    uv_timer_t retry_timer, silence_timer, ack_timer;
    unsigned open_handles;

    /* Received and not yet consumed: buf[off, len). */
    uint8_t *buf;
    size_t size, off, len;

    int64_t backoff_ms; /* before the next attempt; 0: retry_min_ms */
    uint64_t rng;
    size_t sentinel;  /* index of the one to ask */
    size_t asked_cnt; /* Sentinels asked in this attempt */
    bool name_known;  /* one of them was not answered with "no such master" */

    struct reply_value value;
    struct reply_line line;
    struct reply_snapshot snapshot;

    char asked_replid[REPLY_ID + 1]; /* empty: `PSYNC ? -1` */
    uint64_t asked_lsn;
    uint64_t phase_bytes; /* of the snapshot or stream, on this connection */
    uint64_t last_rx_ms;  /* by uv_now() */
    uint64_t ack_lsn;     /* 0: not told on this connection */
    bool ack_fast;        /* a snapshot ended and no byte of stream came since */

    struct link_stats stats;
};

/* ---- link.c ---- */

/* Begins a connection to `addr` and enters `state`. */
void link_connect(struct link *l, const struct net_addr *addr, enum link_state state);
/* Closes the connection, arms the retry, tells the owner. */
void link_fail(struct link *l, const struct err *err);
/* Sends one command of `cnt` arguments. */
void link_send(struct link *l, size_t cnt, const char *const *argv);
/* The answer to PSYNC came. */
void link_continued(struct link *l, const char *replid);
void link_full_resync(struct link *l, const char *replid, uint64_t lsn);

/* ---- link_sentinel.c: states LINK_ASK_* ---- */

void sentinel_begin(
    struct link *l); /* starts an attempt with the Sentinel that answered last */
void sentinel_connected(struct link *l);
void sentinel_reply(struct link *l, const struct redisReply *r);
/* This Sentinel is of no use: asks the next, or gives the attempt up. */
void sentinel_failed(struct link *l, const struct err *err);

/* ---- link_handshake.c: states LINK_PING .. LINK_PSYNC ---- */

void handshake_begin(struct link *l);
void handshake_reply(struct link *l, const struct redisReply *r);
void handshake_psync_line(struct link *l, const char *line);
/* Name of the command whose reply is awaited. */
const char *handshake_cmd(enum link_state state);

#endif
