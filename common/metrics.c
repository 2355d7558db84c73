/*
 * metrics - counters, gauges and histograms, and their Prometheus text.
 *
 * Series hang on their family (one name, help, type) in the order of registration, which is the
 * order of the text; a hash over name and labels finds the one that exists already.
 */
#include "common/metrics.h"
#include "common/buf.h"
#include "common/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

static const double bounds[] = {.001, .0025, .005, .01, .025, .05, .1, .25,
                                .5,   1,     2.5,  5,   10,   30,  60, 300};
static const char *const bound_names[] = {"0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
                                          "0.1",   "0.25",   "0.5",   "1",    "2.5",   "5",
                                          "10",    "30",     "60",    "300"};
#define BOUND_CNT (sizeof(bounds) / sizeof(*bounds))

struct metric {
    const struct family *family;
    char *labels;     /* "" without */
    char *id;         /* name{labels}, the key of the hash */
    uint64_t cnt;     /* counter: what was added; histogram: observations */
    double value;     /* gauge, or what a counter was set to; histogram: sum */
    uint64_t *bucket; /* histogram: BOUND_CNT + 1 of them, not cumulative */
    struct metric *next;
    UT_hash_handle hh;
};

struct family {
    enum metric_kind kind;
    char *name;
    char *help;
    struct metric *first, *last;
    struct family *next;
};

struct metrics {
    struct family *first, *last;
    struct metric *by_id;
};

struct metrics *metrics_new(void)
{
    return xcalloc(1, sizeof(struct metrics));
}

static void family_free(struct family *f)
{
    struct metric *next;

    for (struct metric *s = f->first; s != NULL; s = next) {
        next = s->next;
        free(s->labels);
        free(s->id);
        free(s->bucket);
        free(s);
    }
    free(f->name);
    free(f->help);
    free(f);
}

void metrics_free(struct metrics *m)
{
    struct family *next;

    if (m == NULL)
        return;
    HASH_CLEAR(hh, m->by_id);
    for (struct family *f = m->first; f != NULL; f = next) {
        next = f->next;
        family_free(f);
    }
    free(m);
}

static struct family *family_get(struct metrics *m, enum metric_kind kind, const char *name,
                                 const char *help)
{
    struct family *f;

    for (f = m->first; f != NULL; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    f = xcalloc(1, sizeof(*f));
    f->kind = kind;
    f->name = xstrdup(name);
    f->help = xstrdup(help);
    if (m->last != NULL)
        m->last->next = f;
    else
        m->first = f;
    m->last = f;
    return f;
}

struct metric *metrics_add(struct metrics *m, enum metric_kind kind, const char *name,
                           const char *help, const char *labels)
{
    char *id = xasprintf("%s{%s}", name, labels != NULL ? labels : "");
    struct family *f = family_get(m, kind, name, help);
    struct metric *s;

    if (f->kind != kind) {
        (void)fprintf(stderr, "metrics: '%s' is registered with two kinds\n", name);
        abort();
    }
    HASH_FIND_STR(m->by_id, id, s);
    if (s != NULL) {
        free(id);
        return s;
    }
    s = xcalloc(1, sizeof(*s));
    s->family = f;
    s->labels = xstrdup(labels != NULL ? labels : "");
    s->id = id;
    if (kind == METRIC_HISTOGRAM)
        s->bucket = xcalloc(BOUND_CNT + 1, sizeof(*s->bucket));
    if (f->last != NULL)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    HASH_ADD_KEYPTR(hh, m->by_id, s->id, strlen(s->id), s);
    return s;
}

void metric_inc(struct metric *metric, uint64_t by)
{
    metric->cnt += by;
}

void metric_set(struct metric *metric, double value)
{
    metric->cnt = 0;
    metric->value = value;
}

void metric_observe(struct metric *metric, double seconds)
{
    size_t i = 0;

    while (i < BOUND_CNT && !(seconds <= bounds[i]))
        i++;
    metric->bucket[i]++;
    metric->cnt++;
    metric->value += seconds;
}

double metric_value(const struct metric *metric)
{
    return metric->value + (double)metric->cnt;
}

/* The shortest text that reads back as the same number. */
static void put_double(struct buf *out, double v)
{
    char text[32];

    if (isnan(v)) {
        buf_printf(out, "NaN");
        return;
    }
    if (isinf(v)) {
        buf_printf(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, v);
        if (!(strtod(text, NULL) < v) && !(strtod(text, NULL) > v))
            break;
    }
    buf_printf(out, "%s", text);
}

static void put_name(struct buf *out, const struct metric *s, const char *suffix)
{
    buf_printf(out, "%s%s", s->family->name, suffix);
    if (s->labels[0] != '\0')
        buf_printf(out, "{%s}", s->labels);
    buf_append(out, " ", 1);
}

static void put_histogram(struct buf *out, const struct metric *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i <= BOUND_CNT; i++) {
        sum += s->bucket[i];
        buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", s->family->name, s->labels,
                   s->labels[0] != '\0' ? "," : "", i < BOUND_CNT ? bound_names[i] : "+Inf",
                   sum);
    }
    put_name(out, s, "_sum");
    put_double(out, s->value);
    buf_append(out, "\n", 1);
    put_name(out, s, "_count");
    buf_printf(out, "%" PRIu64 "\n", s->cnt);
}

static void put_series(struct buf *out, const struct metric *s)
{
    if (s->family->kind == METRIC_HISTOGRAM) {
        put_histogram(out, s);
        return;
    }
    put_name(out, s, "");
    if (s->cnt != 0 && !(s->value > 0) && !(s->value < 0)) /* whole numbers stay exact */
        buf_printf(out, "%" PRIu64, s->cnt);
    else
        put_double(out, metric_value(s));
    buf_append(out, "\n", 1);
}

static void put_help(struct buf *out, const struct family *f)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};

    buf_printf(out, "# HELP %s ", f->name);
    for (const char *p = f->help; *p != '\0'; p++) {
        if (*p == '\\')
            buf_printf(out, "\\\\");
        else if (*p == '\n')
            buf_printf(out, "\\n");
        else
            buf_append(out, p, 1);
    }
    buf_printf(out, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
}

void metrics_text(const struct metrics *m, struct buf *out)
{
    for (const struct family *f = m->first; f != NULL; f = f->next) {
        put_help(out, f);
        for (const struct metric *s = f->first; s != NULL; s = s->next)
            put_series(out, s);
    }
}
