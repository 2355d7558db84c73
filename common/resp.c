/*
 * resp - incremental scanner of one RESP command.
 *
 * Two speeds over one state: while arguments lie wholly in the input, whole_args() takes one
 * after the other by arithmetic; what it can't take (cut by the end of the input, or broken)
 * is left to step(), which can stop behind any byte and is the only one that reports errors. So
 * both accept the same language, and it does not matter where the input was cut.
 */
#include "common/resp.h"

#include <inttypes.h>
#include <string.h>

#include "common/err.h"

#define ARGC_MAX   ((uint64_t)INT32_MAX)
#define BULK_MAX   ((uint64_t)1 << 62)
#define DIGITS_MAX 19 /* of the longest allowed number; 19 digits never overflow 64 bits */

/* RESP_BEGIN is zero: a zeroed struct is a fresh one. */
enum {
    RESP_BEGIN,   /* the '*' comes next */
    RESP_ARGC,    /* digits of the array's length, or its CR */
    RESP_ARGC_LF, /* the LF of the array's header */
    RESP_ARG,     /* the '$' of the next argument */
    RESP_LEN,     /* digits of the bulk's length, or its CR */
    RESP_LEN_LF,
    RESP_BULK, /* `left` bytes of bulk and CRLF */
    RESP_DONE,
};

void resp_init(struct resp *r)
{
    r->size = 0;
    r->argc = 0;
    r->argi = 0;
    r->left = 0;
    r->num = 0;
    r->state = RESP_BEGIN;
    r->digits = 0;
}

/*
 * Reads the header line `mark` digits CR LF, which must lie wholly in [p, end). Returns where it
 * ends; NULL when it is not whole or not allowed, which is then for step() to tell apart.
 */
static inline const uint8_t *whole_header(const uint8_t *p, const uint8_t *end, uint8_t mark,
                                          uint64_t max, uint64_t *num)
{
    const uint8_t *digits = p + 1;
    uint64_t n = 0;
    unsigned d;

    if (p == end || *p != mark)
        return NULL;
    for (p = digits; p < end && (d = (unsigned)*p - '0') <= 9; p++)
        n = n * 10 + d;
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return NULL;
    if (p == digits || p - digits > DIGITS_MAX || n > max || (*digits == '0' && p - digits > 1))
        return NULL;
    *num = n;
    return p + 2;
}

/* Takes the arguments that lie wholly in [p, end); returns where the last of them ends. */
static inline const uint8_t *whole_args(struct resp *r, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *first = p;
    uint64_t argi = r->argi;
    uint64_t argc = r->argc;

    while (argi < argc) {
        uint64_t len;
        const uint8_t *bulk = whole_header(p, end, '$', BULK_MAX, &len);

        if (bulk == NULL || (uint64_t)(end - bulk) < len + 2 || bulk[len] != '\r' ||
            bulk[len + 1] != '\n')
            break;
        if (argi < RESP_ARGS) {
            r->arg[argi].off = r->size + (uint64_t)(bulk - first);
            r->arg[argi].len = len;
        }
        argi++;
        p = bulk + len + 2;
    }
    r->argi = argi;
    r->size += (uint64_t)(p - first);
    r->state = argi == argc ? RESP_DONE : RESP_ARG;
    return p;
}

static int unexpected(const struct resp *r, const char *wanted, uint8_t found, struct err *err)
{
    return err_set(err, ERR_CORRUPT, 0, "offset %" PRIu64 ": expected %s, found byte 0x%02x",
                   r->size, wanted, found);
}

/* One byte that must be `wanted`; the state behind it is `next`. */
static int expect(struct resp *r, uint8_t c, uint8_t wanted, uint8_t next, struct err *err)
{
    if (c != wanted)
        return unexpected(r,
                          wanted == '*'    ? "'*'"
                          : wanted == '$'  ? "'$'"
                          : wanted == '\r' ? "CR"
                                           : "LF",
                          c, err);
    r->state = next;
    r->num = 0;
    r->digits = 0;
    return 0;
}

/* A digit of a header's number, or the CR behind it. */
static int number(struct resp *r, uint8_t c, uint64_t max, struct err *err)
{
    unsigned d = (unsigned)c - '0';

    if (c == '\r' && r->digits > 0) {
        r->state++; /* RESP_ARGC_LF or RESP_LEN_LF */
        return 0;
    }
    if (d > 9)
        return unexpected(r, r->digits == 0 ? "a digit" : "a digit or CR", c, err);
    if (r->digits > 0 && r->num == 0)
        return err_set(err, ERR_CORRUPT, 0, "offset %" PRIu64 ": number with a leading zero",
                       r->size);
    if (r->digits == DIGITS_MAX || (r->num = r->num * 10 + d) > max)
        return err_set(err, ERR_CORRUPT, 0, "offset %" PRIu64 ": number is above %" PRIu64,
                       r->size, max);
    r->digits++;
    return 0;
}

