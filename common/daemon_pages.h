/* daemon_pages - what a program serves by HTTP: /, /metrics, /healthz, /readyz, /status. */
#ifndef COMMON_DAEMON_PAGES_H
#define COMMON_DAEMON_PAGES_H

struct daemon_spec;
struct http_reply;
struct http_request;
struct metrics;
struct process_metrics;

/* What the pages are made of; all borrowed. */
struct daemon_pages {
    const struct daemon_spec *spec;
    void *app;
    const struct metrics *metrics;
    struct process_metrics *process;
    const char *stopping; /* why the program is not ready although the app is; else NULL */
};

void daemon_pages_serve(const struct daemon_pages *pages, const struct http_request *req,
                        struct http_reply *reply);

#endif
