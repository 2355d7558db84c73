/* test_metrics - the exposition text, and that registration is idempotent. */
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/process_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *text_of(const struct metrics *m)
{
    struct buf b;
    size_t len;

    buf_init(&b);
    metrics_text(m, &b);
    buf_put_u8(&b, 0);
    return (char *)buf_detach(&b, &len);
}

static void expect_text(const struct metrics *m, const char *want)
{
    char *text = text_of(m);

    assert_string_equal(text, want);
    free(text);
}

static void expect_line(const char *text, const char *line)
{
    const char *at = strstr(text, line);

    if (at == NULL || (at != text && at[-1] != '\n'))
        fail_msg("no line '%s' in:\n%s", line, text);
}

static void test_families(void **state)
{
    struct metrics *m = metrics_new();
    struct metric *a = metrics_add(m, METRIC_COUNTER, "x_total", "Counts.", "p=\"0\"");
    struct metric *g = metrics_add(m, METRIC_GAUGE, "y", "Back\\slash\nline.", NULL);
    struct metric *b = metrics_add(m, METRIC_COUNTER, "x_total", "Counts.", "p=\"1\"");

    (void)state;
    assert_ptr_equal(metrics_add(m, METRIC_COUNTER, "x_total", "Counts.", "p=\"0\""), a);
    metric_inc(a, UINT64_MAX); /* whole, not rounded to a double */
    metric_inc(b, 2);
    metric_inc(b, 3);
    metric_set(g, -0.1);
    assert_true(metric_value(b) > 4.9 && metric_value(b) < 5.1);
    expect_text(m, "# HELP x_total Counts.\n"
                   "# TYPE x_total counter\n"
                   "x_total{p=\"0\"} 18446744073709551615\n"
                   "x_total{p=\"1\"} 5\n"
                   "# HELP y Back\\\\slash\\nline.\n"
                   "# TYPE y gauge\n"
                   "y -0.1\n");
    metrics_free(m);
    metrics_free(NULL);
}

static void test_numbers(void **state)
{
    static const struct {
        double v;
        const char *want;
    } table[] = {{0, "y 0\n"},
                 {1e15, "y 1e+15\n"},
                 {123456789012345, "y 123456789012345\n"},
                 {1.0 / 3, "y 0.3333333333333333\n"},
                 {(double)INFINITY, "y +Inf\n"},
                 {-(double)INFINITY, "y -Inf\n"},
                 {(double)NAN, "y NaN\n"}};
    struct metrics *m = metrics_new();
    struct metric *g = metrics_add(m, METRIC_GAUGE, "y", "Y.", NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        char *text;

        metric_set(g, table[i].v);
        text = text_of(m);
        expect_line(text, table[i].want);
        free(text);
    }
    metrics_free(m);
}

static void test_counter_set_from_elsewhere(void **state)
{
    struct metrics *m = metrics_new();
    struct metric *c = metrics_add(m, METRIC_COUNTER, "c_total", "C.", NULL);

    (void)state;
    metric_inc(c, 5);
    metric_set(c, 100);
    metric_inc(c, 1);
    expect_text(m, "# HELP c_total C.\n# TYPE c_total counter\nc_total 101\n");
    metrics_free(m);
}

static void test_histogram(void **state)
{
    struct metrics *m = metrics_new();
    struct metric *h = metrics_add(m, METRIC_HISTOGRAM, "h_seconds", "H.", "k=\"v\"");
    char *text;

    (void)state;
    metric_observe(h, 0);
    metric_observe(h, 1); /* a bound belongs to its bucket */
    metric_observe(h, 1.5);
    metric_observe(h, 299);
    metric_observe(h, 301);
    text = text_of(m);
    expect_line(text, "# TYPE h_seconds histogram\n");
    expect_line(text, "h_seconds_bucket{k=\"v\",le=\"0.5\"} 1\n");
    expect_line(text, "h_seconds_bucket{k=\"v\",le=\"1\"} 2\n");
    expect_line(text, "h_seconds_bucket{k=\"v\",le=\"2.5\"} 3\n");
    expect_line(text, "h_seconds_bucket{k=\"v\",le=\"300\"} 4\n");
    expect_line(text, "h_seconds_bucket{k=\"v\",le=\"+Inf\"} 5\n");
    expect_line(text, "h_seconds_sum{k=\"v\"} 602.5\n");
    expect_line(text, "h_seconds_count{k=\"v\"} 5\n");
    free(text);
    metrics_free(m);
}

static double value_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

static void test_process(void **state)
{
    struct metrics *m = metrics_new();
    struct process_metrics *p = process_metrics_new(m, "prog", "1.2.3");
    double now_s = (double)clock_wall_ms() / 1000;
    char *text;

    (void)state;
    log_init("test", LOG_INFO, LOG_LOGFMT);
    log_warn("counted", F_NONE);
    process_metrics_refresh(p);
    text = text_of(m);
    expect_line(text, "rwal_build_info{component=\"prog\",version=\"1.2.3\"} 1\n");
    assert_true(value_of(text, "\nprocess_resident_memory_bytes ") > 100000);
    assert_true(value_of(text, "\nprocess_cpu_seconds_total ") >= 0);
    assert_true(fabs(value_of(text, "\nprocess_start_time_seconds ") - now_s) < 60);
    expect_line(text, "rwal_log_messages_total{level=\"warn\"} 1\n");
    expect_line(text, "rwal_log_messages_total{level=\"error\"} 0\n");
    free(text);
    process_metrics_free(p);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_counter_set_from_elsewhere),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
