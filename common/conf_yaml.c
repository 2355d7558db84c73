/*
 * conf_yaml - a YAML text as a flat list of dotted paths. The parser's events are followed by
 * recursion, whose depth and output are bounded, as the text may be anything.
 */
#include "common/conf_yaml.h"
#include "common/err.h"
#include "common/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX   16
#define PATH_SIZE   256
#define ENTRIES_MAX 4096

struct walk {
    yaml_parser_t parser;
    const char *name, *text;
    size_t len;
    struct conf_yaml *out;
    struct err *err;
    char path[PATH_SIZE];
    size_t path_len;
    int key_line;
};

static int node(struct walk *w, const yaml_event_t *ev, int depth);

static int line_of(const yaml_event_t *ev)
{
    return (int)ev->start_mark.line + 1;
}

/* Whether a tab stands in the indentation of a line (from 0), which the parser says in riddles. */
static bool tab_indents(const struct walk *w, size_t line)
{
    const char *at = w->text, *end = w->text + w->len;

    for (; line > 0 && at != NULL; line--) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at != NULL ? at + 1 : NULL;
    }
    while (at != NULL && at < end && *at == ' ')
        at++;
    return at != NULL && at < end && *at == '\t';
}

static int next_event(struct walk *w, yaml_event_t *ev)
{
    const yaml_parser_t *p = &w->parser;
    size_t line;

    if (yaml_parser_parse(&w->parser, ev))
        return 0;
    line = p->problem_mark.line != 0 ? p->problem_mark.line : p->context_mark.line;
    if (tab_indents(w, line))
        return err_set(w->err, ERR_INPUT, 0,
                       "%s:%zu: not valid YAML: the line begins with a tab; indent by spaces",
                       w->name, line + 1);
    return err_set(w->err, ERR_INPUT, 0, "%s:%zu: not valid YAML: %s%s%s", w->name, line + 1,
                   p->problem != NULL ? p->problem : "parse error",
                   p->context != NULL ? " " : "", p->context != NULL ? p->context : "");
}

static int refuse(struct walk *w, int line, const char *what)
{
    if (w->path_len == 0)
        return err_set(w->err, ERR_INPUT, 0, "%s:%d: %s", w->name, line, what);
    return err_set(w->err, ERR_INPUT, 0, "%s:%d: key '%s': %s", w->name, line, w->path, what);
}

static struct conf_yaml_entry *add(struct walk *w, enum conf_yaml_kind kind)
{
    struct conf_yaml *out = w->out;
    struct conf_yaml_entry *e;

    for (size_t i = 0; i < out->cnt; i++) {
        if (strcmp(out->entry[i].path, w->path) == 0) {
            (void)err_set(w->err, ERR_INPUT, 0,
                          "%s:%d: key '%s': set a second time; the first is on line %d",
                          w->name, w->key_line, w->path, out->entry[i].line);
            return NULL;
        }
    }
    if (out->cnt == ENTRIES_MAX) {
        (void)refuse(w, w->key_line, "more keys than a configuration can have");
        return NULL;
    }
    out->entry = xrealloc(out->entry, (out->cnt + 1) * sizeof(*out->entry));
    e = &out->entry[out->cnt++];
    *e = (struct conf_yaml_entry){.path = xstrdup(w->path), .kind = kind, .line = w->key_line};
    return e;
}

static int add_item(struct walk *w, struct conf_yaml_entry *e, const yaml_event_t *ev)
{
    const char *value = (const char *)ev->data.scalar.value;

    if (strlen(value) != ev->data.scalar.length)
        return refuse(w, line_of(ev), "the value contains a NUL byte");
    e->item = xrealloc(e->item, (e->cnt + 1) * sizeof(*e->item));
    e->item[e->cnt++] = xstrdup(value);
    return 0;
}

