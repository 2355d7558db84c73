/* conf_print - the effective configuration as YAML, and the reference of all keys. */
#include "common/buf.h"
#include "common/conf.h"
#include "common/conf_value.h"
#include "common/utf8.h"

#include <string.h>

#define DOC_WIDTH 88

struct dump {
    const struct conf_key *keys;
    const void *conf;
    FILE *to;
};

static const char *const not_plain[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "y",   "n"};

/* A text that every reader of YAML takes for a text, and for the same one. */
static bool is_plain(const char *s)
{
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '/'))
        return false;
    for (size_t i = 0; i < sizeof(not_plain) / sizeof(*not_plain); i++)
        if (strcasecmp(s, not_plain[i]) == 0)
            return false;
    for (; *s != '\0'; s++) {
        bool word =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');

        if (!word && strchr("/._-+", *s) == NULL && !(*s == ':' && s[1] != '\0'))
            return false;
    }
    return true;
}

static uint32_t code_point(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t v = len == 1 ? p[0] : p[0] & (0xffU >> (len + 1));

    for (size_t i = 1; i < len; i++)
        v = v << 6 | (p[i] & 0x3fU);
    return v;
}

/* What may stand in double quotes as it is: YAML's printable characters less its line breaks. */
static bool is_printable(uint32_t v)
{
    if (v < 0x7f)
        return v >= 0x20 && v != '"' && v != '\\';
    return v >= 0xa0 && v != 0x2028 && v != 0x2029 && v != 0xfeff && v != 0xfffe && v != 0xffff;
}

static void put_text(FILE *to, const char *s)
{
    if (is_plain(s)) {
        (void)fputs(s, to);
        return;
    }
    (void)fputc('"', to);
    while (*s != '\0') {
        size_t len = utf8_len(s);
        uint32_t v = len != 0 ? code_point(s, len) : (unsigned char)*s;

        if (v == '"' || v == '\\')
            (void)fprintf(to, "\\%c", (int)v);
        else if (v == '\n')
            (void)fputs("\\n", to);
        else if (len != 0 && is_printable(v))
            (void)fwrite(s, 1, len, to);
        else
            (void)fprintf(to, v < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)v);
        s += len != 0 ? len : 1;
    }
    (void)fputc('"', to);
}

static void put_number(FILE *to, enum conf_type type, int64_t v)
{
    struct buf b;

    buf_init(&b);
    conf_value_number(&b, type, v);
    (void)fwrite(buf_data(&b), 1, b.len, to);
    buf_release(&b);
}

static void put_list(FILE *to, const struct conf_list *list)
{
    (void)fputc('[', to);
    for (size_t i = 0; i < list->cnt; i++) {
        (void)fputs(i != 0 ? ", " : "", to);
        put_text(to, list->item[i]);
    }
    (void)fputc(']', to);
}

static bool is_unset(const struct conf_key *key, const void *conf)
{
    bool text = key->type == CONF_STR || key->type == CONF_SECRET || key->type == CONF_CHOICE;

    return text && *(char *const *)conf_value_at_const(key, conf) == NULL;
}

static void put_value(FILE *to, const struct conf_key *key, const void *conf)
{
    const void *at = conf_value_at_const(key, conf);

    switch (key->type) {
    case CONF_STR:
    case CONF_CHOICE:
        put_text(to, *(char *const *)at);
        break;
    case CONF_SECRET:
        (void)fputs("\"***\"", to);
        break;
    case CONF_BOOL:
        (void)fputs(*(const bool *)at ? "true" : "false", to);
        break;
    case CONF_INT:
    case CONF_TIME:
    case CONF_SIZE:
        put_number(to, key->type, *(const int64_t *)at);
        break;
    case CONF_LIST:
        put_list(to, at);
        break;
    case CONF_MAP:
    case CONF_ORIGINS:
        break;
    }
}

static void dump_map(const struct dump *d, const struct conf_map *map, int depth)
{
    for (size_t i = 0; i < map->cnt; i++) {
        (void)fprintf(d->to, "%*s", depth * 2, "");
        put_text(d->to, map->pair[i].key);
        (void)fputs(": ", d->to);
        if (map->pair[i].secret)
            (void)fputs("\"***\"", d->to);
        else
            put_text(d->to, map->pair[i].value);
        (void)fputc('\n', d->to);
    }
}

