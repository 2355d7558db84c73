/*
 * http - a small HTTP server on the program's loop.
 *
 * libmicrohttpd has one epoll descriptor for all of its sockets, which the loop watches; a timer
 * covers what becomes due without an event (idle connections). Both call MHD_run().
 */
#include "common/http.h"
#include "common/err.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define IDLE_TIMEOUT_S  30
#define BACKLOG         64
#define HOST_SIZE       256

struct http {
    struct MHD_Daemon *mhd;
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    http_handler handler;
    void *arg;
    char address[HOST_SIZE + 16];
};

/* What is kept of one request between libmicrohttpd's calls. */
struct request {
    struct buf body;
    bool too_large;
};

/* ---- addresses ---- */

struct listen_address {
    char host[HOST_SIZE]; /* empty: all addresses */
    char port[8];
};

static int bad_listen(const char *listen, struct err *err)
{
    return err_set(err, ERR_INPUT, 0,
                   "'%s' is no address to listen on; allowed: host:port, [ipv6]:port, :port",
                   listen);
}

static int parse_listen(const char *listen, struct listen_address *out, struct err *err)
{
    const char *colon = strrchr(listen, ':');
    const char *host = listen;
    size_t host_len, digits;

    if (colon == NULL)
        return bad_listen(listen, err);
    host_len = (size_t)(colon - listen);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    } else if (memchr(host, ':', host_len) != NULL) {
        return bad_listen(listen, err);
    }
    digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' || atol(colon + 1) > 65535 ||
        host_len >= sizeof(out->host))
        return bad_listen(listen, err);
    if (host_len == 1 && *host == '*')
        host_len = 0;
    memcpy(out->host, host, host_len);
    out->host[host_len] = '\0';
    (void)snprintf(out->port, sizeof(out->port), "%s", colon + 1);
    return 0;
}

int http_listen_check(const char *listen, struct err *err)
{
    struct listen_address a;

    return parse_listen(listen, &a, err);
}

/* A listening socket on one address, or -1 with errno. */
static int listen_on(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, off = 0, saved;

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (ai->ai_family == AF_INET6) /* "all addresses" means those of IPv4 too */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

/* Tries the addresses that the name has; those of `family` first. */
static int listen_any(const struct addrinfo *all, int family)
{
    int fd = -1;

    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *ai = all; fd < 0 && ai != NULL; ai = ai->ai_next)
        if (ai->ai_family == family)
            fd = listen_on(ai);
    for (const struct addrinfo *ai = all; fd < 0 && ai != NULL; ai = ai->ai_next)
        if (ai->ai_family != family)
            fd = listen_on(ai);
    return fd;
}

static int open_listener(const char *listen, int *out, struct err *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    struct listen_address a;
    int rc, fd;

    if (parse_listen(listen, &a, err) != 0)
        return -1;
    rc = getaddrinfo(a.host[0] != '\0' ? a.host : NULL, a.port, &hints, &all);
    if (rc != 0)
        return err_set(err, ERR_FATAL, 0, "listen on '%s': %s", listen, gai_strerror(rc));
    fd = listen_any(all, a.host[0] != '\0' ? AF_INET : AF_INET6);
    freeaddrinfo(all);
    if (fd < 0)
        return err_set(err, ERR_FATAL, errno, "listen on '%s': %s", listen, strerror(errno));
    *out = fd;
    return 0;
}

static void note_address(struct http *h, int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";

    (void)getsockname(fd, (struct sockaddr *)&ss, &len);
    (void)getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
                      NI_NUMERICHOST | NI_NUMERICSERV);
    (void)snprintf(h->address, sizeof(h->address),
                   ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- requests ---- */

const char *http_query(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_GET_ARGUMENT_KIND, name);
}

void http_reply_text(struct http_reply *reply, unsigned status, const char *text)
{
    reply->status = status;
    reply->type = "text/plain; charset=utf-8";
    buf_reset(&reply->body);
    buf_printf(&reply->body, "%s\n", text);
}

