/* options - the settings of redis-applier and their table. */
#include "applier/src/options.h"

#include <stddef.h>
#include <string.h>

#include "applier/src/engine.h"
#include "applier/src/source.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/net.h"

#define AT(member) offsetof(struct applier_conf, member)
#define GIB        ((int64_t)1 << 30)

const struct conf_key applier_keys[] = {
    {.name = "source.name",
     .type = CONF_STR,
     .offset = AT(source_name),
     .def = "redis",
     .doc = "Name of the Redis whose writes are applied, as the journal has it; part of the "
            "key that holds the position."},
    {.name = "kafka",
     .type = CONF_MAP,
     .offset = AT(kafka),
     .doc = "Properties of librdkafka's consumer; kafka.bootstrap.servers is needed."},
    {.name = "topic.name",
     .type = CONF_STR,
     .offset = AT(topic),
     .def = "redis-writes",
     .doc = "The log's topic."},
    {.name = "group",
     .type = CONF_STR,
     .offset = AT(group),
     .def = "redis-applier",
     .doc = "Consumer group that offsets are committed to for tools that show lag; they are "
            "never read back."},
    {.name = "target.redis",
     .type = CONF_STR,
     .offset = AT(redis),
     .def = "127.0.0.1:6379",
     .doc = "host:port, [ipv6]:port or unix:/path of the Redis that is written to."},
    {.name = "target.username",
     .type = CONF_STR,
     .offset = AT(username),
     .doc = "ACL user at the target. Unset: the default user."},
    {.name = "target.password",
     .type = CONF_SECRET,
     .offset = AT(password),
     .doc = "Its password, or file:/path."},
    {.name = "target.tls",
     .type = CONF_BOOL,
     .offset = AT(tls),
     .def = "false",
     .doc = "Speak TLS to the target; its name is verified."},
    {.name = "target.tls_ca",
     .type = CONF_STR,
     .offset = AT(tls_ca),
     .doc = "PEM file of the CAs to trust. Unset: the system's."},
    {.name = "target.tls_cert",
     .type = CONF_STR,
     .offset = AT(tls_cert),
     .doc = "PEM file of the client certificate."},
    {.name = "target.tls_key",
     .type = CONF_STR,
     .offset = AT(tls_key),
     .doc = "PEM file of its key."},
    {.name = "target.tls_server_name",
     .type = CONF_STR,
     .offset = AT(tls_server_name),
     .doc = "Name that the certificate must have. Unset: the host."},
    {.name = "target.connect_timeout",
     .type = CONF_TIME,
     .offset = AT(connect_timeout_ms),
     .def = "5s",
     .min = 100,
     .max = 600000,
     .doc = "Longest wait for a connection."},
    {.name = "target.position_db",
     .type = CONF_INT,
     .offset = AT(position_db),
     .def = "0",
     .min = 0,
     .max = INT32_MAX,
     .doc = "Database of the key that holds the position. Must not change while there is one."},
    {.name = "target.overwrite",
     .type = CONF_BOOL,
     .offset = AT(overwrite),
     .def = "false",
     .doc = "Allow to replace the keys of a target that has no position yet."},
    {.name = "target.max_bulk",
     .type = CONF_SIZE,
     .offset = AT(max_bulk),
     .def = "512MiB",
     .min = 1024 * 1024,
     .max = 1024 * GIB,
     .doc = "The target's proto-max-bulk-len: the largest value that a snapshot may hold."},
    {.name = "ttl_guard",
     .type = CONF_TIME,
     .offset = AT(ttl_guard_ms),
     .def = "7d",
     .max = (int64_t)10 * 365 * 86400 * 1000,
     .doc = "How much later every expiry is written, so that a target that lags loses no key "
            "that was extended in time. More than the longest outage to survive; 0s: none."},
    {.name = "batch.commands",
     .type = CONF_INT,
     .offset = AT(batch_commands),
     .def = "500",
     .min = 1,
     .max = 1000000,
     .doc = "A batch goes out when it holds this many commands, or when the target is idle."},
    {.name = "batch.bytes",
     .type = CONF_SIZE,
     .offset = AT(batch_bytes),
     .def = "1MiB",
     .min = 1024,
     .max = GIB,
     .doc = "A batch goes out when it holds this many bytes."},
    {.name = "memory",
     .type = CONF_SIZE,
     .offset = AT(memory),
     .def = "256MiB",
     .min = 1024 * 1024,
     .max = 1024 * GIB,
     .doc =
         "Most bytes of the log that wait for their turn; each partition has an equal share."},
    {.name = "max_entry",
     .type = CONF_SIZE,
     .offset = AT(max_entry),
     .def = "1GiB",
     .min = 1024 * 1024,
     .max = 1024 * GIB,
     .doc = "Largest command, transaction or key of a snapshot that is put together."},
    {.name = "standby.takeover_after",
     .type = CONF_TIME,
     .offset = AT(standby_ms),
     .def = "10s",
     .min = 6000,
     .max = 3600000,
     .doc = "An applier that stands by takes over when the position stood still this long; the "
            "active one writes it every 4 s."},
    DAEMON_CONF_KEYS("127.0.0.1:9503"),
    CONF_KEYS_END,
};

