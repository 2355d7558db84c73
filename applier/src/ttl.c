/*
 * ttl - writes every expiry of a replayed command later, by a guard.
 *
 * A rewrite replaces whole arguments and copies the bytes between them, so values are never
 * parsed and arguments without meaning here are never looked at.
 */
#include "applier/src/ttl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applier/src/restore_fields.h"
#include "applier/src/wire.h"
#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"
#include "common/resp.h"

/* Highest expiry that Redis 7.4 takes for a field of a hash (t_hash.c: 46 bits). */
#define FIELD_MAX_MS (((int64_t)1 << 46) - 1)

enum unit { UNIT_S, UNIT_MS };

/* One argument of the command, with its header line and CRLF: bytes [begin, end). */
struct arg {
    uint64_t begin, end;
    const uint8_t *p; /* the content */
    uint64_t len;
};

/* Walks the arguments of a whole command, also those beyond RESP_ARGS. */
struct args {
    const uint8_t *base;
    uint64_t size;
    uint64_t at; /* where the next argument begins */
};

static void args_first(struct args *a, const struct resp *r, const uint8_t *base)
{
    const uint8_t *lf = memchr(base, '\n', r->size);

    *a = (struct args){.base = base, .size = r->size, .at = (uint64_t)(lf - base) + 1};
}

static bool args_next(struct args *a, struct arg *out)
{
    uint64_t len = 0;
    uint64_t p = a->at + 1;

    if (a->at >= a->size)
        return false;
    for (; a->base[p] != '\r'; p++)
        len = len * 10 + (uint64_t)(a->base[p] - '0');
    *out = (struct arg){.begin = a->at, .p = a->base + p + 2, .len = len};
    out->end = p + 2 + len + 2;
    a->at = out->end;
    return true;
}

static bool arg_is(const struct arg *a, const char *upper)
{
    size_t len = strlen(upper);

    if (a->len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = a->p[i];

        if (c >= 'a' && c <= 'z')
            c = (uint8_t)(c - 'a' + 'A');
        if (c != (uint8_t)upper[i])
            return false;
    }
    return true;
}

