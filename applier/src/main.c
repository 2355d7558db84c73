/* redis-applier - replays the log into a Redis, exactly once. Only wires the parts. */
#include <stdlib.h>

#include "applier/src/clear_halt.h"
#include "applier/src/engine.h"
#include "applier/src/options.h"
#include "applier/src/source.h"
#include "applier/src/status.h"
#include "common/daemon.h"
#include "common/mem.h"
#include "common/net.h"

struct app {
    struct daemon *daemon;
    struct net_tls *tls;
    struct source *source;
    struct engine *engine;
    struct status *status;
};

static void on_closed(void *p)
{
    struct app *app = p;

    daemon_drained(app->daemon);
}

static void on_stopped(void *p, const struct err *err)
{
    struct app *app = p;

    daemon_stop(app->daemon, err);
    if (source_close(app->source, on_closed, app))
        daemon_drained(app->daemon);
}

static void release(void *p)
{
    struct app *app = p;

    engine_free(app->engine);
    status_free(app->status);
    source_free(app->source);
    net_tls_free(app->tls);
    free(app);
}

static int start(struct daemon *d, const void *p, void **out, struct err *err)
{
    const struct applier_conf *conf = p;
    struct app *app = xcalloc(1, sizeof(*app));
    struct source_conf sc = {.kafka = &conf->kafka, .topic = conf->topic, .group = conf->group};
    struct engine_conf ec = {.ops = &source_kafka_ops, .stopped = on_stopped, .arg = app};

    app->daemon = d;
    applier_engine_conf(conf, &ec);
    if (applier_session_conf(conf, &ec.session, &app->tls, err) != 0 ||
        source_new(daemon_loop(d), &sc, &app->source, err) != 0) {
        net_tls_free(app->tls);
        free(app);
        return -1;
    }
    ec.source = app->source;
    app->engine = engine_new(daemon_loop(d), &ec);
    app->status = status_new(daemon_metrics(d), app->engine, app->source);
    source_run(app->source, app->engine);
    *out = app;
    return 0;
}

static void stop(void *p)
{
    engine_drain(((struct app *)p)->engine);
}

static void scrape(void *p)
{
    status_scrape(((struct app *)p)->status);
}

static void status(void *p, struct buf *json)
{
    status_json(((struct app *)p)->status, json);
}

static const char *not_ready(void *p)
{
    return status_not_ready(((struct app *)p)->status);
}

int main(int argc, char **argv)
{
    static const struct daemon_verb verbs[] = {
        {"clear-halt", "lets the applier go on after it stopped for divergence",
         clear_halt_run},
        {.name = NULL},
    };
    static const struct daemon_spec spec = {
        .name = "redis-applier",
        .summary = "replays the log of a Redis into another Redis, exactly once",
        .env_prefix = "APPLIER",
        .keys = applier_keys,
        .conf_size = sizeof(struct applier_conf),
        .verbs = verbs,
        .check = applier_conf_check,
        .start = start,
        .stop = stop,
        .release = release,
        .scrape = scrape,
        .status = status,
        .not_ready = not_ready,
    };

    return daemon_main(&spec, argc, argv);
}
