/*
 * net_tls - TLS for net.h with OpenSSL 3: client side, TLS 1.2 or later, the server always
 * verified. The socket is reached through a BIO of our own, because OpenSSL's would raise
 * SIGPIPE.
 */
#include "common/mem.h"
#include "common/net.h"
#include "common/net_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct net_tls {
    SSL_CTX *ctx;
};

/* ---- the BIO: its data is the struct net ---- */

static int bio_write(BIO *b, const char *data, int len)
{
    struct net *n = BIO_get_data(b);
    ssize_t sent;

    BIO_clear_retry_flags(b);
    do
        sent = send(n->fd, data, (size_t)len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_write(b);
    else if (sent < 0)
        n->tls_sys = errno;
    return (int)sent;
}

static int bio_read(BIO *b, char *buf, int size)
{
    struct net *n = BIO_get_data(b);
    ssize_t got;

    BIO_clear_retry_flags(b);
    do
        got = recv(n->fd, buf, (size_t)size, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(b);
    else if (got <= 0)
        n->tls_sys = got < 0 ? errno : 0;
    return (int)got;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *b)
{
    BIO_set_init(b, 1);
    return 1;
}

/* ---- the context ---- */

/* The newest text of OpenSSL's queue, which is emptied. */
static const char *ssl_text(char *out, size_t size)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(e);

    (void)snprintf(out, size, "%s", reason != NULL ? reason : "unknown TLS error");
    ERR_clear_error();
    return out;
}

static int load_files(SSL_CTX *ctx, const struct net_tls_conf *conf, struct err *err)
{
    char text[160];

    if (conf->ca != NULL && SSL_CTX_load_verify_file(ctx, conf->ca) != 1)
        return err_set(err, ERR_INPUT, 0, "TLS CA file '%s': %s", conf->ca,
                       ssl_text(text, sizeof(text)));
    if (conf->ca == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return err_set(err, ERR_INPUT, 0, "TLS CAs of the system: %s",
                       ssl_text(text, sizeof(text)));
    if ((conf->cert == NULL) != (conf->key == NULL))
        return err_set(err, ERR_INPUT, 0, "TLS: certificate and key must be given together");
    if (conf->cert == NULL)
        return 0;
    if (SSL_CTX_use_certificate_chain_file(ctx, conf->cert) != 1)
        return err_set(err, ERR_INPUT, 0, "TLS certificate file '%s': %s", conf->cert,
                       ssl_text(text, sizeof(text)));
    if (SSL_CTX_use_PrivateKey_file(ctx, conf->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return err_set(err, ERR_INPUT, 0, "TLS key file '%s': %s", conf->key,
                       ssl_text(text, sizeof(text)));
    return 0;
}

int net_tls_new(const struct net_tls_conf *conf, struct net_tls **out, struct err *err)
{
    struct net_tls *t = xcalloc(1, sizeof(*t));

    ERR_clear_error();
    t->ctx = SSL_CTX_new(TLS_client_method());
    if (t->ctx == NULL) {
        err_set(err, ERR_FATAL, 0, "TLS: no context");
        goto fail;
    }
    (void)SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    (void)SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    if (load_files(t->ctx, conf, err) != 0)
        goto fail;
    *out = t;
    return 0;
fail:
    net_tls_free(t);
    return -1;
}

void net_tls_free(struct net_tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->ctx);
    free(t);
}

SSL_CTX *net_tls_ctx(const struct net_tls *t)
{
    (void)SSL_CTX_up_ref(t->ctx);
    return t->ctx;
}

/* ---- the connection ---- */

/* An alert by which a server says that it wants another client certificate, or one at all. */
static bool is_client_refused(int reason)
{
    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        return true;
    default:
        return false;
    }
}

static int set_closed(const struct net *n, const char *during, struct err *err)
{
    if (n->tls_sys == 0)
        return err_set(err, ERR_AGAIN, 0, "%sconnection closed by %s", during, n->peer);
    if (n->tls_sys == ECONNRESET)
        return err_set(err, ERR_AGAIN, n->tls_sys, "%sconnection reset by %s", during, n->peer);
    return err_set(err, ERR_AGAIN, n->tls_sys, "%sconnection to %s lost: %s", during, n->peer,
                   strerror(n->tls_sys));
}

/* What SSL_get_error() `code` after a failed call means; fills *err, gives -1. */
static int set_tls_err(struct net *n, int code, struct err *err)
{
    bool shaking = n->state == NET_HANDSHAKE;
    const char *during = shaking ? "TLS handshake: " : "";
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    long verify = SSL_get_verify_result(n->ssl);
    char text[160];

    if (code == SSL_ERROR_ZERO_RETURN)
        n->tls_sys = 0;
    if (code == SSL_ERROR_ZERO_RETURN || code == SSL_ERROR_SYSCALL ||
        reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error();
        return set_closed(n, during, err);
    }
    if (shaking && reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK) {
        ERR_clear_error();
        return err_set(err, ERR_INPUT, 0, "TLS certificate of %s is not valid for '%s': %s",
                       n->peer, n->server_name, X509_verify_cert_error_string(verify));
    }
    if (is_client_refused(reason))
        return err_set(err, ERR_AUTH, 0, "%s refused our TLS certificate: %s", n->peer,
                       ssl_text(text, sizeof(text)));
    return err_set(err, shaking ? ERR_INPUT : ERR_AGAIN, 0, "TLS %s %s: %s",
                   shaking ? "handshake with" : "connection to", n->peer,
                   ssl_text(text, sizeof(text)));
}

static int tls_handshake(struct net *n, struct err *err)
{
    int rc, code;

    ERR_clear_error();
    n->read_wants_write = false;
    rc = SSL_connect(n->ssl);
    if (rc == 1)
        return 1;
    code = SSL_get_error(n->ssl, rc);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
        n->read_wants_write = code == SSL_ERROR_WANT_WRITE;
        return 0;
    }
    return set_tls_err(n, code, err);
}

/* One SSL_read() gives one record (16 KiB) at most: goes on until the buffer is full. */
static ptrdiff_t tls_read(struct net *n, uint8_t *buf, size_t size, struct err *err)
{
    size_t got = 0;
    int rc = 1, code;

    while (n->tls_err.kind == ERR_NONE && got < size) {
        size_t left = size - got;

        ERR_clear_error();
        rc = SSL_read(n->ssl, buf + got, left > INT_MAX ? INT_MAX : (int)left);
        if (rc <= 0)
            break;
        got += (size_t)rc;
    }
    if (n->tls_err.kind == ERR_NONE && rc <= 0) {
        code = SSL_get_error(n->ssl, rc);
        if (code == SSL_ERROR_WANT_WRITE)
            n->read_wants_write = true;
        else if (code != SSL_ERROR_WANT_READ)
            (void)set_tls_err(n, code,
                              &n->tls_err); /* told when the bytes before it are read */
    }
    if (got != 0 || n->tls_err.kind == ERR_NONE)
        return (ptrdiff_t)got;
    *err = n->tls_err;
    return -1;
}

static ptrdiff_t tls_write(struct net *n, const uint8_t *data, size_t len, struct err *err)
{
    int rc, code;

    ERR_clear_error();
    rc = SSL_write(n->ssl, data, len > INT_MAX ? INT_MAX : (int)len);
    if (rc > 0)
        return rc;
    code = SSL_get_error(n->ssl, rc);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
        n->write_wants_read = code == SSL_ERROR_WANT_READ;
        return 0;
    }
    return set_tls_err(n, code, err);
}