/* True when a row before `key` lies in the section path[0..len), or is the map of that name. */
static bool seen_before(const struct conf_key *keys, const struct conf_key *key,
                        const char *path, size_t len)
{
    for (; keys != key; keys++)
        if (strncmp(keys->name, path, len) == 0 &&
            (keys->name[len] == '.' || keys->name[len] == '\0'))
            return true;
    return false;
}

static void dump_leaf(const struct dump *d, const struct conf_key *key, const char *name,
                      int depth)
{
    bool unset = is_unset(key, d->conf);

    (void)fprintf(d->to, "%*s%s%s:", depth * 2, "", unset ? "# " : "", name);
    if (!unset) {
        (void)fputc(' ', d->to);
        put_value(d->to, key, d->conf);
    }
    (void)fputc('\n', d->to);
}

static void dump_section(const struct dump *d, const char *path, size_t len, int depth);

/* Everything that is called path[0..len) or lies below it. */
static void dump_group(const struct dump *d, const char *path, size_t len, int depth)
{
    size_t from = len;

    while (from > 0 && path[from - 1] != '.')
        from--;
    (void)fprintf(d->to, "%*s%.*s:\n", depth * 2, "", (int)(len - from), path + from);
    for (const struct conf_key *k = d->keys; k->name != NULL; k++)
        if (k->type == CONF_MAP && strlen(k->name) == len && strncmp(k->name, path, len) == 0)
            dump_map(d, conf_value_at_const(k, d->conf), depth + 1);
    dump_section(d, path, len, depth + 1);
}

/* The keys below path[0..len); len 0: all. A section is printed where its first row stands. */
static void dump_section(const struct dump *d, const char *path, size_t len, int depth)
{
    size_t skip = len != 0 ? len + 1 : 0;

    for (const struct conf_key *k = d->keys; k->name != NULL; k++) {
        size_t part;

        if (k->type == CONF_ORIGINS || strncmp(k->name, path, len) != 0 ||
            (len != 0 && k->name[len] != '.'))
            continue;
        part = strcspn(k->name + skip, ".");
        if (k->name[skip + part] == '\0' && k->type != CONF_MAP)
            dump_leaf(d, k, k->name + skip, depth);
        else if (!seen_before(d->keys, k, k->name, skip + part))
            dump_group(d, k->name, skip + part, depth);
    }
}

void conf_dump(const struct conf_key *keys, const void *conf, FILE *to)
{
    dump_section(&(struct dump){.keys = keys, .conf = conf, .to = to}, "", 0, 0);
}

static const char *type_name(enum conf_type type)
{
    switch (type) {
    case CONF_STR:
        return "text";
    case CONF_SECRET:
        return "secret, or file:/path";
    case CONF_LIST:
        return "list";
    case CONF_MAP:
        return "any keys below it; a value may be file:/path";
    case CONF_TIME:
        return "time, ";
    case CONF_SIZE:
        return "size, ";
    default:
        return "";
    }
}

/* The text in lines of at most DOC_WIDTH columns, indented by six. */
static void put_wrapped(FILE *to, const char *text)
{
    while (*text != '\0') {
        size_t len = strlen(text);

        if (len > DOC_WIDTH - 6) {
            len = DOC_WIDTH - 6;
            while (len > 0 && text[len] != ' ')
                len--;
            if (len == 0)
                len = strcspn(text, " ");
        }
        (void)fprintf(to, "      %.*s\n", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

void conf_doc(const struct conf_key *keys, FILE *to)
{
    for (const struct conf_key *k = keys; k->name != NULL; k++) {
        struct buf allowed;

        if (k->type == CONF_ORIGINS)
            continue;
        buf_init(&allowed);
        buf_printf(&allowed, "%s", type_name(k->type));
        conf_value_allowed(&allowed, k);
        (void)fprintf(to, "  %s%s (%.*s", k->name, k->type == CONF_MAP ? ".*" : "",
                      (int)allowed.len, (const char *)buf_data(&allowed));
        if (k->required)
            (void)fputs("; required", to);
        else if (k->def != NULL)
            (void)fprintf(to, "; default %s", *k->def != '\0' ? k->def : "empty");
        (void)fputs(")\n", to);
        if (k->doc != NULL)
            put_wrapped(to, k->doc);
        buf_release(&allowed);
    }
}
