/* test_conf - values and their precedence, every class of error with its message, the dump. */
#include "common/conf.h"
#include "common/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct settings {
    char *redis;
    char *password;
    bool tls;
    int64_t db;
    int64_t timeout_ms;
    int64_t spool_bytes;
    char *policy;
    struct conf_list topics;
    char *topic;
    struct conf_map kafka;
    struct conf_origins *origins;
};

#define KEY(key, t, member)                                                                    \
    .name = (key), .type = (t), .offset = offsetof(struct settings, member)

static const struct conf_key keys[] = {
    {KEY("source.redis", CONF_STR, redis), .required = true, .doc = "Where."},
    {KEY("source.password", CONF_SECRET, password), .doc = "Secret."},
    {KEY("source.tls", CONF_BOOL, tls), .def = "no", .doc = "Whether."},
    {KEY("source.db", CONF_INT, db), .def = "0", .min = -1, .max = 15, .doc = "Which."},
    {KEY("source.timeout", CONF_TIME, timeout_ms), .def = "10s", .min = 100, .max = 3600000,
     .doc = "How long."},
    {KEY("spool.max_size", CONF_SIZE, spool_bytes), .def = "64MiB", .doc = "How much."},
    {KEY("policy", CONF_CHOICE, policy), .def = "stop", .choices = "stop|follow",
     .doc = "What."},
    {KEY("topics", CONF_LIST, topics), .def = "a,b", .doc = "Which."},
    {KEY("kafka.topic", CONF_STR, topic), .doc = "Where to."},
    {KEY("kafka", CONF_MAP, kafka), .doc = "Properties."},
    {KEY("", CONF_ORIGINS, origins)},
    CONF_KEYS_END,
};

static const char base[] = "source: {redis: 'h:1'}\n";

/* A file in the test's own folder; the path lives until the next call. */
struct dir {
    char path[64];
    char file[96];
};

static int setup(void **state)
{
    struct dir *d = calloc(1, sizeof(*d));

    (void)snprintf(d->path, sizeof(d->path), "/tmp/test_conf.XXXXXX");
    *state = d;
    return mkdtemp(d->path) != NULL && chdir(d->path) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct dir *d = *state;
    int rc;

    (void)unlink("c.yaml");
    (void)unlink("secret");
    (void)rmdir("folder");
    rc = chdir("/") == 0 ? rmdir(d->path) : -1; /* fails where a test left something there */
    free(d);
    return rc;
}

