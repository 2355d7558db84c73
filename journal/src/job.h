/*
 * job - the journal's calls that block (topic, end of the log, fencing), one at a time, in a
 * worker thread; results come on the loop.
 */
#ifndef JOURNAL_JOB_H
#define JOURNAL_JOB_H

#include <stdbool.h>
#include <uv.h>

#include "common/err.h"
#include "common/kafka.h"
#include "journal/src/tail.h"

struct job;
struct journal_conf;
struct sink;

struct job_result {
    int rc; /* 0, or -1 with err */
    struct err err;
    struct tail_owner owner; /* of job_look and job_fence */
    struct tail_end end;     /* of job_find_end */
};

/* Borrows *conf. */
struct job *job_new(uv_loop_t *loop, const struct journal_conf *conf);
/* The memory goes when a call under way has ended, in the loop. No result is reported any more. */
void job_free(struct job *j);

/* Whether a call is under way: then none may be begun. */
bool job_busy(const struct job *j);

/* Reads the topic's settings (creates it at the first call if it is missing and that is
 * configured) and who owned the log last. */
void job_look(struct job *j, void (*done)(void *, const struct job_result *), void *arg);
/* Fences all earlier owners and reads the last START again: another may have been sent since
 * job_look(), and now none can any more. The sink may be freed meanwhile. */
void job_fence(struct job *j, struct sink *sink,
               void (*done)(void *, const struct job_result *), void *arg);
void job_find_end(struct job *j, void (*done)(void *, const struct job_result *), void *arg);

/* What the last successful job_look() found. */
const struct kafka_topic *job_topic(const struct job *j);

#endif
