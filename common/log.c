/*
 * log - one line an event to stderr. The whole line is built first and written by one write(2),
 * so that lines of several threads, or of several processes on one pipe, never mix.
 */
#include "common/log.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Logging is the one thing that is the process' own: every thread of it, the libraries' included,
 * writes to the same stderr. log_init() is called before there are threads. */
static struct {
    const char *component;
    enum log_level level;
    enum log_format format;
    atomic_uint_least64_t count[LOG_ERROR + 1];
} log_state = {.component = "", .level = LOG_INFO, .format = LOG_LOGFMT};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"logfmt", "json"};

void log_init(const char *component, enum log_level level, enum log_format format)
{
    log_state.component = component;
    log_state.level = level;
    log_state.format = format;
}

bool log_enabled(enum log_level level)
{
    return level >= log_state.level;
}

uint64_t log_count(enum log_level level)
{
    return atomic_load_explicit(&log_state.count[level], memory_order_relaxed);
}

static bool name_find(const char *const *names, size_t cnt, const char *name, size_t *out)
{
    for (size_t i = 0; i < cnt; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

bool log_level_parse(const char *name, enum log_level *out)
{
    size_t i;

    if (!name_find(level_names, sizeof(level_names) / sizeof(*level_names), name, &i))
        return false;
    *out = (enum log_level)i;
    return true;
}

bool log_format_parse(const char *name, enum log_format *out)
{
    size_t i;

    if (!name_find(format_names, sizeof(format_names) / sizeof(*format_names), name, &i))
        return false;
    *out = (enum log_format)i;
    return true;
}

/* A character that is written as it is inside quotes, in both forms. */
static bool plain_char(const char *s, size_t len)
{
    unsigned char c = (unsigned char)s[0];

    if (len > 1) /* U+0080 to U+009F are control characters too */
        return !(c == 0xc2 && (unsigned char)s[1] < 0xa0);
    return len == 1 && c >= 0x20 && c != 0x7f && c != '"' && c != '\\';
}

static void put_escape(struct buf *line, const char *s, size_t len, bool json)
{
    unsigned char c = (unsigned char)s[0];

    if (c == '"' || c == '\\')
        buf_printf(line, "\\%c", c);
    else if (c == '\n')
        buf_printf(line, "\\n");
    else if (c == '\r')
        buf_printf(line, "\\r");
    else if (c == '\t')
        buf_printf(line, "\\t");
    else if (json && len == 2) /* U+0080 to U+009F */
        buf_printf(line, "\\u00%02x", (unsigned)(unsigned char)s[1]);
    else if (json && len == 0) /* JSON has no way to write a byte that is not UTF-8 */
        buf_printf(line, "\\ufffd");
    else if (json)
        buf_printf(line, "\\u00%02x", (unsigned)c);
    else
        for (size_t i = 0; i < (len != 0 ? len : 1); i++)
            buf_printf(line, "\\x%02x", (unsigned)(unsigned char)s[i]);
}

static void put_quoted(struct buf *line, const char *s, bool json)
{
    buf_append(line, "\"", 1);
    while (*s != '\0') {
        size_t len = utf8_len(s);

        if (plain_char(s, len))
            buf_append(line, s, len);
        else
            put_escape(line, s, len, json);
        s += len != 0 ? len : 1;
    }
    buf_append(line, "\"", 1);
}

/* A logfmt value stands without quotes when no reader can take it for anything else. */
static bool needs_quotes(const char *s)
{
    if (*s == '\0')
        return true;
    while (*s != '\0') {
        size_t len = utf8_len(s);

        if (!plain_char(s, len) || *s == ' ' || *s == '=')
            return true;
        s += len;
    }
    return false;
}

static void put_text(struct buf *line, const char *s, bool json)
{
    if (s == NULL)
        s = "";
    if (json || needs_quotes(s))
        put_quoted(line, s, json);
    else
        buf_append(line, s, strlen(s));
}

static void put_key(struct buf *line, const char *key, bool json)
{
    if (line->len > 1)
        buf_append(line, json ? "," : " ", 1);
    if (json) {
        put_quoted(line, key, true);
        buf_append(line, ":", 1);
    } else {
        buf_printf(line, "%s=", key);
    }
}

static void put_field(struct buf *line, const struct log_field *f, bool json)
{
    put_key(line, f->key, json);
    switch (f->type) {
    case LOG_STR:
        put_text(line, f->str, json);
        break;
    case LOG_I64:
        buf_printf(line, "%" PRId64, f->i64);
        break;
    case LOG_U64:
        buf_printf(line, "%" PRIu64, f->u64);
        break;
    case LOG_F64:
        if (json && !isfinite(f->f64)) /* JSON has no word for these */
            buf_printf(line, "null");
        else
            buf_printf(line, "%.10g", f->f64);
        break;
    }
}

static void put_head(struct buf *line, enum log_level level, const char *event, bool json)
{
    int64_t now_ms = clock_wall_ms();
    time_t now_s = (time_t)(now_ms / 1000);
    struct tm tm;
    char date[32], ts[48];

    (void)gmtime_r(&now_s, &tm);
    (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ts, sizeof(ts), "%s.%03dZ", date, (int)(now_ms % 1000));
    put_field(line, &F_STR("ts", ts), json);
    put_field(line, &F_STR("level", level_names[level]), json);
    put_field(line, &F_STR("comp", log_state.component), json);
    put_field(line, &F_STR("msg", event), json);
}

static void write_line(const struct buf *line)
{
    const uint8_t *p = buf_data(line);
    size_t left = line->len;

    /* More than one turn only where stderr took a part of it; whoever does not read has no logs. */
    while (left > 0) {
        ssize_t n = write(STDERR_FILENO, p, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        p += n;
        left -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    bool json = log_state.format == LOG_JSON;
    int saved = errno;
    struct buf line;

    if (!log_enabled(level))
        return;
    buf_init(&line);
    if (json)
        buf_append(&line, "{", 1);
    put_head(&line, level, event, json);
    for (; fields->key != NULL; fields++)
        put_field(&line, fields, json);
    buf_append(&line, json ? "}\n" : "\n", json ? 2 : 1);
    write_line(&line);
    buf_release(&line);
    atomic_fetch_add_explicit(&log_state.count[level], 1, memory_order_relaxed);
    errno = saved;
}
