/*
 * position - how far a Redis has the log applied: the hash `redis-wal:position:<source>` in the
 * target itself, written last in every transaction that changes data.
 *
 * This is where exactly-once is decided. Data and position are committed together and roll back
 * together; the hash is written whole every time, since a FLUSHALL before it in the same
 * transaction may have removed it.
 */
#ifndef APPLIER_POSITION_H
#define APPLIER_POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/frame.h"

struct buf;
struct err;

#define POSITION_VERSION   1
#define POSITION_PREFIX    "redis-wal:" /* keys of ours in a target: never swept, never counted */
#define POSITION_TOPIC_MAX 249          /* Kafka's own limit of a topic's name */
#define POSITION_HALT_MAX  440
#define POSITION_WRITER    16 /* hex digits of the id of a process */

struct position {
    bool present;      /* false: the target has none, nothing else is set */
    struct wal_pos at; /* everything of the log below it is applied */
    uint32_t db;       /* in force there */
    uint32_t partition_cnt;
    int64_t *offset; /* of each partition: the first frame not fully used; owned */
    int64_t guard_ms;
    int64_t time_ms;       /* when the journal received what was applied last */
    int64_t applied_at_ms; /* when it was applied, by our clock */
    char source[FRAME_NAME_MAX + 1];
    char topic[POSITION_TOPIC_MAX + 1];
    char writer[POSITION_WRITER + 1];
    char halted[POSITION_HALT_MAX + 1]; /* why a program stood still for good; mostly empty */
};

void position_init(struct position *p);
void position_release(struct position *p);
void position_copy(struct position *to, const struct position *from);

/* The name of the key. */
void position_key(struct buf *out, const char *source);

/* A value of a reply; p NULL: nil. */
struct position_text {
    const char *p;
    size_t len;
};

#define POSITION_FIELDS 14
/* Appends the HMGET that asks for everything. */
void position_put_read(struct buf *out, const char *key);
/* Its reply, POSITION_FIELDS values in order. -1 with ERR_CORRUPT: not a position of ours, or of a
 * later version. All values nil gives a *out without `present`. */
int position_parse(const struct position_text *value, size_t cnt, struct position *out,
                   struct err *err);
/* Appends the HSET of everything but `halted`. */
void position_put_write(struct buf *out, const char *key, const struct position *p);
void position_put_halt(struct buf *out, const char *key, const char *why);

#define POSITION_CHECKS 5
/* Appends the short HMGET that a batch is fenced with. */
void position_put_check(struct buf *out, const char *key);
/* Whether its reply shows that nobody wrote since *expected. */
bool position_is(const struct position *expected, const struct position_text *value,
                 size_t cnt);

#endif
