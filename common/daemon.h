/*
 * daemon - what the programs' main() have in common: options, configuration, logging, the
 * loop (libuv), signals, HTTP endpoints, exit codes.
 *
 * A program is a table (struct daemon_spec) and a struct of its own settings. daemon_main()
 * does, in this order: --help and --version; verbs (`redis-journal cat …`); options; load the
 * configuration; --dump and --check end here; logging; signals; the HTTP server; start();
 * the loop until daemon_stop() or a signal; stop(); exit code.
 */
#ifndef COMMON_DAEMON_H
#define COMMON_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/conf.h"
#include "common/err.h"

struct buf;
struct daemon;
struct http_reply;
struct http_request;
struct metrics;

/* The settings every program has; the first member of each program's struct. Their rows of the
 * key table come from DAEMON_CONF_KEYS. */
struct daemon_conf {
    char *log_level;  /* log.level */
    char *log_format; /* log.format */
    char *listen;     /* http.listen: host:port; empty: no server; port 0: any, logged */
    struct conf_origins *origins;
};

#define DAEMON_CONF_KEYS(default_listen)                                                       \
    {.name = "log.level",                                                                      \
     .type = CONF_CHOICE,                                                                      \
     .offset = offsetof(struct daemon_conf, log_level),                                        \
     .def = "info",                                                                            \
     .choices = "debug|info|warn|error",                                                       \
     .doc = "Least important lines that are written."},                                        \
        {.name = "log.format",                                                                 \
         .type = CONF_CHOICE,                                                                  \
         .offset = offsetof(struct daemon_conf, log_format),                                   \
         .def = "logfmt",                                                                      \
         .choices = "logfmt|json",                                                             \
         .doc = "Form of the lines on stderr."},                                               \
        {.name = "", .type = CONF_ORIGINS, .offset = offsetof(struct daemon_conf, origins)},   \
    {                                                                                          \
        .name = "http.listen", .type = CONF_STR,                                               \
        .offset = offsetof(struct daemon_conf, listen), .def = default_listen,                 \
        .doc = "host:port of /metrics, /healthz, /readyz, /status; port 0 takes any free one " \
               "and logs it; empty turns the server off."                                      \
    }

/* A one-shot command of the program: `redis-journal cat`. argv[0] is the verb. */
struct daemon_verb {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv); /* returns the exit code; handles its own --help */
};

struct daemon_spec {
    const char *name;            /* "redis-journal" */
    const char *summary;         /* what it does, in one line, for --help */
    const char *env_prefix;      /* "JOURNAL" */
    const struct conf_key *keys; /* includes DAEMON_CONF_KEYS */
    size_t conf_size; /* of the program's struct, whose first member is daemon_conf */
    const struct daemon_verb *verbs; /* ends with .name = NULL; may be NULL */
    /* Further checks of a loaded configuration (pairs of keys, addresses); no I/O. The message
     * names the key; the file's name is put in front of it. */
    int (*check)(const void *conf, struct err *err);
    /* Builds the parts on d's loop. -1: the program ends with err's exit code; where *app was set,
     * release() is called. */
    int (*start)(struct daemon *d, const void *conf, void **app, struct err *err);
    /* SIGTERM, SIGINT or daemon_stop(), called from the loop, once: begin to drain; call
     * daemon_drained() when done. A second signal ends the program at once. */
    void (*stop)(void *app);
    /* Releases everything. Handles that lie in the app's own memory were closed before
     * daemon_drained(): the loop ran their close callbacks. Others may still be closed here, but
     * not later. Calls in worker threads get a few seconds to return; then the program ends
     * without them. */
    void (*release)(void *app);
    /* Refreshes gauges before a scrape, and writes /status as a JSON object. Loop's thread. */
    void (*scrape)(void *app);
    void (*status)(void *app, struct buf *json);
    /* NULL when ready, else why not (static text, or valid until the next call). */
    const char *(*not_ready)(void *app);
    /* Answers a path that is none of the common ones, and returns true; may be NULL. */
    bool (*http)(void *app, const struct http_request *req, struct http_reply *reply);
};

int daemon_main(const struct daemon_spec *spec, int argc, char **argv);

uv_loop_t *daemon_loop(struct daemon *d);
struct metrics *daemon_metrics(struct daemon *d);
/* Ends the program: the loop calls stop() if it was not called, and the program exits with err's
 * code (NULL: 0) after daemon_drained(). Logs *err, at level error. The first error given wins. */
void daemon_stop(struct daemon *d, const struct err *err);
void daemon_drained(struct daemon *d);
/* Names the program's version; set by the Makefile. */
const char *daemon_version(void);

#endif
