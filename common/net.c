/*
 * net - see net.h. The life of a connection: resolve -> connect (each address in turn) ->
 * handshake -> up. Each handle of libuv is allocated alone and freed by its close callback, so
 * that a struct net can go at once.
 */
#include "common/net.h"
#include "common/mem.h"
#include "common/net_priv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct net_resolve {
    uv_getaddrinfo_t req;
    struct net *n; /* NULL: nobody waits any more */
};

static void try_next_addr(struct net *n, const struct err *last);
static void on_poll(uv_poll_t *poll, int status, int events);

/* ---- plain sockets ---- */

static int plain_handshake(struct net *n, struct err *err)
{
    (void)n;
    (void)err;
    return 1;
}

static ptrdiff_t plain_read(struct net *n, uint8_t *buf, size_t size, struct err *err)
{
    ssize_t got;

    do
        got = recv(n->fd, buf, size, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        return got;
    if (got == 0)
        return err_set(err, ERR_AGAIN, 0, "connection closed by %s", n->peer);
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return 0;
    if (errno == ECONNRESET)
        return err_set(err, ERR_AGAIN, errno, "connection reset by %s", n->peer);
    return err_set(err, ERR_AGAIN, errno, "connection to %s lost: %s", n->peer,
                   strerror(errno));
}

static ptrdiff_t plain_write(struct net *n, const uint8_t *data, size_t len, struct err *err)
{
    ssize_t sent;

    do
        sent = send(n->fd, data, len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return 0;
    return err_set(err, ERR_AGAIN, errno, "write to %s: %s", n->peer, strerror(errno));
}

static bool plain_pending(const struct net *n)
{
    (void)n;
    return false;
}

static void plain_release(struct net *n)
{
    (void)n;
}

const struct net_ops net_plain_ops = {
    .handshake = plain_handshake,
    .read = plain_read,
    .write = plain_write,
    .pending = plain_pending,
    .release = plain_release,
};

/* ---- handles ---- */

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static void close_socket(struct net *n)
{
    if (n->poll != NULL)
        uv_close((uv_handle_t *)n->poll, free_handle);
    n->poll = NULL;
    n->mask = 0;
    n->broken = false;
    n->ops->release(n);
    if (n->fd >= 0)
        (void)close(n->fd);
    n->fd = -1;
}

static void destroy(struct net *n)
{
    buf_release(&n->out);
    SSL_CTX_free(n->ctx);
    free(n);
}

/* The owner's callbacks run between enter() and leave(); net_free() inside waits for leave(),
 * which says whether the connection is still there. */
static void enter(struct net *n)
{
    n->busy++;
}

static bool leave(struct net *n)
{
    n->busy--;
    if (!n->dead)
        return true;
    if (n->busy == 0)
        destroy(n);
    return false;
}

static void fail(struct net *n, const struct err *err)
{
    n->state = NET_FAILED;
    close_socket(n);
    (void)uv_timer_stop(n->timer);
    enter(n);
    n->ev.failed(n->arg, err);
    (void)leave(n);
}

static int wanted_mask(const struct net *n)
{
    int mask = 0;

    switch (n->state) {
    case NET_CONNECTING:
        return UV_WRITABLE;
    case NET_HANDSHAKE:
        return n->read_wants_write ? UV_WRITABLE : UV_READABLE;
    case NET_UP:
        if (n->reading)
            mask |= n->read_wants_write ? UV_WRITABLE | UV_READABLE : UV_READABLE;
        if (n->out.len != 0 && !n->write_failed)
            mask |= n->write_wants_read ? UV_READABLE : UV_WRITABLE;
        return mask;
    case NET_RESOLVING:
    case NET_FAILED:
        break;
    }
    return 0;
}

static void update_mask(struct net *n)
{
    int mask = wanted_mask(n);

    if (n->poll == NULL || n->broken || mask == n->mask)
        return;
    n->mask = mask;
    if (mask == 0)
        (void)uv_poll_stop(n->poll);
    else
        (void)uv_poll_start(n->poll, mask, on_poll);
}

/* ---- up: reading and writing ---- */

static void raise_readable(struct net *n);

static void on_wake(uv_timer_t *timer)
{
    struct net *n = timer->data;

    if (n->state == NET_UP && n->reading)
        raise_readable(n);
}

static void wake_soon(struct net *n)
{
    (void)uv_timer_start(n->timer, on_wake, 0, 0);
}

static void raise_readable(struct net *n)
{
    enter(n);
    n->ev.readable(n->arg);
    if (!leave(n))
        return;
    /* No poll would tell of these. An owner that goes on reading comes to the end: then
     * net_read() fails and the owner frees the connection. */
    if (n->reading && (n->broken || n->write_failed || n->ops->pending(n)))
        wake_soon(n);
    update_mask(n);
}

static void flush_out(struct net *n)
{
    while (n->out.len != 0 && !n->write_failed) {
        ptrdiff_t sent;

        n->write_wants_read = false;
        sent = n->ops->write(n, buf_data(&n->out), n->out.len, &n->write_err);
        if (sent == 0)
            break;
        if (sent < 0) {
            n->write_failed = true;
            if (n->reading)
                wake_soon(n);
            break;
        }
        buf_consume(&n->out, (size_t)sent);
    }
}

static void up(struct net *n)
{
    n->state = NET_UP;
    (void)uv_timer_stop(n->timer);
    enter(n);
    n->ev.up(n->arg);
    if (!leave(n))
        return;
    /* The server's first bytes may have come with the last ones of the handshake. */
    if (n->reading && n->ops->pending(n))
        wake_soon(n);
    update_mask(n);
}

static void step_handshake(struct net *n)
{
    struct err err = {0};
    int rc = n->ops->handshake(n, &err);

    if (rc == 0 && n->broken)
        rc = err_set(&err, ERR_AGAIN, 0, "connection to %s lost", n->peer);
    if (rc < 0)
        fail(n, &err);
    else if (rc > 0)
        up(n);
    else
        update_mask(n);
}

/* ---- connecting ---- */

#define SILENT_MS 30000

/* A peer that vanished says nothing; without these the kernel gives up after 15 minutes (bytes
 * unanswered) or 2 hours (idle). One that is only busy still acknowledges. */
static void set_timeouts(int fd)
{
    int on = 1, idle_s = SILENT_MS / 2000, interval_s = SILENT_MS / 6000, probes = 3;
    unsigned silent_ms = SILENT_MS;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof(silent_ms));
}

static void connected(struct net *n)
{
    struct err err = {0};
    int one = 1, sys = 0;
    socklen_t len = sizeof(sys);

    if (getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0)
        sys = errno;
    if (sys == 0 && n->broken)
        sys = EIO;
    if (sys != 0) {
        err_set(&err, ERR_AGAIN, sys, "connect to %s: %s", n->peer, strerror(sys));
        try_next_addr(n, &err);
        return;
    }
    if (!n->addr.is_unix) {
        (void)setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        set_timeouts(n->fd);
    }
    n->state = NET_HANDSHAKE;
    n->read_wants_write = false;
    if (n->ctx != NULL && net_tls_begin(n, &err) != 0)
        fail(n, &err);
    else
        step_handshake(n);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct net *n = poll->data;

    if (status < 0) {
        /* An error of the socket: libuv gives EBADF and stops. The calls below meet it. */
        n->broken = true;
        n->mask = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (n->state == NET_CONNECTING) {
        connected(n);
        return;
    }
    if (n->state == NET_HANDSHAKE) {
        step_handshake(n);
        return;
    }
    flush_out(n);
    if (n->reading && ((events & UV_READABLE) != 0 || n->read_wants_write))
        raise_readable(n);
    else
        update_mask(n);
}

static void on_deadline(uv_timer_t *timer)
{
    struct net *n = timer->data;
    struct err err;

    err_set(&err, ERR_AGAIN, ETIMEDOUT, "%s %s: no answer within %lld ms",
            n->state == NET_RESOLVING    ? "resolve"
            : n->state == NET_CONNECTING ? "connect to"
                                         : "TLS handshake with",
            n->peer, (long long)n->connect_timeout_ms);
    if (n->state == NET_CONNECTING)
        try_next_addr(n, &err);
    else
        fail(n, &err);
}

/* Gives this address an equal share of the time that is left, so that one black hole among the
 * addresses of a name does not eat it all. */
static void start_deadline(struct net *n)
{
    uint64_t now = uv_now(n->loop), left = n->deadline_ms > now ? n->deadline_ms - now : 0;
    uint64_t share = 1;

    for (struct addrinfo *a = n->next; a != NULL; a = a->ai_next)
        share++;
    (void)uv_timer_start(n->timer, on_deadline, left / share, 0);
}

/* `last`: how the address before this one failed. */
static int open_socket(struct net *n, const struct sockaddr *addr, socklen_t len,
                       struct err *err)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0)
        return err_set(err, ERR_AGAIN, errno, "connect to %s: socket: %s", n->peer,
                       strerror(errno));
    if (connect(fd, addr, len) != 0 && errno != EINPROGRESS) {
        err_set(err, ERR_AGAIN, errno, "connect to %s: %s", n->peer, strerror(errno));
        (void)close(fd);
        return -1;
    }
    n->poll = xcalloc(1, sizeof(*n->poll));
    rc = uv_poll_init(n->loop, n->poll, fd);
    if (rc != 0) {
        free(n->poll);
        n->poll = NULL;
        (void)close(fd);
        return err_set(err, ERR_AGAIN, 0, "connect to %s: %s", n->peer, uv_strerror(rc));
    }
    n->poll->data = n;
    n->fd = fd;
    n->state = NET_CONNECTING;
    start_deadline(n);
    update_mask(n);
    return 0;
}

