/* Tests of net: addresses, plain sockets, TLS; the peer is a thread with blocking calls. */
#include "common/buf.h"
#include "common/err.h"
#include "common/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MUCH (8U << 20)

/* ---- addresses ---- */

static void test_addr(void **state)
{
    static const char *const good[][3] = {
        {"host:1", "host", "host:1"},
        {"10.0.0.1:65535", "10.0.0.1", "10.0.0.1:65535"},
        {"[::1]:6379", "::1", "[::1]:6379"},
        {"[::1]", "::1", "[::1]:7"},
        {"host", "host", "host:7"},
        {"unix:/run/r.sock", "/run/r.sock", "unix:/run/r.sock"},
    };
    static const char *const bad[] = {"",       ":1",    "host:",   "host:0", "host:65536",
                                      "host:x", "a:b:1", "[::1",    "[]:1",   "[::1]x",
                                      "unix:",  "::1",   "host:1 ", "host:-1"};
    char text[NET_PEER_MAX], path[200] = "unix:";

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct net_addr a;
        struct err err;

        assert_int_equal(net_addr_parse(good[i][0], 7, &a, &err), 0);
        assert_string_equal(a.host, good[i][1]);
        net_addr_format(&a, text, sizeof(text));
        assert_string_equal(text, good[i][2]);
    }
    memset(path + 5, 'x', 150);
    for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
        struct net_addr a;
        struct err err = {0};

        assert_int_equal(
            net_addr_parse(i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : path, 7, &a, &err), -1);
        assert_int_equal(err.kind, ERR_INPUT);
    }
    assert_int_equal(net_addr_parse("host", 0, &(struct net_addr){0}, &(struct err){0}), -1);
}

/* ---- the peer ---- */

struct peer {
    pthread_t thread;
    int listener;
    struct net_addr addr;
    enum { ECHO_MUCH, TALK, MUTE, GARBAGE } role;
    const char *cert_dir; /* NULL: no TLS */
    bool want_client;
    char sni[100];
};

static SSL *peer_tls(struct peer *p, int fd, SSL_CTX **ctx)
{
    char path[200];
    SSL *ssl;

    *ctx = SSL_CTX_new(TLS_server_method());
    (void)snprintf(path, sizeof(path), "%s/srv.pem", p->cert_dir);
    assert_int_equal(SSL_CTX_use_certificate_chain_file(*ctx, path), 1);
    (void)snprintf(path, sizeof(path), "%s/srv.key", p->cert_dir);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(*ctx, path, SSL_FILETYPE_PEM), 1);
    (void)snprintf(path, sizeof(path), "%s/ca.pem", p->cert_dir);
    assert_int_equal(SSL_CTX_load_verify_file(*ctx, path), 1);
    if (p->want_client)
        SSL_CTX_set_verify(*ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    ssl = SSL_new(*ctx);
    (void)SSL_set_fd(ssl, fd);
    return ssl;
}

static ssize_t peer_read(SSL *ssl, int fd, char *buf, size_t size)
{
    return ssl != NULL ? SSL_read(ssl, buf, (int)size) : recv(fd, buf, size, 0);
}

