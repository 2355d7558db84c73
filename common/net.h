/*
 * net - one outgoing stream connection: TCP, unix socket or TLS over TCP, behind the same calls.
 * Never blocks the loop; never raises SIGPIPE.
 *
 * What was received before a connection broke can always be read: an error of writing is told
 * only by net_read(), and only when nothing is left to read.
 */
#ifndef COMMON_NET_H
#define COMMON_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct err;
struct net;
struct net_tls;

#define NET_HOST_MAX 255
#define NET_PEER_MAX 300 /* room for net_addr_format() */

struct net_addr {
    bool is_unix;
    uint16_t port;               /* 0 for a unix socket */
    char host[NET_HOST_MAX + 1]; /* name or numeric address, without brackets; or the path */
};

/* From "host:port", "[v6]:port", a bare "host" with `default_port` (0: refused), or
 * "unix:/path". -1 with ERR_INPUT. */
int net_addr_parse(const char *text, uint16_t default_port, struct net_addr *out,
                   struct err *err);
/* As net_addr_parse() reads it. */
void net_addr_format(const struct net_addr *a, char *out, size_t size);

struct net_tls_conf {
    const char *ca;         /* PEM file; NULL: the system's CAs */
    const char *cert, *key; /* PEM files of the client's certificate; both or none */
};

/* Reads the files. -1 with ERR_INPUT that names the file. Always verifies the server. */
int net_tls_new(const struct net_tls_conf *conf, struct net_tls **out, struct err *err);
/* Connections may outlive it. NULL allowed. */
void net_tls_free(struct net_tls *t);

/* Calls come from the loop, never from within net_new() or another call of this header; each may
 * call anything here, net_free() too. */
struct net_events {
    /* Connected, and with TLS: the server's certificate is valid and carries the name. */
    void (*up)(void *arg);
    /* No connection came about. AGAIN: refused, timed out, not resolved, closed in the TLS
     * handshake. INPUT: the certificate was not accepted, or the server speaks no TLS. AUTH: the
     * server refused the client's certificate. Only net_free() may follow. */
    void (*failed)(void *arg, const struct err *err);
    /* There is something to read, or perhaps nothing: call net_read() as often as is fair; what
     * is left unread raises it again. Does not come while reading is off. */
    void (*readable)(void *arg);
};

struct net_conf {
    struct net_addr addr;
    struct net_tls *tls;        /* NULL: none */
    const char *server_name;    /* for SNI and verification; NULL: addr.host */
    int64_t connect_timeout_ms; /* for name, connection and TLS handshake together */
};

/* Starts to connect; every failure comes as `failed`. Reading is on. Everything is copied. */
struct net *net_new(uv_loop_t *loop, const struct net_conf *conf, const struct net_events *ev,
                    void *arg);
/* Closes at once, no event follows. What was written and not yet sent is lost. NULL allowed. */
void net_free(struct net *n);

/*
 * Up to `size` bytes, as many as are there at once. 0: nothing now. -1 with ERR_AGAIN: closed
 * or broken (the message names the peer), or ERR_AUTH: the server refused the client's
 * certificate; nothing will come any more.
 */
ptrdiff_t net_read(struct net *n, void *buf, size_t size, struct err *err);
/* Queues a copy and sends as soon as the peer takes it. Only after `up`. */
void net_write(struct net *n, const void *data, size_t len);
/* Turns `readable` off or on; turning on always raises it once, soon. */
void net_set_reading(struct net *n, bool on);
/* Bytes written and not yet taken by the system. */
size_t net_unsent(const struct net *n);

#endif