static void write_file(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(name, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void load_ok(const char *yaml, struct settings *s)
{
    struct err err = {0};

    *s = (struct settings){0};
    write_file("c.yaml", yaml, strlen(yaml));
    if (conf_load(keys, "c.yaml", "TESTP", s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(err.kind, ERR_NONE);
}

static void expect_error(const char *yaml, const char *want)
{
    struct settings s = {0};
    struct err err = {0};

    write_file("c.yaml", yaml, strlen(yaml));
    assert_int_equal(conf_load(keys, "c.yaml", "TESTP", &s, &err), -1);
    assert_int_equal(err.kind, ERR_INPUT);
    assert_string_equal(err.msg, want);
    conf_free(keys, &s);
}

/* The same with a variable of the environment. */
static void expect_env_error(const char *name, const char *value, const char *want)
{
    assert_int_equal(setenv(name, value, 1), 0);
    expect_error(base, want);
    assert_int_equal(unsetenv(name), 0);
}

static void test_defaults(void **state)
{
    struct settings s;

    (void)state;
    load_ok(base, &s);
    assert_string_equal(s.redis, "h:1");
    assert_null(s.password);
    assert_null(s.topic);
    assert_false(s.tls);
    assert_int_equal(s.db, 0);
    assert_int_equal(s.timeout_ms, 10000);
    assert_int_equal(s.spool_bytes, 64 * 1024 * 1024);
    assert_string_equal(s.policy, "stop");
    assert_int_equal(s.topics.cnt, 2);
    assert_string_equal(s.topics.item[1], "b");
    assert_int_equal(s.kafka.cnt, 0);
    conf_free(keys, &s);
    assert_null(s.redis);
    conf_free(keys, &s); /* twice is allowed */
}

static void test_all_types(void **state)
{
    struct settings s;

    (void)state;
    load_ok("source.redis: \"h:2\"\n" /* a dotted key is the same as a nested one */
            "source:\n  tls: On\n  db: -1\n  timeout: 5m\n  password: p w\n"
            "spool:\n  max_size: 4096\n"
            "policy: follow\n"
            "topics: [x, 'y,z']\n"
            "kafka:\n  topic: t\n  bootstrap.servers: [a:1, b:2]\n  ssl: {ca.location: /ca}\n",
            &s);
    assert_string_equal(s.redis, "h:2");
    assert_true(s.tls);
    assert_int_equal(s.db, -1);
    assert_int_equal(s.timeout_ms, 300000);
    assert_string_equal(s.password, "p w");
    assert_int_equal(s.spool_bytes, 4096);
    assert_string_equal(s.policy, "follow");
    assert_int_equal(s.topics.cnt, 2);
    assert_string_equal(s.topics.item[1], "y,z");
    assert_string_equal(s.topic, "t"); /* a key of its own goes before the map */
    assert_int_equal(s.kafka.cnt, 2);
    assert_string_equal(conf_map_get(&s.kafka, "bootstrap.servers"), "a:1,b:2");
    assert_string_equal(conf_map_get(&s.kafka, "ssl.ca.location"), "/ca");
    assert_int_equal(s.kafka.pair[1].line, 14);
    assert_null(conf_map_get(&s.kafka, "topic"));
    conf_free(keys, &s);
}

static void test_units(void **state)
{
    static const struct {
        const char *text;
        int64_t want;
    } times[] = {{"250ms", 250}, {"1s", 1000}, {"60m", 3600000}, {"1h", 3600000}},
      sizes[] = {{"0", 0},
                 {"1KiB", 1024},
                 {"3GiB", INT64_C(3) << 30},
                 {"9223372036854775807", INT64_MAX}};
    struct settings s;
    char yaml[200];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(yaml, sizeof(yaml), "%ssource.timeout: %s\nspool.max_size: %s\n", base,
                       times[i].text, sizes[i].text);
        load_ok(yaml, &s);
        assert_int_equal(s.timeout_ms, times[i].want);
        assert_int_equal(s.spool_bytes, sizes[i].want);
        conf_free(keys, &s);
    }
}

static void test_empty_forms(void **state)
{
    struct settings s;

    (void)state;
    load_ok("# only a comment\nsource:\n  redis: x\nkafka:\nspool: {}\ntopics: []\n", &s);
    assert_int_equal(s.kafka.cnt, 0);
    assert_int_equal(s.topics.cnt, 0);
    conf_free(keys, &s);
    load_ok("source: {redis: x}\ntopics: one\nkafka.topic: ''\n", &s);
    assert_int_equal(s.topics.cnt, 1);
    assert_string_equal(s.topic, "");
    conf_free(keys, &s);
}

static void test_environment(void **state)
{
    struct settings s = {0};
    struct err err = {0};
    char where[64];

    (void)state;
    (void)setenv("TESTP_SOURCE_REDIS", "env:1", 1);
    (void)setenv("TESTP_SPOOL_MAX_SIZE", "1MiB", 1);
    (void)setenv("TESTP_TOPICS", "q, r ,,s", 1);
    (void)setenv("TESTP_KAFKA_TOPIC", "own key", 1);
    (void)setenv("TESTP_KAFKA_BOOTSTRAP_SERVERS", "k:1", 1);
    (void)setenv("TESTP_STREAM", "9:1234", 1);                     /* somebody else's */
    (void)setenv("TESTP_KAFKA_PORT", "tcp://10.0.0.1:9092", 1);    /* Kubernetes' */
    (void)setenv("TESTP_KAFKA_SERVICE_HOST", "10.0.0.1", 1);       /* Kubernetes' */
    (void)setenv("TESTP_KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1", 1); /* Kubernetes' */
    load_ok("source: {redis: file:1}\nkafka: {bootstrap.servers: f:1, acks: all}\n", &s);
    assert_string_equal(s.redis, "env:1");
    assert_int_equal(s.spool_bytes, 1 << 20);
    assert_int_equal(s.topics.cnt, 3);
    assert_string_equal(s.topics.item[1], "r");
    assert_string_equal(s.topic, "own key");
    assert_int_equal(s.kafka.cnt, 2);
    assert_string_equal(conf_map_get(&s.kafka, "bootstrap.servers"), "k:1");
    assert_string_equal(conf_where(keys, &s, "source.redis", where, sizeof(where)),
                        "environment variable TESTP_SOURCE_REDIS");
    assert_string_equal(conf_where(keys, &s, "kafka.acks", where, sizeof(where)), "c.yaml:2");
    assert_string_equal(conf_where(keys, &s, "policy", where, sizeof(where)), "default");
    conf_free(keys, &s);
    s = (struct settings){0};
    assert_int_equal(conf_load(keys, NULL, "TESTP", &s, &err), 0);
    assert_string_equal(s.redis, "env:1");
    conf_free(keys, &s);
    for (const char **e =
             (const char *[]){"SOURCE_REDIS", "SPOOL_MAX_SIZE", "TOPICS", "KAFKA_TOPIC",
                              "KAFKA_BOOTSTRAP_SERVERS", "STREAM", "KAFKA_PORT",
                              "KAFKA_SERVICE_HOST", "KAFKA_PORT_9092_TCP_ADDR", NULL};
         *e != NULL; e++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "TESTP_%s", *e);
        (void)unsetenv(name);
    }
}

static void test_file_references(void **state)
{
    struct settings s;

    (void)state;
    write_file("secret", "s3cret\n\n", 8); /* one newline is the editor's, the other is not */
    load_ok("source: {redis: 'file:secret', password: 'file:secret'}\n"
            "kafka: {ssl.key.location: 'file:secret'}\n",
            &s);
    assert_string_equal(s.redis, "file:secret"); /* only secrets and maps */
    assert_string_equal(s.password, "s3cret\n");
    assert_string_equal(conf_map_get(&s.kafka, "ssl.key.location"), "s3cret\n");
    assert_true(s.kafka.pair[0].secret);
    conf_free(keys, &s);
}

static void test_errors_of_references(void **state)
{
    (void)state;
    expect_error("source: {redis: x, password: 'file:gone'}\n",
                 "c.yaml:1: key 'source.password': cannot read 'gone': No such file or "
                 "directory");
    expect_error("source: {redis: x}\nkafka: {a: 'file:gone'}\n",
                 "c.yaml:2: key 'kafka.a': cannot read 'gone': No such file or directory");
    assert_int_equal(mkdir("folder", 0700), 0);
    expect_error("source: {redis: x, password: 'file:folder'}\n",
                 "c.yaml:1: key 'source.password': cannot read 'folder': not a file");
    expect_error("source: {redis: x, password: 'file:/dev/zero'}\n",
                 "c.yaml:1: key 'source.password': cannot read '/dev/zero': not a file");
    write_file("secret", "\n", 1);
    expect_error("source: {redis: x, password: 'file:secret'}\n",
                 "c.yaml:1: key 'source.password': 'secret' is empty or contains a NUL byte");
    write_file("secret", "a\0b", 3);
    expect_error("source: {redis: x, password: 'file:secret'}\n",
                 "c.yaml:1: key 'source.password': 'secret' is empty or contains a NUL byte");
    expect_env_error(
        "TESTP_SOURCE_PASSWORD", "file:gone",
        "environment variable TESTP_SOURCE_PASSWORD: key 'source.password': cannot "
        "read 'gone': No such file or directory");
}

static void test_unknown_keys(void **state)
{
    (void)state;
    expect_error("source:\n  reddis: x\n",
                 "c.yaml:2: key 'source.reddis': unknown key; did you mean 'source.redis'?");
    expect_error("\n\npolcy: x\n",
                 "c.yaml:3: key 'polcy': unknown key; did you mean 'policy'?");
    expect_error("spool: {max-size: 1}\n",
                 "c.yaml:1: key 'spool.max-size': unknown key; did you mean "
                 "'spool.max_size'?");
    expect_error("redis: x\n",
                 "c.yaml:1: key 'redis': unknown key; did you mean 'source.redis'?");
    expect_error("quorum: x\n", "c.yaml:1: key 'quorum': unknown key; --help lists all keys");
    expect_error("policy:\n  stop: x\n",
                 "c.yaml:2: key 'policy.stop': unknown key; --help lists all keys");
    expect_error("source: x\n", "c.yaml:1: key 'source': is a section and takes no value; its "
                                "keys are such as 'source.redis'");
    expect_error("kafka.: x\n", "c.yaml:1: key 'kafka.': unknown key; did you mean 'kafka'?");
    expect_error("kafka: x\n",
                 "c.yaml:1: key 'kafka': takes no value itself, but 'name: value' "
                 "lines below it");
    expect_env_error("TESTP_SOURCE_REDS", "x",
                     "environment variable TESTP_SOURCE_REDS: no key has this name; did you "
                     "mean TESTP_SOURCE_REDIS (key 'source.redis')?");
}

static void test_wrong_types(void **state)
{
    (void)state;
    expect_error("source: {redis: x, db: many}\n",
                 "c.yaml:1: key 'source.db': 'many' is not a whole number; allowed: -1 to 15");
    expect_error("source: {redis: x, db: 1.5}\n",
                 "c.yaml:1: key 'source.db': '1.5' is not a whole number; allowed: -1 to 15");
    expect_error("source: {redis: x, db: ' 1'}\n",
                 "c.yaml:1: key 'source.db': ' 1' is not a whole number; allowed: -1 to 15");
    expect_error("source: {redis: x, tls: maybe}\n",
                 "c.yaml:1: key 'source.tls': 'maybe' is neither yes nor no; allowed: true or "
                 "false");
    expect_error("source: {redis: x, timeout: 10}\n",
                 "c.yaml:1: key 'source.timeout': '10' is not a time with its unit (ms, s, m, "
                 "h, d); allowed: 100ms to 1h");
    expect_error("spool: {max_size: 10MB}\n",
                 "c.yaml:1: key 'spool.max_size': '10MB' is not a size (bytes, or KiB, MiB, "
                 "GiB, TiB); allowed: 0 or more");
    expect_error(
        "policy: fly\n",
        "c.yaml:1: key 'policy': 'fly' is not known here; allowed: one of stop, follow");
    expect_error(
        "policy: sto\n",
        "c.yaml:1: key 'policy': 'sto' is not known here; allowed: one of stop, follow");
    expect_error("policy: ''\n",
                 "c.yaml:1: key 'policy': '' is not known here; allowed: one of stop, follow");
    expect_error("policy: [stop]\n", "c.yaml:1: key 'policy': takes one value, not a list");
    expect_error("policy:\n", "c.yaml:1: key 'policy': has no value; an empty text is written "
                              "'', else remove the key");
    expect_error("kafka: {acks: ~}\n",
                 "c.yaml:1: key 'kafka.acks': has no value; an empty text is written ''");
    expect_env_error(
        "TESTP_SOURCE_DB", "x",
        "environment variable TESTP_SOURCE_DB: key 'source.db': 'x' is not a whole "
        "number; allowed: -1 to 15");
}

static void test_out_of_range(void **state)
{
    (void)state;
    expect_error("source: {redis: x, db: 16}\n",
                 "c.yaml:1: key 'source.db': '16' is out of range; allowed: -1 to 15");
    expect_error("source: {redis: x, db: -2}\n",
                 "c.yaml:1: key 'source.db': '-2' is out of range; allowed: -1 to 15");
    expect_error(
        "source: {redis: x, timeout: 99ms}\n",
        "c.yaml:1: key 'source.timeout': '99ms' is out of range; allowed: 100ms to 1h");
    expect_error("source: {redis: x, timeout: 2h}\n",
                 "c.yaml:1: key 'source.timeout': '2h' is out of range; allowed: 100ms to 1h");
    /* beyond 64 bits, by digits and by unit */
    expect_error("spool: {max_size: 9223372036854775808}\n",
                 "c.yaml:1: key 'spool.max_size': '9223372036854775808' is not a size (bytes, "
                 "or KiB, MiB, GiB, TiB); allowed: 0 or more");
    expect_error(
        "spool: {max_size: 9000000000TiB}\n",
        "c.yaml:1: key 'spool.max_size': '9000000000TiB' is not a size (bytes, or KiB, "
        "MiB, GiB, TiB); allowed: 0 or more");
}

static void test_missing(void **state)
{
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    expect_error("policy: stop\n",
                 "c.yaml: key 'source.redis': required, but not set; set it in "
                 "the file or as TESTP_SOURCE_REDIS");
    expect_error("source: {redis: ''}\n",
                 "c.yaml: key 'source.redis': required, but empty; set "
                 "it in the file or as TESTP_SOURCE_REDIS");
    assert_int_equal(conf_load(keys, NULL, "TESTP", &s, &err), -1);
    assert_string_equal(err.msg,
                        "configuration: key 'source.redis': required, but not set; set "
                        "it in the file or as TESTP_SOURCE_REDIS");
    conf_free(keys, &s);
}

static void test_duplicates(void **state)
{
    (void)state;
    expect_error("policy: stop\n\npolicy: stop\n",
                 "c.yaml:3: key 'policy': set a second time; the first is on line 1");
    expect_error("source: {redis: a}\nsource.redis: b\n",
                 "c.yaml:2: key 'source.redis': set a second time; the first is on line 1");
    expect_error("kafka:\n  ssl: {x: 1}\n  ssl.x: 2\n",
                 "c.yaml:3: key 'kafka.ssl.x': set a second time; the first is on line 2");
}

static void test_bad_yaml(void **state)
{
    char deep[400] = "";

    (void)state;
    expect_error("source:\n  redis: \"x\nabc\n",
                 "c.yaml:4: not valid YAML: found unexpected end of stream while scanning a "
                 "quoted scalar");
    expect_error("a: b: c\n",
                 "c.yaml:1: not valid YAML: mapping values are not allowed in this "
                 "context");
    expect_error("policy: stop\n---\npolicy: stop\n",
                 "c.yaml:2: a second document ('---') begins here");
    expect_error("- a\n", "c.yaml:1: the file must consist of 'key: value' lines");
    expect_error("just text\n", "c.yaml:1: the file must consist of 'key: value' lines");
    expect_error("topics: &t [a]\nkafka: {x: *t}\n",
                 "c.yaml:2: key 'kafka.x': aliases ('*name') are not supported");
    expect_error("topics: [[a]]\n",
                 "c.yaml:1: key 'topics': an item of this list is not a single value");
    expect_error("? [a]\n: b\n", "c.yaml:1: a key must be a single word");
    expect_error("policy: \"a\\0b\"\n",
                 "c.yaml:1: key 'policy': the value contains a NUL byte");
    for (int i = 0; i < 18; i++)
        strcat(deep, "{a: ");
    expect_error(deep, "c.yaml:1: key 'a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a': nested too deep");
}

static void test_unreadable(void **state)
{
    struct settings s = {0};
    struct err err = {0};
    char *big;

    (void)state;
    assert_int_equal(conf_load(keys, "gone.yaml", "TESTP", &s, &err), -1);
    assert_string_equal(err.msg, "gone.yaml: cannot read the configuration: No such file or "
                                 "directory");
    assert_int_equal(err.kind, ERR_INPUT);
    conf_free(keys, &s);
    assert_int_equal(conf_load(keys, ".", "TESTP", &s, &err), -1);
    assert_string_equal(err.msg, ".: cannot read the configuration: not a file");
    conf_free(keys, &s);
    big = malloc(1024 * 1024 + 2);
    assert_non_null(big);
    memset(big, '#', 1024 * 1024 + 1);
    big[1024 * 1024 + 1] = '\0';
    expect_error(big, "c.yaml: cannot read the configuration: larger than 1 MiB");
    free(big);
}

static char *dump_of(const struct settings *s)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    conf_dump(keys, s, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void test_dump(void **state)
{
    struct settings s;
    char *text, *again;

    (void)state;
    load_ok("source: {redis: \"a: \\\"b\\\" # \\n\\x01\\\\\", password: hunter2}\n"
            "kafka: {topic: 'yes', sasl.password: hunter2, acks: '1'}\n",
            &s);
    text = dump_of(&s);
    conf_free(keys, &s);
    assert_null(strstr(text, "hunter2"));
    assert_string_equal(text, "source:\n"
                              "  redis: \"a: \\\"b\\\" # \\n\\x01\\\\\"\n"
                              "  password: \"***\"\n"
                              "  tls: false\n"
                              "  db: 0\n"
                              "  timeout: 10s\n"
                              "spool:\n"
                              "  max_size: 64MiB\n"
                              "policy: stop\n"
                              "topics: [a, b]\n"
                              "kafka:\n"
                              "  sasl.password: \"***\"\n"
                              "  acks: \"1\"\n"
                              "  topic: \"yes\"\n");
    load_ok(text, &s);
    again = dump_of(&s);
    assert_string_equal(text, again);
    conf_free(keys, &s);
    free(again);
    free(text);
}

static void test_dump_of_unset(void **state)
{
    struct settings s;
    char *text;

    (void)state;
    load_ok("source: {redis: x, timeout: 90s}\nspool: {max_size: 1025}\n", &s);
    text = dump_of(&s);
    assert_non_null(strstr(text, "\n  # password:\n"));
    assert_non_null(strstr(text, "\n  timeout: 90s\n"));
    assert_non_null(strstr(text, "\n  max_size: 1025\n"));
    assert_non_null(strstr(text, "\nkafka:\n  # topic:\n"));
    conf_free(keys, &s);
    load_ok(text, &s);
    conf_free(keys, &s);
    free(text);
}

/* Text that would be read as something else, or not at all, if it stood there as it is. */
static void test_dump_of_odd_text(void **state)
{
    static const char *const texts[] = {"",
                                        " x",
                                        "null",
                                        "~",
                                        "12",
                                        "a: b",
                                        "a:",
                                        "[a]",
                                        "#",
                                        "\ttab",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "\xef\xbb\xbf",
                                        "-",
                                        "*a",
                                        "%",
                                        "a\nb",
                                        "\x7f",
                                        "\xc3\xbc x\xc3",
                                        "'q'",
                                        "\"",
                                        "\\",
                                        "a #b"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct settings s;
        char *text;

        load_ok(base, &s);
        free(s.redis);
        s.redis = strdup(texts[i]);
        free(s.topic);
        s.topic = strdup("t");
        text = dump_of(&s);
        conf_free(keys, &s);
        if (texts[i][0] != '\0') {
            load_ok(text, &s);
            if (strcmp(texts[i], "\xc3\xbc x\xc3") != 0) /* a stray byte can't come back */
                assert_string_equal(s.redis, texts[i]);
            conf_free(keys, &s);
        }
        free(text);
    }
}

static void test_doc(void **state)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    conf_doc(keys, f);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "  source.redis (text; required)\n      Where.\n"));
    assert_non_null(strstr(text, "  source.db (-1 to 15; default 0)\n"));
    assert_non_null(strstr(text, "  source.timeout (time, 100ms to 1h; default 10s)\n"));
    assert_non_null(strstr(text, "  policy (one of stop, follow; default stop)\n"));
    assert_non_null(strstr(text, "  source.password (secret, or file:/path)\n"));
    assert_non_null(strstr(text, "  kafka.* (any keys below it; a value may be file:/path)\n"));
    free(text);
}

/* A default that its own key refuses is found, not used. */
static void test_bad_default(void **state)
{
    static const struct conf_key bad[] = {
        {KEY("n", CONF_INT, db), .def = "7", .min = 1, .max = 5}, CONF_KEYS_END};
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(conf_load(bad, NULL, "TESTP", &s, &err), -1);
    assert_string_equal(err.msg,
                        "configuration: key 'n': default: '7' is out of range; allowed: "
                        "1 to 5");
    conf_free(bad, &s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_all_types),
        TEST(test_units),
        TEST(test_empty_forms),
        TEST(test_environment),
        TEST(test_file_references),
        TEST(test_errors_of_references),
        TEST(test_unknown_keys),
        TEST(test_wrong_types),
        TEST(test_out_of_range),
        TEST(test_missing),
        TEST(test_duplicates),
        TEST(test_bad_yaml),
        TEST(test_unreadable),
        TEST(test_dump),
        TEST(test_dump_of_unset),
        TEST(test_dump_of_odd_text),
        TEST(test_doc),
        TEST(test_bad_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
