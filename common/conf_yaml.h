/*
 * conf_yaml - a YAML text as a flat list: one entry for each dotted path, with its line. What a
 * configuration has no use for (aliases, several documents, lists of mappings) is refused.
 */
#ifndef COMMON_CONF_YAML_H
#define COMMON_CONF_YAML_H

#include <stddef.h>

struct err;

enum conf_yaml_kind {
    CONF_YAML_SCALAR, /* item[0] */
    CONF_YAML_LIST,   /* item[0..cnt), may be empty */
    CONF_YAML_NONE,   /* nothing behind the colon, null, or {} */
};

struct conf_yaml_entry {
    char *path;
    enum conf_yaml_kind kind;
    char **item;
    size_t cnt;
    int line; /* of the key, from 1 */
};

struct conf_yaml {
    struct conf_yaml_entry *entry; /* in the order of the file; no path occurs twice */
    size_t cnt;
};

/*
 * Parses text[0..len) into *out, a zeroed struct. `name` is the file's, for messages. Returns 0, or
 * -1 with ERR_INPUT: not YAML, a duplicate key, or a form that is refused. conf_yaml_release() is
 * due after both.
 */
int conf_yaml_parse(const char *text, size_t len, const char *name, struct conf_yaml *out,
                    struct err *err);
void conf_yaml_release(struct conf_yaml *yaml);

#endif
