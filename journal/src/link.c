/*
 * link - connection, retries, reading, ACKs; see link.h. The commands before the stream are in
 * link_handshake.c and link_sentinel.c, the parsing of replies in reply.c.
 */
#include "journal/src/link.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"
#include "journal/src/link_priv.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READS_PER_WAKE 4 /* 1 MB, then others in the loop have their turn */
#define ACK_MS         1000
#define ACK_FAST_MS    100
#define ACK_UNSENT_MAX 4096 /* bytes, beyond what the socket took */
#define REDIS_PORT     6379
#define SENTINEL_PORT  26379

/* ---- sending ---- */

void link_send(struct link *l, size_t cnt, const char *const *argv)
{
    struct buf b;

    buf_init(&b);
    buf_printf(&b, "*%zu\r\n", cnt);
    for (size_t i = 0; i < cnt; i++)
        buf_printf(&b, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    net_write(l->net, buf_data(&b), b.len);
    buf_release(&b);
}

/* When the server takes nothing (stopped, or a dead peer), ACKs must not pile up: the next
 * periodic one says the same and more. */
static void send_ack(struct link *l)
{
    char lsn[24], text[80];
    int n;

    if (net_unsent(l->net) > ACK_UNSENT_MAX)
        return;
    (void)snprintf(lsn, sizeof(lsn), "%" PRIu64, l->ack_lsn);
    n = snprintf(text, sizeof(text), "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$%zu\r\n%s\r\n",
                 strlen(lsn), lsn);
    net_write(l->net, text, (size_t)n);
}

static void on_ack_timer(uv_timer_t *timer)
{
    send_ack(timer->data);
}

static void start_acks(struct link *l, bool fast)
{
    uint64_t period = fast ? ACK_FAST_MS : ACK_MS;

    l->ack_fast = fast;
    (void)uv_timer_start(&l->ack_timer, on_ack_timer, period, period);
}

/* ---- closing and retrying ---- */

static void on_retry(uv_timer_t *timer);

/* Nothing of the connection is left; what runs up the stack sees it by `gen`. */
static void close_connection(struct link *l)
{
    l->gen++;
    net_free(l->net);
    l->net = NULL;
    l->off = 0;
    l->len = 0;
    l->ack_lsn = 0;
    l->ack_fast = false;
    l->phase_bytes = 0;
    reply_value_release(&l->value);
    (void)uv_timer_stop(&l->retry_timer);
    (void)uv_timer_stop(&l->silence_timer);
    (void)uv_timer_stop(&l->ack_timer);
}

/* xorshift64: spreads retries, nothing more. */
static uint64_t next_random(struct link *l)
{
    l->rng ^= l->rng << 13;
    l->rng ^= l->rng >> 7;
    l->rng ^= l->rng << 17;
    return l->rng;
}

/* Between half of the back-off and all of it. */
static int64_t next_delay(struct link *l)
{
    int64_t full = l->backoff_ms != 0 ? l->backoff_ms : l->retry_min_ms;

    l->backoff_ms = full > l->retry_max_ms / 2 ? l->retry_max_ms : full * 2;
    return full - (int64_t)(next_random(l) % (uint64_t)(full / 2 + 1));
}

void link_fail(struct link *l, const struct err *err)
{
    struct err copy = *err;
    int64_t delay_ms = next_delay(l);

    close_connection(l);
    l->state = LINK_WAITING;
    (void)uv_timer_start(&l->retry_timer, on_retry, (uint64_t)delay_ms, 0);
    l->ev.down(l->arg, &copy, delay_ms);
}

/* An attempt or a connection broke, in whatever state. */
static void broken(struct link *l, struct err *err)
{
    struct err cause = *err;
    enum link_state state = l->state;

    if (state == LINK_SNAPSHOT && l->snapshot.state != SNAPSHOT_HEAD)
        err_set(err, cause.kind, cause.sys, "%.400s after %" PRIu64 " bytes of the snapshot",
                cause.msg, l->phase_bytes);
    else if (state == LINK_SNAPSHOT)
        err_set(err, cause.kind, cause.sys, "%.400s before the snapshot began", cause.msg);
    else if (state == LINK_STREAM)
        err_set(err, cause.kind, cause.sys, "%.400s after %" PRIu64 " bytes of the stream",
                cause.msg, l->phase_bytes);
    else if (state != LINK_CONNECT && state != LINK_ASK_CONNECT)
        err_set(err, cause.kind, cause.sys, "%.400s before the reply to %s", cause.msg,
                handshake_cmd(state));
    if (state >= LINK_ASK_CONNECT && state <= LINK_ASK_MASTER)
        sentinel_failed(l, err);
    else
        link_fail(l, err);
}

/* ---- reading ---- */

static bool is_held(const struct link *l)
{
    return l->paused && l->state >= LINK_SNAPSHOT;
}

static void take_value(struct link *l, const uint8_t *data, size_t len)
{
    struct redisReply *reply;
    struct err err;

    l->off = l->len;
    if (reply_value_feed(&l->value, data, len, &reply, &err) != 0) {
        broken(l, &err);
        return;
    }
    if (reply == NULL)
        return;
    if (l->state < LINK_CONNECT)
        sentinel_reply(l, reply);
    else
        handshake_reply(l, reply);
    freeReplyObject(reply);
}

static void take_psync(struct link *l, const uint8_t *data, size_t len)
{
    struct err err;
    bool done;
    ptrdiff_t taken = reply_line_feed(&l->line, data, len, &done, &err);

    if (taken < 0) {
        broken(l, &err);
        return;
    }
    l->off += (size_t)taken;
    if (done)
        handshake_psync_line(l, l->line.text);
}

static void take_snapshot(struct link *l, const uint8_t *data, size_t len)
{
    const uint8_t *out;
    size_t out_len;
    uint64_t gen = l->gen;
    struct err err;
    bool end;
    ptrdiff_t taken = reply_snapshot_feed(&l->snapshot, data, len, &out, &out_len, &end, &err);

    if (taken < 0) {
        broken(l, &err);
        return;
    }
    l->off += (size_t)taken;
    l->phase_bytes += out_len;
    if (end)
        l->state = LINK_STREAM;
    if (out_len != 0)
        l->ev.snapshot_data(l->arg, out, out_len);
    if (!end || l->gen != gen)
        return;
    l->phase_bytes = 0;
    l->backoff_ms = 0;
    send_ack(l);
    start_acks(l, true);
    l->ev.snapshot_end(l->arg);
}

static void take_stream(struct link *l, const uint8_t *data, size_t len)
{
    l->off = l->len;
    l->phase_bytes += len;
    l->stats.source_lsn += len;
    if (l->ack_fast)
        start_acks(l, false);
    l->ev.stream_data(l->arg, data, len);
}

/* Consumes what is in the buffer. False: the connection is gone, or the owner paused. */
static bool consume(struct link *l)
{
    uint64_t gen = l->gen;

    while (l->off < l->len && !is_held(l)) {
        const uint8_t *data = l->buf + l->off;
        size_t len = l->len - l->off;

        if (l->state == LINK_STREAM)
            take_stream(l, data, len);
        else if (l->state == LINK_SNAPSHOT)
            take_snapshot(l, data, len);
        else if (l->state == LINK_PSYNC)
            take_psync(l, data, len);
        else
            take_value(l, data, len);
        if (l->gen != gen)
            return false;
    }
    return !is_held(l);
}

static void on_readable(void *arg)
{
    struct link *l = arg;
    struct err err;

    for (int i = 0; i < READS_PER_WAKE; i++) {
        ptrdiff_t got;

        if (!consume(l))
            return;
        got = net_read(l->net, l->buf, l->size, &err);
        if (got < 0) {
            broken(l, &err);
            return;
        }
        if (got == 0)
            return;
        l->off = 0;
        l->len = (size_t)got;
        l->stats.rx_bytes += (uint64_t)got;
        l->last_rx_ms = uv_now(l->loop);
        if (l->len < l->size) {
            (void)consume(l); /* a short read: nothing more is there */
            return;
        }
    }
    (void)consume(l);
}

/* ---- silence ---- */

static void on_silence(uv_timer_t *timer);

/* A Sentinel is not waited for longer than for its connection: there are others. */
static uint64_t silence_ms(const struct link *l)
{
    return (uint64_t)(l->state < LINK_CONNECT ? l->connect_timeout_ms : l->timeout_ms);
}

static bool is_silent(const struct link *l)
{
    return uv_now(l->loop) - l->last_rx_ms >= silence_ms(l);
}

static void watch_silence(struct link *l)
{
    uint64_t now = uv_now(l->loop), due = l->last_rx_ms + silence_ms(l);

    (void)uv_timer_start(&l->silence_timer, on_silence, due > now ? due - now : 0, 0);
}

static void on_silence(uv_timer_t *timer)
{
    struct link *l = timer->data;
    uint64_t gen = l->gen;
    struct err err;

    if (is_held(l)) /* what the server sent meanwhile is not known */
        l->last_rx_ms = uv_now(l->loop);
    /* After a long stop of this process the timers run first: the bytes may be there. */
    if (is_silent(l)) {
        on_readable(l);
        if (l->gen != gen)
            return;
    }
    if (is_held(l) || !is_silent(l)) {
        watch_silence(l);
        return;
    }
    err_set(&err, ERR_AGAIN, 0, "nothing from %s for %" PRIu64 " ms", l->stats.peer,
            silence_ms(l));
    broken(l, &err);
}

/* ---- connecting ---- */

static void on_up(void *arg)
{
    struct link *l = arg;

    l->last_rx_ms = uv_now(l->loop);
    watch_silence(l);
    if (l->state == LINK_ASK_CONNECT) {
        sentinel_connected(l);
        return;
    }
    l->stats.connects++;
    handshake_begin(l);
}

static void on_failed(void *arg, const struct err *err)
{
    struct err copy = *err;

    broken(arg, &copy);
}

void link_connect(struct link *l, const struct net_addr *addr, enum link_state state)
{
    static const struct net_events events = {
        .up = on_up,
        .failed = on_failed,
        .readable = on_readable,
    };
    struct net_conf conf = {
        .addr = *addr,
        .tls = l->tls,
        .server_name = l->server_name,
        .connect_timeout_ms = l->connect_timeout_ms,
    };

    close_connection(l);
    l->state = state;
    net_addr_format(addr, l->stats.peer, sizeof(l->stats.peer));
    l->net = net_new(l->loop, &conf, &events, l);
}

static void attempt(struct link *l)
{
    l->stats.attempts++;
    if (l->sentinel_cnt != 0)
        sentinel_begin(l);
    else
        link_connect(l, &l->redis, LINK_CONNECT);
}

static void on_retry(uv_timer_t *timer)
{
    attempt(timer->data);
}

/* ---- the answer to PSYNC ---- */

void link_continued(struct link *l, const char *replid)
{
    uint64_t gen = l->gen;

    l->state = LINK_STREAM;
    l->phase_bytes = 0;
    l->backoff_ms = 0;
    l->stats.source_lsn = l->asked_lsn;
    net_set_reading(l->net, !is_held(l));
    start_acks(l, false);
    l->ev.continued(l->arg, replid);
    if (l->gen == gen)
        send_ack(l);
}

void link_full_resync(struct link *l, const char *replid, uint64_t lsn)
{
    l->state = LINK_SNAPSHOT;
    l->phase_bytes = 0;
    l->stats.source_lsn = lsn;
    reply_snapshot_init(&l->snapshot);
    net_set_reading(l->net, !is_held(l));
    l->ev.snapshot_begin(l->arg, replid, lsn);
}

/* ---- the public calls ---- */

static char *copy_str(const char *s)
{
    return s != NULL ? xstrdup(s) : NULL;
}

static int copy_addrs(struct link *l, const struct link_conf *conf, struct err *err)
{
    if (conf->sentinel_cnt == 0 && net_addr_parse(conf->redis, REDIS_PORT, &l->redis, err) != 0)
        return -1;
    if (conf->sentinel_cnt != 0 && (conf->master_name == NULL || *conf->master_name == '\0'))
        return err_set(err, ERR_INPUT, 0, "with Sentinels the name of the master is needed");
    if (conf->tls && l->redis.is_unix)
        return err_set(err, ERR_INPUT, 0, "TLS over '%s': a unix socket has none", conf->redis);
    l->sentinels = xcalloc(conf->sentinel_cnt, sizeof(*l->sentinels));
    for (size_t i = 0; i < conf->sentinel_cnt; i++)
        if (net_addr_parse(conf->sentinels[i], SENTINEL_PORT, &l->sentinels[i], err) != 0)
            return -1;
    l->sentinel_cnt = conf->sentinel_cnt;
    return 0;
}

static void copy_conf(struct link *l, const struct link_conf *conf)
{
    l->master_name = copy_str(conf->master_name);
    l->username = copy_str(conf->username);
    l->password = copy_str(conf->password);
    l->sentinel_username = copy_str(conf->sentinel_username);
    l->sentinel_password = copy_str(conf->sentinel_password);
    l->server_name = copy_str(conf->tls_server_name);
    l->acl = xasprintf("ACL SETUSER %s on +psync +replconf +ping +command%s",
                       conf->username != NULL ? conf->username : "default",
                       conf->sentinel_cnt != 0 ? " +role" : "");
    l->connect_timeout_ms = conf->connect_timeout_ms;
    l->timeout_ms = conf->timeout_ms;
    l->retry_min_ms = conf->retry_min_ms > 0 ? conf->retry_min_ms : 1;
    l->retry_max_ms =
        conf->retry_max_ms > l->retry_min_ms ? conf->retry_max_ms : l->retry_min_ms;
}

static void destroy(struct link *l)
{
    free(l->sentinels);
    free(l->master_name);
    free(l->username);
    free(l->password);
    free(l->sentinel_username);
    free(l->sentinel_password);
    free(l->server_name);
    free(l->acl);
    net_tls_free(l->tls);
    reply_value_release(&l->value);
    free(l->buf);
    free(l);
}

static void start_handles(struct link *l)
{
    uv_timer_t *timers[] = {&l->retry_timer, &l->silence_timer, &l->ack_timer};

    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        (void)uv_timer_init(l->loop, timers[i]);
        timers[i]->data = l;
        l->open_handles++;
    }
}

