/*
 * daemon - what the programs' main() have in common.
 *
 * daemon_stop() and daemon_drained() only take a note and wake the loop, so that they may be called
 * from anywhere in the app, its stop() included; on_wake() does what the notes say. Ending has
 * three steps: the loop runs until drained; the app is released; what handles are left are closed.
 */
#include "common/daemon.h"
#include "common/buf.h"
#include "common/daemon_options.h"
#include "common/daemon_pages.h"
#include "common/http.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "common/process_metrics.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIGNAL_CNT   3
#define END_LIMIT_MS 3000 /* after release(), for what is still under way */

struct daemon {
    const struct daemon_spec *spec;
    const struct daemon_conf *conf;
    void *app;
    uv_loop_t loop;
    uv_async_t wake;
    uv_signal_t signals[SIGNAL_CNT];
    struct metrics *metrics;
    struct process_metrics *process;
    struct http *http;
    bool started;
    bool stop_asked;
    bool stop_called;
    bool drained;
    struct err err; /* the first one given to daemon_stop(), ERR_NONE until then */
};

uv_loop_t *daemon_loop(struct daemon *d)
{
    return &d->loop;
}

struct metrics *daemon_metrics(struct daemon *d)
{
    return d->metrics;
}

const char *daemon_version(void)
{
    return RWAL_VERSION;
}

void daemon_stop(struct daemon *d, const struct err *err)
{
    if (err != NULL) {
        log_error("stopping", F_ERR(err));
        if (d->err.kind == ERR_NONE)
            d->err = *err;
    }
    d->stop_asked = true;
    (void)uv_async_send(&d->wake);
}

void daemon_drained(struct daemon *d)
{
    d->drained = true;
    (void)uv_async_send(&d->wake);
}

/* ---- the loop ---- */

static void on_wake(uv_async_t *wake)
{
    struct daemon *d = wake->data;

    if (d->stop_asked && d->started && !d->stop_called) {
        d->stop_called = true;
        if (d->spec->stop != NULL)
            d->spec->stop(d->app);
        else
            d->drained = true;
    }
    if (d->stop_called && d->drained)
        uv_stop(&d->loop);
}

static const char *signal_name(int signum)
{
    return signum == SIGTERM ? "SIGTERM" : signum == SIGINT ? "SIGINT" : "SIGHUP";
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct daemon *d = handle->data;

    if (signum == SIGHUP) {
        log_info("signal ignored, the configuration is read at start only",
                 F_STR("signal", signal_name(signum)));
        return;
    }
    if (d->stop_asked) {
        log_warn("second signal, ending at once", F_STR("signal", signal_name(signum)));
        _exit(EXIT_RUNTIME);
    }
    log_info("stopping", F_STR("signal", signal_name(signum)));
    daemon_stop(d, NULL);
}

static void start_signals(struct daemon *d)
{
    static const int signums[SIGNAL_CNT] = {SIGTERM, SIGINT, SIGHUP};

    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < SIGNAL_CNT; i++) {
        (void)uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        (void)uv_signal_start(&d->signals[i], on_signal, signums[i]);
    }
}

static void on_http(void *arg, const struct http_request *req, struct http_reply *reply)
{
    struct daemon *d = arg;
    struct daemon_pages pages = {.spec = d->spec,
                                 .app = d->app,
                                 .metrics = d->metrics,
                                 .process = d->process,
                                 .stopping = d->stop_asked ? "stopping" : NULL};

    daemon_pages_serve(&pages, req, reply);
}

static int start_http(struct daemon *d, struct err *err)
{
    if (d->conf->listen == NULL || d->conf->listen[0] == '\0')
        return 0;
    if (http_new(&d->loop, d->conf->listen, on_http, d, &d->http, err) != 0)
        return err_wrap(err, "key 'http.listen'");
    log_info("http server listening", F_STR("addr", http_address(d->http)));
    return 0;
}

/* ---- the end ---- */

static void note_closing(uv_handle_t *handle, void *arg)
{
    if (uv_is_closing(handle))
        *(bool *)arg = true;
}

/* Lets the loop run the close callbacks of what is being closed; they may begin others. */
static void finish_closing(struct daemon *d)
{
    bool closing = true;

    while (closing) {
        (void)uv_run(&d->loop, UV_RUN_NOWAIT);
        closing = false;
        uv_walk(&d->loop, note_closing, &closing);
    }
}

