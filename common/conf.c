/*
 * conf - a YAML file, the environment and the defaults into a plain struct.
 *
 * The file is applied first, then the environment over it, then the defaults of what neither has
 * set; what was set is told by the list of origins. Each value is checked where it is applied, so
 * that a wrong one in the file is found although the environment overrides it.
 */
#include "common/conf.h"
#include "common/buf.h"
#include "common/conf_value.h"
#include "common/conf_yaml.h"
#include "common/err.h"
#include "common/mem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1024 * 1024)
#define NAME_MAX_LEN  256

struct conf_origins {
    struct origin {
        char *key;
        char *where;
    } * item;
    size_t cnt;
};

struct load {
    const struct conf_key *keys;
    const char *path; /* NULL: no file */
    const char *env_prefix;
    void *out;
    struct err *err;
    struct conf_origins *origins;
};

/* What a value is and where it stands, for messages. */
struct source {
    const char *key;
    const char *env; /* NULL: from the file */
    int line;
};

/* ---- origins ---- */

static const char *origin_find(const struct conf_origins *o, const char *key)
{
    for (size_t i = 0; i < o->cnt; i++)
        if (strcmp(o->item[i].key, key) == 0)
            return o->item[i].where;
    return NULL;
}

static void origin_set(struct load *l, const struct source *src)
{
    struct conf_origins *o = l->origins;
    char *where = src->env != NULL ? xasprintf("environment variable %s", src->env)
                                   : xasprintf("%s:%d", l->path, src->line);

    for (size_t i = 0; i < o->cnt; i++) {
        if (strcmp(o->item[i].key, src->key) == 0) {
            free(o->item[i].where);
            o->item[i].where = where;
            return;
        }
    }
    o->item = xrealloc(o->item, (o->cnt + 1) * sizeof(*o->item));
    o->item[o->cnt++] = (struct origin){.key = xstrdup(src->key), .where = where};
}

static void origins_free(struct conf_origins *o)
{
    if (o == NULL)
        return;
    for (size_t i = 0; i < o->cnt; i++) {
        free(o->item[i].key);
        free(o->item[i].where);
    }
    free(o->item);
    free(o);
}

static const struct conf_key *origins_row(const struct conf_key *keys)
{
    for (; keys->name != NULL; keys++)
        if (keys->type == CONF_ORIGINS)
            return keys;
    return NULL;
}

const char *conf_where(const struct conf_key *keys, const void *conf, const char *key,
                       char *buf, size_t size)
{
    const struct conf_key *row = origins_row(keys);
    const struct conf_origins *o =
        row != NULL ? *(struct conf_origins *const *)conf_value_at_const(row, conf) : NULL;
    const char *where = o != NULL ? origin_find(o, key) : NULL;

    (void)snprintf(buf, size, "%s", where != NULL ? where : "default");
    return buf;
}

/* ---- errors ---- */

