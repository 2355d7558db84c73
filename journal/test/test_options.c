/* Tests of options.c: what the checks of a configuration refuse, and with which words. */
#include "journal/src/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/frame.h"
#include "journal/src/link.h"

#define KAFKA "kafka:\n  bootstrap.servers: h:1\n"

/* Loads the text as a file and checks it. */
static int load(const char *text, struct journal_conf *c, struct err *err)
{
    char path[] = "/tmp/test_options.XXXXXX";
    int fd = mkstemp(path), rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    memset(c, 0, sizeof(*c));
    rc = conf_load(journal_keys, path, "TEST_OPTIONS", c, err);
    (void)unlink(path);
    return rc != 0 ? rc : journal_conf_check(c, err);
}

static void expect_error(const char *text, const char *want)
{
    struct journal_conf c;
    struct err err = {0};

    if (load(text, &c, &err) != -1)
        fail_msg("accepted:\n%s", text);
    assert_int_equal(err.kind, ERR_INPUT);
    if (strstr(err.msg, want) == NULL)
        fail_msg("wanted '%s' in '%s'", want, err.msg);
    conf_free(journal_keys, &c);
}

static void expect_ok(const char *text)
{
    struct journal_conf c;
    struct err err = {0};

    if (load(text, &c, &err) != 0)
        fail_msg("%s", err.msg);
    conf_free(journal_keys, &c);
}

static void test_defaults(void **state)
{
    struct journal_conf c;
    struct link_conf link;
    struct err err = {0};
    char host[FRAME_NAME_MAX + 1], own[FRAME_NAME_MAX + 1];

    (void)state;
    if (load(KAFKA, &c, &err) != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(c.source_name, "redis");
    assert_string_equal(c.topic, "redis-writes");
    assert_int_equal(c.partitions, 12);
    assert_int_equal(c.replication_factor, -1);
    assert_int_equal(c.commit_interval_ms, 10000);
    assert_int_equal(c.takeover_after_ms, 5000);
    assert_int_equal(c.in_flight, 64 << 20);
    journal_link_conf(&c, &link);
    assert_string_equal(link.redis, "127.0.0.1:6379");
    assert_int_equal(link.sentinel_cnt, 0);
    assert_null(link.password);
    assert_int_equal(link.timeout_ms, 60000);
    assert_int_equal(gethostname(own, sizeof(own)), 0);
    assert_string_equal(journal_instance(&c, host, sizeof(host)), own);
    conf_free(journal_keys, &c);
}

static void test_instance(void **state)
{
    struct journal_conf c = {0};
    char name[] = "j-1", none[] = "", host[FRAME_NAME_MAX + 1];

    (void)state;
    c.instance = name;
    assert_string_equal(journal_instance(&c, host, sizeof(host)), "j-1");
    c.instance = none;
    assert_string_not_equal(journal_instance(&c, host, sizeof(host)), "");
}

static void test_refused(void **state)
{
    char text[2048], longer[300];
    static const char *const bad[][2] = {
        {"source:\n  name: dc\n", "'kafka.bootstrap.servers': required, but not set"},
        {KAFKA "source:\n  name: ''\n", "'source.name' must have 1 to 255 bytes"},
        {KAFKA "source:\n  redis: ':6379'\n", "key 'source.redis': "},
        {KAFKA "source:\n  redis: h:99999\n", "key 'source.redis': "},
        {KAFKA "source:\n  redis: 'unix:'\n", "key 'source.redis': "},
        {KAFKA "source:\n  redis: unix:/s\n  tls: true\n", "a unix socket has no TLS"},
        {KAFKA "source:\n  sentinels: [h:1, 'h:x']\n", "key 'source.sentinels': "},
        {KAFKA "source:\n  sentinels: [h:1]\n  master_name: ''\n",
         "'source.master_name' must be set"},
        {KAFKA "source:\n  retry_min: 9s\n  retry_max: 1s\n",
         "'source.retry_min' is above 'source.retry_max'"},
        {KAFKA "source:\n  tls: true\n  tls_cert: /c\n",
         "'source.tls_cert' and 'source.tls_key' belong together"},
        {KAFKA "topic:\n  replication_factor: 0\n",
         "'topic.replication_factor' must be -1 or above 0"},
        {KAFKA "  acks: 1\n", "'acks' can't be changed"},
        {KAFKA "  transactional.id: x\n", "'transactional.id' can't be changed"},
        {KAFKA "  isolation.level: read_committed\n", "'isolation.level' can't be changed"},
        {KAFKA "  message.max.bytes: 10000\n", "'kafka.message.max.bytes' must be at least"},
        {KAFKA "  message.timeout.ms: 60000\n", "'kafka.message.timeout.ms' must be above 0"},
        {KAFKA "  delivery.timeout.ms: 0\n", "'kafka.message.timeout.ms' must be above 0"},
        {KAFKA "  transaction.timeout.ms: 31000\nlimits:\n  commit_interval: 30s\n",
         "'limits.commit_interval' must be at least 5 s below"},
        {KAFKA "limits:\n  takeover_after: 1s\n", "limits.takeover_after"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error(bad[i][0], bad[i][1]);
    memset(longer, 'n', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    (void)snprintf(text, sizeof(text), KAFKA "source:\n  name: %s\n", longer);
    expect_error(text, "'source.name' must have 1 to 255 bytes");
    (void)snprintf(text, sizeof(text), KAFKA "instance: %s\n", longer);
    expect_error(text, "'instance' must have at most 255 bytes");
}

static void test_accepted(void **state)
{
    (void)state;
    expect_ok(KAFKA "source:\n  redis: unix:/run/redis.sock\n");
    expect_ok(KAFKA "source:\n  redis: '[::1]:6379'\n  tls: true\n");
    expect_ok(KAFKA "source:\n  sentinels: [a:26379, b]\n");
    expect_ok(KAFKA "  message.max.bytes: 100000\n  compression.codec: lz4\n");
    expect_ok(KAFKA "  message.timeout.ms: 90000\n  transaction.timeout.ms: 120000\n");
    expect_ok(KAFKA "  message.timeout.ms: 3000\n  transaction.timeout.ms: 20000\n");
    expect_ok(KAFKA "limits:\n  commit_interval: 50s\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_instance),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
