/*
 * kafka - clients, errors and wake-ups around librdkafka; topics are in kafka_topic.c.
 *
 * Every client carries a struct client as librdkafka's opaque: the owner's own opaque, and what
 * keeps repeated log lines apart. librdkafka logs from its own threads, so that part is locked.
 */
#include "common/kafka.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/mem.h"

#define SYSLOG_WARNING  4 /* of RFC 5424; syslog.h would clash with log.h */
#define LOG_TEXTS       16
#define LOG_INTERVAL_MS 10000
#define VALUE_MAX       512

struct client {
    void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *);
    void *opaque;
    pthread_mutex_t lock;
    struct {
        uint64_t hash; /* of a text written lately */
        int64_t mono_ms;
    } text[LOG_TEXTS]; /* a ring: `next` is the oldest */
    size_t next;
};

/* FNV-1a of the part of a line that does not change while the same thing goes on happening. */
static uint64_t text_hash(const char *text)
{
    const char *end = strstr(text, " (after ");
    size_t len = end ? (size_t)(end - text) : strlen(text);
    uint64_t hash = 14695981039346656037ULL;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)text[i]) * 1099511628211ULL;
    return hash;
}

/* True when the text was not written in the last LOG_INTERVAL_MS. Any thread. */
static bool text_is_due(struct client *client, const char *text)
{
    uint64_t hash = text_hash(text);
    int64_t now = clock_mono_ms();
    bool due = true;

    (void)pthread_mutex_lock(&client->lock);
    for (size_t i = 0; i < LOG_TEXTS && due; i++)
        due = client->text[i].hash != hash || now - client->text[i].mono_ms >= LOG_INTERVAL_MS;
    if (due) {
        client->text[client->next].hash = hash;
        client->text[client->next].mono_ms = now;
        client->next = (client->next + 1) % LOG_TEXTS;
    }
    (void)pthread_mutex_unlock(&client->lock);
    return due;
}

static void on_log(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
    struct client *client = rk ? rd_kafka_opaque(rk) : NULL;
    const char *name = rk ? rd_kafka_name(rk) : "";

    /* CONFWARN: a property of the other kind of client, in a map that serves both; and words on
     * those that we force. What does not fit at all is an error of kafka_new(). */
    if (level > SYSLOG_WARNING || strcmp(fac, "CONFWARN") == 0)
        log_debug("kafka client", F_STR("client", name), F_STR("facility", fac),
                  F_STR("text", text));
    else if (!client || text_is_due(client, text))
        log_warn("kafka client", F_STR("client", name), F_STR("facility", fac),
                 F_STR("text", text));
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    struct client *client = opaque;

    client->dr_msg_cb(rk, msg, client->opaque);
}

