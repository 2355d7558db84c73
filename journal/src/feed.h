/*
 * feed - bytes of the link into entries of the sink: cuts snapshot and stream, places entries
 * in partitions, splits what is too large into fragments. Keeps no more than one fragment of an
 * unfinished entry.
 */
#ifndef JOURNAL_FEED_H
#define JOURNAL_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmd_table;
struct err;
struct feed;
struct rdb_origin;
struct sink;

struct feed *feed_new(uint32_t partition_cnt);
void feed_free(struct feed *f);
/* Takes ownership; NULL: the server told none. */
void feed_set_commands(struct feed *f, struct cmd_table *table);

/* The stream goes on at `lsn`, the end of a whole entry, in `db`. */
void feed_begin_stream(struct feed *f, struct sink *s, uint64_t lsn, uint32_t db);
/* A snapshot begins, at byte 0. */
void feed_begin_snapshot(struct feed *f, struct sink *s);
/* No more bytes until the next begin; what is unfinished is forgotten. */
void feed_end(struct feed *f);

/* Next bytes. -1 with ERR_CORRUPT: they are not what they should be. */
int feed_stream(struct feed *f, const uint8_t *data, size_t len, int64_t now_ms,
                struct err *err);
int feed_snapshot(struct feed *f, const uint8_t *data, size_t len, int64_t now_ms,
                  struct err *err);
/* The transfer ended: the RDB must be whole. Then the sink is in the stream phase and so is the
 * feed, at base `lsn`. */
int feed_snapshot_end(struct feed *f, uint64_t lsn, struct err *err);
const struct rdb_origin *feed_origin(const struct feed *f);

/* Position behind the last byte that was fed (stream phase). */
uint64_t feed_read_lsn(const struct feed *f);
/* Start of the last GETACK, 0: none since it was taken. */
uint64_t feed_take_getack(struct feed *f);

#endif
