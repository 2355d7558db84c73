/* Tests of link against a real redis-server, over TCP, unix socket and TLS. */
#include "journal/test/link_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct server {
    char dir[64];
    char unix_addr[100], tcp_addr[40], tls_addr[40];
    pid_t pid;
    redisContext *c;
};

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
    char cmd[2000];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    if (system(cmd) != 0)
        fail_msg("failed: %s", cmd);
}

/* A CA and a certificate for 'localhost', valid for two days. */
static void make_certs(const char *dir)
{
    shell("cd %s && exec >openssl.log 2>&1 && "
          "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
          "-subj /CN=test-ca -keyout ca.key -out ca.pem && "
          "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
          "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout srv.key -out "
          "srv.csr && "
          "openssl x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
          "-copy_extensions copy -out srv.pem",
          dir);
}

static void server_write_conf(struct server *s, const char *conf)
{
    char path[100];
    int port = free_port(), tls = free_port();
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/redis.conf", s->dir);
    (void)snprintf(s->unix_addr, sizeof(s->unix_addr), "unix:%s/sock", s->dir);
    (void)snprintf(s->tcp_addr, sizeof(s->tcp_addr), "127.0.0.1:%d", port);
    (void)snprintf(s->tls_addr, sizeof(s->tls_addr), "localhost:%d", tls);
    f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f,
                  "port %d\nbind 127.0.0.1\nunixsocket %s/sock\ndir %s\nsave \"\"\n"
                  "logfile %s/log\nrepl-diskless-sync-delay 0\n%s\n",
                  port, s->dir, s->dir, s->dir, conf);
    if (strstr(conf, "tls-cert-file") != NULL)
        (void)fprintf(f, "tls-port %d\n", tls);
    (void)fclose(f);
}

static void server_spawn(struct server *s)
{
    char path[100];

    (void)snprintf(path, sizeof(path), "%s/redis.conf", s->dir);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no server behind */
        (void)dup2(null, 1);
        (void)dup2(null, 2);
        (void)execlp("redis-server", "redis-server", path, (char *)NULL);
        _exit(127);
    }
}

static void server_start(struct server *s, const char *conf)
{
    uint64_t end = uv_hrtime() + 10000000000ULL;

    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/link-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    if (strstr(conf, "tls-cert-file") != NULL)
        make_certs(s->dir);
    server_write_conf(s, conf);
    server_spawn(s);
    for (;;) {
        s->c = redisConnectUnix(s->unix_addr + 5);
        if (s->c != NULL && s->c->err == 0)
            break;
        redisFree(s->c);
        if (uv_hrtime() > end)
            fail_msg("redis-server did not start in %s", s->dir);
        (void)usleep(10000);
    }
}

static void server_stop(struct server *s)
{
    redisFree(s->c);
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    shell("rm -rf %s", s->dir);
}

static void run(struct server *s, const char *cmd)
{
    redisReply *r = redisCommand(s->c, cmd);

    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", cmd, r->str);
    freeReplyObject(r);
}

static bool info_has(struct server *s, const char *text)
{
    redisReply *r = redisCommand(s->c, "INFO replication");
    bool has;

    assert_non_null(r);
    has = strstr(r->str, text) != NULL;
    freeReplyObject(r);
    return has;
}

static bool saw_needle(struct rig *r)
{
    return r->stream.len != 0 &&
           memmem(buf_data(&r->stream), r->stream.len, r->user, strlen(r->user)) != NULL;
}

static void wait_stream(struct rig *r, const char *needle)
{
    r->user = (void *)(uintptr_t)needle;
    rig_wait(r, saw_needle, needle);
}

/* WAIT in a thread, as the loop has to run meanwhile. */
struct waiter {
    struct server *s;
    pthread_t thread;
    atomic_int acked;
    atomic_bool done;
};

static void *waiter_main(void *arg)
{
    struct waiter *w = arg;
    redisReply *r = redisCommand(w->s->c, "WAIT 1 1000");

    atomic_store(&w->acked, r != NULL ? (int)r->integer : -1);
    freeReplyObject(r);
    atomic_store(&w->done, true);
    return NULL;
}

static bool waiter_done(struct rig *r)
{
    return atomic_load(&((struct waiter *)r->user)->done);
}

static void waiter_start(struct waiter *w, struct server *s)
{
    memset(w, 0, sizeof(*w));
    w->s = s;
    assert_int_equal(pthread_create(&w->thread, NULL, waiter_main, w), 0);
}

static int waiter_join(struct waiter *w, struct rig *r)
{
    r->user = w;
    rig_wait(r, waiter_done, "reply to WAIT");
    (void)pthread_join(w->thread, NULL);
    return atomic_load(&w->acked);
}

