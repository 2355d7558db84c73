/*
 * sink - the writing side of the log: entries into frames, frames into Kafka inside a
 * transaction that is always open, and from the delivery reports the durable position D.
 *
 * One sink is one producer and so one tenure as the owner (design: W5, W7). Any delivery error
 * ends it: D stands still, `failed` is reported once, and nothing more is sent. A new owner is a
 * new sink.
 */
#ifndef JOURNAL_SINK_H
#define JOURNAL_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/frame.h"

struct conf_map;
struct err;
struct sink;

struct sink_conf {
    const struct conf_map *kafka;
    const char *topic;
    const char *source;   /* its name: gives source_id and the transactional.id */
    const char *instance; /* the owner's name */
    uint64_t owner_run;
    uint32_t partition_cnt;
    /* Of the topic, at least PRODUCER_MESSAGE_MIN: bounds frames, fragments and Kafka's batches, as
     * does message.max.bytes in `kafka`. */
    int64_t max_message_bytes;
    size_t in_flight_bytes; /* open and unacknowledged frames above this: not writable */
    int64_t commit_interval_ms;
    int64_t heartbeat_ms; /* 1000 */
};

/* All calls come from the loop; none may call sink_free(). */
struct sink_events {
    /* D moved, or START was acknowledged, or everything is (sink_idle()). */
    void (*progress)(void *arg);
    /* The tenure is over. ERR_FENCED: another producer with this transactional.id was started
     * (or the transaction timed out); the log's last heartbeat tells which. */
    void (*failed)(void *arg, const struct err *err);
};

struct sink_stats {
    uint64_t frames, entries, bytes, heartbeats, commits, commits_put_off;
    size_t in_flight_bytes;
    int64_t ack_ms; /* how long the last acknowledged frame took */
};

/* Makes the producer, without any I/O. Strings of *conf are copied. */
int sink_new(uv_loop_t *loop, const struct sink_conf *conf, const struct sink_events *ev,
             void *arg, struct sink **out, struct err *err);
/* Ends at once; frames under way may or may not arrive. Memory goes when the loop closed the
 * handles and Kafka's threads ended. NULL allowed. */
void sink_free(struct sink *s);

/* A worker thread uses the sink (sink_fence): sink_free() keeps the memory until sink_unpin().
 * Both from the loop. */
void sink_pin(struct sink *s);
void sink_unpin(struct sink *s);

/* Fences every earlier owner and opens the transaction: when it returns 0, Kafka refuses every
 * append of theirs. Blocks; for a worker thread. */
int sink_fence(struct sink *s, struct err *err);

/* From now on heartbeats go out, repeating `last`: the last START of the log as it is after
 * sink_fence() (NULL: the log has none yet: no heartbeats). */
void sink_begin(struct sink *s, const struct start *last);

/* A START is to follow: sends what is open and holds back heartbeats, so that sink_idle() comes
 * about however slow Kafka is. Call again at each `progress`; false: it does not follow after all. */
void sink_drain(struct sink *s, bool on);
/* Sends START; sink_idle() must hold. Entries may be added once sink_started(). */
void sink_send_start(struct sink *s, const struct start *start);
bool sink_started(const struct sink *s);

/* One entry whole, or its next fragment (flags). Copies the bytes. `partition` must be the same
 * for all fragments of an entry. An entry whose last fragment did not come (the link was lost)
 * may come again from its start, in the same partition. recv_ms: when it was read. */
void sink_add(struct sink *s, uint32_t partition, const struct entry *e, enum phase phase,
              int64_t recv_ms);
/* The snapshot is complete: positions are LSNs from the START's base on, in `db`. */
void sink_enter_stream(struct sink *s, uint32_t db);
/* Sends what is open, unless so much is under way that waiting makes better frames. */
void sink_flush(struct sink *s);
/* Goes into heartbeats. */
void sink_set_source(struct sink *s, uint64_t read_lsn, uint64_t source_lsn);

/* Behind the last whole entry added, with the database in force there. */
struct wal_pos sink_end(const struct sink *s, uint32_t *db);
/* D; all zero before START was acknowledged. */
struct wal_pos sink_durable(const struct sink *s);
/* Everything added is acknowledged. */
bool sink_idle(const struct sink *s);
/* Room for more: false above in_flight_bytes, true again below half of it. */
bool sink_writable(const struct sink *s);
/* An entry larger than this goes in pieces of exactly this size (the last one is shorter), so
 * that a repeated entry has the same pieces. */
size_t sink_fragment_bytes(const struct sink *s);

/* Commits the open transaction once all is acknowledged, then calls done (on the loop, or before
 * it returns; once; also when that fails or the sink failed). For a clean end: nothing is sent
 * afterwards. */
void sink_finish(struct sink *s, void (*done)(void *arg));

void sink_get_stats(const struct sink *s, struct sink_stats *out);

#endif
