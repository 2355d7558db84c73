/* test_log - the lines that log writes to stderr. */
#include "common/err.h"
#include "common/log.h"
#include "common/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* stderr, turned into a file for the length of a test. */
struct capture {
    int saved;
    FILE *file;
};

static void capture_begin(struct capture *c)
{
    c->saved = dup(STDERR_FILENO);
    c->file = tmpfile();
    assert_non_null(c->file);
    assert_true(dup2(fileno(c->file), STDERR_FILENO) >= 0);
}

/* What was written since; the caller frees it. */
static char *capture_end(struct capture *c)
{
    long size;
    char *text;

    assert_true(dup2(c->saved, STDERR_FILENO) >= 0);
    (void)close(c->saved);
    (void)fseek(c->file, 0, SEEK_END);
    size = ftell(c->file);
    rewind(c->file);
    text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, c->file), size);
    (void)fclose(c->file);
    return text;
}

/* One line in logfmt, checked for its time stamp and returned without it. */
static char *line_of(const char *event, const struct log_field *fields)
{
    struct capture c;
    char *text, *rest;
    int y, mo, d, h, mi, s, ms, end = 0;

    log_init("test", LOG_DEBUG, LOG_LOGFMT);
    capture_begin(&c);
    log_write(LOG_INFO, event, fields);
    text = capture_end(&c);
    assert_int_equal(
        sscanf(text, "ts=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &y, &mo, &d, &h, &mi, &s, &ms, &end),
        7);
    assert_int_equal(end, strlen("ts=2026-11-23T07:00:00.123Z "));
    rest = strdup(text + end);
    free(text);
    return rest;
}

#define FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = 0}})

static void expect_line(const struct log_field *fields, const char *want)
{
    char *line = line_of("partial resync", fields);
    char *whole = NULL;

    assert_true(asprintf(&whole, "level=info comp=test msg=\"partial resync\"%s\n", want) > 0);
    assert_string_equal(line, whole);
    free(whole);
    free(line);
}

static void test_fields(void **state)
{
    struct err err = {.kind = ERR_AGAIN, .msg = "connect 'h:1': Connection refused"};

    (void)state;
    expect_line(FIELDS(F_NONE), "");
    expect_line(FIELDS(F_STR("replid", "abc"), F_U64("repl_offset", UINT64_MAX)),
                " replid=abc repl_offset=18446744073709551615");
    expect_line(FIELDS(F_I64("delta", INT64_MIN), F_F64("took_s", 0.25)),
                " delta=-9223372036854775808 took_s=0.25");
    expect_line(FIELDS(F_ERR(&err)), " error=\"connect 'h:1': Connection refused\"");
}

static void test_quotes_only_when_needed(void **state)
{
    (void)state;
    expect_line(FIELDS(F_STR("a", "127.0.0.1:6379/x-y_z'")), " a=127.0.0.1:6379/x-y_z'");
    expect_line(FIELDS(F_STR("a", "")), " a=\"\"");
    expect_line(FIELDS(F_STR("a", NULL)), " a=\"\"");
    expect_line(FIELDS(F_STR("a", "b c")), " a=\"b c\"");
    expect_line(FIELDS(F_STR("a", "b=c")), " a=\"b=c\"");
    expect_line(FIELDS(F_STR("a", "say \"x\" \\")), " a=\"say \\\"x\\\" \\\\\"");
    expect_line(FIELDS(F_STR("a", "gr\xc3\xbc\xc3\x9f")), " a=gr\xc3\xbc\xc3\x9f");
}

/* Nothing that comes from outside can begin a line of its own or drive a terminal. */
static void test_control_bytes_are_escaped(void **state)
{
    (void)state;
    expect_line(FIELDS(F_STR("a", "x\nlevel=error")), " a=\"x\\nlevel=error\"");
    expect_line(FIELDS(F_STR("a", "\t\r\x1b[31m\x7f")), " a=\"\\t\\r\\x1b[31m\\x7f\"");
    expect_line(FIELDS(F_STR("a", "\xff\xc3")), " a=\"\\xff\\xc3\"");
    expect_line(FIELDS(F_STR("a", "\xc2\x9b")), " a=\"\\xc2\\x9b\"");
}

static void test_json(void **state)
{
    struct capture c;
    char *text;
    json_t *o;

    (void)state;
    log_init("test", LOG_DEBUG, LOG_JSON);
    capture_begin(&c);
    log_warn("it \"is\"", F_STR("s", "\x01\n\xff\xc2\x9b\xc3\xbc"), F_U64("u", 7),
             F_F64("f", 1.5), F_F64("nan", (double)NAN), F_I64("i", -3));
    text = capture_end(&c);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    o = json_loads(text, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(o, "comp")), "test");
    assert_string_equal(json_string_value(json_object_get(o, "msg")), "it \"is\"");
    assert_string_equal(json_string_value(json_object_get(o, "s")),
                        "\x01\n\xef\xbf\xbd\xc2\x9b\xc3\xbc");
    assert_int_equal(json_integer_value(json_object_get(o, "u")), 7);
    assert_int_equal(json_integer_value(json_object_get(o, "i")), -3);
    assert_true(json_real_value(json_object_get(o, "f")) > 1.49);
    assert_true(json_is_null(json_object_get(o, "nan")));
    assert_int_equal(strlen(json_string_value(json_object_get(o, "ts"))), 24);
    json_decref(o);
    free(text);
}

