/*
 * mirror - the daemon's one object: the clients of both clusters, the topics and their lanes,
 * the stored positions, the end. One thread (the loop's); what blocks runs in workers.
 */
#ifndef MIRROR_MIRROR_H
#define MIRROR_MIRROR_H

#include <stdbool.h>

#include "mirror/src/options.h"

struct buf;
struct daemon;
struct mirror;

/* `conf` outlives it. -1 with ERR_INPUT for client properties that do not fit. */
int mirror_new(struct daemon *d, const struct mirror_conf *conf, struct mirror **out,
               struct err *err);
/* Begins to drain: no more from the source; daemon_drained() when everything sent is
 * acknowledged (or stop_timeout is over) and the positions are stored. */
void mirror_stop(struct mirror *m);
/* After daemon_drained(). */
void mirror_free(struct mirror *m);

void mirror_scrape(struct mirror *m);
void mirror_status(struct mirror *m, struct buf *json);
/* NULL when every partition of every topic runs. */
const char *mirror_not_ready(struct mirror *m);

#endif
