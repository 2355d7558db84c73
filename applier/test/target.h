/* target - a real redis-server on a unix socket, for tests; each test program has its own. */
#ifndef APPLIER_TEST_TARGET_H
#define APPLIER_TEST_TARGET_H

#include <errno.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TARGET_WAIT_S 20

struct target {
    char dir[64];
    char socket[96];
    pid_t pid;
    redisContext *c;
};

static inline void target_connect(struct target *t)
{
    for (int i = 0; i < TARGET_WAIT_S * 100; i++) {
        redisReply *r;

        t->c = redisConnectUnix(t->socket);
        r = t->c != NULL && t->c->err == 0 ? redisCommand(t->c, "PING") : NULL;
        if (r != NULL && r->type == REDIS_REPLY_STATUS) {
            freeReplyObject(r);
            return;
        }
        if (r != NULL)
            freeReplyObject(r);
        redisFree(t->c);
        t->c = NULL;
        usleep(10000); /* nothing tells when a server listens */
    }
    fprintf(stderr, "redis-server did not start\n");
    abort();
}

static inline void target_start(struct target *t)
{
    t->pid = fork();
    if (t->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", t->socket,
               "--dir", t->dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
               "--databases", "16", "--enable-debug-command", "yes", "--logfile", "log",
               "--daemonize", "no", (char *)NULL);
        _exit(127);
    }
    target_connect(t);
}

static inline void target_kill(struct target *t)
{
    redisFree(t->c);
    t->c = NULL;
    (void)kill(t->pid, SIGKILL);
    (void)waitpid(t->pid, NULL, 0);
}

static inline void target_new(struct target *t)
{
    memset(t, 0, sizeof(*t));
    snprintf(t->dir, sizeof(t->dir), "/tmp/rwal-applier-XXXXXX");
    if (mkdtemp(t->dir) == NULL)
        abort();
    snprintf(t->socket, sizeof(t->socket), "%s/s", t->dir);
    target_start(t);
}

static inline void target_free(struct target *t)
{
    char cmd[128];

    target_kill(t);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", t->dir);
    if (system(cmd) != 0)
        abort();
}

/* The reply as text: a string or status as it is, an integer in decimal, nil as "nil", an error
 * with its text, the number of elements of an array as "[n]". */
static inline const char *target_do(struct target *t, char *out, size_t size, const char *fmt,
                                    ...)
{
    va_list ap;
    redisReply *r;

    va_start(ap, fmt);
    r = redisvCommand(t->c, fmt, ap);
    va_end(ap);
    if (r == NULL)
        abort();
    switch (r->type) {
    case REDIS_REPLY_INTEGER:
        snprintf(out, size, "%lld", r->integer);
        break;
    case REDIS_REPLY_NIL:
        snprintf(out, size, "nil");
        break;
    case REDIS_REPLY_ARRAY:
        snprintf(out, size, "[%zu]", r->elements);
        break;
    default:
        snprintf(out, size, "%s", r->str);
    }
    freeReplyObject(r);
    return out;
}

#define TARGET_IS(t, expected, ...)                                                            \
    do {                                                                                       \
        char got_[512];                                                                        \
        assert_string_equal(target_do(t, got_, sizeof(got_), __VA_ARGS__), expected);          \
    } while (0)

#endif