static bool peer_write(SSL *ssl, int fd, const char *data, size_t len)
{
    if (ssl != NULL)
        return SSL_write(ssl, data, (int)len) == (int)len;
    return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* ECHO_MUCH: reads slowly at first, answers all that came. TALK: says a little and closes. */
static void peer_serve(struct peer *p, SSL *ssl, int fd)
{
    static const char hello[] = "hello, then nothing";
    char *all;
    size_t have = 0;

    if (p->role == TALK) {
        (void)peer_write(ssl, fd, hello, sizeof(hello) - 1);
        return;
    }
    all = malloc(MUCH);
    (void)usleep(100000);
    while (have < MUCH) {
        ssize_t n = peer_read(ssl, fd, all + have, MUCH - have);

        if (n <= 0)
            break;
        have += (size_t)n;
    }
    (void)peer_write(ssl, fd, all, have);
    free(all);
    (void)peer_read(ssl, fd, (char[1]){0}, 1); /* until the other side closes */
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    int fd = accept(p->listener, NULL, NULL);
    SSL_CTX *ctx = NULL;
    SSL *ssl = NULL;

    if (fd < 0)
        return NULL;
    if (p->role == MUTE)
        (void)recv(fd, (char[4096]){0}, 4096, 0);
    if (p->role == MUTE)
        while (recv(fd, (char[1]){0}, 1, 0) > 0)
            continue;
    if (p->role == GARBAGE)
        (void)peer_write(NULL, fd, "-ERR I speak no TLS at all, sorry\r\n", 35);
    if (p->role == GARBAGE)
        while (recv(fd, (char[64]){0}, 64, 0) > 0)
            continue;
    if (p->cert_dir != NULL && p->role < MUTE) {
        ssl = peer_tls(p, fd, &ctx);
        if (SSL_accept(ssl) == 1) {
            const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

            (void)snprintf(p->sni, sizeof(p->sni), "%s", name != NULL ? name : "none");
            peer_serve(p, ssl, fd);
            (void)SSL_shutdown(ssl);
        }
    } else if (p->role < MUTE) {
        peer_serve(p, NULL, fd);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    (void)close(fd);
    return NULL;
}

static void peer_start(struct peer *p, const char *unix_path)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(in);

    if (unix_path != NULL) {
        (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_path);
        p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(p->listener, (struct sockaddr *)&un, sizeof(un)), 0);
        p->addr.is_unix = true;
        (void)snprintf(p->addr.host, sizeof(p->addr.host), "%s", unix_path);
    } else {
        p->listener = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(p->listener, (struct sockaddr *)&in, len), 0);
        assert_int_equal(getsockname(p->listener, (struct sockaddr *)&in, &len), 0);
        if (p->addr.host[0] == '\0')
            (void)snprintf(p->addr.host, sizeof(p->addr.host), "localhost");
        p->addr.port = ntohs(in.sin_port);
    }
    assert_int_equal(listen(p->listener, 4), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

static void peer_stop(struct peer *p)
{
    (void)shutdown(p->listener, SHUT_RDWR);
    (void)pthread_join(p->thread, NULL);
    (void)close(p->listener);
}

/* ---- the client ---- */

struct client {
    uv_loop_t loop;
    struct net *n;
    struct buf got;
    size_t to_send, piece; /* piece: bytes a net_read() */
    bool up, failed, ended;
    struct err err;
};

static void on_up(void *arg)
{
    struct client *c = arg;
    char *data;

    c->up = true;
    if (c->to_send == 0)
        return;
    data = malloc(c->to_send);
    for (size_t i = 0; i < c->to_send; i++)
        data[i] = (char)(i * 7 + (i >> 9));
    net_write(c->n, data, 5);
    net_write(c->n, data + 5, c->to_send - 5);
    assert_true(net_unsent(c->n) > 0); /* the peer does not read yet */
    free(data);
}

static void on_failed(void *arg, const struct err *err)
{
    struct client *c = arg;

    c->failed = true;
    c->err = *err;
    net_free(c->n);
    c->n = NULL;
}

static void on_readable(void *arg)
{
    struct client *c = arg;
    ptrdiff_t n = net_read(c->n, buf_reserve(&c->got, c->piece), c->piece, &c->err);

    if (n > 0)
        buf_added(&c->got, (size_t)n);
    if (n < 0 || (c->to_send != 0 && c->got.len == c->to_send)) {
        c->ended = true;
        net_free(c->n);
        c->n = NULL;
    }
}

static void client_run(struct client *c, const struct net_conf *conf)
{
    static const struct net_events events = {
        .up = on_up, .failed = on_failed, .readable = on_readable};

    assert_int_equal(uv_loop_init(&c->loop), 0);
    buf_init(&c->got);
    if (c->piece == 0)
        c->piece = 65536;
    c->n = net_new(&c->loop, conf, &events, c);
    assert_int_equal(uv_run(&c->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    assert_true(c->failed != c->ended);
}

/* Runs one client against one peer. */
static void meet(struct peer *p, struct client *c, struct net_tls *tls, const char *name,
                 const char *unix_path)
{
    struct net_conf conf = {.tls = tls, .server_name = name, .connect_timeout_ms = 2000};

    peer_start(p, unix_path);
    conf.addr = p->addr;
    if (p->role == MUTE)
        conf.connect_timeout_ms = 100;
    client_run(c, &conf);
    peer_stop(p);
}

static void check_echo(const struct client *c)
{
    const char *got = (const char *)buf_data(&c->got);

    assert_int_equal(c->got.len, MUCH);
    for (size_t i = 0; i < MUCH; i++)
        if (got[i] != (char)(i * 7 + (i >> 9)))
            fail_msg("byte %zu is wrong", i);
}

static void test_plain(void **state)
{
    char dir[] = "/tmp/net-test-XXXXXX", path[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/s", dir);
    for (int i = 0; i < 2; i++) {
        struct peer p = {.role = ECHO_MUCH}, t = {.role = TALK};
        struct client c = {.to_send = MUCH}, ct = {.piece = 1};

        meet(&p, &c, NULL, NULL, i == 0 ? NULL : path);
        check_echo(&c);
        buf_release(&c.got);
        (void)unlink(path);
        meet(&t, &ct, NULL, NULL, i == 0 ? NULL : path);
        assert_int_equal(ct.got.len, 19);
        assert_int_equal(ct.err.kind, ERR_AGAIN);
        assert_non_null(strstr(ct.err.msg, "connection closed by"));
        buf_release(&ct.got);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

static void test_no_connection(void **state)
{
    struct client refused = {0}, unresolved = {0}, no_socket = {0};
    struct net_conf conf = {.connect_timeout_ms = 2000};
    struct peer p = {.role = TALK};
    struct err err;

    (void)state;
    peer_start(&p, NULL);
    peer_stop(&p); /* its port is free now */
    conf.addr = p.addr;
    client_run(&refused, &conf);
    assert_non_null(strstr(refused.err.msg, "Connection refused"));
    assert_int_equal(net_addr_parse("unix:/nonexistent/sock", 0, &conf.addr, &err), 0);
    client_run(&no_socket, &conf);
    assert_non_null(strstr(no_socket.err.msg, "No such file"));
    assert_int_equal(net_addr_parse("no-such-host.invalid:1", 0, &conf.addr, &err), 0);
    client_run(&unresolved, &conf);
    assert_non_null(strstr(unresolved.err.msg, "resolve no-such-host.invalid:1"));
    assert_int_equal(refused.err.kind, ERR_AGAIN);
    assert_int_equal(unresolved.err.kind, ERR_AGAIN);
}

/* ---- TLS ---- */

struct certs {
    char dir[40];
    char ca[60], other_ca[60], cert[60], key[60];
};

static void shell(const char *dir, const char *script)
{
    char cmd[2000];

    (void)snprintf(cmd, sizeof(cmd), "cd %s && exec >>log 2>&1 && %s", dir, script);
    if (system(cmd) != 0)
        fail_msg("failed: %s", cmd);
}

#define EC "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
#define SIGN                                                                                   \
    "openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions "     \
    "copy "

static int make_certs(void **state)
{
    struct certs *c = calloc(1, sizeof(*c));

    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/net-certs-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    shell(c->dir, "openssl req -x509 " EC "-days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
    shell(c->dir, "openssl req -x509 " EC "-days 2 -subj /CN=ca -keyout o.key -out other.pem");
    shell(c->dir, "openssl req -new " EC "-subj /CN=srv -addext "
                  "subjectAltName=DNS:localhost,DNS:kafka.dc,IP:127.0.0.1 "
                  "-keyout srv.key -out srv.csr && " SIGN "-in srv.csr -out srv.pem");
    shell(c->dir, "openssl req -new " EC "-subj /CN=me -keyout me.key -out me.csr && " SIGN
                  "-in me.csr -out me.pem");
    (void)snprintf(c->ca, sizeof(c->ca), "%s/ca.pem", c->dir);
    (void)snprintf(c->other_ca, sizeof(c->other_ca), "%s/other.pem", c->dir);
    (void)snprintf(c->cert, sizeof(c->cert), "%s/me.pem", c->dir);
    (void)snprintf(c->key, sizeof(c->key), "%s/me.key", c->dir);
    *state = c;
    return 0;
}

static int remove_certs(void **state)
{
    struct certs *c = *state;

    shell(c->dir, "rm -rf \"$PWD\"");
    free(c);
    return 0;
}

static struct net_tls *tls_with(const char *ca, const char *cert, const char *key)
{
    struct net_tls_conf conf = {.ca = ca, .cert = cert, .key = key};
    struct net_tls *tls = NULL;
    struct err err = {0};

    if (net_tls_new(&conf, &tls, &err) != 0)
        fail_msg("%s", err.msg);
    return tls;
}

static void test_tls_data(void **state)
{
    struct certs *certs = *state;
    static const size_t pieces[] = {65536, 1000, 300000};

    for (size_t i = 0; i < 3; i++) {
        struct peer p = {.role = ECHO_MUCH, .cert_dir = certs->dir};
        struct client c = {.to_send = MUCH, .piece = pieces[i]};
        struct net_tls *tls = tls_with(certs->ca, NULL, NULL);

        meet(&p, &c, tls, NULL, NULL);
        check_echo(&c);
        assert_string_equal(p.sni, "localhost");
        buf_release(&c.got);
        net_tls_free(tls);
    }
}

struct tls_case {
    const char *host, *name; /* connected to; verified, NULL: the same */
    bool other_ca, with_cert, want_cert;
    enum err_kind kind; /* NONE: the greeting comes */
    const char *text;   /* of the message, or SNI */
};

static void test_tls_verification(void **state)
{
    struct certs *certs = *state;
    static const struct tls_case all[] = {
        {"127.0.0.1", NULL, false, false, false, ERR_NONE, "none"},
        {"127.0.0.1", "kafka.dc", false, false, false, ERR_NONE, "kafka.dc"},
        {"127.0.0.1", "127.0.0.2", false, false, false, ERR_INPUT, "not valid for '127.0.0.2'"},
        {"localhost", "kafka.dr", false, false, false, ERR_INPUT, "not valid for 'kafka.dr'"},
        {"localhost", NULL, true, false, false, ERR_INPUT, "not valid for 'localhost'"},
        {"localhost", NULL, false, true, true, ERR_NONE, "localhost"},
        {"localhost", NULL, false, false, true, ERR_AUTH, "refused our TLS certificate"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct tls_case *k = &all[i];
        struct peer p = {.role = TALK, .cert_dir = certs->dir, .want_client = k->want_cert};
        struct client c = {.piece = 3};
        struct net_tls *tls =
            tls_with(k->other_ca ? certs->other_ca : certs->ca,
                     k->with_cert ? certs->cert : NULL, k->with_cert ? certs->key : NULL);

        (void)snprintf(p.addr.host, sizeof(p.addr.host), "%s", k->host);
        meet(&p, &c, tls, k->name, NULL);
        if (k->kind == ERR_NONE) {
            assert_int_equal(c.got.len, 19);
            assert_string_equal(p.sni, k->text);
            assert_non_null(strstr(c.err.msg, "connection closed by"));
        } else {
            assert_int_equal(c.got.len, 0);
            if (c.err.kind != k->kind || strstr(c.err.msg, k->text) == NULL)
                fail_msg("case %zu: %s", i, c.err.msg);
        }
        buf_release(&c.got);
        net_tls_free(tls);
    }
}

static void test_tls_no_handshake(void **state)
{
    struct certs *certs = *state;
    struct peer mute = {.role = MUTE}, garbage = {.role = GARBAGE};
    struct client c1 = {0}, c2 = {0};
    struct net_tls *tls = tls_with(certs->ca, NULL, NULL);

    meet(&mute, &c1, tls, NULL, NULL);
    assert_int_equal(c1.err.kind, ERR_AGAIN);
    assert_non_null(strstr(c1.err.msg, "TLS handshake with localhost"));
    assert_non_null(strstr(c1.err.msg, "no answer within 100 ms"));
    meet(&garbage, &c2, tls, NULL, NULL);
    assert_int_equal(c2.err.kind, ERR_INPUT);
    assert_non_null(strstr(c2.err.msg, "wrong version number"));
    net_tls_free(tls);
}

static void test_tls_files(void **state)
{
    struct certs *certs = *state;
    struct net_tls_conf bad[] = {
        {.ca = "/nonexistent"},
        {.ca = certs->key},
        {.ca = certs->ca, .cert = certs->cert},
        {.ca = certs->ca, .cert = certs->cert, .key = certs->ca},
        {.ca = certs->ca, .cert = certs->ca, .key = certs->key},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct net_tls *tls = NULL;
        struct err err = {0};

        assert_int_equal(net_tls_new(&bad[i], &tls, &err), -1);
        assert_int_equal(err.kind, ERR_INPUT);
        assert_null(tls);
    }
    net_tls_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addr),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_tls_data),
        cmocka_unit_test(test_tls_verification),
        cmocka_unit_test(test_tls_no_handshake),
        cmocka_unit_test(test_tls_files),
    };

    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
