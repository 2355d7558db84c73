/*
 * fake_master - a thread that plays a Redis or a Sentinel from a script, over real sockets.
 * Header only; see link_rig.h.
 */
#ifndef JOURNAL_TEST_FAKE_MASTER_H
#define JOURNAL_TEST_FAKE_MASTER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct fake_step {
    enum { FAKE_EXPECT, FAKE_SEND, FAKE_SLEEP, FAKE_CLOSE, FAKE_RESET, FAKE_HOLD } what;
    const char *text; /* EXPECT: the arguments, blanks between; SEND: bytes */
    size_t len;       /* SEND */
    long ms;          /* SLEEP */
};

#define EXPECT(t)                                                                              \
    {                                                                                          \
        .what = FAKE_EXPECT, .text = (t)                                                       \
    }
#define SEND(t)                                                                                \
    {                                                                                          \
        .what = FAKE_SEND, .text = (t), .len = sizeof(t) - 1                                   \
    }
#define SLEEP(n)                                                                               \
    {                                                                                          \
        .what = FAKE_SLEEP, .ms = (n)                                                          \
    }
#define CLOSE                                                                                  \
    {                                                                                          \
        .what = FAKE_CLOSE                                                                     \
    } /* orderly; the next connection gets the steps behind */
#define RESET                                                                                  \
    {                                                                                          \
        .what = FAKE_RESET                                                                     \
    } /* the same with an RST */
#define HOLD                                                                                   \
    {                                                                                          \
        .what = FAKE_HOLD                                                                      \
    } /* reads until the other side closes */

/* What a link says until PSYNC, and a server's usual answers. */
#define HELLO                                                                                  \
    EXPECT("PING"), SEND("+PONG\r\n"), EXPECT("COMMAND"), SEND("-NOPERM no command\r\n"),      \
        EXPECT("REPLCONF capa eof capa psync2"), SEND("+OK\r\n")

struct fake {
    pthread_t thread;
    int listener;
    char addr[32]; /* host:port */
    const struct fake_step *step;
    size_t cnt;
    char problem[1100];    /* what did not go by the script */
    char heard[8192];      /* commands received while in HOLD, '|' after each */
    atomic_uint heard_cnt; /* how many */
    atomic_bool done;
};

static inline bool fake_problem(struct fake *f, const char *what, const char *more)
{
    if (f->problem[0] == '\0')
        (void)snprintf(f->problem, sizeof(f->problem), "%.500s: %.500s", what, more);
    return false;
}

static inline bool fake_read(int fd, char *out, size_t len)
{
    while (len != 0) {
        ssize_t n = recv(fd, out, len, 0);

        if (n <= 0)
            return false;
        out += n;
        len -= (size_t)n;
    }
    return true;
}

static inline long fake_number(int fd, char prefix)
{
    char text[32];
    size_t n = 0;

    while (n < sizeof(text) - 1 && fake_read(fd, text + n, 1) && text[n] != '\n')
        n++;
    text[n] = '\0';
    return n > 1 && text[0] == prefix ? strtol(text + 1, NULL, 10) : -1;
}

/* One command, its arguments with blanks between. */
static inline bool fake_command(int fd, char *out, size_t size)
{
    long cnt = fake_number(fd, '*');
    size_t at = 0;

    for (long i = 0; i < cnt; i++) {
        long len = fake_number(fd, '$');
        char crlf[2];

        if (len < 0 || at + (size_t)len + 2 > size)
            return false;
        if (i != 0)
            out[at++] = ' ';
        if (!fake_read(fd, out + at, (size_t)len) || !fake_read(fd, crlf, 2))
            return false;
        at += (size_t)len;
    }
    out[at] = '\0';
    return cnt > 0;
}

static inline void fake_hold(struct fake *f, int fd)
{
    char cmd[256];

    while (fake_command(fd, cmd, sizeof(cmd))) {
        size_t at = strlen(f->heard);

        (void)snprintf(f->heard + at, sizeof(f->heard) - at, "%s|", cmd);
        atomic_fetch_add(&f->heard_cnt, 1);
    }
}

static inline void fake_sleep(long ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&ts, NULL);
}

/* The next command that is no periodic ACK 0. */
static inline bool fake_expect(struct fake *f, int fd, const char *want)
{
    char cmd[512];

    do
        if (!fake_command(fd, cmd, sizeof(cmd)))
            return fake_problem(f, "connection ended instead of", want);
    while (strcmp(cmd, want) != 0 && strcmp(cmd, "REPLCONF ACK 0") == 0);
    return strcmp(cmd, want) == 0 || fake_problem(f, cmd, want);
}

/* Plays the steps of one connection; returns the index of the next one's first step. */
static inline size_t fake_play(struct fake *f, int fd, size_t i)
{
    struct linger now = {.l_onoff = 1};

    for (; i < f->cnt; i++) {
        const struct fake_step *s = &f->step[i];

        switch (s->what) {
        case FAKE_EXPECT:
            if (!fake_expect(f, fd, s->text))
                return f->cnt;
            break;
        case FAKE_SEND:
            if (send(fd, s->text, s->len, MSG_NOSIGNAL) != (ssize_t)s->len)
                (void)fake_problem(f, "send failed", strerror(errno));
            break;
        case FAKE_SLEEP:
            fake_sleep(s->ms);
            break;
        case FAKE_HOLD:
            fake_hold(f, fd);
            return i + 1;
        case FAKE_RESET:
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
            return i + 1;
        case FAKE_CLOSE:
            return i + 1;
        }
    }
    return i;
}

static inline void *fake_main(void *arg)
{
    struct fake *f = arg;
    struct timeval limit = {.tv_sec = 10};
    size_t i = 0;

    while (i < f->cnt) {
        int fd = accept(f->listener, NULL, NULL);

        if (fd < 0)
            break;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        i = fake_play(f, fd, i);
        (void)close(fd);
    }
    atomic_store(&f->done, true);
    return NULL;
}

static inline void fake_listen(struct fake *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    memset(f, 0, sizeof(*f));
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->listener, (struct sockaddr *)&a, len) != 0 || listen(f->listener, 16) != 0 ||
        getsockname(f->listener, (struct sockaddr *)&a, &len) != 0)
        abort();
    (void)snprintf(f->addr, sizeof(f->addr), "127.0.0.1:%u", ntohs(a.sin_port));
}

static inline void fake_run(struct fake *f, const struct fake_step *step, size_t cnt)
{
    f->step = step;
    f->cnt = cnt;
    if (pthread_create(&f->thread, NULL, fake_main, f) != 0)
        abort();
}

static inline void fake_release(struct fake *f)
{
    (void)shutdown(f->listener, SHUT_RDWR);
    (void)pthread_join(f->thread, NULL);
    (void)close(f->listener);
}

#endif
