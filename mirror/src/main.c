/* kafka-mirror - copies topics from one Kafka cluster to another, record for record. */
#include <malloc.h>

#include "mirror/src/mirror.h"

static int start(struct daemon *d, const void *conf, void **app, struct err *err)
{
    struct mirror *m;

    if (mirror_new(d, conf, &m, err) != 0)
        return -1;
    *app = m;
    return 0;
}

static void stop(void *app)
{
    mirror_stop(app);
}

static void release(void *app)
{
    mirror_free(app);
}

static void scrape(void *app)
{
    mirror_scrape(app);
}

static void status(void *app, struct buf *json)
{
    mirror_status(app, json);
}

static const char *not_ready(void *app)
{
    return mirror_not_ready(app);
}

int main(int argc, char **argv)
{
    const struct daemon_spec spec = {
        .name = "kafka-mirror",
        .summary = "copies topics from one Kafka cluster to another, record for record",
        .env_prefix = "MIRROR",
        .keys = mirror_keys,
        .conf_size = sizeof(struct mirror_conf),
        .check = mirror_conf_check,
        .start = start,
        .stop = stop,
        .release = release,
        .scrape = scrape,
        .status = status,
        .not_ready = not_ready,
    };

    /* The buffers of fetched records are large and short-lived: they go back to the system, and
     * do not stay in the arenas of librdkafka's threads. */
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    (void)mallopt(M_ARENA_MAX, 2);
    return daemon_main(&spec, argc, argv);
}
