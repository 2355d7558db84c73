/*
 * resp - incremental scanner of one RESP command (an array of bulk strings), without copies and
 * without allocation: it says where a command and its first arguments end.
 *
 * Input may come in pieces cut at any byte. Offsets count from the first byte of the command, so
 * a caller that keeps the command's bytes in one piece finds an argument at base + off.
 * The replication stream holds nothing but such arrays (facts: redis 7.0 replication.c,
 * feedReplicationBuffer); inline commands and RESP3 are broken input.
 */
#ifndef COMMON_RESP_H
#define COMMON_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define RESP_ARGS 16 /* arguments whose place is recorded; the others are only skipped */

struct resp_arg {
    uint64_t off; /* of its first byte, from the first byte of the command */
    uint64_t len;
};

/* The state of the command being scanned; plain value, may be copied. */
struct resp {
    uint64_t size;  /* bytes of this command so far */
    uint64_t argc;  /* announced; valid once the header line was read */
    uint64_t argi;  /* arguments whose header line was read */
    uint64_t left;  /* bytes of the current bulk, its CRLF included, still to come */
    uint64_t num;   /* number being read */
    uint8_t state;  /* private to resp.c */
    uint8_t digits; /* private to resp.c */
    struct resp_arg arg[RESP_ARGS];
};

void resp_init(struct resp *r);

/*
 * Scans data[0, len). Returns the bytes consumed: with *done set they end with the last byte of
 * the command, and *r describes it until the next resp_feed(), which begins a new command;
 * without *done all `len` bytes were consumed. -1 with ERR_CORRUPT: not a command; the message
 * names the offset in the command. Array and bulk lengths are limited to 2^31-1 and 2^62.
 */
ptrdiff_t resp_feed(struct resp *r, const uint8_t *data, size_t len, bool *done,
                    struct err *err);

/* Compares argument `i` of a whole command at `base` with an upper-case name, ignoring case. */
bool resp_arg_is(const struct resp *r, const uint8_t *base, size_t i, const char *upper);
/* Argument `i` as a decimal integer; false when it is none or out of range. */
bool resp_arg_i64(const struct resp *r, const uint8_t *base, size_t i, int64_t *out);

#endif
