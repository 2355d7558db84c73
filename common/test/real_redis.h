/*
 * real_redis - for tests: a redis-server on a unix socket in a directory of its own, filled with
 * every type and encoding that it knows.
 */
#ifndef COMMON_TEST_REAL_REDIS_H
#define COMMON_TEST_REAL_REDIS_H

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REAL_REDIS_WAIT_MS 20000

struct real_redis {
    pid_t pid;
    char dir[32];
    redisContext *c;
};

static inline int64_t real_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline void real_pause(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static inline void real_path(const struct real_redis *s, const char *file, char out[64])
{
    (void)snprintf(out, 64, "%s/%s", s->dir, file);
}

static inline void real_exec(const struct real_redis *s, const char *sock)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(null, 1);
    (void)dup2(null, 2);
    (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", sock, "--dir",
                 s->dir, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
                 (char *)NULL);
    _exit(127);
}

static inline void real_start(struct real_redis *s)
{
    int64_t until = real_ms() + REAL_REDIS_WAIT_MS;
    char sock[64];

    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/rwal-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    real_path(s, "s", sock);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        real_exec(s, sock);
    for (;;) {
        s->c = redisConnectUnix(sock);
        assert_non_null(s->c);
        if (s->c->err == 0)
            return;
        redisFree(s->c);
        assert_int_equal(waitpid(s->pid, NULL, WNOHANG), 0);
        assert_true(real_ms() < until);
        real_pause();
    }
}

static inline void real_stop(struct real_redis *s)
{
    static const char *const files[] = {"s", "dump.rdb"};

    redisFree(s->c);
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[64];

        real_path(s, files[i], path);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(s->dir), 0);
}

/* The reply must not be an error; the caller frees it. */
static inline redisReply *real_ask(struct real_redis *s, const char *fmt, ...)
{
    va_list ap;
    redisReply *reply;

    va_start(ap, fmt);
    reply = redisvCommand(s->c, fmt, ap);
    va_end(ap);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", fmt, reply->str);
    return reply;
}

#define real_do(s, ...) freeReplyObject(real_ask((s), __VA_ARGS__))

/* What the server saves, in memory that the caller frees. */
static inline uint8_t *real_save(struct real_redis *s, size_t *len)
{
    char path[64];
    struct stat st;
    uint8_t *data;
    int fd;

    real_do(s, "SAVE");
    real_path(s, "dump.rdb", path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    data = malloc((size_t)st.st_size);
    assert_non_null(data);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    (void)close(fd);
    *len = (size_t)st.st_size;
    return data;
}

#endif