static void close_left(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void log_end(const struct daemon *d)
{
    log_info("stopped", F_I64("exit_code", err_exit_code(&d->err)));
}

/* A worker thread can't be called off: it may ask a Kafka or a name server that is away. */
static void on_end_limit(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    log_warn("a call in a worker thread takes too long, ending without it", F_NONE);
    log_end(d);
    _exit((int)err_exit_code(&d->err));
}

/* Runs the loop until nothing is under way. */
static void finish_work(struct daemon *d)
{
    uv_timer_t limit;

    (void)uv_timer_init(&d->loop, &limit);
    limit.data = d;
    (void)uv_timer_start(&limit, on_end_limit, END_LIMIT_MS, 0);
    uv_unref((uv_handle_t *)&limit);
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&limit, NULL);
    (void)uv_run(&d->loop, UV_RUN_DEFAULT);
}

static void daemon_end(struct daemon *d)
{
    http_free(d->http);
    finish_closing(d);
    if (d->app != NULL && d->spec->release != NULL)
        d->spec->release(d->app);
    finish_closing(d);
    uv_walk(&d->loop, close_left, NULL);
    finish_work(d);
    (void)uv_loop_close(&d->loop);
    process_metrics_free(d->process);
    metrics_free(d->metrics);
}

static int run_daemon(const struct daemon_spec *spec, const void *conf)
{
    struct daemon d = {.spec = spec, .conf = conf};
    struct err err = {0};

    (void)uv_loop_init(&d.loop);
    (void)uv_async_init(&d.loop, &d.wake, on_wake);
    d.wake.data = &d;
    d.metrics = metrics_new();
    d.process = process_metrics_new(d.metrics, spec->name, daemon_version());
    log_info("starting", F_STR("version", daemon_version()), F_I64("pid", getpid()));
    start_signals(&d);
    if (start_http(&d, &err) != 0 || spec->start(&d, conf, &d.app, &err) != 0) {
        daemon_stop(&d, &err);
    } else {
        d.started = true;
        if (d.stop_asked) /* by start() itself */
            (void)uv_async_send(&d.wake);
        (void)uv_run(&d.loop, UV_RUN_DEFAULT);
    }
    daemon_end(&d);
    log_end(&d);
    return (int)err_exit_code(&d.err);
}

/* ---- before it runs ---- */

static int usage_error(const struct daemon_spec *spec, const struct err *err)
{
    (void)fprintf(stderr, "%s: %s\n", spec->name, err->msg);
    return EXIT_CONFIG;
}

/* What was printed must have arrived: `--dump >/dev/full` is a failure. */
static int printed(const struct daemon_spec *spec)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_OK;
    (void)fprintf(stderr, "%s: write to standard output: %s\n", spec->name, strerror(errno));
    return EXIT_RUNTIME;
}

static int load(const struct daemon_spec *spec, const struct daemon_options *o, void *conf,
                struct err *err)
{
    const struct daemon_conf *common = conf;
    char where[256];

    if (conf_load(spec->keys, o->config, spec->env_prefix, conf, err) != 0)
        return -1;
    if (common->listen != NULL && common->listen[0] != '\0' &&
        http_listen_check(common->listen, err) != 0)
        return err_wrap(err, "%s: key 'http.listen'",
                        conf_where(spec->keys, conf, "http.listen", where, sizeof(where)));
    if (spec->check == NULL || spec->check(conf, err) == 0)
        return 0;
    return err_wrap(err, "%s", o->config != NULL ? o->config : "configuration");
}

static int run_with(const struct daemon_spec *spec, const struct daemon_options *o, void *conf)
{
    const struct daemon_conf *common = conf;
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_LOGFMT;
    struct err err = {0};

    if (load(spec, o, conf, &err) != 0)
        return usage_error(spec, &err);
    if (o->dump)
        conf_dump(spec->keys, conf, stdout);
    else if (o->check && o->config != NULL)
        (void)printf("configuration %s is ok\n", o->config);
    else if (o->check)
        (void)printf("configuration is ok (environment and defaults, no file)\n");
    if (o->dump || o->check)
        return printed(spec);
    (void)log_level_parse(common->log_level, &level);
    (void)log_format_parse(common->log_format, &format);
    log_init(spec->name, level, format);
    return run_daemon(spec, conf);
}

int daemon_main(const struct daemon_spec *spec, int argc, char **argv)
{
    const struct daemon_verb *verb = argc > 1 ? daemon_options_verb(spec, argv[1]) : NULL;
    struct daemon_options o;
    struct err err = {0};
    void *conf;
    int rc;

    if (verb != NULL) {
        log_init(spec->name, LOG_INFO, LOG_LOGFMT);
        return verb->run(argc - 1, argv + 1);
    }
    if (daemon_options_parse(spec, argc, argv, &o, &err) != 0)
        return usage_error(spec, &err);
    if (o.help) {
        daemon_options_help(spec, stdout);
        return printed(spec);
    }
    if (o.version) {
        (void)printf("%s %s\n", spec->name, daemon_version());
        return printed(spec);
    }
    conf = xcalloc(1, spec->conf_size);
    rc = run_with(spec, &o, conf);
    conf_free(spec->keys, conf);
    free(conf);
    return rc;
}
