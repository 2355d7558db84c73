/*
 * log - one line an event, logfmt or JSON, to stderr. Keys, values and passwords of users
 * never go in. Only the daemons' own modules log; common/ logs at debug at most.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct err;

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

/* One key and its value. Build with the F_ macros below; quoting is done by log.c. */
struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_STR, LOG_I64, LOG_U64, LOG_F64 } type;
    const char *str; /* borrowed for the call; NULL is written as an empty string */
    int64_t i64;
    uint64_t u64;
    double f64;
};

#define F_STR(k, v) ((struct log_field){.key = (k), .type = LOG_STR, .str = (v)})
#define F_I64(k, v) ((struct log_field){.key = (k), .type = LOG_I64, .i64 = (int64_t)(v)})
#define F_U64(k, v) ((struct log_field){.key = (k), .type = LOG_U64, .u64 = (uint64_t)(v)})
#define F_F64(k, v) ((struct log_field){.key = (k), .type = LOG_F64, .f64 = (v)})
#define F_ERR(e)    F_STR("error", (e)->msg)
#define F_NONE      ((struct log_field){.key = 0})

/* `event` is the event in words, lower case, no full stop: log_info("partial resync",
 * F_STR("replid", id), F_U64("repl_offset", off)). Without fields: F_NONE. */
#define log_debug(event, ...) log_fields(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_fields(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_fields(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_fields(LOG_ERROR, event, __VA_ARGS__)
#define log_fields(level, event, ...)                                                          \
    log_write(level, event, (const struct log_field[]){__VA_ARGS__, {.key = 0}})

/* Writes one line with ts (RFC 3339, UTC, ms), level, comp, msg and the fields. Threads may
 * call it at once: a line is one write(2). */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

/* `component` (the program's name) must live for ever. Before log_init: info, logfmt. */
void log_init(const char *component, enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
/* Lines written so far by level, for the metric rwal_log_messages_total. */
uint64_t log_count(enum log_level level);
/* False when the name is none of debug info warn error (logfmt json). */
bool log_level_parse(const char *name, enum log_level *out);
bool log_format_parse(const char *name, enum log_format *out);

#endif
