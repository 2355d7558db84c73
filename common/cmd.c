/*
 * cmd - where the first key of a command is.
 *
 * An answer found on a prefix of a command is the answer for the whole of it: a rule that needs
 * an argument which was not read yet ends the search with "not known", it never falls through
 * to the next rule. The cutter relies on it, because it asks again and again while a command
 * arrives.
 */
#include "common/cmd.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/mem.h"
#include "common/resp.h"

/* Fields of an entry of COMMAND's reply; the first six are in every version, the two of Redis
 * 7.0 (https://redis.io/docs/latest/commands/command/) may be missing. */
enum {
    FIELD_NAME = 0,
    FIELD_FIRST_KEY = 3,
    FIELD_CNT_MIN = 6,
    FIELD_KEY_SPECS = 8,
    FIELD_SUBCOMMANDS = 9,
};

#define NAME_MAX_LEN ((size_t)128) /* with its subcommand; a longer one is not known */

/* One key specification, as far as the first key needs it. */
struct rule {
    char *keyword; /* the key search begins behind it; NULL: it begins at `begin` */
    int64_t begin; /* argument; with a keyword: where to look for it, < 0 from the end */
    bool counted;  /* the number of keys comes first: at +count_at, the keys at +first_at */
    int64_t count_at;
    int64_t first_at;
};

struct command {
    char *name; /* lower case; "xgroup|create" for a subcommand */
    size_t name_len;
    size_t first_key;   /* the answer in most cases; 0: ask the rules */
    bool is_container;  /* its subcommands have entries of their own */
    bool empty_is_none; /* an empty first key means that the next rule holds (MIGRATE) */
    size_t rule_cnt;
    struct rule *rule;
};

struct cmd_table {
    size_t mask;           /* slots less one; a power of two, at most half of them used */
    struct command **slot; /* open addressing; NULL: free */
};

/* What versions before 7.0 leave to code of the server: commands with movable keys. */
static const struct {
    char name[16];
    struct rule rule;
} unspecified[] = {
    {"eval", {.begin = 2, .counted = true, .first_at = 1}},
    {"evalsha", {.begin = 2, .counted = true, .first_at = 1}},
    {"zunionstore", {.begin = 1}},
    {"zinterstore", {.begin = 1}},
    {"zdiffstore", {.begin = 1}},
    {"publish", {.begin = 1}}, /* the channel, which no version counts as a key */
    {"spublish", {.begin = 1}},
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* Ignores case, at the price of a few other pairs being equal too. Continues from `hash`. */
static uint64_t hash_add(uint64_t hash, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (p[i] | 0x20U)) * 0x9e3779b97f4a7c15ULL;
    return hash;
}

static size_t hash_slot(const struct cmd_table *t, uint64_t hash)
{
    return (size_t)(hash >> 40) & t->mask;
}

static bool equal_fold(const char *lower_case, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)lower_case[i] != lower(p[i]))
            return false;
    return true;
}

/* ---- building ---------------------------------------------------------------------------- */

static bool is_text(const redisReply *r)
{
    return r != NULL && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS);
}

/* RESP3 says sets and maps; hiredis gives a map's keys and values in turn, as RESP2 does. */
static bool is_list(const redisReply *r)
{
    return r != NULL && (r->type == REDIS_REPLY_ARRAY || r->type == REDIS_REPLY_SET ||
                         r->type == REDIS_REPLY_MAP);
}

/* The value behind a name in a flat list of names and values; NULL when it is not there. */
static const redisReply *value_of(const redisReply *map, const char *name)
{
    if (!is_list(map))
        return NULL;
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (is_text(map->element[i]) && strcasecmp(map->element[i]->str, name) == 0)
            return map->element[i + 1];
    return NULL;
}

static bool integer_of(const redisReply *map, const char *name, int64_t *out)
{
    const redisReply *v = value_of(map, name);

    if (v == NULL || v->type != REDIS_REPLY_INTEGER || v->integer < INT32_MIN ||
        v->integer > INT32_MAX)
        return false;
    *out = v->integer;
    return true;
}

static bool type_is(const redisReply *method, const char *type)
{
    const redisReply *v = value_of(method, "type");

    return is_text(v) && strcmp(v->str, type) == 0;
}