static void test_level_and_count(void **state)
{
    struct capture c;
    uint64_t info = log_count(LOG_INFO), warn = log_count(LOG_WARN);
    char *text;

    (void)state;
    log_init("test", LOG_WARN, LOG_LOGFMT);
    capture_begin(&c);
    log_info("hidden", F_NONE);
    errno = ENOENT;
    log_warn("shown", F_NONE);
    assert_int_equal(errno, ENOENT);
    text = capture_end(&c);
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "level=warn comp=test msg=shown\n"));
    assert_int_equal(log_count(LOG_INFO), info);
    assert_int_equal(log_count(LOG_WARN), warn + 1);
    assert_false(log_enabled(LOG_INFO));
    assert_true(log_enabled(LOG_ERROR));
    free(text);
}

static void test_names(void **state)
{
    enum log_level level = LOG_DEBUG;
    enum log_format format = LOG_LOGFMT;

    (void)state;
    assert_true(log_level_parse("error", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_false(log_level_parse("ERROR", &level));
    assert_false(log_level_parse("", &level));
    assert_true(log_format_parse("json", &format));
    assert_int_equal(format, LOG_JSON);
    assert_false(log_format_parse("xml", &format));
}

static void *write_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("from a thread", F_STR("name", arg), F_STR("pad", "0123456789 0123456789"));
    return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    struct capture c;
    char a_name[] = "a", b_name[] = "b";
    pthread_t a, b;
    char *text;
    int lines = 0;

    (void)state;
    log_init("test", LOG_INFO, LOG_LOGFMT);
    capture_begin(&c);
    assert_int_equal(pthread_create(&a, NULL, write_many, a_name), 0);
    assert_int_equal(pthread_create(&b, NULL, write_many, b_name), 0);
    (void)pthread_join(a, NULL);
    (void)pthread_join(b, NULL);
    text = capture_end(&c);
    for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1, lines++) {
        *end = '\0';
        assert_int_equal(strncmp(at, "ts=", 3), 0);
        assert_string_equal(end - strlen("pad=\"0123456789 0123456789\""),
                            "pad=\"0123456789 0123456789\"");
    }
    assert_int_equal(lines, 1000);
    free(text);
}

static void test_utf8(void **state)
{
    (void)state;
    assert_int_equal(utf8_len("a"), 1);
    assert_int_equal(utf8_len(""), 1);
    assert_int_equal(utf8_len("\xc3\xbc"), 2);
    assert_int_equal(utf8_len("\xe2\x82\xac"), 3);
    assert_int_equal(utf8_len("\xf0\x9f\x98\x80"), 4);
    assert_int_equal(utf8_len("\xf4\x8f\xbf\xbf"), 4); /* U+10FFFF */
    assert_int_equal(utf8_len("\xf4\x90\x80\x80"), 0); /* beyond */
    assert_int_equal(utf8_len("\xc0\x80"), 0);         /* overlong */
    assert_int_equal(utf8_len("\xe0\x9f\xbf"), 0);     /* overlong */
    assert_int_equal(utf8_len("\xed\xa0\x80"), 0);     /* surrogate */
    assert_int_equal(utf8_len("\xe2\x82"), 0);         /* cut short */
    assert_int_equal(utf8_len("\x80"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_quotes_only_when_needed),
        cmocka_unit_test(test_control_bytes_are_escaped),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_level_and_count),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lines_of_threads_do_not_mix),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
