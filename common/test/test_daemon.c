/* test_daemon - a small program as a child process: options, exit codes, pages, signals, drain. */
#include "common/buf.h"
#include "common/daemon.h"
#include "common/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

/* ---- the program ---- */

struct settings {
    struct daemon_conf common;
    char *mode;
};

static const struct conf_key keys[] = {
    DAEMON_CONF_KEYS("127.0.0.1:0"),
    {.name = "mode",
     .type = CONF_CHOICE,
     .offset = offsetof(struct settings, mode),
     .def = "run",
     .choices = "run|hang|stuck|refused|damaged|bad",
     .doc = "What the program does."},
    CONF_KEYS_END,
};

struct app {
    struct daemon *d;
    bool hang;
    bool draining;
    uv_timer_t timer;
};

static int check(const void *conf, struct err *err)
{
    const struct settings *s = conf;

    if (strcmp(s->mode, "bad") == 0)
        return err_set(err, ERR_INPUT, 0, "key 'mode': 'bad' goes with nothing");
    return 0;
}

/* A call that does not return for a minute. */
static void work(uv_work_t *w)
{
    (void)w;
    (void)usleep(60 * 1000 * 1000);
}

static void worked(uv_work_t *w, int status_code)
{
    (void)status_code;
    free(w);
}

static int start(struct daemon *d, const void *conf, void **out, struct err *err)
{
    const struct settings *s = conf;
    struct app *app;

    if (strcmp(s->mode, "refused") == 0)
        return err_set(err, ERR_AUTH, 0, "log in to 'h:1': refused");
    app = calloc(1, sizeof(*app));
    app->d = d;
    app->hang = strcmp(s->mode, "hang") == 0;
    (void)uv_timer_init(daemon_loop(d), &app->timer);
    app->timer.data = app;
    *out = app;
    if (strcmp(s->mode, "stuck") == 0)
        (void)uv_queue_work(daemon_loop(d), calloc(1, sizeof(uv_work_t)), work, worked);
    if (strcmp(s->mode, "damaged") == 0) {
        (void)err_set(err, ERR_CORRUPT, 0, "offsets 5 to 9 are gone");
        daemon_stop(d, err);
        daemon_stop(d, &(struct err){.kind = ERR_FATAL, .msg = "a later error"});
    }
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct app *app = handle->data;

    daemon_drained(app->d);
}

static void on_timer(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, on_closed);
}

/* Draining takes 300 ms, so that a test can look at it. */
static void stop(void *arg)
{
    struct app *app = arg;

    app->draining = true;
    if (!app->hang)
        (void)uv_timer_start(&app->timer, on_timer, 300, 0);
}

static void status(void *arg, struct buf *json)
{
    struct app *app = arg;

    buf_printf(json, "{\"state\": \"<%s>\", \"parts\": [{\"lag\": 3}]}",
               app->draining ? "draining" : "following");
}

static const char *not_ready(void *arg)
{
    const struct app *app = arg;

    return app->hang ? "waiting for Redis" : NULL;
}

static bool extra(void *arg, const struct http_request *req, struct http_reply *reply)
{
    const char *word = http_query(req, "word");

    (void)arg;
    if (strcmp(req->path, "/echo") != 0)
        return false;
    buf_printf(&reply->body, "%s %s %.*s", req->method, word != NULL ? word : "-",
               (int)req->body_len, (const char *)req->body);
    return true;
}

static int verb(int argc, char **argv)
{
    (void)printf("verb %s with %d arguments\n", argv[0], argc - 1);
    return EXIT_DIFFERS;
}

static const struct daemon_verb verbs[] = {{"cat", "prints frames", verb}, {NULL, NULL, NULL}};

static const struct daemon_spec spec = {.name = "test-daemon",
                                        .summary = "is tested",
                                        .env_prefix = "TESTD",
                                        .keys = keys,
                                        .conf_size = sizeof(struct settings),
                                        .verbs = verbs,
                                        .check = check,
                                        .start = start,
                                        .stop = stop,
                                        .release = free,
                                        .status = status,
                                        .not_ready = not_ready,
                                        .http = extra};

/* ---- running it ---- */

struct child {
    pid_t pid;
    FILE *out, *err; /* what it printed, in files */
    char addr[64];
};