static bool arg_i64(const struct arg *a, int64_t *out)
{
    bool negative = a->len != 0 && a->p[0] == '-';
    uint64_t n = 0;

    if (a->len == (uint64_t)negative || a->len > 20)
        return false;
    for (uint64_t i = negative; i < a->len; i++) {
        unsigned digit = (unsigned)a->p[i] - '0';

        if (digit > 9 || n > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = negative ? -(int64_t)n : (int64_t)n;
    return true;
}

/* ---- arithmetic that stops at the ends of the type ---- */

static int64_t add_capped(int64_t a, int64_t b)
{
    if (b > 0 && a > INT64_MAX - b)
        return INT64_MAX;
    if (b < 0 && a < INT64_MIN - b)
        return INT64_MIN;
    return a + b;
}

static int64_t to_ms(int64_t v, enum unit unit)
{
    if (unit == UNIT_MS)
        return v;
    if (v > INT64_MAX / 1000)
        return INT64_MAX;
    return v < INT64_MIN / 1000 ? INT64_MIN : v * 1000;
}

int64_t ttl_guarded(int64_t at_ms, int64_t guard_ms)
{
    return add_capped(at_ms, guard_ms);
}

static int64_t guarded(const struct ttl *ttl, int64_t v, enum unit unit, bool relative,
                       int64_t max_ms)
{
    int64_t at = to_ms(v, unit);
    int64_t later;

    if (relative)
        at = add_capped(at, ttl->recv_ms);
    later = ttl_guarded(at, ttl->guard_ms);
    if (later <= max_ms)
        return later;
    return at > max_ms ? at : max_ms;
}

/* ---- rewriting ---- */

#define EDITS 2

struct edit {
    const struct arg *arg; /* replaced, in the order of the command */
    char text[24];
};

struct edits {
    struct edit e[EDITS];
    size_t cnt;
};

static void edit_text(struct edits *es, const struct arg *arg, const char *text)
{
    struct edit *e = &es->e[es->cnt++];

    e->arg = arg;
    (void)snprintf(e->text, sizeof(e->text), "%s", text);
}

static void edit_time(struct edits *es, const struct arg *arg, int64_t at_ms)
{
    struct edit *e = &es->e[es->cnt++];

    e->arg = arg;
    (void)snprintf(e->text, sizeof(e->text), "%" PRId64, at_ms);
}

/* Appends the command with the edits made. */
static bool apply_edits(const struct edits *es, const struct resp *r, const uint8_t *base,
                        struct buf *out)
{
    struct args a;
    uint64_t from;

    args_first(&a, r, base);
    from = a.at;
    wire_array(out, r->argc);
    for (size_t i = 0; i < es->cnt; i++) {
        const struct arg *arg = es->e[i].arg;

        if (arg->begin > from)
            buf_append(out, base + from, arg->begin - from);
        wire_text(out, es->e[i].text);
        from = arg->end;
    }
    if (r->size > from)
        buf_append(out, base + from, r->size - from);
    return true;
}

struct call {
    const struct ttl *ttl;
    const struct resp *r;
    const uint8_t *base;
    struct buf *out;
    int64_t max_ms;
};

static const struct {
    const char *name;
    enum unit unit;
    bool relative;
} time_option[] = {
    {"EX", UNIT_S, true},
    {"PX", UNIT_MS, true},
    {"EXAT", UNIT_S, false},
    {"PXAT", UNIT_MS, false},
};

/* Options that are followed by a value which could read like one of ours (Redis 8.4). */
static bool option_takes_value(const struct arg *a)
{
    return arg_is(a, "IFEQ") || arg_is(a, "IFNE") || arg_is(a, "IFDEQ") || arg_is(a, "IFDNE");
}

/* EX, PX, EXAT or PXAT among the options behind the first `skip` arguments. */
static bool rewrite_option(const struct call *c, uint64_t skip)
{
    struct args walk;
    struct arg a, value;

    args_first(&walk, c->r, c->base);
    for (uint64_t i = 0; i < skip; i++) {
        if (!args_next(&walk, &a))
            return false;
    }
    while (args_next(&walk, &a) && !arg_is(&a, "FIELDS")) {
        size_t i = 0;
        int64_t v;
        struct edits es = {.cnt = 0};

        if (option_takes_value(&a)) {
            (void)args_next(&walk, &value);
            continue;
        }
        while (i < 4 && !arg_is(&a, time_option[i].name))
            i++;
        if (i == 4)
            continue;
        if (!args_next(&walk, &value) || !arg_i64(&value, &v))
            return false;
        edit_text(&es, &a, "PXAT");
        edit_time(&es, &value,
                  guarded(c->ttl, v, time_option[i].unit, time_option[i].relative, c->max_ms));
        return apply_edits(&es, c->r, c->base, c->out);
    }
    return false;
}

/* NAME key time …: the name and the time are replaced, conditions and fields stay. */
static bool rewrite_expire(const struct call *c, const char *name, enum unit unit,
                           bool relative)
{
    struct args walk;
    struct arg verb, key, time;
    struct edits es = {.cnt = 0};
    int64_t v;

    args_first(&walk, c->r, c->base);
    if (!args_next(&walk, &verb) || !args_next(&walk, &key) || !args_next(&walk, &time) ||
        !arg_i64(&time, &v))
        return false;
    edit_text(&es, &verb, name);
    edit_time(&es, &time, guarded(c->ttl, v, unit, relative, c->max_ms));
    return apply_edits(&es, c->r, c->base, c->out);
}

/* SETEX key seconds value becomes SET key value PXAT ms. */
static bool rewrite_setex(const struct call *c, enum unit unit)
{
    struct args walk;
    struct arg verb, key, time, value;
    int64_t v;

    args_first(&walk, c->r, c->base);
    if (c->r->argc != 4 || !args_next(&walk, &verb) || !args_next(&walk, &key) ||
        !args_next(&walk, &time) || !args_next(&walk, &value) || !arg_i64(&time, &v))
        return false;
    wire_array(c->out, 5);
    wire_text(c->out, "SET");
    buf_append(c->out, c->base + key.begin, key.end - key.begin);
    buf_append(c->out, c->base + value.begin, value.end - value.begin);
    wire_text(c->out, "PXAT");
    wire_i64(c->out, guarded(c->ttl, v, unit, true, c->max_ms));
    return true;
}

#define FOOTER_LEN 10 /* of a payload: version and CRC64 */

/* A payload of a hash whose fields expire, with the guard on them; false: it is none, or damaged,
 * which the target will say. */
static bool guard_payload(struct buf *out, const struct arg *payload, int64_t guard_ms)
{
    uint64_t footer;
    struct err err;

    if (guard_ms <= 0 || payload->len <= 1 + FOOTER_LEN ||
        !restore_fields_expire(payload->p[0]))
        return false;
    footer = payload->len - FOOTER_LEN;
    buf_put_u8(out, payload->p[0]);
    if (restore_fields_guard(out, payload->p[0], payload->p + 1, (size_t)footer - 1, guard_ms,
                             &err) != 0)
        return false;
    buf_append(out, payload->p + footer, 2);
    buf_put_u64(out, crc64(0, buf_data(out), out->len));
    return true;
}

/* RESTORE key ttl payload [REPLACE] [ABSTTL] …: a ttl of 0 is no expiry. */
static bool rewrite_restore(const struct call *c)
{
    struct args walk;
    struct arg a, time = {0}, payload = {0};
    struct buf guarded_payload;
    bool absolute = false, has_time, has_fields;
    int64_t v = 0;

    args_first(&walk, c->r, c->base);
    for (uint64_t i = 0; args_next(&walk, &a); i++) {
        if (i == 2)
            time = a;
        if (i == 3)
            payload = a;
        if (i > 3 && arg_is(&a, "ABSTTL"))
            absolute = true;
    }
    if (c->r->argc < 4)
        return false;
    buf_init(&guarded_payload);
    has_time = arg_i64(&time, &v) && v > 0;
    has_fields = guard_payload(&guarded_payload, &payload, c->ttl->guard_ms);
    if (has_time || has_fields) {
        wire_array(c->out, c->r->argc + (has_time && !absolute));
        args_first(&walk, c->r, c->base);
        for (uint64_t i = 0; args_next(&walk, &a); i++) {
            if (i == 2 && has_time)
                wire_i64(c->out, guarded(c->ttl, v, UNIT_MS, !absolute, c->max_ms));
            else if (i == 3 && has_fields)
                wire_bulk(c->out, buf_data(&guarded_payload), guarded_payload.len);
            else
                buf_append(c->out, c->base + a.begin, a.end - a.begin);
        }
        if (has_time && !absolute)
            wire_text(c->out, "ABSTTL");
    }
    buf_release(&guarded_payload);
    return has_time || has_fields;
}

/* MSETEX count key value … options: the options stand behind the pairs. */
static bool rewrite_msetex(const struct call *c)
{
    struct args walk;
    struct arg a, cnt;
    int64_t pairs;

    args_first(&walk, c->r, c->base);
    if (!args_next(&walk, &a) || !args_next(&walk, &cnt) || !arg_i64(&cnt, &pairs) ||
        pairs < 0 || (uint64_t)pairs > c->r->argc / 2)
        return false;
    return rewrite_option(c, 2 + 2 * (uint64_t)pairs);
}

enum form { FORM_OPTION, FORM_EXPIRE, FORM_SETEX, FORM_RESTORE, FORM_MSETEX };

static const struct row {
    const char *name;
    enum form form;
    uint64_t skip;  /* FORM_OPTION: arguments before the options */
    const char *as; /* FORM_EXPIRE: what it becomes */
    enum unit unit;
    bool relative;
    bool is_field; /* the expiry is one of hash fields */
} rows[] = {
    {.name = "SET", .form = FORM_OPTION, .skip = 3},
    {.name = "GETEX", .form = FORM_OPTION, .skip = 2},
    {.name = "HGETEX", .form = FORM_OPTION, .skip = 2, .is_field = true},
    {.name = "HSETEX", .form = FORM_OPTION, .skip = 2, .is_field = true},
    {.name = "MSETEX", .form = FORM_MSETEX},
    {.name = "SETEX", .form = FORM_SETEX, .unit = UNIT_S},
    {.name = "PSETEX", .form = FORM_SETEX, .unit = UNIT_MS},
    {.name = "RESTORE", .form = FORM_RESTORE},
    {.name = "RESTORE-ASKING", .form = FORM_RESTORE},
    {"EXPIRE", FORM_EXPIRE, 0, "PEXPIREAT", UNIT_S, true, false},
    {"PEXPIRE", FORM_EXPIRE, 0, "PEXPIREAT", UNIT_MS, true, false},
    {"EXPIREAT", FORM_EXPIRE, 0, "PEXPIREAT", UNIT_S, false, false},
    {"PEXPIREAT", FORM_EXPIRE, 0, "PEXPIREAT", UNIT_MS, false, false},
    {"HEXPIRE", FORM_EXPIRE, 0, "HPEXPIREAT", UNIT_S, true, true},
    {"HPEXPIRE", FORM_EXPIRE, 0, "HPEXPIREAT", UNIT_MS, true, true},
    {"HEXPIREAT", FORM_EXPIRE, 0, "HPEXPIREAT", UNIT_S, false, true},
    {"HPEXPIREAT", FORM_EXPIRE, 0, "HPEXPIREAT", UNIT_MS, false, true},
};

static const struct row *find_row(const struct resp *r, const uint8_t *base)
{
    uint8_t first;

    /* Most commands of a stream are told apart by their number of arguments and first letter. */
    if (r->argc < 3 || r->arg[0].len < 3 || r->arg[0].len > 14)
        return NULL;
    first = base[r->arg[0].off] & 0xdf;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if ((uint8_t)rows[i].name[0] == first && resp_arg_is(r, base, 0, rows[i].name))
            return &rows[i];
    }
    return NULL;
}

static bool rewrite(const struct row *row, const struct call *c)
{
    switch (row->form) {
    case FORM_OPTION:
        return c->r->argc >= row->skip + 2 && rewrite_option(c, row->skip);
    case FORM_EXPIRE:
        return rewrite_expire(c, row->as, row->unit, row->relative);
    case FORM_SETEX:
        return rewrite_setex(c, row->unit);
    case FORM_RESTORE:
        return rewrite_restore(c);
    case FORM_MSETEX:
        return rewrite_msetex(c);
    }
    return false;
}

bool ttl_append(const struct ttl *ttl, const struct resp *r, const uint8_t *base,
                struct buf *out)
{
    const struct row *row = find_row(r, base);

    if (row != NULL) {
        struct call c = {.ttl = ttl,
                         .r = r,
                         .base = base,
                         .out = out,
                         .max_ms = row->is_field ? FIELD_MAX_MS : INT64_MAX};

        if (rewrite(row, &c))
            return true;
    }
    buf_append(out, base, r->size);
    return false;
}