static void try_next_addr(struct net *n, const struct err *last)
{
    struct err err = *last;

    close_socket(n);
    while (n->next != NULL) {
        const struct addrinfo *a = n->next;

        n->next = a->ai_next;
        if (open_socket(n, a->ai_addr, a->ai_addrlen, &err) == 0)
            return;
    }
    fail(n, &err);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct net_resolve *res = req->data;
    struct net *n = res->n;
    struct err err;

    free(res);
    if (n == NULL || n->state != NET_RESOLVING) {
        if (n != NULL)
            n->resolve = NULL;
        uv_freeaddrinfo(list);
        return;
    }
    n->resolve = NULL;
    n->list = list;
    n->next = list;
    err_set(&err, ERR_AGAIN, 0, "resolve %s: %s", n->peer,
            status != 0 ? uv_strerror(status) : "no address");
    try_next_addr(n, &err);
}

static void resolve(struct net *n)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct net_resolve *res = xcalloc(1, sizeof(*res));
    struct err err;
    char port[8];
    int rc;

    res->n = n;
    res->req.data = res;
    (void)snprintf(port, sizeof(port), "%u", n->addr.port);
    rc = uv_getaddrinfo(n->loop, &res->req, on_resolved, n->addr.host, port, &hints);
    if (rc == 0) {
        n->resolve = res;
        start_deadline(n);
        return;
    }
    free(res);
    err_set(&err, ERR_AGAIN, 0, "resolve %s: %s", n->peer, uv_strerror(rc));
    fail(n, &err);
}

