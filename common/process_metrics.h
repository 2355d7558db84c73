/* process_metrics - memory, CPU time and start of this process, its build and its log lines. */
#ifndef COMMON_PROCESS_METRICS_H
#define COMMON_PROCESS_METRICS_H

struct metrics;
struct process_metrics;

/* Registers them in m; `component` is the program's name. */
struct process_metrics *process_metrics_new(struct metrics *m, const char *component,
                                            const char *version);
void process_metrics_free(struct process_metrics *p);
/* Brings them up to date; before a scrape. */
void process_metrics_refresh(struct process_metrics *p);

#endif
