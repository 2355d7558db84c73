/* status - the applier's metrics and its /status document. */
#ifndef APPLIER_STATUS_H
#define APPLIER_STATUS_H

struct buf;
struct engine;
struct metrics;
struct source;
struct status;

struct status *status_new(struct metrics *m, const struct engine *engine,
                          const struct source *source);
void status_free(struct status *s);
/* Brings the metrics up to date. */
void status_scrape(struct status *s);
void status_json(const struct status *s, struct buf *out);
/* NULL when ready. */
const char *status_not_ready(struct status *s);

#endif
