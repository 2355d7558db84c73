/* options - the settings of redis-journal and their table. */
#include "journal/src/options.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/frame.h"
#include "common/net.h"
#include "journal/src/link.h"
#include "journal/src/producer.h"
#include "journal/src/tail.h"

enum { COMMIT_MARGIN_MS = 5000 }; /* a commit must come well before Kafka's time-out */

#define AT(member) offsetof(struct journal_conf, member)

const struct conf_key journal_keys[] = {
    {.name = "source.name",
     .type = CONF_STR,
     .offset = AT(source_name),
     .def = "redis",
     .doc = "Names this Redis among all that share the Kafka cluster; part of the "
            "transactional.id, so it must be the same on every journal of this Redis."},
    {.name = "source.redis",
     .type = CONF_STR,
     .offset = AT(redis),
     .def = "127.0.0.1:6379",
     .doc = "host:port, [ipv6]:port or unix:/path of the Redis; unused with source.sentinels."},
    {.name = "source.sentinels",
     .type = CONF_LIST,
     .offset = AT(sentinels),
     .doc = "host:port of each Sentinel; the master is asked from them at every connect."},
    {.name = "source.master_name",
     .type = CONF_STR,
     .offset = AT(master_name),
     .def = "mymaster",
     .doc = "Name of the master at the Sentinels."},
    {.name = "source.username",
     .type = CONF_STR,
     .offset = AT(username),
     .doc = "ACL user; needs +psync +replconf +ping +command. Unset: the default user."},
    {.name = "source.password",
     .type = CONF_SECRET,
     .offset = AT(password),
     .doc = "Its password, or file:/path."},
    {.name = "source.sentinel_username",
     .type = CONF_STR,
     .offset = AT(sentinel_username),
     .doc = "ACL user at the Sentinels."},
    {.name = "source.sentinel_password",
     .type = CONF_SECRET,
     .offset = AT(sentinel_password),
     .doc = "Its password, or file:/path."},
    {.name = "source.tls",
     .type = CONF_BOOL,
     .offset = AT(tls),
     .def = "false",
     .doc = "Speak TLS to Redis and the Sentinels; the server's name is verified."},
    {.name = "source.tls_ca",
     .type = CONF_STR,
     .offset = AT(tls_ca),
     .doc = "PEM file of the CAs to trust. Unset: the system's."},
    {.name = "source.tls_cert",
     .type = CONF_STR,
     .offset = AT(tls_cert),
     .doc = "PEM file of the client certificate."},
    {.name = "source.tls_key",
     .type = CONF_STR,
     .offset = AT(tls_key),
     .doc = "PEM file of its key."},
    {.name = "source.tls_server_name",
     .type = CONF_STR,
     .offset = AT(tls_server_name),
     .doc = "Name that the certificate must have. Unset: the host."},
    {.name = "source.connect_timeout",
     .type = CONF_TIME,
     .offset = AT(connect_timeout_ms),
     .def = "5s",
     .min = 100,
     .max = 600000,
     .doc = "Longest wait for a connection and for each reply of the handshake."},
    {.name = "source.timeout",
     .type = CONF_TIME,
     .offset = AT(timeout_ms),
     .def = "60s",
     .min = 1000,
     .max = 3600000,
     .doc = "Silence after which the link counts as dead; at least the server's "
            "repl-ping-replica-period (10 s) three times over."},
    {.name = "source.retry_min",
     .type = CONF_TIME,
     .offset = AT(retry_min_ms),
     .def = "100ms",
     .min = 1,
     .max = 60000,
     .doc = "First wait before another attempt to connect."},
    {.name = "source.retry_max",
     .type = CONF_TIME,
     .offset = AT(retry_max_ms),
     .def = "5s",
     .min = 1,
     .max = 600000,
     .doc = "Longest wait before another attempt."},
    {.name = "instance",
     .type = CONF_STR,
     .offset = AT(instance),
     .doc = "Name of this journal among those of the same source. Unset: the host's name. A "
            "journal that restarts under the same name takes over at once."},
    {.name = "kafka",
     .type = CONF_MAP,
     .offset = AT(kafka),
     .doc = "Properties for librdkafka, passed through; bootstrap.servers is needed."},
    {.name = "topic.name",
     .type = CONF_STR,
     .offset = AT(topic),
     .def = "redis-writes",
     .doc = "The log's topic; one for each source."},
    {.name = "topic.create",
     .type = CONF_BOOL,
     .offset = AT(create),
     .def = "true",
     .doc = "Create the topic when it is missing."},
    {.name = "topic.partitions",
     .type = CONF_INT,
     .offset = AT(partitions),
     .def = "12",
     .min = 1,
     .max = FRAME_PARTITIONS_MAX,
     .doc = "Partitions of a topic that is created; an existing one is taken as it is."},
    {.name = "topic.replication_factor",
     .type = CONF_INT,
     .offset = AT(replication_factor),
     .def = "-1",
     .min = -1,
     .max = 100,
     .doc =
         "Of a topic that is created; -1: 3, or the number of brokers where there are fewer. "
         "With 3 or more, min.insync.replicas is 2."},
    {.name = "topic.retention",
     .type = CONF_TIME,
     .offset = AT(retention_ms),
     .def = "7d",
     .min = 60000,
     .max = INT64_MAX,
     .doc = "Of a topic that is created."},
    {.name = "limits.in_flight",
     .type = CONF_SIZE,
     .offset = AT(in_flight),
     .def = "64MiB",
     .min = 1 << 20,
     .max = (int64_t)1 << 40,
     .doc = "Bytes not yet acknowledged by Kafka above which reading from Redis pauses."},
    {.name = "limits.commit_interval",
     .type = CONF_TIME,
     .offset = AT(commit_interval_ms),
     .def = "10s",
     .min = 100,
     .max = 50000,
     .doc = "How often the open transaction is committed; keeps Kafka's last stable offset "
            "moving, no reader here needs it."},
    {.name = "limits.takeover_after",
     .type = CONF_TIME,
     .offset = AT(takeover_after_ms),
     .def = "5s",
     .min = 2000,
     .max = 600000,
     .doc = "Silence of the owner after which a standby takes over."},
    DAEMON_CONF_KEYS("127.0.0.1:9501"),
    CONF_KEYS_END,
};