static int check_names(const struct applier_conf *c, struct err *err)
{
    if (c->source_name == NULL || c->source_name[0] == 0 ||
        strlen(c->source_name) > FRAME_NAME_MAX)
        return err_set(err, ERR_INPUT, 0, "source.name must have 1 to %d bytes",
                       FRAME_NAME_MAX);
    if (c->topic == NULL || c->topic[0] == 0 || strlen(c->topic) > POSITION_TOPIC_MAX)
        return err_set(err, ERR_INPUT, 0, "topic.name must have 1 to %d bytes",
                       POSITION_TOPIC_MAX);
    if (c->group == NULL || c->group[0] == 0)
        return err_set(err, ERR_INPUT, 0, "group must not be empty");
    return 0;
}

int applier_conf_check(const void *conf, struct err *err)
{
    const struct applier_conf *c = conf;
    struct source_conf source = {.kafka = &c->kafka, .topic = c->topic, .group = c->group};
    struct net_addr addr;

    if (check_names(c, err) != 0)
        return -1;
    if (net_addr_parse(c->redis, 6379, &addr, err) != 0)
        return err_wrap(err, "target.redis");
    if (!c->tls && (c->tls_ca != NULL || c->tls_cert != NULL || c->tls_key != NULL))
        return err_set(err, ERR_INPUT, 0, "target.tls_* needs target.tls");
    if ((c->tls_cert == NULL) != (c->tls_key == NULL))
        return err_set(err, ERR_INPUT, 0, "target.tls_cert and target.tls_key go together");
    if (c->username != NULL && c->username[0] != 0 && c->password == NULL)
        return err_set(err, ERR_INPUT, 0, "target.username needs target.password");
    if (conf_map_get(&c->kafka, "bootstrap.servers") == NULL)
        return err_set(err, ERR_INPUT, 0,
                       "key 'kafka.bootstrap.servers': required, but not set; set it in the "
                       "file or as APPLIER_KAFKA_BOOTSTRAP_SERVERS");
    return source_check(&source, err);
}

int applier_session_conf(const struct applier_conf *conf, struct session_conf *out,
                         struct net_tls **tls, struct err *err)
{
    struct net_tls_conf files = {
        .ca = conf->tls_ca, .cert = conf->tls_cert, .key = conf->tls_key};

    *out = (struct session_conf){.server_name = conf->tls_server_name,
                                 .username = conf->username,
                                 .password = conf->password,
                                 .position_db = (uint32_t)conf->position_db,
                                 .connect_timeout_ms = conf->connect_timeout_ms};
    *tls = NULL;
    if (net_addr_parse(conf->redis, 6379, &out->addr, err) != 0)
        return err_wrap(err, "target.redis");
    if (conf->tls && net_tls_new(&files, tls, err) != 0)
        return err_wrap(err, "target.tls");
    out->tls = *tls;
    return 0;
}

void applier_engine_conf(const struct applier_conf *conf, struct engine_conf *out)
{
    out->source_name = conf->source_name;
    out->topic = conf->topic;
    out->overwrite = conf->overwrite;
    out->guard_ms = conf->ttl_guard_ms;
    out->batch_commands = (size_t)conf->batch_commands;
    out->batch_bytes = (size_t)conf->batch_bytes;
    out->memory_bytes = (size_t)conf->memory;
    out->max_entry_bytes = (size_t)conf->max_entry;
    out->max_bulk_bytes = (size_t)conf->max_bulk;
    out->standby_ms = conf->standby_ms;
}
