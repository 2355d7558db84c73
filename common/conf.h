/*
 * conf - a YAML file (libyaml) into a plain struct, described by a table of keys.
 *
 * Keys are dotted paths of the YAML mappings ("source.redis"). Precedence: environment over
 * file over default. The environment variable of key `a.b_c` is PREFIX_A_B_C. A value
 * "file:/path" of a CONF_SECRET is replaced by that file's content less one trailing newline.
 * Every error names file, line and key, and the nearest valid key for an unknown one.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

enum conf_type {
    CONF_STR,    /* char *; NULL when unset and without default */
    CONF_SECRET, /* char *; as CONF_STR, dumped as *** */
    CONF_BOOL,   /* bool: true/false/yes/no/on/off */
    CONF_INT,    /* int64_t within [min, max] */
    CONF_TIME,   /* int64_t milliseconds: 250ms 10s 5m 1h 7d; a bare number is refused */
    CONF_SIZE,   /* int64_t bytes: 64KiB 16MiB 1GiB, or a bare number of bytes */
    CONF_CHOICE, /* char *, one of `choices` ("a|b|c") */
    CONF_LIST,   /* struct conf_list: a YAML sequence of scalars, or one scalar: a,b,c */
    /* struct conf_map: any keys below this one; key "bootstrap.servers" of map "kafka" is
     * kafka.bootstrap.servers in the file and PREFIX_KAFKA_BOOTSTRAP_SERVERS in the environment;
     * values as text, `file:` resolved; passed through to a library */
    CONF_MAP,
    /* struct conf_origins *: no key of the file, but where conf_where() looks up; named "" */
    CONF_ORIGINS,
};

struct conf_origins; /* where each value came from */

struct conf_list {
    char **item;
    size_t cnt;
};

struct conf_pair {
    char *key;
    char *value;
    int line;    /* in the file, 0 when from the environment */
    bool secret; /* came from a file: reference, or its key says so; dumped as *** */
};

struct conf_map {
    struct conf_pair *pair;
    size_t cnt;
};

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset;    /* offsetof() in the program's struct */
    const char *def;  /* as it would stand in the file; NULL: none */
    int64_t min, max; /* CONF_INT, CONF_TIME, CONF_SIZE; both 0: any value >= 0 */
    const char *choices;
    bool required;
    const char *doc; /* one or two sentences for --help and the generated reference */
};

#define CONF_KEYS_END                                                                          \
    {                                                                                          \
        .name = NULL                                                                           \
    }

/*
 * Fills *out, a zeroed struct, from the file `path` (NULL: environment and defaults only).
 * Returns 0, or -1 with ERR_INPUT. On -1 conf_free() is still allowed. `keys` ends with
 * CONF_KEYS_END.
 */
int conf_load(const struct conf_key *keys, const char *path, const char *env_prefix, void *out,
              struct err *err);
void conf_free(const struct conf_key *keys, void *out);
/* The effective configuration as YAML that conf_load() reads back; secrets as ***. What was not
 * set and has no default stands in comments. */
void conf_dump(const struct conf_key *keys, const void *conf, FILE *to);
/* The reference: every key with type, default, meaning. */
void conf_doc(const struct conf_key *keys, FILE *to);
/* Where the value of `key` (or of a map's, "kafka.bootstrap.servers") came from, for messages of
 * checks that need several keys: "file:line", "environment variable PREFIX_X" or "default". `keys`
 * must have a row of CONF_ORIGINS (DAEMON_CONF_KEYS has). Written to buf, which is returned. */
const char *conf_where(const struct conf_key *keys, const void *conf, const char *key,
                       char *buf, size_t size);

/* A value of a map, or NULL. */
const char *conf_map_get(const struct conf_map *map, const char *key);

#endif
