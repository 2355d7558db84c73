/* options - the settings of redis-journal and their table. */
#ifndef JOURNAL_OPTIONS_H
#define JOURNAL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/daemon.h"

struct err;
struct link_conf;

struct journal_conf {
    struct daemon_conf daemon; /* first */
    char *instance;
    char *source_name;
    char *redis;
    struct conf_list sentinels;
    char *master_name;
    char *username, *password;
    char *sentinel_username, *sentinel_password;
    bool tls;
    char *tls_ca, *tls_cert, *tls_key, *tls_server_name;
    int64_t connect_timeout_ms, timeout_ms, retry_min_ms, retry_max_ms;
    struct conf_map kafka;
    char *topic;
    bool create;
    int64_t partitions, replication_factor, retention_ms;
    int64_t in_flight, commit_interval_ms, takeover_after_ms;
};

extern const struct conf_key journal_keys[];

/* What a table can't say: addresses, pairs of keys, Kafka's properties. */
int journal_conf_check(const void *conf, struct err *err);
/* The link's part; points into *conf. */
void journal_link_conf(const struct journal_conf *conf, struct link_conf *out);
/* `instance`, or the host's name. */
const char *journal_instance(const struct journal_conf *conf, char *buf, size_t size);

#endif