/* False when the specification doesn't tell where keys are ("unknown"), or not to us. */
static bool rule_read(const redisReply *spec, struct rule *out)
{
    const redisReply *begin = value_of(spec, "begin_search");
    const redisReply *find = value_of(spec, "find_keys");
    const redisReply *begin_spec = value_of(begin, "spec");
    const redisReply *find_spec = value_of(find, "spec");
    struct rule rule = {.keyword = NULL};

    if (type_is(find, "keynum")) {
        rule.counted = true;
        if (!integer_of(find_spec, "keynumidx", &rule.count_at) ||
            !integer_of(find_spec, "firstkey", &rule.first_at) || rule.count_at < 0 ||
            rule.first_at < 0)
            return false;
    } else if (!type_is(find, "range")) {
        return false;
    }
    if (type_is(begin, "index")) {
        if (!integer_of(begin_spec, "index", &rule.begin) || rule.begin < 1)
            return false;
    } else if (type_is(begin, "keyword")) {
        const redisReply *keyword = value_of(begin_spec, "keyword");

        if (!is_text(keyword) || !integer_of(begin_spec, "startfrom", &rule.begin))
            return false;
        rule.keyword = xstrdup(keyword->str);
    } else {
        return false;
    }
    *out = rule;
    return true;
}

static void rules_add(struct command *c, const redisReply *specs)
{
    c->rule = xcalloc(specs->elements, sizeof(*c->rule));
    for (size_t i = 0; i < specs->elements; i++)
        if (rule_read(specs->element[i], &c->rule[c->rule_cnt]))
            c->rule_cnt++;
}

static void rule_add_unspecified(struct command *c)
{
    free(c->rule);
    c->rule = NULL;
    for (size_t i = 0; i < sizeof(unspecified) / sizeof(unspecified[0]); i++) {
        if (strcmp(unspecified[i].name, c->name) != 0)
            continue;
        c->rule = xcalloc(1, sizeof(*c->rule));
        c->rule[0] = unspecified[i].rule;
        c->rule_cnt = 1;
    }
}

static void command_free(struct command *c)
{
    for (size_t i = 0; i < c->rule_cnt; i++)
        free(c->rule[i].keyword);
    free(c->rule);
    free(c->name);
    free(c);
}

/* A later entry of the same name replaces the earlier one. */
static void table_add(struct cmd_table *t, struct command *c)
{
    const uint8_t *name = (const uint8_t *)c->name;
    size_t i = hash_slot(t, hash_add(0, name, c->name_len));

    for (; t->slot[i] != NULL; i = (i + 1) & t->mask) {
        if (strcmp(t->slot[i]->name, c->name) != 0)
            continue;
        command_free(t->slot[i]);
        break;
    }
    t->slot[i] = c;
}

static bool is_entry(const redisReply *e)
{
    return is_list(e) && e->elements >= FIELD_CNT_MIN && is_text(e->element[FIELD_NAME]) &&
           e->element[FIELD_FIRST_KEY]->type == REDIS_REPLY_INTEGER;
}

static const redisReply *list_field(const redisReply *e, size_t i)
{
    return e->elements > i && is_list(e->element[i]) && e->element[i]->elements > 0
               ? e->element[i]
               : NULL;
}

static struct command *command_new(const redisReply *e)
{
    struct command *c = xcalloc(1, sizeof(*c));
    const redisReply *specs = list_field(e, FIELD_KEY_SPECS);
    int64_t first = e->element[FIELD_FIRST_KEY]->integer;

    c->name = xstrdup(e->element[FIELD_NAME]->str);
    c->name_len = strlen(c->name);
    for (size_t i = 0; i < c->name_len; i++)
        c->name[i] = (char)lower((uint8_t)c->name[i]);
    c->is_container = list_field(e, FIELD_SUBCOMMANDS) != NULL;
    /* Its keys stand behind KEYS when the argument for the one key is empty. */
    c->empty_is_none = strcmp(c->name, "migrate") == 0;
    if (specs != NULL)
        rules_add(c, specs);
    if (c->rule_cnt == 0 && first >= 1 && first <= INT32_MAX)
        c->first_key = (size_t)first;
    else if (c->rule_cnt == 0)
        rule_add_unspecified(c);
    if (c->rule_cnt > 0 && c->rule[0].keyword == NULL && !c->rule[0].counted &&
        !c->empty_is_none)
        c->first_key = (size_t)c->rule[0].begin;
    return c;
}

/* Entries and their subcommands (one level; there are no deeper ones), 0 when one is broken. */
static size_t entries_count(const redisReply *list)
{
    size_t cnt = 0;

    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *e = list->element[i];
        const redisReply *subs;

        if (!is_entry(e))
            return 0;
        cnt++;
        subs = list_field(e, FIELD_SUBCOMMANDS);
        for (size_t k = 0; subs != NULL && k < subs->elements; k++, cnt++)
            if (!is_entry(subs->element[k]))
                return 0;
    }
    return cnt;
}

struct cmd_table *cmd_table_new(const struct redisReply *reply)
{
    struct cmd_table *t;
    size_t cnt, slots = 16;

