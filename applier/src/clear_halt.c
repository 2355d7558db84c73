/*
 * clear_halt - prints why the applier stands still, and takes the mark off the position. What was
 * refused is not applied by this: a person has looked at it.
 */
#include "applier/src/clear_halt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/options.h"
#include "applier/src/position.h"
#include "applier/src/reply.h"
#include "applier/src/session.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/net.h"

struct clear {
    uv_loop_t loop;
    struct session *session;
    char *key;
    struct err err; /* ERR_NONE: done */
};

static void on_cleared(void *arg, size_t index, const struct reply *reply)
{
    struct clear *c = arg;

    (void)index;
    (void)reply;
    (void)puts("cleared");
    uv_stop(&c->loop);
}

static void on_ready(void *arg, const struct position *pos)
{
    struct clear *c = arg;
    struct buf out;

    if (!pos->present || pos->halted[0] == 0) {
        (void)puts(pos->present ? "not halted" : "the target has no position");
        uv_stop(&c->loop);
        return;
    }
    (void)printf("halted: %s\n", pos->halted);
    buf_init(&out);
    position_put_halt(&out, c->key, "");
    session_call(c->session, &out, 1, on_cleared, c);
    buf_release(&out);
}

static void on_lost(void *arg, const struct err *err)
{
    struct clear *c = arg;

    c->err = *err;
    uv_stop(&c->loop);
}

static int clear(const struct applier_conf *conf, struct err *err)
{
    static const struct session_events events = {.ready = on_ready, .lost = on_lost};
    struct clear c = {.err = {.kind = ERR_NONE}};
    struct session_conf sc;
    struct net_tls *tls;

    if (applier_session_conf(conf, &sc, &tls, err) != 0)
        return -1;
    c.key = xasprintf(POSITION_PREFIX "position:%s", conf->source_name);
    sc.position_key = c.key;
    (void)uv_loop_init(&c.loop);
    c.session = session_new(&c.loop, &sc, &events, &c);
    (void)uv_run(&c.loop, UV_RUN_DEFAULT);
    session_free(c.session);
    (void)uv_run(&c.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&c.loop);
    net_tls_free(tls);
    free(c.key);
    if (c.err.kind == ERR_NONE)
        return 0;
    *err = c.err;
    return -1;
}

static int usage(FILE *to)
{
    (void)fputs("usage: redis-applier clear-halt [--config FILE]\n\n"
                "Prints why the applier of this configuration stands still and lets it start "
                "again.\nThe command that was refused is not applied by this.\n",
                to);
    return to == stdout ? EXIT_OK : EXIT_CONFIG;
}

int clear_halt_run(int argc, char **argv)
{
    struct applier_conf conf = {.source_name = NULL};
    const char *path = NULL;
    struct err err;
    int rc;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return usage(stdout);
        if (strcmp(argv[i], "--config") != 0 || i + 1 == argc) {
            (void)fprintf(stderr, "unexpected argument '%s'\n", argv[i]);
            return usage(stderr);
        }
        path = argv[++i];
    }
    rc = conf_load(applier_keys, path, "APPLIER", &conf, &err);
    if (rc == 0)
        rc = applier_conf_check(&conf, &err);
    if (rc == 0)
        rc = clear(&conf, &err);
    conf_free(applier_keys, &conf);
    if (rc == 0)
        return EXIT_OK;
    (void)fprintf(stderr, "redis-applier: %s\n", err.msg);
    return (int)err_exit_code(&err);
}
