/* net_priv - what net.c (sockets) and net_tls.c share; for nobody else. */
#ifndef COMMON_NET_PRIV_H
#define COMMON_NET_PRIV_H

#include "common/buf.h"
#include "common/err.h"
#include "common/net.h"

#include <openssl/ssl.h>

/*
 * How bytes move. A call that would block gives 0 and sets the want_* flag of its direction when
 * the socket must become ready in the *other* one (TLS). -1: broken, *err says how. A write may
 * be partial, and after 0 the same bytes are offered again, perhaps from another address.
 */
struct net_ops {
    int (*handshake)(struct net *n, struct err *err); /* 1: done; else as above */
    ptrdiff_t (*read)(struct net *n, uint8_t *buf, size_t size, struct err *err);
    ptrdiff_t (*write)(struct net *n, const uint8_t *data, size_t len, struct err *err);
    bool (*pending)(const struct net *n); /* bytes that no poll of the socket would show */
    void (*release)(struct net *n);
};

enum net_state { NET_RESOLVING, NET_CONNECTING, NET_HANDSHAKE, NET_UP, NET_FAILED };

struct net_resolve;

struct net {
    uv_loop_t *loop;
    struct net_events ev;
    void *arg;
    const struct net_ops *ops;
    struct net_addr addr;
    char server_name[NET_HOST_MAX + 1];
    char peer[NET_PEER_MAX];
    int64_t connect_timeout_ms;
    uint64_t deadline_ms; /* by uv_now(), of the whole attempt */

    enum net_state state;
    bool reading;          /* the owner wants `readable` */
    bool read_wants_write; /* the last read (or handshake) waits for the socket to take bytes */
    bool write_wants_read; /* the last write waits for bytes to come */
    bool broken;           /* libuv stopped to poll: the socket has an error */
    bool write_failed;     /* write_err is told when nothing is left to read */
    bool dead;             /* net_free() was called inside a callback */
    unsigned busy;         /* callbacks running */
    struct err write_err;

    int fd;                       /* -1: none */
    int mask;                     /* what uv_poll watches */
    uv_poll_t *poll;              /* freed by its own close callback, as is the timer */
    uv_timer_t *timer;            /* deadline before `up`, then: raise readable soon */
    struct net_resolve *resolve;  /* running query, or NULL */
    struct addrinfo *list, *next; /* addresses; those from `next` on were not tried yet */
    struct buf out;

    SSL_CTX *ctx; /* a counted reference, NULL: no TLS */
    SSL *ssl;
    BIO_METHOD *bio_method;
    int tls_sys; /* errno of the socket's last failure under TLS; 0: closed by the peer */
    struct err tls_err; /* kind other than NONE: a fatal error that read already met */
};

extern const struct net_ops net_plain_ops;
extern const struct net_ops net_tls_ops;

SSL_CTX *net_tls_ctx(const struct net_tls *t); /* a new reference */
/* Prepares the handshake on n->fd. -1: broken. */
int net_tls_begin(struct net *n, struct err *err);

#endif