    if (!is_list(reply) || (cnt = entries_count(reply)) == 0)
        return NULL;
    while (slots < cnt * 4)
        slots *= 2;
    t = xmalloc(sizeof(*t));
    t->mask = slots - 1;
    t->slot = xcalloc(slots, sizeof(struct command *));
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *subs = list_field(reply->element[i], FIELD_SUBCOMMANDS);

        table_add(t, command_new(reply->element[i]));
        for (size_t k = 0; subs != NULL && k < subs->elements; k++)
            table_add(t, command_new(subs->element[k]));
    }
    return t;
}

void cmd_table_free(struct cmd_table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i <= t->mask; i++)
        if (t->slot[i] != NULL)
            command_free(t->slot[i]);
    free(t->slot);
    free(t);
}

/* ---- asking ------------------------------------------------------------------------------ */

/* Arguments whose bytes can be looked at. */
static size_t readable(const struct resp *r)
{
    return r->argi < RESP_ARGS ? (size_t)r->argi : RESP_ARGS;
}

static const struct command *find_name(const struct cmd_table *t, const uint8_t *name,
                                       size_t len)
{
    size_t i;

    if (len > NAME_MAX_LEN)
        return NULL;
    i = hash_slot(t, hash_add(0, name, len));
    for (; t->slot[i] != NULL; i = (i + 1) & t->mask)
        if (t->slot[i]->name_len == len && equal_fold(t->slot[i]->name, name, len))
            return t->slot[i];
    return NULL;
}

/* The entry of "container|argument 1", or the container's own. */
static const struct command *find_sub(const struct cmd_table *t,
                                      const struct command *container, const struct resp *r,
                                      const uint8_t *base)
{
    uint8_t name[NAME_MAX_LEN];
    const struct command *sub;
    size_t len = container->name_len;

    if (r->arg[1].len + len + 1 > NAME_MAX_LEN)
        return container;
    memcpy(name, container->name, len);
    name[len++] = '|';
    memcpy(name + len, base + r->arg[1].off, (size_t)r->arg[1].len);
    sub = find_name(t, name, len + (size_t)r->arg[1].len);
    return sub != NULL ? sub : container;
}

/* An answer of a rule that is no argument's index. */
#define NO_KEY  0    /* the rule finds no key here: the next one may */
#define UNKNOWN (-1) /* it needs an argument that can't be read (yet) */

/* Where the search for keys begins: behind the keyword. */
static int64_t behind_keyword(const struct rule *rule, const struct resp *r,
                              const uint8_t *base)
{
    size_t known = readable(r);
    bool backward = rule->begin < 0;
    int64_t argc = (int64_t)r->argc;
    int64_t i = backward ? argc + rule->begin : rule->begin;

    for (; i >= 1 && i < argc; i += backward ? -1 : 1) {
        if ((uint64_t)i >= known)
            return UNKNOWN;
        if (r->arg[i].len == strlen(rule->keyword) &&
            strncasecmp(rule->keyword, (const char *)base + r->arg[i].off, r->arg[i].len) == 0)
            return i + 1;
    }
    return NO_KEY;
}

static int64_t rule_first_key(const struct rule *rule, const struct resp *r,
                              const uint8_t *base)
{
    int64_t begin = rule->keyword != NULL ? behind_keyword(rule, r, base) : rule->begin;
    int64_t keys;

    if (begin <= 0 || !rule->counted)
        return begin;
    if ((uint64_t)(begin + rule->count_at) >= r->argc)
        return NO_KEY;
    if ((uint64_t)(begin + rule->count_at) >= readable(r))
        return UNKNOWN;
    if (!resp_arg_i64(r, base, (size_t)(begin + rule->count_at), &keys) || keys <= 0)
        return NO_KEY;
    return begin + rule->first_at;
}

static size_t ask_rules(const struct command *c, const struct resp *r, const uint8_t *base)
{
    size_t known = readable(r);

    for (size_t i = 0; i < c->rule_cnt; i++) {
        int64_t key = rule_first_key(&c->rule[i], r, base);

        if (key == UNKNOWN)
            return 0;
        if (key == NO_KEY || (uint64_t)key >= r->argc)
            continue;
        if ((uint64_t)key >= known)
            return 0;
        if (c->empty_is_none && r->arg[key].len == 0)
            continue;
        return (size_t)key;
    }
    return 0;
}

size_t cmd_first_key(const struct cmd_table *t, const struct resp *r, const uint8_t *base)
{
    const struct command *c;
    size_t known = readable(r);

    if (t == NULL || known < 2)
        return 0;
    c = find_name(t, base + r->arg[0].off, (size_t)r->arg[0].len);
    if (c != NULL && c->is_container)
        c = find_sub(t, c, r, base);
    if (c == NULL)
        return 0;
    if (c->first_key != 0)
        return c->first_key < known ? c->first_key : 0;
    return ask_rules(c, r, base);
}
