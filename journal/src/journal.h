/*
 * journal - who owns the log and when: standby, takeover, epochs, and the way of the bytes from
 * the link through the feed into the sink (design: W4, W5, W7).
 */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/frame.h"
#include "journal/src/link.h"
#include "journal/src/sink.h"

struct daemon;
struct err;
struct journal;
struct journal_conf;

/* What metrics and /status show. */
struct journal_info {
    const char *state;  /* opening standby takeover owner stopping */
    const char *detail; /* why it waits, "" if it does not */
    bool owner, streaming;
    struct start start; /* last one known */
    struct wal_pos durable, end;
    uint64_t epochs, full_resyncs, partial_resyncs, takeovers, link_downs, failures;
    struct link_stats link;
    struct sink_stats sink;
    char other_owner[32]; /* run id of the owner that a standby follows */
};

/* Borrows *conf. Begins at once on d's loop. */
int journal_new(struct daemon *d, const struct journal_conf *conf, struct journal **out,
                struct err *err);
/* Drains, commits and calls daemon_drained(). */
void journal_stop(struct journal *j);
void journal_free(struct journal *j);
void journal_get_info(const struct journal *j, struct journal_info *out);

#endif
