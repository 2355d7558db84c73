/*
 * conf_value - one value of a configuration: from text into the program's struct, and back.
 */
#ifndef COMMON_CONF_VALUE_H
#define COMMON_CONF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"

struct buf;

/* The member of `out` that a key describes. */
void *conf_value_at(const struct conf_key *key, void *out);
const void *conf_value_at_const(const struct conf_key *key, const void *out);

/*
 * Sets the value of a key of any type but CONF_MAP and CONF_ORIGINS; a CONF_LIST is split at its
 * commas. What was there before is freed. False with the reason and what is allowed in `why` (never
 * the value of a secret); the old value stays.
 */
bool conf_value_set(const struct conf_key *key, const char *text, void *out, char *why,
                    size_t size);
void conf_value_set_list(const struct conf_key *key, char *const *item, size_t cnt, void *out);
/* Frees and zeroes the value of a key of any type. */
void conf_value_free(const struct conf_key *key, void *out);

/* Sets the pair of a map, or replaces it. */
void conf_value_map_set(struct conf_map *map, const char *key, const char *value, int line,
                        bool secret);

/* Appends a number as it would stand in the file: 10s, 64KiB, 12. */
void conf_value_number(struct buf *to, enum conf_type type, int64_t v);
/* Appends what values a key takes: "1 to 100", "one of debug, info". Nothing for free text. */
void conf_value_allowed(struct buf *to, const struct conf_key *key);

#endif