static char *text_of(FILE *f)
{
    char *text = calloc(1, 65536);

    assert_non_null(text);
    assert_true(pread(fileno(f), text, 65535, 0) >= 0);
    return text;
}

static bool has_text(FILE *f, const char *part)
{
    char *text = text_of(f);
    bool found = strstr(text, part) != NULL;

    free(text);
    return found;
}

static void expect_text(FILE *f, const char *want)
{
    char *text = text_of(f);

    assert_string_equal(text, want);
    free(text);
}

/* Waits until the child wrote `part`; there is no other sign of what it has done. */
static void wait_text(const struct child *c, const char *part)
{
    for (int ms = 0; ms < WAIT_MS && !has_text(c->err, part); ms += 5)
        (void)usleep(5000);
    if (!has_text(c->err, part))
        fail_msg("the program never wrote '%s'", part);
}

static void spawn(struct child *c, const char *const *args)
{
    char *argv[8] = {0};
    int argc = 0;

    argv[argc++] = strdup("test-daemon");
    for (; *args != NULL; args++)
        argv[argc++] = strdup(*args);
    c->out = tmpfile();
    c->err = tmpfile();
    (void)fflush(NULL);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        int rc;

        (void)dup2(fileno(c->out), STDOUT_FILENO);
        (void)dup2(fileno(c->err), STDERR_FILENO);
        rc = daemon_main(&spec, argc, argv);
        for (int i = 0; i < argc; i++)
            free(argv[i]);
        exit(rc);
    }
    for (int i = 0; i < argc; i++)
        free(argv[i]);
}

static int wait_exit(const struct child *c)
{
    int status_word = 0;

    for (int ms = 0; ms < WAIT_MS; ms += 5) {
        if (waitpid(c->pid, &status_word, WNOHANG) == c->pid) {
            assert_true(WIFEXITED(status_word));
            if (has_text(c->err, "Sanitizer") || has_text(c->err, "runtime error:")) {
                char *text = text_of(c->err);

                fail_msg("%s", text);
            }
            return WEXITSTATUS(status_word);
        }
        (void)usleep(5000);
    }
    (void)kill(c->pid, SIGKILL);
    (void)waitpid(c->pid, &status_word, 0);
    fail_msg("the program did not end");
    return -1;
}

