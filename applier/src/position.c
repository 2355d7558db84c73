/* position - how far a Redis has the log applied. */
#include "applier/src/position.h"
#include "applier/src/wire.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Order of the values in position_put_read(); the names are the format. */
enum field {
    F_VERSION,
    F_SOURCE,
    F_EPOCH,
    F_PHASE,
    F_LSN,
    F_DB,
    F_OFFSETS,
    F_TOPIC,
    F_PARTITIONS,
    F_GUARD,
    F_TIME,
    F_APPLIED,
    F_WRITER,
    F_HALTED,
};

static const char *const field_name[POSITION_FIELDS] = {
    "version", "source",     "epoch",    "phase", "lsn",        "db",     "offsets",
    "topic",   "partitions", "guard_ms", "time",  "applied_at", "writer", "halted",
};
static const enum field check_field[POSITION_CHECKS] = {F_EPOCH, F_PHASE, F_LSN, F_WRITER,
                                                        F_HALTED};
static const char *const phase_name[] = {"snapshot", "stream"};

void position_init(struct position *p)
{
    *p = (struct position){.present = false};
}

void position_release(struct position *p)
{
    free(p->offset);
    position_init(p);
}

void position_copy(struct position *to, const struct position *from)
{
    int64_t *offset = NULL;

    if (from->partition_cnt != 0) {
        offset = xcalloc(from->partition_cnt, sizeof(*offset));
        memcpy(offset, from->offset, from->partition_cnt * sizeof(*offset));
    }
    free(to->offset);
    *to = *from;
    to->offset = offset;
}

void position_key(struct buf *out, const char *source)
{
    buf_printf(out, POSITION_PREFIX "position:%s", source);
}

void position_put_read(struct buf *out, const char *key)
{
    wire_array(out, 2 + POSITION_FIELDS);
    wire_text(out, "HMGET");
    wire_text(out, key);
    for (size_t i = 0; i < POSITION_FIELDS; i++)
        wire_text(out, field_name[i]);
}

void position_put_check(struct buf *out, const char *key)
{
    wire_array(out, 2 + POSITION_CHECKS);
    wire_text(out, "HMGET");
    wire_text(out, key);
    for (size_t i = 0; i < POSITION_CHECKS; i++)
        wire_text(out, field_name[check_field[i]]);
}

static void put_offsets(struct buf *out, const struct position *p)
{
    struct buf text;

    buf_init(&text);
    for (uint32_t i = 0; i < p->partition_cnt; i++)
        buf_printf(&text, "%s%" PRId64, i == 0 ? "" : ",", p->offset[i]);
    wire_bulk(out, buf_data(&text), text.len);
    buf_release(&text);
}

void position_put_write(struct buf *out, const char *key, const struct position *p)
{
    wire_array(out, 2 + 2 * (POSITION_FIELDS - 1));
    wire_text(out, "HSET");
    wire_text(out, key);
    wire_text(out, field_name[F_VERSION]);
    wire_u64(out, POSITION_VERSION);
    wire_text(out, field_name[F_SOURCE]);
    wire_text(out, p->source);
    wire_text(out, field_name[F_EPOCH]);
    wire_u64(out, p->at.epoch);
    wire_text(out, field_name[F_PHASE]);
    wire_text(out, phase_name[p->at.phase]);
    wire_text(out, field_name[F_LSN]);
    wire_u64(out, p->at.lsn);
    wire_text(out, field_name[F_DB]);
    wire_u64(out, p->db);
    wire_text(out, field_name[F_OFFSETS]);
    put_offsets(out, p);
    wire_text(out, field_name[F_TOPIC]);
    wire_text(out, p->topic);
    wire_text(out, field_name[F_PARTITIONS]);
    wire_u64(out, p->partition_cnt);
    wire_text(out, field_name[F_GUARD]);
    wire_i64(out, p->guard_ms);
    wire_text(out, field_name[F_TIME]);
    wire_i64(out, p->time_ms);
    wire_text(out, field_name[F_APPLIED]);
    wire_i64(out, p->applied_at_ms);
    wire_text(out, field_name[F_WRITER]);
    wire_text(out, p->writer);
}

void position_put_halt(struct buf *out, const char *key, const char *why)
{
    wire_command(out, "HSET", key, field_name[F_HALTED], why, NULL);
}

/* ---- parsing: everything is checked, the key may have been written by anybody ---- */

