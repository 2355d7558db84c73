/* redis-journal - appends every write of a Redis to a Kafka topic. Only wires the parts. */
#include <stdlib.h>

#include "common/daemon.h"
#include "common/mem.h"
#include "journal/src/cat.h"
#include "journal/src/journal.h"
#include "journal/src/options.h"
#include "journal/src/status.h"

struct app {
    struct journal *journal;
    struct status *status;
};

static int start(struct daemon *d, const void *conf, void **out, struct err *err)
{
    struct app *app = xcalloc(1, sizeof(*app));

    if (journal_new(d, conf, &app->journal, err) != 0) {
        free(app);
        return -1;
    }
    app->status = status_new(daemon_metrics(d), app->journal, conf);
    *out = app;
    return 0;
}

static void stop(void *p)
{
    struct app *app = p;

    journal_stop(app->journal);
}

static void release(void *p)
{
    struct app *app = p;

    status_free(app->status);
    journal_free(app->journal);
    free(app);
}

static void scrape(void *p)
{
    struct app *app = p;

    status_scrape(app->status);
}

static void status(void *p, struct buf *json)
{
    struct app *app = p;

    status_json(app->status, json);
}

static const char *not_ready(void *p)
{
    struct app *app = p;

    return status_not_ready(app->status);
}

int main(int argc, char **argv)
{
    static const struct daemon_verb verbs[] = {
        {.name = "cat",
         .summary = "prints the log's frames for people or as JSON",
         .run = cat_run},
        {.name = NULL},
    };
    static const struct daemon_spec spec = {
        .name = "redis-journal",
        .summary = "appends every write of a Redis to a Kafka topic, as a replica that stores "
                   "nothing itself",
        .env_prefix = "JOURNAL",
        .keys = journal_keys,
        .conf_size = sizeof(struct journal_conf),
        .verbs = verbs,
        .check = journal_conf_check,
        .start = start,
        .stop = stop,
        .release = release,
        .scrape = scrape,
        .status = status,
        .not_ready = not_ready,
    };

    return daemon_main(&spec, argc, argv);
}
