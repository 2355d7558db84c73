/*
 * reply - what a Redis answers to a replica: replies of the handshake, the answer to PSYNC, and
 * the framing of the snapshot. Pure functions over bytes that may come cut at any place; no I/O.
 *
 * Redis sends bare newlines as keep-alives before the answer to PSYNC and before the snapshot's
 * header (replication.c, replicationCron); they are skipped and belong to nothing.
 */
#ifndef JOURNAL_REPLY_H
#define JOURNAL_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct redisReader;
struct redisReply;

#define REPLY_LINE_MAX  4096
#define REPLY_VALUE_MAX (16U << 20) /* bytes of one reply; COMMAND's is some 200 KB */
#define REPLY_ID        40          /* hex digits of a replication id */
#define REPLY_MARK      40 /* bytes of the mark that ends a snapshot of unknown length */

/* One line, without its end. */
struct reply_line {
    size_t len;
    bool done;
    char text[REPLY_LINE_MAX + 1];
};

void reply_line_init(struct reply_line *l);
/* Takes bytes up to the end of the line; returns how many. With *done, l->text is the line and
 * NUL-terminated, and the next call begins a new one. -1 with ERR_AGAIN: too long, or bytes
 * that no Redis sends. */
ptrdiff_t reply_line_feed(struct reply_line *l, const uint8_t *data, size_t len, bool *done,
                          struct err *err);

/* Any whole reply of RESP2, before PSYNC. */
struct reply_value {
    struct redisReader *reader;
    size_t seen; /* bytes of this reply so far */
};

void reply_value_init(struct reply_value *v);
void reply_value_release(struct reply_value *v);
/* Takes all `len` bytes. *out is the reply, the caller's to free with freeReplyObject(), or
 * NULL: more is needed. -1 with ERR_AGAIN: broken, or more than one reply. */
int reply_value_feed(struct reply_value *v, const uint8_t *data, size_t len,
                     struct redisReply **out, struct err *err);

/*
 * What the error `text` ("NOAUTH Authentication required.") as the reply to `cmd` means. AUTH:
 * refused credentials or rights, the message holds `acl`, the line that grants them. INPUT: the
 * server does not know or allow the command. AGAIN: everything else. Gives -1.
 */
int reply_refused(const char *cmd, const char *text, const char *acl, struct err *err);

struct reply_psync {
    bool full;
    char replid[REPLY_ID + 1]; /* empty: +CONTINUE without one, the asked one holds */
    uint64_t lsn;              /* full: position that the stream goes on behind */
};

/* From the line that answers PSYNC. -1: as reply_refused(), or AGAIN for what is no answer. */
int reply_psync_parse(const char *line, const char *acl, struct reply_psync *out,
                      struct err *err);

/* The snapshot's transfer: its header, and where it ends. */
struct reply_snapshot {
    enum { SNAPSHOT_HEAD, SNAPSHOT_SIZED, SNAPSHOT_MARKED, SNAPSHOT_ENDED } state;
    uint64_t left; /* SIZED: bytes to come */
    size_t held;   /* MARKED: so many bytes of the mark were seen and not delivered */
    uint8_t mark[REPLY_MARK];
    struct reply_line line;
};

void reply_snapshot_init(struct reply_snapshot *s);
/*
 * Takes up to `len` bytes; returns how many. *out .. *out_len is data of the snapshot, either
 * within `data` or within *s, valid until the next call; its length may be 0. Call until all is
 * taken, or *end is set: the transfer is complete, what is left of `data` is the stream. It may
 * take nothing and deliver something, or the reverse, but never neither. -1 with ERR_AGAIN: not
 * a header, or the server's error in its place.
 */
ptrdiff_t reply_snapshot_feed(struct reply_snapshot *s, const uint8_t *data, size_t len,
                              const uint8_t **out, size_t *out_len, bool *end, struct err *err);

#endif
