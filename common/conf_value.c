/* conf_value - one value of a configuration: from text into the program's struct, and back. */
#include "common/conf_value.h"
#include "common/buf.h"
#include "common/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first: the first one that divides a number is the one it is printed with. */
static const struct unit time_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                         {"s", 1000},     {"ms", 1},      {NULL, 0}};
static const struct unit size_units[] = {{"TiB", INT64_C(1) << 40},
                                         {"GiB", INT64_C(1) << 30},
                                         {"MiB", INT64_C(1) << 20},
                                         {"KiB", INT64_C(1) << 10},
                                         {"", 1},
                                         {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum conf_type type)
{
    if (type == CONF_TIME)
        return time_units;
    return type == CONF_SIZE ? size_units : no_units;
}

void *conf_value_at(const struct conf_key *key, void *out)
{
    return (char *)out + key->offset;
}

const void *conf_value_at_const(const struct conf_key *key, const void *out)
{
    return (const char *)out + key->offset;
}

static int64_t max_of(const struct conf_key *key)
{
    return key->max == 0 && key->min >= 0 ? INT64_MAX : key->max;
}

void conf_value_number(struct buf *to, enum conf_type type, int64_t v)
{
    const struct unit *u = units_of(type);

    if (v == 0 && type == CONF_TIME) {
        buf_printf(to, "0s");
        return;
    }
    while (u->factor != 1 && (v == 0 || v % u->factor != 0))
        u++;
    buf_printf(to, "%" PRId64 "%s", v / u->factor, u->name);
}

static void put_range(struct buf *to, const struct conf_key *key)
{
    conf_value_number(to, key->type, key->min);
    if (max_of(key) == INT64_MAX) {
        buf_printf(to, " or more");
        return;
    }
    buf_printf(to, " to ");
    conf_value_number(to, key->type, max_of(key));
}

static void put_choices(struct buf *to, const char *choices)
{
    buf_printf(to, "one of ");
    for (; *choices != '\0'; choices++)
        buf_printf(to, *choices == '|' ? ", " : "%c", *choices);
}

void conf_value_allowed(struct buf *to, const struct conf_key *key)
{
    switch (key->type) {
    case CONF_BOOL:
        buf_printf(to, "true or false");
        break;
    case CONF_INT:
    case CONF_TIME:
    case CONF_SIZE:
        put_range(to, key);
        break;
    case CONF_CHOICE:
        put_choices(to, key->choices);
        break;
    case CONF_STR:
    case CONF_SECRET:
    case CONF_LIST:
    case CONF_MAP:
    case CONF_ORIGINS:
        break;
    }
}

/* Digits with one of the units of the type behind them. Signs are for CONF_INT alone. */
static bool parse_number(const struct conf_key *key, const char *text, int64_t *out)
{
    const struct unit *u = units_of(key->type);
    const char *digits = text + (key->type == CONF_INT && *text == '-');
    char *end;
    long long v;

    if (*digits < '0' || *digits > '9')
        return false;
    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    while (u->name != NULL && strcmp(u->name, end) != 0)
        u++;
    if (u->name == NULL || v > INT64_MAX / u->factor || v < INT64_MIN / u->factor)
        return false;
    *out = v * u->factor;
    return true;
}

static bool set_number(const struct conf_key *key, const char *text, int64_t *out, char *why,
                       size_t size)
{
    const char *what = key->type == CONF_INT ? "is not a whole number"
                       : key->type == CONF_TIME
                           ? "is not a time with its unit (ms, s, m, h, d)"
                           : "is not a size (bytes, or KiB, MiB, GiB, TiB)";
    struct buf allowed;
    int64_t v;

    if (parse_number(key, text, &v)) {
        if (v >= key->min && v <= max_of(key)) {
            *out = v;
            return true;
        }
        what = "is out of range";
    }
    buf_init(&allowed);
    put_range(&allowed, key);
    (void)snprintf(why, size, "'%.80s' %s; allowed: %.*s", text, what, (int)allowed.len,
                   (const char *)buf_data(&allowed));
    buf_release(&allowed);
    return false;
}

static bool set_bool(const char *text, bool *out, char *why, size_t size)
{
    static const char *const names[] = {"false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcasecmp(names[i], text) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    }
    (void)snprintf(why, size, "'%.80s' is neither yes nor no; allowed: true or false", text);
    return false;
}

static void set_text(char **out, const char *text)
{
    char *copy = xstrdup(text);

    free(*out);
    *out = copy;
}

static bool set_choice(const struct conf_key *key, const char *text, char **out, char *why,
                       size_t size)
{
    size_t len = strlen(text);
    struct buf allowed;

    for (const char *c = key->choices; c != NULL; c = strchr(c, '|')) {
        c += *c == '|';
        if (len != 0 && strcspn(c, "|") == len && strncmp(c, text, len) == 0) {
            set_text(out, text);
            return true;
        }
    }
    buf_init(&allowed);
    put_choices(&allowed, key->choices);
    (void)snprintf(why, size, "'%.80s' is not known here; allowed: %.*s", text,
                   (int)allowed.len, (const char *)buf_data(&allowed));
    buf_release(&allowed);
    return false;
}

static void list_free(struct conf_list *list)
{
    for (size_t i = 0; i < list->cnt; i++)
        free(list->item[i]);
    free(list->item);
    *list = (struct conf_list){0};
}

static void list_add(struct conf_list *list, const char *text, size_t len)
{
    char *copy = xmalloc(len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    list->item = xrealloc(list->item, (list->cnt + 1) * sizeof(*list->item));
    list->item[list->cnt++] = copy;
}

void conf_value_set_list(const struct conf_key *key, char *const *item, size_t cnt, void *out)
{
    struct conf_list *list = conf_value_at(key, out);

    list_free(list);
    for (size_t i = 0; i < cnt; i++)
        list_add(list, item[i], strlen(item[i]));
}

/* "a, b" has two items, "" none. */
static void set_list(struct conf_list *list, const char *text)
{
    list_free(list);
    while (*text != '\0') {
        size_t all = strcspn(text, ","), len;

        while (all > 0 && *text == ' ') {
            text++;
            all--;
        }
        for (len = all; len > 0 && text[len - 1] == ' ';)
            len--;
        if (len > 0)
            list_add(list, text, len);
        text += all + (text[all] == ',');
    }
}

bool conf_value_set(const struct conf_key *key, const char *text, void *out, char *why,
                    size_t size)
{
    void *at = conf_value_at(key, out);

    switch (key->type) {
    case CONF_STR:
    case CONF_SECRET:
        set_text(at, text);
        return true;
    case CONF_BOOL:
        return set_bool(text, at, why, size);
    case CONF_INT:
    case CONF_TIME:
    case CONF_SIZE:
        return set_number(key, text, at, why, size);
    case CONF_CHOICE:
        return set_choice(key, text, at, why, size);
    case CONF_LIST:
        set_list(at, text);
        return true;
    case CONF_MAP:
    case CONF_ORIGINS:
        break;
    }
    (void)snprintf(why, size, "takes no value itself");
    return false;
}

static void map_free(struct conf_map *map)
{
    for (size_t i = 0; i < map->cnt; i++) {
        free(map->pair[i].key);
        free(map->pair[i].value);
    }
    free(map->pair);
    *map = (struct conf_map){0};
}

void conf_value_free(const struct conf_key *key, void *out)
{
    void *at = conf_value_at(key, out);

    switch (key->type) {
    case CONF_STR:
    case CONF_SECRET:
    case CONF_CHOICE:
        free(*(char **)at);
        *(char **)at = NULL;
        break;
    case CONF_LIST:
        list_free(at);
        break;
    case CONF_MAP:
        map_free(at);
        break;
    case CONF_BOOL:
        *(bool *)at = false;
        break;
    case CONF_INT:
    case CONF_TIME:
    case CONF_SIZE:
        *(int64_t *)at = 0;
        break;
    case CONF_ORIGINS: /* conf.c's */
        break;
    }
}

void conf_value_map_set(struct conf_map *map, const char *key, const char *value, int line,
                        bool secret)
{
    struct conf_pair *pair = NULL;

    for (size_t i = 0; i < map->cnt; i++)
        if (strcmp(map->pair[i].key, key) == 0)
            pair = &map->pair[i];
    if (pair == NULL) {
        map->pair = xrealloc(map->pair, (map->cnt + 1) * sizeof(*map->pair));
        pair = &map->pair[map->cnt++];
        *pair = (struct conf_pair){.key = xstrdup(key)};
    }
    set_text(&pair->value, value);
    pair->line = line;
    pair->secret = secret;
}

const char *conf_map_get(const struct conf_map *map, const char *key)
{
    for (size_t i = 0; i < map->cnt; i++)
        if (strcmp(map->pair[i].key, key) == 0)
            return map->pair[i].value;
    return NULL;
}