static int fail(const struct load *l, const struct source *src, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "<where>: key '<key>': <what>"; gives -1. */
static int fail(const struct load *l, const struct source *src, const char *fmt, ...)
{
    char what[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (src->env != NULL)
        return err_set(l->err, ERR_INPUT, 0, "environment variable %s: key '%s': %s", src->env,
                       src->key, what);
    if (src->line != 0)
        return err_set(l->err, ERR_INPUT, 0, "%s:%d: key '%s': %s", l->path, src->line,
                       src->key, what);
    return err_set(l->err, ERR_INPUT, 0, "%s: key '%s': %s",
                   l->path != NULL ? l->path : "configuration", src->key, what);
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

/* Levenshtein's distance; '-' and '_' and the cases of letters count as the same. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_LEN + 1], len = strlen(b);

    if (len > NAME_MAX_LEN)
        return SIZE_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        int ca = a[i - 1] == '-' ? '_' : tolower((unsigned char)a[i - 1]);
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            int cb = b[j - 1] == '-' ? '_' : tolower((unsigned char)b[j - 1]);
            size_t next = min3(row[j] + 1, row[j - 1] + 1, diagonal + (ca != cb));

            diagonal = row[j];
            row[j] = next;
        }
    }
    return row[len];
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot != NULL ? dot + 1 : path;
}

/* The key that was probably meant: a few letters off, or the same word in another section. */
static const char *nearest(const struct conf_key *keys, const char *path)
{
    size_t best = 1 + strlen(path) / 6;
    const char *found = NULL;

    for (const struct conf_key *k = keys; k->name != NULL; k++) {
        size_t d = k->type == CONF_ORIGINS ? SIZE_MAX : distance(path, k->name);

        if (d < best || (d == best && found == NULL)) {
            best = d;
            found = k->name;
        }
    }
    for (const struct conf_key *k = keys; found == NULL && k->name != NULL; k++)
        if (k->type != CONF_ORIGINS && distance(last_part(path), last_part(k->name)) == 0)
            found = k->name;
    return found;
}

/* ---- files ---- */

/* Reads a whole regular file of text; *out is allocated. On failure what[] says why. */
static bool read_text(const char *path, char **out, size_t *len, char *what, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    char *text = NULL;
    size_t at = 0;
    ssize_t n;
    bool ok = false;

    if (fd < 0 || fstat(fd, &st) != 0) {
        (void)snprintf(what, size, "%s", strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)snprintf(what, size, "not a file");
        goto out;
    }
    text = xmalloc(FILE_SIZE_MAX + 1);
    while (at <= FILE_SIZE_MAX && (n = read(fd, text + at, FILE_SIZE_MAX + 1 - at)) != 0) {
        if (n < 0) {
            (void)snprintf(what, size, "%s", strerror(errno));
            goto out;
        }
        at += (size_t)n;
    }
    if (at > FILE_SIZE_MAX) {
        (void)snprintf(what, size, "larger than 1 MiB");
        goto out;
    }
    text[at] = '\0';
    *out = text;
    *len = at;
    text = NULL;
    ok = true;
out:
    free(text);
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

/* Resolves "file:/path"; *out is allocated. -1 with *err set; the content is never printed. */
static int read_reference(const struct load *l, const struct source *src, const char *text,
                          char **out, bool *referred)
{
    const char *path = text + strlen("file:");
    char what[128];
    size_t len;

    *referred = strncmp(text, "file:", strlen("file:")) == 0;
    if (!*referred) {
        *out = xstrdup(text);
        return 0;
    }
    if (!read_text(path, out, &len, what, sizeof(what)))
        return fail(l, src, "cannot read '%.200s': %s", path, what);
    if (len > 0 && (*out)[len - 1] == '\n')
        (*out)[--len] = '\0';
    if (len == 0 || strlen(*out) != len) {
        free(*out);
        return fail(l, src, "'%.200s' is empty or contains a NUL byte", path);
    }
    return 0;
}

/* ---- values ---- */

/* Names of library properties whose values must not be shown. */
static bool secret_name(const char *key)
{
    static const char *const words[] = {"password", "passwd",  "secret",     "token",
                                        "jaas",     "key.pem", "credential", "basic.auth"};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strcasestr(key, words[i]) != NULL)
            return true;
    return false;
}

static int apply_map(struct load *l, const struct conf_key *key, const char *sub,
                     const struct source *src, const char *text)
{
    char *value;
    bool referred;

    if (read_reference(l, src, text, &value, &referred) != 0)
        return -1;
    conf_value_map_set(conf_value_at(key, l->out), sub, value, src->env != NULL ? 0 : src->line,
                       referred || secret_name(sub));
    free(value);
    origin_set(l, src);
    return 0;
}

static int apply_text(struct load *l, const struct conf_key *key, const struct source *src,
                      const char *text)
{
    char why[300];
    char *value;
    bool referred, ok;

    if (key->type != CONF_SECRET) {
        ok = conf_value_set(key, text, l->out, why, sizeof(why));
    } else {
        if (read_reference(l, src, text, &value, &referred) != 0)
            return -1;
        ok = conf_value_set(key, value, l->out, why, sizeof(why));
        free(value);
    }
    if (!ok)
        return fail(l, src, "%s", why);
    origin_set(l, src);
    return 0;
}

/* ---- the file ---- */

/* The row of `path`, or the map that it lies in (*sub is its name there), or NULL. */
static const struct conf_key *find_key(const struct conf_key *keys, const char *path,
                                       const char **sub)
{
    const struct conf_key *map = NULL;

    *sub = NULL;
    for (const struct conf_key *k = keys; k->name != NULL; k++) {
        size_t len = strlen(k->name);

        if (k->type == CONF_ORIGINS)
            continue;
        if (strcmp(k->name, path) == 0)
            return k;
        if (k->type == CONF_MAP && strncmp(k->name, path, len) == 0 && path[len] == '.' &&
            path[len + 1] != '\0' && (map == NULL || len > strlen(map->name))) {
            map = k;
            *sub = path + len + 1;
        }
    }
    return map;
}

/* Some key below `path`, where that is the name of a section. */
static const char *key_below(const struct conf_key *keys, const char *path)
{
    size_t len = strlen(path);

    for (; keys->name != NULL; keys++)
        if (strncmp(keys->name, path, len) == 0 && keys->name[len] == '.')
            return keys->name;
    return NULL;
}

static int unknown_key(struct load *l, const struct source *src)
{
    const char *below = key_below(l->keys, src->key);
    const char *near = nearest(l->keys, src->key);

    if (below != NULL)
        return fail(l, src, "is a section and takes no value; its keys are such as '%s'",
                    below);
    if (near != NULL)
        return fail(l, src, "unknown key; did you mean '%s'?", near);
    return fail(l, src, "unknown key; --help lists all keys");
}

static char *join(const struct conf_yaml_entry *e)
{
    struct buf b;
    size_t len;

    buf_init(&b);
    for (size_t i = 0; i < e->cnt; i++)
        buf_printf(&b, "%s%s", i != 0 ? "," : "", e->item[i]);
    buf_put_u8(&b, 0);
    return (char *)buf_detach(&b, &len);
}

static int apply_map_entry(struct load *l, const struct conf_key *key, const char *sub,
                           const struct source *src, const struct conf_yaml_entry *e)
{
    char *text;
    int rc;

    if (sub == NULL && e->kind == CONF_YAML_NONE)
        return 0; /* the map is empty */
    if (sub == NULL)
        return fail(l, src, "takes no value itself, but 'name: value' lines below it");
    if (e->kind == CONF_YAML_NONE)
        return fail(l, src, "has no value; an empty text is written ''");
    text = join(e); /* the libraries' lists are separated by commas */
    rc = apply_map(l, key, sub, src, text);
    free(text);
    return rc;
}

static int apply_entry(struct load *l, const struct conf_yaml_entry *e)
{
    struct source src = {.key = e->path, .line = e->line};
    const char *sub;
    const struct conf_key *key = find_key(l->keys, e->path, &sub);

    if (key == NULL) {
        if (e->kind == CONF_YAML_NONE && key_below(l->keys, e->path) != NULL)
            return 0; /* a section with nothing in it */
        return unknown_key(l, &src);
    }
    if (key->type == CONF_MAP)
        return apply_map_entry(l, key, sub, &src, e);
    if (e->kind == CONF_YAML_NONE)
        return fail(l, &src, "has no value; an empty text is written '', else remove the key");
    if (e->kind == CONF_YAML_SCALAR)
        return apply_text(l, key, &src, e->item[0]);
    if (key->type != CONF_LIST)
        return fail(l, &src, "takes one value, not a list");
    conf_value_set_list(key, e->item, e->cnt, l->out);
    origin_set(l, &src);
    return 0;
}

static int load_file(struct load *l)
{
    struct conf_yaml yaml = {0};
    char what[128];
    char *text;
    size_t len;
    int rc;

    if (!read_text(l->path, &text, &len, what, sizeof(what)))
        return err_set(l->err, ERR_INPUT, errno, "%s: cannot read the configuration: %s",
                       l->path, what);
    rc = conf_yaml_parse(text, len, l->path, &yaml, l->err);
    for (size_t i = 0; rc == 0 && i < yaml.cnt; i++)
        rc = apply_entry(l, &yaml.entry[i]);
    conf_yaml_release(&yaml);
    free(text);
    return rc;
}

/* ---- the environment ---- */

/* PREFIX_A_B_C of the key a.b_c; false when it does not fit. */
static bool env_name(const char *prefix, const char *key, char *out, size_t size)
{
    int n = snprintf(out, size, "%s_%s", prefix, key);

    if (n < 0 || (size_t)n >= size)
        return false;
    for (; *out != '\0'; out++)
        *out = (char)(*out == '.' || *out == '-' ? '_' : toupper((unsigned char)*out));
    return true;
}

/* What Kubernetes sets for every service of the namespace; one that is called as our prefix would
 * otherwise be read as settings. */
static bool is_service_link(const char *name, const char *value)
{
    const char *port = strstr(name, "_PORT");

    if (strstr(name, "_SERVICE_HOST") != NULL || strstr(name, "_SERVICE_PORT") != NULL)
        return true;
    if (port == NULL)
        return false;
    port += strlen("_PORT");
    return (*port == '\0' && strstr(value, "://") != NULL) ||
           (*port == '_' && isdigit((unsigned char)port[1]));
}

/* A variable that no key has as its own: a map's property, else perhaps a misspelt key. */
static int apply_other_env(struct load *l, const char *name, const char *value)
{
    size_t prefix_len = strlen(l->env_prefix) + 1;
    const struct conf_key *map;
    const char *sub, *near;
    char path[NAME_MAX_LEN];
    struct source src = {.key = path, .env = name};
    size_t i;

    if (strlen(name) - prefix_len >= sizeof(path) || is_service_link(name, value))
        return 0;
    for (i = 0; name[prefix_len + i] != '\0'; i++) {
        char c = name[prefix_len + i];

        path[i] = (char)(c == '_' ? '.' : tolower((unsigned char)c));
    }
    path[i] = '\0';
    map = find_key(l->keys, path, &sub);
    if (map != NULL && sub != NULL)
        return apply_map(l, map, sub, &src, value);
    /* Others may use the prefix (systemd sets JOURNAL_STREAM): only what is near is an error. */
    for (const struct conf_key *k = l->keys; k->name != NULL; k++) {
        char other[NAME_MAX_LEN];

        if (k->type != CONF_ORIGINS && k->type != CONF_MAP && strlen(name) > prefix_len + 5 &&
            env_name(l->env_prefix, k->name, other, sizeof(other)) &&
            distance(name, other) <= 1) {
            near = k->name;
            return err_set(l->err, ERR_INPUT, 0,
                           "environment variable %s: no key has this name; did you mean %s "
                           "(key '%s')?",
                           name, other, near);
        }
    }
    return 0;
}

static const struct conf_key *key_of_env(const struct load *l, const char *name)
{
    char own[NAME_MAX_LEN];

    for (const struct conf_key *k = l->keys; k->name != NULL; k++)
        if (k->type != CONF_ORIGINS && k->type != CONF_MAP &&
            env_name(l->env_prefix, k->name, own, sizeof(own)) && strcmp(own, name) == 0)
            return k;
    return NULL;
}

static int load_env(struct load *l)
{
    size_t len = strlen(l->env_prefix);
    int rc = 0;

    for (char **e = environ; rc == 0 && e != NULL && *e != NULL; e++) {
        const char *eq = strchr(*e, '=');
        const struct conf_key *key;
        char *name;

        if (eq == NULL || strncmp(*e, l->env_prefix, len) != 0 || (*e)[len] != '_')
            continue;
        name = xstrdup(*e);
        name[eq - *e] = '\0';
        key = key_of_env(l, name);
        if (key != NULL)
            rc = apply_text(l, key, &(struct source){.key = key->name, .env = name}, eq + 1);
        else
            rc = apply_other_env(l, name, eq + 1);
        free(name);
    }
    return rc;
}

/* ---- defaults ---- */

static bool is_empty(const struct conf_key *key, const void *out)
{
    const void *at = conf_value_at_const(key, out);
    const char *text;

    switch (key->type) {
    case CONF_STR:
    case CONF_SECRET:
    case CONF_CHOICE:
        text = *(char *const *)at;
        return text == NULL || *text == '\0';
    case CONF_LIST:
        return ((const struct conf_list *)at)->cnt == 0;
    case CONF_MAP:
        return ((const struct conf_map *)at)->cnt == 0;
    default:
        return false;
    }
}

static int finish_key(struct load *l, const struct conf_key *key)
{
    struct source src = {.key = key->name};
    char name[NAME_MAX_LEN], why[300];
    bool set = origin_find(l->origins, key->name) != NULL;

    if (!set && key->def != NULL && key->type != CONF_MAP &&
        !conf_value_set(key, key->def, l->out, why, sizeof(why)))
        return fail(l, &src, "default: %s", why);
    if (!key->required || (key->type == CONF_MAP && !is_empty(key, l->out)) ||
        ((set || key->def != NULL) && !is_empty(key, l->out)))
        return 0;
    if (!env_name(l->env_prefix, key->name, name, sizeof(name)))
        name[0] = '\0';
    return fail(l, &src, "required, but %s; set it in the file or as %s%s",
                set ? "empty" : "not set", name, key->type == CONF_MAP ? "_*" : "");
}

int conf_load(const struct conf_key *keys, const char *path, const char *env_prefix, void *out,
              struct err *err)
{
    struct load l = {.keys = keys,
                     .path = path,
                     .env_prefix = env_prefix,
                     .out = out,
                     .err = err,
                     .origins = xcalloc(1, sizeof(struct conf_origins))};
    const struct conf_key *row = origins_row(keys);
    int rc = path != NULL ? load_file(&l) : 0;

    if (rc == 0)
        rc = load_env(&l);
    for (const struct conf_key *k = keys; rc == 0 && k->name != NULL; k++)
        if (k->type != CONF_ORIGINS)
            rc = finish_key(&l, k);
    if (row != NULL)
        *(struct conf_origins **)conf_value_at(row, out) = l.origins;
    else
        origins_free(l.origins);
    return rc;
}

void conf_free(const struct conf_key *keys, void *out)
{
    for (const struct conf_key *k = keys; k->name != NULL; k++) {
        if (k->type == CONF_ORIGINS) {
            struct conf_origins **o = conf_value_at(k, out);

            origins_free(*o);
            *o = NULL;
        } else {
            conf_value_free(k, out);
        }
    }
}
