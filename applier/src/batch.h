/*
 * batch - what goes to the target in one transaction: commands in RESP, and for each of them
 * where it came from, so that a refused one can be named without being kept twice.
 */
#ifndef APPLIER_BATCH_H
#define APPLIER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "applier/src/position.h"
#include "common/buf.h"

/* Where an entry of the log stands. */
struct batch_entry {
    uint64_t epoch;
    uint32_t partition;
    int64_t kafka_offset; /* of the frame that it begins in */
    uint64_t begin, end;  /* positions of its first byte and behind its last one */
};

struct batch_cmd {
    size_t at;      /* of the command's first byte in `bytes` */
    uint32_t entry; /* index; BATCH_OWN: no entry of the log */
};
#define BATCH_OWN UINT32_MAX

struct batch {
    struct buf bytes; /* begins with MULTI */
    struct batch_cmd *cmd;
    size_t cmd_cnt, cmd_cap;
    struct batch_entry *entry;
    size_t entry_cnt, entry_cap; /* entries with commands */
    uint64_t log_entry_cnt;      /* of the log, those without commands included */
    uint64_t log_cmd_cnt;        /* commands of the log, our own left out */
    uint32_t db;                 /* selected behind the last command */
    uint32_t max_db;             /* highest database that is selected */
    struct position position;    /* behind the batch; set when it is complete */
};

void batch_init(struct batch *b);
void batch_release(struct batch *b);
/* Empties it and begins anew; the connection will have `db` selected. */
void batch_begin(struct batch *b, uint32_t db);

/* The next command's bytes are appended to b->bytes after this. */
void batch_add_cmd(struct batch *b, uint32_t entry);
uint32_t batch_add_entry(struct batch *b, const struct batch_entry *e);
/* Selects `db` unless it is selected already. */
void batch_select(struct batch *b, uint32_t db);
/* For an entry that can't be added whole: back to where batch_mark() was called. */
struct batch_mark {
    size_t bytes_len, cmd_cnt, entry_cnt;
    uint64_t log_entry_cnt, log_cmd_cnt;
    uint32_t db, max_db;
};
struct batch_mark batch_mark(const struct batch *b);
void batch_undo(struct batch *b, const struct batch_mark *mark);

/* The name of a command (and of a container's subcommand), upper case, cut to fit, only
 * printable; never a key. */
void batch_cmd_name(const struct batch *b, size_t cmd, char *out, size_t size);

#endif
