/*
 * offsets - where a lane is: the pair (src, dst), which says 'the record that will be written at
 * offset dst of the target is the first record of the source with an offset >= src'.
 *
 * The source skips offsets (transaction markers, compaction), the target never does, so between
 * skips dst - src is constant. Every acknowledgement is checked against the pair. The pair lives
 * on the target as a committed offset (src) with dst in its metadata. Pure functions.
 */
#ifndef MIRROR_OFFSETS_H
#define MIRROR_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct pair {
    int64_t src;
    int64_t dst;
};

#define PAIR_TEXT_SIZE 48

/* The metadata of a commit: "kafka-mirror/1 dst=<n>". */
void pair_encode(const struct pair *pair, char text[PAIR_TEXT_SIZE]);
/* From a committed offset and its metadata (not terminated). ERR_CORRUPT when it is none that
 * pair_encode() of a known version wrote; *out is untouched then. */
int pair_decode(int64_t committed, const void *text, size_t len, struct pair *out,
                struct err *err);

enum ack {
    ACK_EXPECTED,
    ACK_DOUBLED,  /* records stand before it that a former run had in flight when it ended */
    ACK_DIVERGED, /* somebody else wrote, or the target lost records; *err says what */
};

/*
 * An acknowledgement: the record of source offset `src` stands at `dst` of the target (-1: the
 * broker did not say, then nothing is checked). Moves *next behind it, unless ACK_DIVERGED.
 * `settling`: late appends of a former run are still possible, so a shift forward is
 * ACK_DOUBLED, with their number in *doubled.
 */
enum ack pair_ack(struct pair *next, int64_t src, int64_t dst, bool settling, int64_t *doubled,
                  struct err *err);

#endif
