/* options - the settings of redis-applier and their table. */
#ifndef APPLIER_OPTIONS_H
#define APPLIER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/daemon.h"

struct engine_conf;
struct err;
struct net_tls;
struct session_conf;

struct applier_conf {
    struct daemon_conf daemon; /* first */
    char *source_name;
    struct conf_map kafka;
    char *topic;
    char *group;
    char *redis;
    char *username, *password;
    bool tls;
    char *tls_ca, *tls_cert, *tls_key, *tls_server_name;
    int64_t connect_timeout_ms;
    int64_t position_db;
    bool overwrite;
    int64_t max_bulk;
    int64_t ttl_guard_ms;
    int64_t batch_commands, batch_bytes;
    int64_t memory;
    int64_t max_entry;
    int64_t standby_ms;
};

extern const struct conf_key applier_keys[];

/* What a table can't say: addresses, pairs of keys, Kafka's properties. */
int applier_conf_check(const void *conf, struct err *err);
/* The connection to the target; points into *conf. *tls is NULL without target.tls, else freed
 * with net_tls_free() after the last session. */
int applier_session_conf(const struct applier_conf *conf, struct session_conf *out,
                         struct net_tls **tls, struct err *err);
/* All of the engine's settings but session, source and callbacks. */
void applier_engine_conf(const struct applier_conf *conf, struct engine_conf *out);

#endif