static uint64_t received(struct rig *r)
{
    struct link_stats st;

    link_get_stats(r->l, &st);
    return st.source_lsn;
}

/* The snapshot is whole, the stream follows, and WAIT returns with link_ack() and not before. */
static void check_sync(struct server *s, struct rig *r)
{
    struct waiter w;
    char text[100];

    rig_wait_event(r, "end");
    assert_int_equal(r->fulls, 1);
    assert_memory_equal(buf_data(&r->snapshot), "REDIS0010", 9);
    assert_int_equal(buf_data(&r->snapshot)[r->snapshot.len - 9], 255);
    run(s, "SET k1 in-the-stream");
    wait_stream(r, "in-the-stream");
    assert_non_null(r->table);
    waiter_start(&w, s);
    assert_int_equal(waiter_join(&w, r), 0); /* received is not durable */
    run(s, "SET k2 waited-for");
    wait_stream(r, "waited-for");
    waiter_start(&w, s);
    link_ack(r->l, received(r), true);
    assert_int_equal(waiter_join(&w, r), 1);
    (void)snprintf(text, sizeof(text),
                   "state=online,offset=%llu,lag=", (unsigned long long)r->l->ack_lsn);
    if (!info_has(s, text))
        fail_msg("INFO has no %s", text);
    assert_true(info_has(s, ",port=0,"));
}

static void reads_all(const char *conf, int which)
{
    struct server s;
    struct rig r;

    server_start(&s, conf);
    run(&s, "DEBUG POPULATE 20000 key 100");
    rig_init(&r, which == 0 ? s.unix_addr : s.tcp_addr);
    rig_start(&r, 0);
    check_sync(&s, &r);
    rig_release(&r);
    server_stop(&s);
}

static void test_unix_diskless(void **state)
{
    (void)state;
    reads_all("repl-diskless-sync yes\nenable-debug-command local", 0);
}

static void test_unix_disk(void **state)
{
    (void)state;
    reads_all("repl-diskless-sync no\nenable-debug-command local", 0);
}

static void test_tcp_diskless(void **state)
{
    (void)state;
    reads_all("repl-diskless-sync yes\nenable-debug-command local", 1);
}

static void test_tcp_disk(void **state)
{
    (void)state;
    reads_all("repl-diskless-sync no\nenable-debug-command local", 1);
}

static bool down_once(struct rig *r)
{
    return r->downs != 0;
}

static bool continued_again(struct rig *r)
{
    return r->continues != 0;
}

/* Killed by the server: goes on with +CONTINUE, no byte lost, none twice. */
static void test_resume(void **state)
{
    struct server s;
    struct rig r;
    char id[41];
    redisReply *reply;
    uint64_t base;

    (void)state;
    server_start(&s, "");
    rig_init(&r, s.tcp_addr);
    rig_start(&r, 0);
    rig_wait_event(&r, "end");
    base = received(&r);
    run(&s, "SET a first");
    wait_stream(&r, "first");
    reply = redisCommand(s.c, "INFO replication");
    assert_non_null(strstr(reply->str, "master_replid:"));
    memcpy(id, strstr(reply->str, "master_replid:") + 14, 40);
    id[40] = '\0';
    freeReplyObject(reply);
    r.replid = id;
    r.lsn = received(&r);
    run(&s, "CLIENT KILL TYPE REPLICA");
    run(&s, "SET a second");
    rig_wait(&r, down_once, "down");
    assert_int_equal(r.last.kind, ERR_AGAIN);
    rig_wait(&r, continued_again, "+CONTINUE");
    wait_stream(&r, "second");
    assert_int_equal(received(&r), base + r.stream.len);
    assert_int_equal(r.fulls, 1);
    /* An LSN that the server never had, or an unknown id: a snapshot. */
    r.lsn += 1000000;
    buf_reset(&r.events);
    link_start(r.l);
    rig_wait_event(&r, "end");
    assert_int_equal(r.fulls, 2);
    rig_release(&r);
    server_stop(&s);
}

static void test_auth(void **state)
{
    struct server s;
    struct rig r;
    redisReply *reply;

    (void)state;
    server_start(&s, "requirepass secret");
    rig_init(&r, s.unix_addr);
    r.conf.password = "wrong";
    rig_start(&r, 0);
    rig_wait_event(&r, "down:auth");
    assert_non_null(strstr(r.last.msg, "WRONGPASS"));
    assert_null(strstr(r.last.msg, "wrong'"));
    rig_release(&r);

    rig_init(&r, s.unix_addr);
    rig_start(&r, 0);
    rig_wait_event(&r, "down:auth");
    assert_non_null(strstr(r.last.msg, "a password is needed"));
    rig_release(&r);

    rig_init(&r, s.unix_addr);
    r.conf.password = "secret";
    rig_start(&r, 0);
    reply = redisCommand(s.c, "AUTH secret");
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    freeReplyObject(reply);
    check_sync(&s, &r);
    rig_release(&r);
    server_stop(&s);
}

