/* process_metrics - memory, CPU time and start of this process, its build and its log lines. */
#include "common/process_metrics.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct process_metrics {
    struct metric *resident, *cpu;
    struct metric *log_messages[LOG_ERROR + 1];
};

struct process_metrics *process_metrics_new(struct metrics *m, const char *component,
                                            const char *version)
{
    static const char *const levels[] = {"level=\"debug\"", "level=\"info\"", "level=\"warn\"",
                                         "level=\"error\""};
    struct process_metrics *p = xcalloc(1, sizeof(*p));
    char *labels = xasprintf("component=\"%s\",version=\"%s\"", component, version);

    metric_set(metrics_add(m, METRIC_GAUGE, "rwal_build_info",
                           "Which program and version this is; always 1.", labels),
               1);
    free(labels);
    metric_set(metrics_add(m, METRIC_GAUGE, "process_start_time_seconds",
                           "Start of the process, in seconds since the Unix epoch.", NULL),
               (double)clock_wall_ms() / 1000);
    p->resident = metrics_add(m, METRIC_GAUGE, "process_resident_memory_bytes",
                              "Memory of the process that is in RAM.", NULL);
    p->cpu = metrics_add(m, METRIC_COUNTER, "process_cpu_seconds_total",
                         "User and system CPU time that the process used.", NULL);
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        p->log_messages[i] = metrics_add(m, METRIC_COUNTER, "rwal_log_messages_total",
                                         "Log lines written, by level.", levels[i]);
    return p;
}

void process_metrics_free(struct process_metrics *p)
{
    free(p);
}

/* The second number of statm, in pages. */
static double resident_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    char *second;

    if (fd >= 0)
        (void)close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    (void)strtoull(text, &second, 10);
    return (double)strtoull(second, NULL, 10) * (double)sysconf(_SC_PAGESIZE);
}

static double seconds(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

void process_metrics_refresh(struct process_metrics *p)
{
    struct rusage ru;

    metric_set(p->resident, resident_bytes());
    if (getrusage(RUSAGE_SELF, &ru) == 0)
        metric_set(p->cpu, seconds(ru.ru_utime) + seconds(ru.ru_stime));
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        metric_set(p->log_messages[i], (double)log_count((enum log_level)i));
}
