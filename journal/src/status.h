/* status - the journal's metrics and its /status document, both from one struct journal_info. */
#ifndef JOURNAL_STATUS_H
#define JOURNAL_STATUS_H

struct buf;
struct journal;
struct journal_conf;
struct metrics;
struct status;

struct status *status_new(struct metrics *m, const struct journal *j,
                          const struct journal_conf *conf);
void status_free(struct status *s);
void status_scrape(struct status *s);
/* Appends a JSON object. */
void status_json(struct status *s, struct buf *out);
/* NULL: this journal owns the log and the stream flows; else what it waits for. A standby is
 * ready: it is what it should be. */
const char *status_not_ready(struct status *s);

#endif