static void on_begin(uv_timer_t *timer)
{
    struct net *n = timer->data;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct err err;

    n->deadline_ms = uv_now(n->loop) + (uint64_t)n->connect_timeout_ms;
    if (!n->addr.is_unix) {
        resolve(n);
        return;
    }
    /* net_addr_parse() refuses a longer path. */
    memcpy(addr.sun_path, n->addr.host, strnlen(n->addr.host, sizeof(addr.sun_path) - 1));
    if (open_socket(n, (const struct sockaddr *)&addr, sizeof(addr), &err) != 0)
        fail(n, &err);
}

/* ---- the public calls ---- */

struct net *net_new(uv_loop_t *loop, const struct net_conf *conf, const struct net_events *ev,
                    void *arg)
{
    struct net *n = xcalloc(1, sizeof(*n));

    n->loop = loop;
    n->ev = *ev;
    n->arg = arg;
    n->addr = conf->addr;
    n->connect_timeout_ms = conf->connect_timeout_ms;
    n->fd = -1;
    n->reading = true;
    n->ops = &net_plain_ops;
    if (conf->tls != NULL) {
        n->ops = &net_tls_ops;
        n->ctx = net_tls_ctx(conf->tls);
    }
    (void)snprintf(n->server_name, sizeof(n->server_name), "%s",
                   conf->server_name != NULL ? conf->server_name : conf->addr.host);
    net_addr_format(&conf->addr, n->peer, sizeof(n->peer));
    buf_init(&n->out);
    n->timer = xcalloc(1, sizeof(*n->timer));
    (void)uv_timer_init(loop, n->timer);
    n->timer->data = n;
    (void)uv_timer_start(n->timer, on_begin, 0, 0);
    return n;
}

void net_free(struct net *n)
{
    if (n == NULL || n->dead)
        return;
    close_socket(n);
    n->state = NET_FAILED;
    uv_close((uv_handle_t *)n->timer, free_handle);
    n->timer = NULL;
    if (n->resolve != NULL) {
        n->resolve->n = NULL;
        (void)uv_cancel((uv_req_t *)&n->resolve->req); /* on_resolved() comes all the same */
        n->resolve = NULL;
    }
    uv_freeaddrinfo(n->list);
    n->list = NULL;
    n->next = NULL;
    n->dead = true;
    if (n->busy == 0)
        destroy(n);
}

ptrdiff_t net_read(struct net *n, void *buf, size_t size, struct err *err)
{
    ptrdiff_t got;

    n->read_wants_write = false;
    got = n->ops->read(n, buf, size, err);
    if (got != 0)
        return got;
    if (n->write_failed) {
        *err = n->write_err;
        return -1;
    }
    if (n->broken)
        return err_set(err, ERR_AGAIN, 0, "connection to %s lost", n->peer);
    return 0;
}

void net_write(struct net *n, const void *data, size_t len)
{
    if (n->state != NET_UP || n->write_failed)
        return;
    buf_append(&n->out, data, len);
    if (n->out.len == len)
        flush_out(n);
    update_mask(n);
}

void net_set_reading(struct net *n, bool on)
{
    if (n->reading == on)
        return;
    n->reading = on;
    if (n->state != NET_UP)
        return;
    if (on)
        wake_soon(n);
    update_mask(n);
}

size_t net_unsent(const struct net *n)
{
    return n->out.len;
}
