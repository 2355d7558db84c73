/*
 * match - which records of the source are on the target already, when a lane resumes.
 *
 * Between the last stored pair and the target's end stand records that were acknowledged since,
 * or were in flight when the former run ended. Counting them is not enough: among them may be
 * doubled ones, and compaction may have removed some from the source; both would make a count
 * skip records that were never copied. So they are compared one by one, by a digest of
 * timestamp, key, value and headers. Pure; no clock, no I/O.
 */
#ifndef MIRROR_MATCH_H
#define MIRROR_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct match;

/* A range of target offsets whose records stood there already, copies of source offset `src`
 * and the ones that follow it. */
struct match_run {
    int64_t dst;
    int64_t cnt;
    int64_t src;
};

enum match_step {
    MATCH_SKIP,  /* this source record is on the target */
    MATCH_SEND,  /* all of the target's records are explained; this one is the next to send */
    MATCH_BREAK, /* the target's record at match_dst() is no copy of this or an earlier one */
};

struct match *match_new(void);
void match_free(struct match *m);

/* The target's records, in order. */
void match_add_target(struct match *m, int64_t dst, uint64_t digest);
/* Forgets the first of them: its counterpart on the source is gone. */
void match_drop_first(struct match *m);
/* The source's records, in order, after the last match_add_target(). */
enum match_step match_feed(struct match *m, int64_t src, uint64_t digest);
/* The source has no more for now: explains what doubled records are left. True when all of the
 * target's records are explained. */
bool match_finish(struct match *m);

size_t match_left(const struct match *m); /* target records not explained yet */
int64_t match_dst(const struct match *m); /* offset of the first of them, -1: none */
/* Doubled records found so far. */
size_t match_runs(const struct match *m, const struct match_run **runs);

#endif
