/*
 * reply - replies of Redis, parsed by hiredis' reader without an allocation per reply.
 *
 * The caller says before each reply what it will be asked for: REPLY_LEAN keeps the type, the
 * number of elements and the first error (that is all an EXEC of a thousand writes needs);
 * REPLY_FULL keeps every element, flattened in depth-first order.
 */
#ifndef APPLIER_REPLY_H
#define APPLIER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct position_text;
struct replies;

enum reply_depth { REPLY_LEAN, REPLY_FULL };
enum reply_type {
    REPLY_NIL,
    REPLY_STATUS,
    REPLY_ERROR,
    REPLY_INTEGER,
    REPLY_STRING,
    REPLY_ARRAY
};

struct reply_node {
    enum reply_type type;
    int64_t integer;
    size_t cnt; /* of elements, of an array; they follow */
    const char *p;
    size_t len;
};

/* One whole reply; valid until the next replies_next(). */
struct reply {
    enum reply_type type;
    size_t cnt; /* of elements, of an array */
    /* The error, when type is REPLY_ERROR, or the first one among the elements of an array;
     * cut to what fits, zero-terminated. "" when there was none. */
    char error[256];
    size_t error_at;         /* index of the element that failed first */
    size_t error_cnt;        /* elements that failed */
    bool is_ok;              /* +OK */
    bool is_queued;          /* +QUEUED */
    struct reply_node *node; /* REPLY_FULL: node[0] is the reply itself */
    size_t node_cnt;
};

/* The texts of `cnt` nodes from `first` on; nil and arrays give NULL. */
void reply_texts(const struct reply *r, size_t first, struct position_text *out, size_t cnt);

struct replies *replies_new(void);
void replies_free(struct replies *r);
void replies_feed(struct replies *r, const void *data, size_t len);
/* What the next reply will be kept as; not changed while one is only partly there. */
void replies_expect(struct replies *r, enum reply_depth depth);
/* 1: *out is the next reply; 0: feed more; -1: not RESP (ERR_AGAIN: the connection is of no
 * more use). */
int replies_next(struct replies *r, const struct reply **out, struct err *err);

#endif