static bool to_u64(const struct position_text *v, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;

    if (v->p == NULL || v->len == 0 || v->len > 20)
        return false;
    for (size_t i = 0; i < v->len; i++) {
        unsigned digit = (unsigned)((unsigned char)v->p[i] - '0');

        if (digit > 9 || n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (n > max)
        return false;
    *out = n;
    return true;
}

static bool to_i64(const struct position_text *v, int64_t *out)
{
    uint64_t n;

    if (!to_u64(v, INT64_MAX, &n))
        return false;
    *out = (int64_t)n;
    return true;
}

static bool to_u32(const struct position_text *v, uint32_t max, uint32_t *out)
{
    uint64_t n;

    if (!to_u64(v, max, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

static bool to_name(const struct position_text *v, char *out, size_t size)
{
    if (v->p == NULL || v->len >= size || memchr(v->p, 0, v->len) != NULL)
        return false;
    memcpy(out, v->p, v->len);
    out[v->len] = 0;
    return true;
}

static bool text_is(const struct position_text *v, const char *text)
{
    return v->p != NULL && v->len == strlen(text) && memcmp(v->p, text, v->len) == 0;
}

static bool to_phase(const struct position_text *v, enum phase *out)
{
    for (size_t i = 0; i < 2; i++) {
        if (text_is(v, phase_name[i])) {
            *out = (enum phase)i;
            return true;
        }
    }
    return false;
}

static bool to_offsets(const struct position_text *v, uint32_t cnt, int64_t *out)
{
    const char *p = v->p;
    size_t left = v->len;

    if (p == NULL)
        return false;
    for (uint32_t i = 0; i < cnt; i++) {
        const char *comma = left == 0 ? NULL : memchr(p, ',', left);
        struct position_text one = {p, comma == NULL ? left : (size_t)(comma - p)};

        if ((comma == NULL) != (i + 1 == cnt) || !to_i64(&one, &out[i]))
            return false;
        if (comma != NULL) {
            left -= one.len + 1;
            p = comma + 1;
        }
    }
    return true;
}

static int bad_field(struct err *err, enum field f)
{
    return err_set(err, ERR_CORRUPT, 0, "position: field '%s' is missing or malformed",
                   field_name[f]);
}

static int parse_fields(const struct position_text *v, struct position *p, struct err *err)
{
    uint64_t version;

    if (!to_u64(&v[F_VERSION], UINT64_MAX, &version))
        return bad_field(err, F_VERSION);
    if (version != POSITION_VERSION)
        return err_set(err, ERR_CORRUPT, 0,
                       "position: version %" PRIu64 " is not known (this program: %d)", version,
                       POSITION_VERSION);
    if (!to_name(&v[F_SOURCE], p->source, sizeof(p->source)))
        return bad_field(err, F_SOURCE);
    if (!to_u64(&v[F_EPOCH], UINT64_MAX, &p->at.epoch))
        return bad_field(err, F_EPOCH);
    if (!to_phase(&v[F_PHASE], &p->at.phase))
        return bad_field(err, F_PHASE);
    if (!to_u64(&v[F_LSN], UINT64_MAX, &p->at.lsn))
        return bad_field(err, F_LSN);
    if (!to_u32(&v[F_DB], UINT32_MAX, &p->db))
        return bad_field(err, F_DB);
    if (!to_name(&v[F_TOPIC], p->topic, sizeof(p->topic)))
        return bad_field(err, F_TOPIC);
    if (!to_u32(&v[F_PARTITIONS], FRAME_PARTITIONS_MAX, &p->partition_cnt) ||
        p->partition_cnt == 0)
        return bad_field(err, F_PARTITIONS);
    p->offset = xcalloc(p->partition_cnt, sizeof(*p->offset));
    if (!to_offsets(&v[F_OFFSETS], p->partition_cnt, p->offset))
        return bad_field(err, F_OFFSETS);
    if (!to_i64(&v[F_GUARD], &p->guard_ms))
        return bad_field(err, F_GUARD);
    if (!to_i64(&v[F_TIME], &p->time_ms))
        return bad_field(err, F_TIME);
    if (!to_i64(&v[F_APPLIED], &p->applied_at_ms))
        return bad_field(err, F_APPLIED);
    if (!to_name(&v[F_WRITER], p->writer, sizeof(p->writer)))
        return bad_field(err, F_WRITER);
    if (v[F_HALTED].p != NULL && !to_name(&v[F_HALTED], p->halted, sizeof(p->halted)))
        return bad_field(err, F_HALTED);
    return 0;
}

int position_parse(const struct position_text *value, size_t cnt, struct position *out,
                   struct err *err)
{
    struct position p;
    bool any = false;

    position_init(&p);
    if (cnt != POSITION_FIELDS)
        return err_set(err, ERR_CORRUPT, 0, "position: %zu values instead of %d", cnt,
                       POSITION_FIELDS);
    for (size_t i = 0; i < cnt; i++)
        any = any || value[i].p != NULL;
    if (any) {
        if (parse_fields(value, &p, err) != 0) {
            position_release(&p);
            return -1;
        }
        p.present = true;
    }
    free(out->offset);
    *out = p;
    return 0;
}

static bool is_u64(const struct position_text *v, uint64_t expected)
{
    uint64_t n;

    return to_u64(v, UINT64_MAX, &n) && n == expected;
}

bool position_is(const struct position *expected, const struct position_text *value, size_t cnt)
{
    if (cnt != POSITION_CHECKS)
        return false;
    if (!expected->present) {
        for (size_t i = 0; i < cnt; i++) {
            if (value[i].p != NULL)
                return false;
        }
        return true;
    }
    return is_u64(&value[0], expected->at.epoch) &&
           text_is(&value[1], phase_name[expected->at.phase]) &&
           is_u64(&value[2], expected->at.lsn) && text_is(&value[3], expected->writer) &&
           (value[4].p == NULL || value[4].len == 0);
}