/* Behind a header line of which only the LF is still to come. */
static int header_end(struct resp *r, uint8_t c, struct err *err)
{
    uint64_t num = r->num;
    bool is_array = r->state == RESP_ARGC_LF;

    if (is_array && num == 0)
        return err_set(err, ERR_CORRUPT, 0, "offset %" PRIu64 ": command without arguments",
                       r->size);
    if (expect(r, c, '\n', is_array ? RESP_ARG : RESP_BULK, err) != 0)
        return -1;
    if (is_array) {
        r->argc = num;
        return 0;
    }
    if (r->argi < RESP_ARGS) {
        r->arg[r->argi].off = r->size + 1;
        r->arg[r->argi].len = num;
    }
    r->argi++;
    r->left = num + 2;
    return 0;
}

/* The next byte of a bulk's CRLF. */
static int bulk_end(struct resp *r, uint8_t c, struct err *err)
{
    if (c != (r->left == 2 ? '\r' : '\n'))
        return unexpected(r, r->left == 2 ? "CR" : "LF", c, err);
    if (--r->left == 0)
        r->state = r->argi == r->argc ? RESP_DONE : RESP_ARG;
    return 0;
}

/* Takes one byte, or the run of a bulk's bytes, from [p, end), which is not empty. Returns the
 * bytes taken, -1 with *err. */
static ptrdiff_t step(struct resp *r, const uint8_t *p, const uint8_t *end, struct err *err)
{
    int rc = 0;

    switch (r->state) {
    case RESP_BEGIN:
        rc = expect(r, *p, '*', RESP_ARGC, err);
        break;
    case RESP_ARGC:
        rc = number(r, *p, ARGC_MAX, err);
        break;
    case RESP_ARG:
        rc = expect(r, *p, '$', RESP_LEN, err);
        break;
    case RESP_LEN:
        rc = number(r, *p, BULK_MAX, err);
        break;
    case RESP_ARGC_LF:
    case RESP_LEN_LF:
        rc = header_end(r, *p, err);
        break;
    default: /* RESP_BULK */
        if (r->left > 2) {
            uint64_t run = r->left - 2;

            if (run > (uint64_t)(end - p))
                run = (uint64_t)(end - p);
            r->left -= run;
            r->size += run;
            return (ptrdiff_t)run;
        }
        rc = bulk_end(r, *p, err);
        break;
    }
    if (rc != 0)
        return -1;
    r->size++;
    return 1;
}

ptrdiff_t resp_feed(struct resp *r, const uint8_t *data, size_t len, bool *done,
                    struct err *err)
{
    const uint8_t *p = data;
    const uint8_t *end = data + len;
    uint64_t argc;

    if (r->state == RESP_DONE)
        resp_init(r);
    if (r->state == RESP_BEGIN) {
        const uint8_t *args = whole_header(p, end, '*', ARGC_MAX, &argc);

        if (args != NULL && argc != 0) {
            r->argc = argc;
            r->size = (uint64_t)(args - p);
            r->state = RESP_ARG;
            p = args;
        }
    }
    for (;;) {
        ptrdiff_t n;

        if (r->state == RESP_ARG)
            p = whole_args(r, p, end);
        if (r->state == RESP_DONE || p == end)
            break;
        n = step(r, p, end, err);
        if (n < 0)
            return -1;
        p += n;
    }
    *done = r->state == RESP_DONE;
    return p - data;
}

bool resp_arg_is(const struct resp *r, const uint8_t *base, size_t i, const char *upper)
{
    const uint8_t *arg;
    size_t len = strlen(upper);

    if (i >= r->argi || i >= RESP_ARGS || r->arg[i].len != len)
        return false;
    arg = base + r->arg[i].off;
    for (size_t k = 0; k < len; k++) {
        uint8_t c = arg[k];

        if (c >= 'a' && c <= 'z')
            c = (uint8_t)(c - 'a' + 'A');
        if (c != (uint8_t)upper[k])
            return false;
    }
    return true;
}

bool resp_arg_i64(const struct resp *r, const uint8_t *base, size_t i, int64_t *out)
{
    const uint8_t *p, *end;
    bool negative;
    uint64_t n = 0;

    if (i >= r->argi || i >= RESP_ARGS || r->arg[i].len == 0)
        return false;
    p = base + r->arg[i].off;
    end = p + r->arg[i].len;
    negative = *p == '-';
    p += negative;
    /* As Redis itself reads integers: no plus, no leading zero, no minus zero. */
    if (end - p < 1 || end - p > DIGITS_MAX || (*p == '0' && (negative || end - p > 1)))
        return false;
    for (; p < end; p++) {
        unsigned d = (unsigned)*p - '0';

        if (d > 9)
            return false;
        n = n * 10 + d;
    }
    if (n > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}