/* As the link will read them; the ports do not matter here. */
static int check_addresses(const struct journal_conf *c, struct err *err)
{
    struct net_addr addr;

    for (size_t i = 0; i < c->sentinels.cnt; i++)
        if (net_addr_parse(c->sentinels.item[i], 1, &addr, err) != 0)
            return err_wrap(err, "key 'source.sentinels'");
    if (c->sentinels.cnt != 0)
        return c->master_name[0] != '\0'
                   ? 0
                   : err_set(err, ERR_INPUT, 0,
                             "key 'source.master_name' must be set with 'source.sentinels'");
    if (net_addr_parse(c->redis, 1, &addr, err) != 0)
        return err_wrap(err, "key 'source.redis'");
    if (c->tls && addr.is_unix)
        return err_set(err, ERR_INPUT, 0,
                       "keys 'source.tls' and 'source.redis': a unix socket has no TLS");
    return 0;
}

int journal_conf_check(const void *p, struct err *err)
{
    const struct journal_conf *c = p;

    if (conf_map_get(&c->kafka, "bootstrap.servers") == NULL)
        return err_set(err, ERR_INPUT, 0,
                       "key 'kafka.bootstrap.servers': required, but not set; set it in the "
                       "file or as JOURNAL_KAFKA_BOOTSTRAP_SERVERS");
    if (strlen(c->source_name) == 0 || strlen(c->source_name) > FRAME_NAME_MAX)
        return err_set(err, ERR_INPUT, 0, "key 'source.name' must have 1 to %d bytes",
                       FRAME_NAME_MAX);
    if (c->instance != NULL && strlen(c->instance) > FRAME_NAME_MAX)
        return err_set(err, ERR_INPUT, 0, "key 'instance' must have at most %d bytes",
                       FRAME_NAME_MAX);
    if (c->retry_min_ms > c->retry_max_ms)
        return err_set(err, ERR_INPUT, 0, "key 'source.retry_min' is above 'source.retry_max'");
    if ((c->tls_cert == NULL) != (c->tls_key == NULL))
        return err_set(err, ERR_INPUT, 0,
                       "keys 'source.tls_cert' and 'source.tls_key' belong together");
    if (c->replication_factor == 0)
        return err_set(err, ERR_INPUT, 0,
                       "key 'topic.replication_factor' must be -1 or above 0");
    if (check_addresses(c, err) != 0 || producer_check_conf(&c->kafka, err) != 0 ||
        tail_check_conf(&c->kafka, err) != 0)
        return -1;
    if (c->commit_interval_ms + COMMIT_MARGIN_MS > producer_transaction_ms(&c->kafka))
        return err_set(err, ERR_INPUT, 0,
                       "key 'limits.commit_interval' must be at least %d s below "
                       "'kafka.transaction.timeout.ms'",
                       COMMIT_MARGIN_MS / 1000);
    return 0;
}

void journal_link_conf(const struct journal_conf *c, struct link_conf *out)
{
    *out = (struct link_conf){
        .redis = c->redis,
        .sentinels = c->sentinels.item,
        .sentinel_cnt = c->sentinels.cnt,
        .master_name = c->master_name,
        .username = c->username,
        .password = c->password,
        .sentinel_username = c->sentinel_username,
        .sentinel_password = c->sentinel_password,
        .tls = c->tls,
        .tls_ca = c->tls_ca,
        .tls_cert = c->tls_cert,
        .tls_key = c->tls_key,
        .tls_server_name = c->tls_server_name,
        .connect_timeout_ms = c->connect_timeout_ms,
        .timeout_ms = c->timeout_ms,
        .retry_min_ms = c->retry_min_ms,
        .retry_max_ms = c->retry_max_ms,
    };
}

const char *journal_instance(const struct journal_conf *c, char *buf, size_t size)
{
    if (c->instance != NULL && c->instance[0] != '\0')
        return c->instance;
    if (gethostname(buf, size) != 0)
        return "redis-journal";
    buf[size - 1] = '\0';
    return buf;
}
