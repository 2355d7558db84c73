/*
 * link - the replica side of PSYNC: connects to a Redis, logs in, asks for the stream from an
 * offset, and delivers the snapshot's and the stream's bytes. It keeps no position of the log:
 * what is durable is told to it (link_ack).
 *
 * Handshake, reply forms and traps: Redis replication.c (syncWithMaster, PSYNC); see README.md.
 * Announces no port. Sends `capa eof capa psync2` only.
 */
#ifndef JOURNAL_LINK_H
#define JOURNAL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct cmd_table;
struct err;
struct link;

struct link_conf {
    const char *redis;      /* host:port, [v6]:port or unix:/path; unused with sentinels */
    char *const *sentinels; /* host:port each */
    size_t sentinel_cnt;
    const char *master_name; /* asked from the sentinels */
    const char *username;    /* NULL: default user */
    const char *password;    /* NULL: no AUTH */
    const char *sentinel_username, *sentinel_password;
    bool tls;
    const char *tls_ca, *tls_cert, *tls_key; /* files; NULL: the system's CAs, no client cert */
    const char *tls_server_name;             /* verified name; NULL: the host */
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* silence after which the link counts as dead (repl-timeout) */
    int64_t retry_min_ms, retry_max_ms; /* back-off between attempts, with jitter */
};

/* What the link reports. All calls come from the loop; none may call link_free(). Data is
 * borrowed for the call. */
struct link_events {
    /* +CONTINUE: the stream goes on behind the asked LSN. `replid` may be a new one. */
    void (*continued)(void *arg, const char *replid);
    /* +FULLRESYNC: a snapshot follows; the stream goes on behind `lsn`. */
    void (*snapshot_begin)(void *arg, const char *replid, uint64_t lsn);
    void (*snapshot_data)(void *arg, const uint8_t *data, size_t len);
    /* The transfer is complete by its own framing ($len or the EOF mark); whether the RDB is
     * whole is the walker's to say. */
    void (*snapshot_end)(void *arg);
    void (*stream_data)(void *arg, const uint8_t *data, size_t len);
    /* The connection is gone, or an attempt failed. kind AGAIN: retried by itself after
     * `retry_ms`; the owner is asked again from where through `where`. kind AUTH or INPUT: still
     * retried (a password may be rotated), but say it loudly. */
    void (*down)(void *arg, const struct err *err, int64_t retry_ms);
    /* Called before PSYNC is sent: fills what to ask for. NULL replid: `PSYNC ? -1`. `lsn` is
     * the position behind the last byte that is known; `PSYNC replid lsn+1` goes out. */
    void (*where)(void *arg, const char **replid, uint64_t *lsn);
    /* The server's COMMAND table, each time it was read; the callee owns it. NULL: the server
     * refused COMMAND. Comes before `where`. */
    void (*commands)(void *arg, struct cmd_table *table);
};

struct link_stats {
    bool up;           /* the stream or a snapshot is flowing */
    uint64_t rx_bytes; /* since the start */
    uint64_t attempts, connects;
    uint64_t source_lsn; /* 0: unknown */
    char peer[300];      /* host:port in use */
};

/* Copies *conf. Does nothing until link_start(). -1: TLS files unreadable, address malformed. */
int link_new(uv_loop_t *loop, const struct link_conf *conf, const struct link_events *ev,
             void *arg, struct link **out, struct err *err);
/* Closes the socket at once; the memory goes when the loop closed the handles. NULL allowed. */
void link_free(struct link *l);

/* (Re)connects now; an open connection is closed first, without `down`. */
void link_start(struct link *l);
/* Closes and stays closed until link_start(). No event. */
void link_stop(struct link *l);

/* Stops and resumes reading: no data event comes while paused, the connection stays (ACKs and
 * keep-alives go on). Idempotent. */
void link_pause(struct link *l);
void link_resume(struct link *l);

/*
 * The durable LSN of *this connection's* stream: the link sends `REPLCONF ACK` with it at once
 * when `now` is set, and by itself at least once a second (every 100 ms until the first byte of
 * stream after a snapshot: the first ACKs may be ignored). It is 0 after every (re)connection, and
 * during a snapshot, until this is called. Never goes back on one connection (asserted).
 */
void link_ack(struct link *l, uint64_t durable_lsn, bool now);

void link_get_stats(const struct link *l, struct link_stats *out);

#endif
