/*
 * rdb_scan - private to rdb*.c: passes over RDB encodings that come in pieces cut at any byte.
 *
 * What is to be read is said by a layout, a string of one letter an element. Payloads are passed
 * over by counting, counts live in a stack of SCAN_DEPTH, so memory does not grow with the value.
 *
 *   L  length, ignored             S  string, ignored         x  16 bytes
 *   N  length into `num`           T  string into `text`      D  score of a ZSET of before RDB 8
 *   b w q  1, 4, 8 bytes, little endian, into `num`           M  module opcodes up to their EOF
 *   U  length that must be 2 (a module's UINT)                H  the file's 9 bytes of magic, into `text`
 *   [ ... ]  a count and as many times what is between        .  the end
 */
#ifndef COMMON_RDB_SCAN_H
#define COMMON_RDB_SCAN_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define SCAN_DEPTH    3  /* streams: groups, their consumers, their pending entries */
#define SCAN_HEAD_MAX 19 /* bytes of the longest head: LZF with two 64-bit lengths */
/* No string and no collection is larger: the addresses of a process have 47 bits. */
#define SCAN_SIZE_MAX ((uint64_t)1 << 47)

enum scan_enc { SCAN_PLAIN, SCAN_INT, SCAN_LZF };

/* What comes before a string's payload. */
struct scan_head {
    enum scan_enc enc;
    uint64_t size;  /* bytes of the payload; of a plain length: its value */
    uint64_t plain; /* SCAN_LZF: bytes when decompressed */
};

struct scan_loop {
    const char *body; /* layout behind the '[' */
    uint64_t left;    /* rounds, the current one included */
};

struct scan {
    const char *layout; /* the element that is being read */
    uint64_t skip;      /* bytes to pass over before it */
    uint64_t num;
    struct scan_loop loop[SCAN_DEPTH];
    unsigned depth;
    uint8_t module_op; /* whose operand is being read, 0: none */
    uint8_t held_len;
    uint8_t held[SCAN_HEAD_MAX]; /* the begin of a head or number that a piece's end cut */
    bool in_text;                /* the head of a T was read, its payload not */
    struct scan_head head;
    struct buf raw;    /* payload of a T as far as read, when it came in more than one piece */
    struct buf text;   /* the last T, decoded; empty when longer than RDB_KEY_KEPT */
    uint64_t text_len; /* of the last T, also when it was not kept */
    bool text_kept;
};

struct scan_input {
    const uint8_t *p;
    const uint8_t *end;
};

enum scan_result { SCAN_MORE, SCAN_DONE, SCAN_BAD };

void scan_init(struct scan *s);
void scan_release(struct scan *s);
/* `layout` must live until it is done. */
void scan_begin(struct scan *s, const char *layout);
/* DONE: in->p is behind the layout's last byte. MORE: all input was taken. BAD: *err says why,
 * without an offset: in->p less s->held_len is where the bad element starts, or just behind it. */
enum scan_result scan_run(struct scan *s, struct scan_input *in, struct err *err);

/* Reads the head of a string. Returns its bytes, 0 when p[0, len) is only a prefix of one, -1
 * when it is none. */
int scan_string_head(const uint8_t *p, size_t len, struct scan_head *out);
/* The same for a length: out->size is its value. */
int scan_length(const uint8_t *p, size_t len, struct scan_head *out);
/* Appends the string whose payload is p[0, head->size), decoded, to `out`. 0, or -1 with
 * ERR_CORRUPT. */
int scan_decode(const struct scan_head *head, const uint8_t *p, struct buf *out,
                struct err *err);

#endif