static int set_prop(rd_kafka_conf_t *conf, const char *key, const char *value, struct err *err)
{
    char text[VALUE_MAX];

    if (rd_kafka_conf_set(conf, key, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return 0;
    return err_set(err, ERR_INPUT, 0, "kafka property '%s': %s", key, text);
}

static int set_props(rd_kafka_conf_t *conf, const struct kafka_prop *props, struct err *err)
{
    for (; props && props->key; props++)
        if (set_prop(conf, props->key, props->value, err) != 0)
            return -1;
    return 0;
}

static void get_prop(const rd_kafka_conf_t *conf, const char *key, char *value)
{
    size_t size = VALUE_MAX;

    value[0] = '\0';
    (void)rd_kafka_conf_get(conf, key, value, &size);
}

/*
 * Sets one of the user's properties. A property has aliases ("acks", "request.required.acks"),
 * so a forced one is compared by its effect and not by its name.
 */
static int set_user_prop(rd_kafka_conf_t *conf, const struct conf_pair *pair,
                         const struct kafka_prop *forced, struct err *err)
{
    char now[VALUE_MAX], want[VALUE_MAX];

    if (set_prop(conf, pair->key, pair->value, err) != 0)
        goto fail;
    for (; forced && forced->key; forced++) {
        get_prop(conf, forced->key, now);
        if (set_prop(conf, forced->key, forced->value, err) != 0)
            return -1;
        get_prop(conf, forced->key, want);
        if (strcmp(now, want) != 0) {
            err_set(err, ERR_INPUT, 0, "kafka property '%s' can't be changed from '%s=%s'",
                    pair->key, forced->key, forced->value);
            goto fail;
        }
    }
    return 0;
fail:
    return pair->line > 0 ? err_wrap(err, "line %d", pair->line) : -1;
}

static int set_client_id(rd_kafka_conf_t *conf, const char *role, struct err *err)
{
    char user[VALUE_MAX], id[VALUE_MAX + 64];

    get_prop(conf, "client.id", user);
    if (user[0] == '\0' || strcmp(user, "rdkafka") == 0)
        (void)snprintf(id, sizeof(id), "redis-wal-%s", role);
    else
        (void)snprintf(id, sizeof(id), "%s-%s", user, role);
    return set_prop(conf, "client.id", id, err);
}

/* NULL with *err set, or a configuration that the caller owns. */
static rd_kafka_conf_t *make_conf(const char *role, const struct conf_map *user,
                                  const struct kafka_prop *defaults,
                                  const struct kafka_prop *forced, struct err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (set_props(conf, defaults, err) != 0 || set_props(conf, forced, err) != 0)
        goto fail;
    for (size_t i = 0; user && i < user->cnt; i++)
        if (set_user_prop(conf, &user->pair[i], forced, err) != 0)
            goto fail;
    if (set_client_id(conf, role, err) != 0)
        goto fail;
    rd_kafka_conf_set_log_cb(conf, on_log);
    return conf;
fail:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static void client_free(struct client *client)
{
    if (!client)
        return;
    (void)pthread_mutex_destroy(&client->lock);
    free(client);
}

int kafka_new(rd_kafka_type_t type, const char *role, const struct conf_map *user,
              const struct kafka_prop *defaults, const struct kafka_prop *forced,
              void (*dr_msg_cb)(rd_kafka_t *, const rd_kafka_message_t *, void *), void *opaque,
              rd_kafka_t **out, struct err *err)
{
    rd_kafka_conf_t *conf = make_conf(role, user, defaults, forced, err);
    struct client *client;
    rd_kafka_t *rk;
    char text[VALUE_MAX];

    if (!conf)
        return -1;
    client = xcalloc(1, sizeof(*client));
    client->dr_msg_cb = dr_msg_cb;
    client->opaque = opaque;
    (void)pthread_mutex_init(&client->lock, NULL);
    rd_kafka_conf_set_opaque(conf, client);
    if (dr_msg_cb)
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rk = rd_kafka_new(type, conf, text, sizeof(text));
    if (!rk) {
        rd_kafka_conf_destroy(conf); /* rd_kafka_new() takes it only when it succeeds */
        client_free(client);
        return err_set(err, ERR_INPUT, 0, "kafka client '%s': %s", role, text);
    }
    if (type == RD_KAFKA_CONSUMER)
        (void)rd_kafka_poll_set_consumer(rk); /* one queue for everything */
    *out = rk;
    return 0;
}

int kafka_conf_check(rd_kafka_type_t type, const struct conf_map *user,
                     const struct kafka_prop *defaults, const struct kafka_prop *forced,
                     struct err *err)
{
    rd_kafka_conf_t *conf = make_conf("check", user, defaults, forced, err);

    (void)type;
    if (!conf)
        return -1;
    /* No client is made of it: to end one takes up to a second. */
    rd_kafka_conf_destroy(conf);
    return 0;
}

void kafka_free(rd_kafka_t *rk)
{
    struct client *client;

    if (!rk)
        return;
    client = rd_kafka_opaque(rk);
    if (rd_kafka_type(rk) == RD_KAFKA_PRODUCER)
        (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                     RD_KAFKA_PURGE_F_NON_BLOCKING);
    /* None of our consumers is a member of a group, so there is nothing to leave. */
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    client_free(client);
}

/* One row a code; what is not in the table is fatal. */
static const struct {
    rd_kafka_resp_err_t code;
    enum err_kind kind;
} kinds[] = {
    {RD_KAFKA_RESP_ERR_NO_ERROR, ERR_NONE},
    /* A broker, a leader or a coordinator is away, moving or late. */
    {RD_KAFKA_RESP_ERR__TRANSPORT, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__RESOLVE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__SSL, ERR_AGAIN}, /* also what a connection cut in the handshake gives */
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__QUEUE_FULL, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__ISR_INSUFF, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__NODE_UPDATE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__WAIT_COORD, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__WAIT_CACHE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__IN_PROGRESS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__INTR, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__OUTDATED, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__RETRY, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__PARTIAL, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, ERR_AGAIN}, /* metadata spreads after a creation */
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__UNKNOWN_BROKER, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR__PARTITION_EOF, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, ERR_AGAIN}, /* damaged on the way to the broker */
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_STALE_CTRL_EPOCH, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_NOT_CONTROLLER, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_REASSIGNMENT_IN_PROGRESS, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_STALE_BROKER_EPOCH, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, ERR_AGAIN},
    {RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, ERR_AGAIN},
    /* The settings do not fit, here or on the brokers. */
    {RD_KAFKA_RESP_ERR__INVALID_ARG, ERR_INPUT},
    {RD_KAFKA_RESP_ERR__NOT_CONFIGURED, ERR_INPUT},
    {RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_GROUP_ID, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_CONFIG, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, ERR_INPUT},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, ERR_INPUT},
    /* Credentials and rights. */
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_EXPIRED, ERR_AUTH},
    {RD_KAFKA_RESP_ERR_SECURITY_DISABLED, ERR_AUTH},
    /* Records that should be there are not, or are damaged. */
    {RD_KAFKA_RESP_ERR__BAD_MSG, ERR_CORRUPT},
    {RD_KAFKA_RESP_ERR__BAD_COMPRESSION, ERR_CORRUPT},
    {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, ERR_CORRUPT},
    {RD_KAFKA_RESP_ERR__LOG_TRUNCATION, ERR_CORRUPT},
    {RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, ERR_CORRUPT},
    /* Another producer has this transactional.id now. */
    {RD_KAFKA_RESP_ERR__FENCED, ERR_FENCED},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, ERR_FENCED},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, ERR_FENCED},
    {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, ERR_FENCED},
};