static void release(struct child *c)
{
    (void)fclose(c->out);
    (void)fclose(c->err);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Runs it to its end and compares what it printed; NULL: whatever. */
static void expect_run(const char *const *args, int code, const char *out, const char *err)
{
    struct child c;
    int rc;

    spawn(&c, args);
    rc = wait_exit(&c);
    if (err != NULL)
        expect_text(c.err, err);
    if (out != NULL)
        expect_text(c.out, out);
    assert_int_equal(rc, code);
    release(&c);
}

/* Starts it with the mode and waits for its address. */
static void spawn_running(struct child *c, const char *mode)
{
    char *text;

    (void)setenv("TESTD_MODE", mode, 1);
    spawn(c, ARGS(NULL));
    (void)unsetenv("TESTD_MODE");
    wait_text(c, "addr=127.0.0.1:");
    text = text_of(c->err);
    assert_int_equal(sscanf(strstr(text, "addr="), "addr=%63[0-9.:]", c->addr), 1);
    free(text);
}

/* The reply to a request, headers and all; the caller frees it. */
static char *http(const struct child *c, const char *request, const char *body)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *text = calloc(1, 65536);
    size_t at = 0;
    ssize_t n;

    (void)inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
    sa.sin_port = htons((uint16_t)atoi(strchr(c->addr, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_true(dprintf(fd, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", request) > 0);
    if (body != NULL)
        assert_true(dprintf(fd, "Content-Length: %zu\r\n", strlen(body)) > 0);
    assert_true(dprintf(fd, "\r\n%s", body != NULL ? body : "") > 0);
    while (at < 65535 && (n = read(fd, text + at, 65535 - at)) > 0)
        at += (size_t)n;
    (void)close(fd);
    return text;
}

static void expect_reply(const struct child *c, const char *request, const char *body,
                         const char *head, const char *part)
{
    char *reply = http(c, request, body);

    if (strncmp(reply, head, strlen(head)) != 0 || strstr(reply, part) == NULL)
        fail_msg("%s: wanted '%s' and '%s' but got:\n%s", request, head, part, reply);
    free(reply);
}

/* ---- options ---- */

static void test_information(void **state)
{
    struct child c;

    (void)state;
    expect_run(ARGS("--version"), 0, "test-daemon " RWAL_VERSION "\n", "");
    expect_run(ARGS("cat", "a", "--help"), EXIT_DIFFERS, "verb cat with 2 arguments\n", "");
    spawn(&c, ARGS("--help"));
    assert_int_equal(wait_exit(&c), 0);
    assert_true(has_text(c.out, "test-daemon - is tested\n"));
    assert_true(has_text(c.out, "  cat             prints frames\n"));
    assert_true(has_text(
        c.out, "  mode (one of run, hang, stuck, refused, damaged, bad; default run)\n"));
    assert_true(has_text(c.out, "TESTD_A_B_C"));
    assert_true(has_text(c.out, "  5  a proven gap, damage or divergence\n"));
    expect_text(c.err, "");
    release(&c);
}

static void test_usage_errors(void **state)
{
    (void)state;
    expect_run(ARGS("--bogus"), 2, "",
               "test-daemon: unknown option '--bogus'; try 'test-daemon --help'\n");
    expect_run(ARGS("-h"), 2, "",
               "test-daemon: unknown option '-h'; try 'test-daemon --help'\n");
    expect_run(ARGS("--configx"), 2, "",
               "test-daemon: unknown option '--configx'; try 'test-daemon --help'\n");
    expect_run(ARGS("--check", "stray"), 2, "",
               "test-daemon: unexpected argument 'stray'; try 'test-daemon --help'\n");
    expect_run(ARGS("--config"), 2, "",
               "test-daemon: a file name must follow '--config'; try 'test-daemon --help'\n");
    expect_run(ARGS("--config="), 2, "",
               "test-daemon: a file name must follow '--config='; try 'test-daemon --help'\n");
    expect_run(ARGS("--config", "a", "--config=b"), 2, "",
               "test-daemon: only one file is read, not also '--config=b'; try 'test-daemon "
               "--help'\n");
}

static void test_check_and_dump(void **state)
{
    char path[] = "/tmp/test_daemon.XXXXXX";
    char option[64], want[256];
    int fd = mkstemp(path);

    (void)state;
    assert_true(dprintf(fd, "mode: hang\n") > 0);
    (void)snprintf(want, sizeof(want), "configuration %s is ok\n", path);
    expect_run(ARGS("--config", path, "--check"), 0, want, "");
    (void)snprintf(option, sizeof(option), "--config=%s", path);
    expect_run(ARGS("--check", option), 0, want, "");
    expect_run(ARGS("--dump", option), 0,
               "log:\n  level: info\n  format: logfmt\nhttp:\n  listen: \"127.0.0.1:0\"\n"
               "mode: hang\n",
               "");
    assert_true(dprintf(fd, "http.listen: nowhere\n") > 0);
    (void)snprintf(
        want, sizeof(want),
        "test-daemon: %s:2: key 'http.listen': 'nowhere' is no address to listen on; "
        "allowed: host:port, [ipv6]:port, :port\n",
        path);
    expect_run(ARGS("--check", option), 2, "", want);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_true(dprintf(fd, "mode: bad\n") > 0);
    (void)snprintf(want, sizeof(want), "test-daemon: %s: key 'mode': 'bad' goes with nothing\n",
                   path);
    expect_run(ARGS("--check", option), 2, "", want);
    expect_run(ARGS("--dump", option), 2, "", NULL);
    expect_run(ARGS(option), 2, "", NULL);
    (void)close(fd);
    (void)unlink(path);
    expect_run(ARGS("--check"), 0, "configuration is ok (environment and defaults, no file)\n",
               "");
}

/* ---- pages ---- */

static void test_pages(void **state)
{
    struct child c;

    (void)state;
    spawn_running(&c, "run");
    expect_reply(&c, "GET /healthz", NULL, "HTTP/1.1 200 ", "\r\n\r\nok\n");
    expect_reply(&c, "GET /readyz", NULL, "HTTP/1.1 200 ", "\r\n\r\nok\n");
    expect_reply(&c, "GET /status", NULL, "HTTP/1.1 200 ", "application/json");
    expect_reply(&c, "GET /status?x=1", NULL, "HTTP/1.1 200 ",
                 "{\"state\": \"<following>\", \"parts\": [{\"lag\": 3}]}");
    expect_reply(&c, "GET /metrics", NULL, "HTTP/1.1 200 ", "text/plain; version=0.0.4");
    expect_reply(&c, "GET /metrics", NULL, "HTTP/1.1 200 ",
                 "rwal_build_info{component=\"test-daemon\",version=\"" RWAL_VERSION "\"} 1\n");
    expect_reply(&c, "GET /", NULL, "HTTP/1.1 200 ", "<a href=\"/metrics\">");
    expect_reply(&c, "GET /", NULL, "HTTP/1.1 200 ", "<td>&lt;following&gt;</td>");
    expect_reply(&c, "GET /", NULL, "HTTP/1.1 200 ", "<b>ready</b>");
    expect_reply(&c, "GET /nothing", NULL, "HTTP/1.1 404 ", "not found");
    expect_reply(&c, "POST /status", "x", "HTTP/1.1 405 ", "Allow: GET, HEAD");
    expect_reply(&c, "DELETE /", NULL, "HTTP/1.1 405 ", "Allow: GET, HEAD");
    expect_reply(&c, "HEAD /healthz", NULL, "HTTP/1.1 200 ", "Content-Length: 3\r\n");
    expect_reply(&c, "PUT /echo?word=a%20b", "body", "HTTP/1.1 200 ", "PUT a b body");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(wait_exit(&c), 0);
    release(&c);
}

static void test_large_body_is_refused(void **state)
{
    struct child c;
    char *body = malloc(HTTP_BODY_MAX + 2);

    (void)state;
    assert_non_null(body);
    memset(body, 'x', HTTP_BODY_MAX + 1);
    body[HTTP_BODY_MAX + 1] = '\0';
    spawn_running(&c, "run");
    expect_reply(&c, "PUT /echo", body, "HTTP/1.1 413 ", "too large");
    body[HTTP_BODY_MAX] = '\0';
    expect_reply(&c, "PUT /echo", body, "HTTP/1.1 200 ", "PUT - xxx");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(wait_exit(&c), 0);
    release(&c);
    free(body);
}

/* A client that sends nothing, or half a request, does not keep others from their answer, nor the
 * program from its end. */
static void test_idle_clients(void **state)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    struct child c;
    int fds[3];

    (void)state;
    spawn_running(&c, "run");
    (void)inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
    sa.sin_port = htons((uint16_t)atoi(strchr(c.addr, ':') + 1));
    for (int i = 0; i < 3; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&sa, sizeof(sa)), 0);
    }
    assert_int_equal(send(fds[1], "GET /heal", 9, 0), 9);
    assert_int_equal(send(fds[2], "\x16\x03\x01\x02\r\n\r\n", 8, 0), 8);
    expect_reply(&c, "GET /healthz", NULL, "HTTP/1.1 200 ", "ok");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(wait_exit(&c), 0);
    for (int i = 0; i < 3; i++)
        (void)close(fds[i]);
    release(&c);
}

static void test_not_ready(void **state)
{
    struct child c;

    (void)state;
    spawn_running(&c, "hang");
    expect_reply(&c, "GET /readyz", NULL, "HTTP/1.1 503 ", "\r\n\r\nwaiting for Redis\n");
    expect_reply(&c, "GET /healthz", NULL, "HTTP/1.1 200 ", "ok");
    expect_reply(&c, "GET /", NULL, "HTTP/1.1 200 ", "not ready: </b>waiting for Redis");
    (void)kill(c.pid, SIGKILL);
    (void)waitpid(c.pid, NULL, 0);
    release(&c);
}

static void test_no_server(void **state)
{
    struct child c;

    (void)state;
    (void)setenv("TESTD_HTTP_LISTEN", "", 1);
    spawn(&c, ARGS(NULL));
    (void)unsetenv("TESTD_HTTP_LISTEN");
    wait_text(&c, "msg=starting");
    (void)usleep(50000); /* nothing else tells that it did not start a server */
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(wait_exit(&c), 0);
    assert_false(has_text(c.err, "addr="));
    release(&c);
}

static void test_address_in_use(void **state)
{
    struct child c, other;

    (void)state;
    spawn_running(&c, "run");
    (void)setenv("TESTD_HTTP_LISTEN", c.addr, 1);
    spawn(&other, ARGS(NULL));
    (void)unsetenv("TESTD_HTTP_LISTEN");
    assert_int_equal(wait_exit(&other), 1);
    assert_true(has_text(other.err, "level=error comp=test-daemon msg=stopping error=\"key "
                                    "'http.listen': listen on '"));
    assert_true(has_text(other.err, "Address already in use"));
    (void)kill(c.pid, SIGINT);
    assert_int_equal(wait_exit(&c), 0);
    release(&other);
    release(&c);
}

/* ---- signals and ends ---- */

static void test_drain(void **state)
{
    struct child c;

    (void)state;
    spawn_running(&c, "run");
    (void)kill(c.pid, SIGHUP);
    wait_text(&c, "msg=\"signal ignored");
    (void)kill(c.pid, SIGPIPE);
    (void)kill(c.pid, SIGTERM);
    wait_text(&c, "msg=stopping signal=SIGTERM");
    expect_reply(&c, "GET /readyz", NULL, "HTTP/1.1 503 ", "\r\n\r\nstopping\n");
    assert_int_equal(wait_exit(&c), 0);
    assert_true(has_text(c.err, "msg=stopped exit_code=0\n"));
    release(&c);
}

static void test_second_signal(void **state)
{
    struct child c;

    (void)state;
    spawn_running(&c, "hang");
    (void)kill(c.pid, SIGTERM);
    wait_text(&c, "msg=stopping signal=SIGTERM");
    (void)kill(c.pid, SIGINT);
    assert_int_equal(wait_exit(&c), 1);
    assert_true(has_text(c.err, "level=warn comp=test-daemon msg=\"second signal, ending at "
                                "once\" signal=SIGINT\n"));
    release(&c);
}

/* A worker thread that hangs in a call keeps nobody from ending. */
static void test_stuck_worker(void **state)
{
    struct child c;

    (void)state;
    spawn_running(&c, "stuck");
    (void)kill(c.pid, SIGTERM);
    assert_int_equal(wait_exit(&c), 0);
    assert_true(has_text(c.err, "msg=\"a call in a worker thread takes too long"));
    assert_true(has_text(c.err, "msg=stopped exit_code=0\n"));
    release(&c);
}

static void test_failed_start(void **state)
{
    struct child c;

    (void)state;
    (void)setenv("TESTD_MODE", "refused", 1);
    spawn(&c, ARGS(NULL));
    (void)unsetenv("TESTD_MODE");
    assert_int_equal(wait_exit(&c), 1);
    assert_true(has_text(c.err, "level=error comp=test-daemon msg=stopping error=\"log in to "
                                "'h:1': refused\"\n"));
    release(&c);
}

/* The first error decides, and stop() is called for it as for a signal. */
static void test_stop_with_error(void **state)
{
    struct child c;

    (void)state;
    (void)setenv("TESTD_MODE", "damaged", 1);
    (void)setenv("TESTD_LOG_FORMAT", "json", 1);
    spawn(&c, ARGS(NULL));
    (void)unsetenv("TESTD_MODE");
    (void)unsetenv("TESTD_LOG_FORMAT");
    assert_int_equal(wait_exit(&c), EXIT_DAMAGED);
    assert_true(
        has_text(c.err, "\"msg\":\"stopping\",\"error\":\"offsets 5 to 9 are gone\"}\n"));
    assert_true(has_text(c.err, "\"msg\":\"stopped\",\"exit_code\":5}\n"));
    release(&c);
}

/* ---- addresses ---- */

static void test_listen_forms(void **state)
{
    static const char *const good[] = {"127.0.0.1:80", ":9100", "*:0", "[::1]:1", "host:65535"};
    static const char *const bad[] = {"",     "80",   "host",   "host:",    "host:65536",
                                      "h:-1", "h:8x", "::1:80", "h:080000", "h: 80"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_int_equal(http_listen_check(good[i], &err), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        err = (struct err){0};
        assert_int_equal(http_listen_check(bad[i], &err), -1);
        assert_int_equal(err.kind, ERR_INPUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_information),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_check_and_dump),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_large_body_is_refused),
        cmocka_unit_test(test_idle_clients),
        cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_address_in_use),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_second_signal),
        cmocka_unit_test(test_stuck_worker),
        cmocka_unit_test(test_failed_start),
        cmocka_unit_test(test_stop_with_error),
        cmocka_unit_test(test_listen_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