int link_new(uv_loop_t *loop, const struct link_conf *conf, const struct link_events *ev,
             void *arg, struct link **out, struct err *err)
{
    struct net_tls_conf tls = {
        .ca = conf->tls_ca, .cert = conf->tls_cert, .key = conf->tls_key};
    struct link *l = xcalloc(1, sizeof(*l));

    l->loop = loop;
    l->ev = *ev;
    l->arg = arg;
    copy_conf(l, conf);
    if (copy_addrs(l, conf, err) != 0 || (conf->tls && net_tls_new(&tls, &l->tls, err) != 0)) {
        destroy(l);
        return -1;
    }
    l->rng = uv_hrtime() | 1;
    l->size = LINK_BUF_SIZE;
    l->buf = xmalloc(l->size);
    reply_value_init(&l->value);
    start_handles(l);
    *out = l;
    return 0;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct link *l = h->data;

    if (--l->open_handles == 0)
        destroy(l);
}

void link_free(struct link *l)
{
    if (l == NULL)
        return;
    close_connection(l);
    uv_close((uv_handle_t *)&l->retry_timer, on_handle_closed);
    uv_close((uv_handle_t *)&l->silence_timer, on_handle_closed);
    uv_close((uv_handle_t *)&l->ack_timer, on_handle_closed);
}

void link_start(struct link *l)
{
    attempt(l);
}

void link_stop(struct link *l)
{
    close_connection(l);
    l->state = LINK_STOPPED;
}

static void set_paused(struct link *l, bool on)
{
    if (l->paused == on)
        return;
    l->paused = on;
    if (l->state < LINK_SNAPSHOT)
        return;
    if (!on)
        l->last_rx_ms = uv_now(l->loop);
    net_set_reading(l->net, !on);
}

void link_pause(struct link *l)
{
    set_paused(l, true);
}

void link_resume(struct link *l)
{
    set_paused(l, false);
}

void link_ack(struct link *l, uint64_t durable_lsn, bool now)
{
    /* Before the stream, or between connections, there is nothing that it could count. */
    if (l->state != LINK_STREAM)
        return;
    assert(durable_lsn >= l->ack_lsn);
    l->ack_lsn = durable_lsn;
    if (now)
        send_ack(l);
}

void link_get_stats(const struct link *l, struct link_stats *out)
{
    *out = l->stats;
    out->up = l->state >= LINK_SNAPSHOT;
}