enum err_kind kafka_err_kind(rd_kafka_resp_err_t code)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i].code == code)
            return kinds[i].kind;
    return ERR_FATAL;
}

/* "<what>: <text>" with the kind; gives -1. */
static int set_kafka_err(struct err *err, enum err_kind kind, const char *text, const char *fmt,
                         va_list ap) __attribute__((format(printf, 4, 0)));

static int set_kafka_err(struct err *err, enum err_kind kind, const char *text, const char *fmt,
                         va_list ap)
{
    char what[sizeof(err->msg) / 2];

    (void)vsnprintf(what, sizeof(what), fmt, ap);
    return err_set(err, kind, 0, "%s: %s", what, text);
}

int kafka_err(struct err *err, rd_kafka_resp_err_t code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)set_kafka_err(err, kafka_err_kind(code), rd_kafka_err2str(code), fmt, ap);
    va_end(ap);
    return -1;
}

int kafka_error(struct err *err, rd_kafka_error_t *e, const char *fmt, ...)
{
    enum err_kind kind = kafka_err_kind(rd_kafka_error_code(e));
    va_list ap;

    if (kind != ERR_FENCED && rd_kafka_error_is_fatal(e))
        kind = ERR_FATAL;
    else if (kind == ERR_FATAL && rd_kafka_error_is_retriable(e))
        kind = ERR_AGAIN;
    va_start(ap, fmt);
    (void)set_kafka_err(err, kind, rd_kafka_error_string(e), fmt, ap);
    va_end(ap);
    rd_kafka_error_destroy(e);
    return -1;
}

struct kafka_watch {
    uv_poll_t poll;
    rd_kafka_queue_t *queue;
    int fd;
    void (*cb)(void *);
    void *arg;
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct kafka_watch *watch = poll->data;
    uint64_t cnt;

    (void)status;
    (void)events;
    /* Before cb: what comes while it drains the queue must make the fd readable again. */
    if (read(watch->fd, &cnt, sizeof(cnt)) < 0 && errno != EAGAIN)
        return;
    watch->cb(watch->arg);
}

struct kafka_watch *kafka_watch_new(uv_loop_t *loop, rd_kafka_queue_t *queue,
                                    void (*cb)(void *), void *arg)
{
    static const uint64_t one = 1;
    struct kafka_watch *watch = xcalloc(1, sizeof(*watch));
    /* Readable from the start: the queue may hold something already. */
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0 || uv_poll_init(loop, &watch->poll, fd) != 0 ||
        uv_poll_start(&watch->poll, UV_READABLE, on_readable) != 0)
        abort(); /* out of descriptors at the start of the program */
    watch->poll.data = watch;
    watch->queue = queue;
    watch->fd = fd;
    watch->cb = cb;
    watch->arg = arg;
    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof(one));
    return watch;
}

static void on_closed(uv_handle_t *handle)
{
    struct kafka_watch *watch = handle->data;

    (void)close(watch->fd);
    free(watch);
}

void kafka_watch_free(struct kafka_watch *watch)
{
    if (!watch)
        return;
    rd_kafka_queue_io_event_enable(watch->queue, -1, NULL, 0);
    (void)uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_closed);
}