void http_put_html(struct buf *to, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        switch (text[i]) {
        case '&':
            buf_printf(to, "&amp;");
            break;
        case '<':
            buf_printf(to, "&lt;");
            break;
        case '>':
            buf_printf(to, "&gt;");
            break;
        case '"':
            buf_printf(to, "&quot;");
            break;
        default:
            buf_append(to, &text[i], 1);
        }
    }
}

static enum MHD_Result send_reply(struct MHD_Connection *c, struct http_reply *reply)
{
    struct MHD_Response *r;
    enum MHD_Result rc;
    size_t len;
    void *body;

    (void)buf_reserve(&reply->body, 1); /* a body of no bytes has memory too */
    body = buf_detach(&reply->body, &len);
    r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (r == NULL) {
        free(body);
        return MHD_NO;
    }
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (reply->allow != NULL)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, reply->allow);
    rc = MHD_queue_response(c, reply->status, r);
    MHD_destroy_response(r);
    return rc;
}

/* libmicrohttpd calls this when the headers are there, for each part of a body, and at its end. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    struct http *h = arg;
    struct http_reply reply = {.status = 200, .type = "text/plain; charset=utf-8"};
    struct request *r = *state;

    (void)version;
    if (r == NULL) {
        *state = xcalloc(1, sizeof(*r));
        return MHD_YES;
    }
    if (*upload_size != 0) {
        r->too_large = r->too_large || *upload_size > HTTP_BODY_MAX - r->body.len;
        if (!r->too_large)
            buf_append(&r->body, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    buf_init(&reply.body);
    if (r->too_large) {
        http_reply_text(&reply, 413, "the body of the request is too large");
    } else {
        struct http_request req = {.method = strcmp(method, "HEAD") == 0 ? "GET" : method,
                                   .path = url,
                                   .body = buf_data(&r->body),
                                   .body_len = r->body.len,
                                   .connection = c};

        h->handler(h->arg, &req, &reply);
    }
    return send_reply(c, &reply);
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct request *r = *state;

    (void)arg;
    (void)c;
    (void)code;
    if (r == NULL)
        return;
    buf_release(&r->body);
    free(r);
    *state = NULL;
}

/* ---- the loop ---- */

static void run(struct http *h);

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

static void run(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    (void)MHD_run(h->mhd);
    if (MHD_get_timeout(h->mhd, &wait_ms) == MHD_YES)
        (void)uv_timer_start(&h->timer, on_timer, wait_ms, 0);
    else
        (void)uv_timer_stop(&h->timer);
}

static struct MHD_Daemon *start_mhd(struct http *h, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h,
                            MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
}

int http_new(uv_loop_t *loop, const char *listen, http_handler handler, void *arg,
             struct http **out, struct err *err)
{
    const union MHD_DaemonInfo *info;
    struct http *h;
    int fd;

    if (open_listener(listen, &fd, err) != 0)
        return -1;
    h = xcalloc(1, sizeof(*h));
    h->handler = handler;
    h->arg = arg;
    note_address(h, fd);
    h->mhd = start_mhd(h, fd); /* owns the socket from here */
    if (h->mhd == NULL) {
        (void)close(fd);
        free(h);
        return err_set(err, ERR_FATAL, 0, "listen on '%s': the HTTP server did not start",
                       listen);
    }
    info = MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    (void)uv_timer_init(loop, &h->timer);
    (void)uv_poll_init(loop, &h->poll, info->epoll_fd);
    h->timer.data = h;
    h->poll.data = h;
    h->open_handles = 2;
    (void)uv_poll_start(&h->poll, UV_READABLE, on_event);
    *out = h;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;

    if (--h->open_handles == 0)
        free(h);
}

void http_free(struct http *h)
{
    if (h == NULL)
        return;
    (void)uv_poll_stop(&h->poll);
    uv_close((uv_handle_t *)&h->poll, on_closed);
    uv_close((uv_handle_t *)&h->timer, on_closed);
    MHD_stop_daemon(h->mhd); /* after the loop has let go of its descriptor */
}

const char *http_address(const struct http *h)
{
    return h->address;
}