static void test_acl(void **state)
{
    struct server s;
    struct rig r;
    const char *line;

    (void)state;
    server_start(&s, "");
    run(&s, "ACL SETUSER journal reset on >pw +replconf");
    rig_init(&r, s.unix_addr);
    r.conf.username = "journal";
    r.conf.password = "pw";
    rig_start(&r, 0);
    rig_wait_event(&r, "commands:none where down:auth"); /* NOPERM for PING, COMMAND, PSYNC */
    line = strstr(r.last.msg, "run: ");
    assert_non_null(line);
    run(&s, line + 5); /* the message is the remedy */
    rig_wait_event(&r, "end");
    check_sync(&s, &r);
    rig_release(&r);
    server_stop(&s);
}

/* Faster than it is taken: nothing is lost, and nothing comes while paused. */
static void test_pause_under_load(void **state)
{
    struct server s;
    struct rig r;
    uint64_t seen;

    (void)state;
    server_start(&s, "enable-debug-command local");
    rig_init(&r, s.tcp_addr);
    rig_start(&r, 0);
    rig_wait_event(&r, "end");
    run(&s, "SET before pause");
    wait_stream(&r, "before");
    link_pause(r.l);
    for (int i = 0; i < 20; i++)
        freeReplyObject(redisCommand(s.c, "SET big%d %b", i, s.dir, sizeof(s.dir)));
    for (int i = 0; i < 20; i++) {
        char *big = calloc(1, 1 << 20);

        freeReplyObject(redisCommand(s.c, "SET big %b", big, (size_t)1 << 20));
        free(big);
    }
    seen = r.stream.len;
    rig_run_ms(&r, 50);
    assert_int_equal(r.stream.len, seen);
    link_resume(r.l);
    run(&s, "SET after pause");
    wait_stream(&r, "after");
    assert_true(r.stream.len > 20 << 20);
    assert_int_equal(r.downs, 0);
    rig_release(&r);
    server_stop(&s);
}

static void test_tls(void **state)
{
    struct server s;
    struct rig r;
    char ca[100], conf[500], dir[] = "/tmp/link-certs-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(dir));
    make_certs(dir);
    (void)snprintf(conf, sizeof(conf),
                   "enable-debug-command local\ntls-auth-clients no\ntls-cert-file %s/srv.pem\n"
                   "tls-key-file %s/srv.key\ntls-ca-cert-file %s/ca.pem",
                   dir, dir, dir);
    server_start(&s, conf);
    run(&s, "DEBUG POPULATE 50000 key 100");
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
    rig_init(&r, s.tls_addr);
    r.conf.tls = true;
    r.conf.tls_ca = ca;
    rig_start(&r, 0);
    check_sync(&s, &r);
    rig_release(&r);

    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", s.dir); /* another CA of the same name */
    rig_init(&r, s.tls_addr);
    r.conf.tls = true;
    r.conf.tls_ca = ca;
    rig_start(&r, 0);
    rig_wait_event(&r, "down:input");
    assert_non_null(strstr(r.last.msg, "is not valid for 'localhost'"));
    assert_string_equal(rig_events(&r), "down:input ");
    rig_release(&r);
    server_stop(&s);
    shell("rm -rf %s", dir);
}

/* The server dies: what it had sent is read, then `down`; when it is back, so is the link. */
static void test_restart(void **state)
{
    struct server s;
    struct rig r;

    (void)state;
    server_start(&s, "");
    rig_init(&r, s.unix_addr);
    rig_start(&r, 0);
    rig_wait_event(&r, "end");
    (void)kill(s.pid, SIGKILL);
    (void)waitpid(s.pid, NULL, 0);
    rig_wait_event(&r, "down:again down:again"); /* closed, then refused */
    server_spawn(&s);
    buf_reset(&r.events);
    rig_wait_event(&r, "end");
    rig_release(&r);
    server_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix_diskless), cmocka_unit_test(test_unix_disk),
        cmocka_unit_test(test_tcp_diskless),  cmocka_unit_test(test_tcp_disk),
        cmocka_unit_test(test_resume),        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_acl),           cmocka_unit_test(test_pause_under_load),
        cmocka_unit_test(test_tls),           cmocka_unit_test(test_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
