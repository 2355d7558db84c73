/*
 * sweep - removes from the target what a snapshot does not hold, in every database, after the
 * snapshot's keys were written over the live data. So a key on both sides never vanishes.
 *
 * It walks with SCAN, which gives every key that is there from begin to end of the walk; keys
 * that begin with POSITION_PREFIX are ours and stay. What it removes goes out in fenced batches.
 */
#ifndef APPLIER_SWEEP_H
#define APPLIER_SWEEP_H

#include <stdint.h>

struct batch;
struct keyset;
struct session;
struct sweep;

struct sweep_conf {
    struct session *session; /* idle, ready; used until `done` or sweep_free() */
    const struct keyset *keep;
    uint32_t position_db;
    int64_t alive_ms; /* a batch is submitted at least this often, an empty one if need be */
    /* Submits the batch, with the position that it leaves as it is; sweep_applied() is due when it
     * is applied. */
    void (*submit)(void *arg, struct batch *b);
    void (*done)(void *arg, uint64_t removed);
    void *arg;
};

/* Begins at once. */
struct sweep *sweep_new(const struct sweep_conf *conf);
void sweep_free(struct sweep *s);
void sweep_applied(struct sweep *s);

#endif
