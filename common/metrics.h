/*
 * metrics - counters, gauges and histograms of one program, and their Prometheus text.
 *
 * One registry a program, used from the loop's thread only. Names carry unit and kind
 * (rwal_journal_stream_bytes_total); labels are few and bounded.
 */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stdint.h>

struct buf;
struct metric;
struct metrics;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/*
 * Registers a time series and returns it; it lives as long as the registry. `labels` is the
 * text between the braces (`topic="t",partition="3"`) or NULL, copied. Series of the same name
 * must have the same kind and help. A histogram's buckets are those of seconds: .001 .0025 .005
 * .01 .025 .05 .1 .25 .5 1 2.5 5 10 30 60 300.
 */
struct metric *metrics_add(struct metrics *m, enum metric_kind kind, const char *name,
                           const char *help, const char *labels);
void metric_inc(struct metric *metric, uint64_t by);  /* counter */
void metric_set(struct metric *metric, double value); /* gauge; also a counter kept elsewhere */
void metric_observe(struct metric *metric, double seconds); /* histogram */
double metric_value(const struct metric *metric);           /* of a counter or gauge */

/* Appends the exposition text 0.0.4, help and type once a name. */
void metrics_text(const struct metrics *m, struct buf *out);

#endif