static bool tls_pending(const struct net *n)
{
    return n->tls_err.kind != ERR_NONE || (n->ssl != NULL && SSL_has_pending(n->ssl) == 1);
}

static void tls_release(struct net *n)
{
    /* SSL_shutdown() tells the server that this end is deliberate; its answer is not awaited. */
    if (n->ssl != NULL && n->state == NET_UP && n->tls_err.kind == ERR_NONE && !n->write_failed)
        (void)SSL_shutdown(n->ssl);
    ERR_clear_error();
    SSL_free(n->ssl);
    n->ssl = NULL;
    BIO_meth_free(n->bio_method);
    n->bio_method = NULL;
}

const struct net_ops net_tls_ops = {
    .handshake = tls_handshake,
    .read = tls_read,
    .write = tls_write,
    .pending = tls_pending,
    .release = tls_release,
};

static bool is_ip(const char *name)
{
    struct in6_addr addr;

    return inet_pton(AF_INET, name, &addr) == 1 || inet_pton(AF_INET6, name, &addr) == 1;
}

/* SNI carries names only (RFC 6066); an address is verified against the certificate's IPs. */
static bool set_name(SSL *ssl, const char *name)
{
    if (is_ip(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

int net_tls_begin(struct net *n, struct err *err)
{
    BIO *bio = NULL;

    ERR_clear_error();
    n->tls_err = (struct err){.kind = ERR_NONE};
    n->tls_sys = 0;
    n->bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "net");
    if (n->bio_method != NULL && BIO_meth_set_write(n->bio_method, bio_write) == 1 &&
        BIO_meth_set_read(n->bio_method, bio_read) == 1 &&
        BIO_meth_set_ctrl(n->bio_method, bio_ctrl) == 1 &&
        BIO_meth_set_create(n->bio_method, bio_create) == 1)
        bio = BIO_new(n->bio_method);
    n->ssl = SSL_new(n->ctx);
    if (bio == NULL || n->ssl == NULL || !set_name(n->ssl, n->server_name)) {
        BIO_free(bio);
        return err_set(err, ERR_FATAL, 0, "TLS with %s: no session for the name '%s'", n->peer,
                       n->server_name);
    }
    BIO_set_data(bio, n);
    SSL_set_bio(n->ssl, bio, bio); /* takes the BIO */
    return 0;
}