static bool is_null(const yaml_event_t *ev)
{
    const char *v = (const char *)ev->data.scalar.value;

    if (ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return strcmp(v, "") == 0 || strcmp(v, "~") == 0 || strcmp(v, "null") == 0 ||
           strcmp(v, "Null") == 0 || strcmp(v, "NULL") == 0;
}

static int scalar(struct walk *w, const yaml_event_t *ev)
{
    struct conf_yaml_entry *e;

    if (is_null(ev))
        return add(w, CONF_YAML_NONE) != NULL ? 0 : -1;
    e = add(w, CONF_YAML_SCALAR);
    return e != NULL ? add_item(w, e, ev) : -1;
}

static int sequence(struct walk *w)
{
    struct conf_yaml_entry *e = add(w, CONF_YAML_LIST);
    bool end = false;
    int rc = e != NULL ? 0 : -1;

    while (rc == 0 && !end) {
        yaml_event_t ev;

        if (next_event(w, &ev) != 0)
            return -1;
        if (ev.type == YAML_SEQUENCE_END_EVENT)
            end = true;
        else if (ev.type == YAML_SCALAR_EVENT)
            rc = add_item(w, e, &ev);
        else
            rc = refuse(w, line_of(&ev), "an item of this list is not a single value");
        yaml_event_delete(&ev);
    }
    return rc;
}

/* Appends the key to the path. */
static int path_push(struct walk *w, const yaml_event_t *ev)
{
    const char *key = (const char *)ev->data.scalar.value;
    size_t len;

    if (ev->type != YAML_SCALAR_EVENT)
        return refuse(w, line_of(ev), "a key must be a single word");
    len = ev->data.scalar.length;
    if (len == 0 || strlen(key) != len)
        return refuse(w, line_of(ev), "a key is empty or contains a NUL byte");
    if (w->path_len + 1 + len >= sizeof(w->path))
        return refuse(w, line_of(ev), "a key below it is too long");
    if (w->path_len != 0)
        w->path[w->path_len++] = '.';
    memcpy(w->path + w->path_len, key, len + 1);
    w->path_len += len;
    w->key_line = line_of(ev);
    return 0;
}

static int pair(struct walk *w, const yaml_event_t *key, int depth)
{
    yaml_event_t ev;
    size_t before = w->path_len;
    int rc;

    if (path_push(w, key) != 0 || next_event(w, &ev) != 0)
        return -1;
    rc = node(w, &ev, depth);
    yaml_event_delete(&ev);
    w->path_len = before;
    w->path[before] = '\0';
    return rc;
}

static int mapping(struct walk *w, int depth)
{
    size_t cnt = 0;
    int rc = 0;

    for (;;) {
        yaml_event_t ev;
        bool end;

        if (next_event(w, &ev) != 0)
            return -1;
        end = ev.type == YAML_MAPPING_END_EVENT;
        if (!end)
            rc = pair(w, &ev, depth + 1);
        yaml_event_delete(&ev);
        if (rc != 0)
            return rc;
        if (end)
            break;
        cnt++;
    }
    if (cnt == 0 && w->path_len != 0)
        return add(w, CONF_YAML_NONE) != NULL ? 0 : -1;
    return 0;
}

static int node(struct walk *w, const yaml_event_t *ev, int depth)
{
    if (depth > DEPTH_MAX)
        return refuse(w, line_of(ev), "nested too deep");
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return scalar(w, ev);
    case YAML_SEQUENCE_START_EVENT:
        return sequence(w);
    case YAML_MAPPING_START_EVENT:
        return mapping(w, depth);
    default:
        return refuse(w, line_of(ev), "aliases ('*name') are not supported");
    }
}

/* The document's root: a mapping, or nothing at all. */
static int root(struct walk *w, const yaml_event_t *ev)
{
    if (ev->type == YAML_MAPPING_START_EVENT)
        return mapping(w, 0);
    if (ev->type == YAML_SCALAR_EVENT && is_null(ev))
        return 0;
    return refuse(w, line_of(ev), "the file must consist of 'key: value' lines");
}

static int document(struct walk *w)
{
    bool seen = false, end = false;
    int rc = 0;

    while (rc == 0 && !end) {
        yaml_event_t ev;

        if (next_event(w, &ev) != 0)
            return -1;
        end = ev.type == YAML_STREAM_END_EVENT;
        if (ev.type == YAML_DOCUMENT_START_EVENT && seen)
            rc = refuse(w, line_of(&ev), "a second document ('---') begins here");
        else if (ev.type == YAML_DOCUMENT_START_EVENT)
            seen = true;
        else if (!end && ev.type != YAML_STREAM_START_EVENT &&
                 ev.type != YAML_DOCUMENT_END_EVENT)
            rc = root(w, &ev);
        yaml_event_delete(&ev);
    }
    return rc;
}

int conf_yaml_parse(const char *text, size_t len, const char *name, struct conf_yaml *out,
                    struct err *err)
{
    struct walk w = {.name = name, .text = text, .len = len, .out = out, .err = err};
    int rc;

    if (!yaml_parser_initialize(&w.parser))
        return err_set(err, ERR_FATAL, 0, "%s: out of memory", name);
    yaml_parser_set_input_string(&w.parser, (const unsigned char *)text, len);
    rc = document(&w);
    yaml_parser_delete(&w.parser);
    return rc;
}

void conf_yaml_release(struct conf_yaml *yaml)
{
    for (size_t i = 0; i < yaml->cnt; i++) {
        for (size_t j = 0; j < yaml->entry[i].cnt; j++)
            free(yaml->entry[i].item[j]);
        free(yaml->entry[i].item);
        free(yaml->entry[i].path);
    }
    free(yaml->entry);
    *yaml = (struct conf_yaml){0};
}
