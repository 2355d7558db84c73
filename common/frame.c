/* frame - encoding and decoding of the log's records; FORMAT.md is the description. */
#include "common/frame.h"

#include <string.h>
#include <xxhash.h>

#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"

static const uint8_t MAGIC[4] = {'R', 'W', 'A', 'L'};

enum {
    FLAG_STREAM = 1,   /* base, end and entries are LSNs */
    FLAG_D_STREAM = 2, /* D is an LSN */
    FLAGS_KNOWN = 3,
    ENTRY_FLAGS_KNOWN = ENTRY_CONTINUES | ENTRY_CONTINUED | ENTRY_DB_END,
    START_HAS_PREV = 1,
    EXT_CRITICAL = 0x8000,
    CRC_AT = 8,
    REPLID_BYTES = FRAME_REPLID / 2,
};

int wal_pos_cmp(const struct wal_pos *a, const struct wal_pos *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->phase != b->phase)
        return a->phase < b->phase ? -1 : 1;
    return a->lsn == b->lsn ? 0 : a->lsn < b->lsn ? -1 : 1;
}

uint64_t frame_name_id(const char *name)
{
    return XXH64(name, strlen(name), 0);
}

static void replid_text(const uint8_t *bytes, char *out)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < REPLID_BYTES; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
    out[FRAME_REPLID] = '\0';
}

static uint8_t hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (uint8_t)(c - 'a' + 10);
    return (uint8_t)(c >= 'A' && c <= 'F' ? c - 'A' + 10 : 0);
}

static void replid_bytes(const char *text, uint8_t *out)
{
    /* An unset id is written as zeros. */
    memset(out, 0, REPLID_BYTES);
    if (strlen(text) != FRAME_REPLID)
        return;
    for (size_t i = 0; i < REPLID_BYTES; i++)
        out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
}

static uint32_t frame_crc(const uint8_t *data, size_t len)
{
    uint32_t crc = crc32c(0, data, CRC_AT);

    return crc32c(crc, data + CRC_AT + 4, len - CRC_AT - 4);
}

/* Whether the phase's kinds and flags are those of the format. */
static bool entry_is_sound(const struct frame *f, const struct entry *e)
{
    bool stream_kind =
        e->kind == ENTRY_COMMAND || e->kind == ENTRY_TXN || e->kind == ENTRY_LINK;
    bool rdb_kind = e->kind >= ENTRY_RDB_META && e->kind <= ENTRY_RDB_END;

    if (f->phase == PHASE_STREAM ? !stream_kind : !rdb_kind)
        return false;
    if ((e->flags & ENTRY_CONTINUED) && (e->flags & ENTRY_DB_END))
        return false;
    return !(e->flags & ENTRY_DB_END) || e->db != e->db_end;
}

void entry_first(struct entry_cursor *c, const struct frame *f)
{
    *c = (struct entry_cursor){.p = f->body, .left = f->body_len, .next = f->base};
}

bool entry_next(struct entry_cursor *c, struct entry *out)
{
    struct reader r;
    uint64_t db, db_end, delta, len;
    struct entry e = {0};

    if (c->left == 0 || c->failed)
        return false;
    reader_init(&r, c->p, c->left);
    e.kind = (enum entry_kind)reader_u8(&r);
    e.flags = reader_u8(&r);
    db = reader_varint(&r);
    db_end = e.flags & ENTRY_DB_END ? reader_varint(&r) : db;
    delta = reader_varint(&r);
    len = reader_varint(&r);
    e.data = reader_bytes(&r, len);
    if (r.failed || len == 0 || db > UINT32_MAX || db_end > UINT32_MAX ||
        (e.flags & ~ENTRY_FLAGS_KNOWN) || delta > UINT64_MAX - c->next ||
        len > UINT64_MAX - c->next - delta) {
        c->failed = true;
        return false;
    }
    e.db = (uint32_t)db;
    e.db_end = (uint32_t)db_end;
    e.start = c->next + delta;
    e.len = len;
    c->p = r.p;
    c->left = r.left;
    c->next = e.start + len;
    *out = e;
    return true;
}

static int check_entries(const struct frame *f, struct err *err)
{
    struct entry_cursor c;
    struct entry e;
    uint32_t cnt = 0;

    entry_first(&c, f);
    while (entry_next(&c, &e)) {
        if (cnt == 0 && e.start != f->base)
            return err_set(err, ERR_CORRUPT, 0, "the first entry does not start at the base");
        if (!entry_is_sound(f, &e))
            return err_set(err, ERR_CORRUPT, 0, "entry %u has kind %d, flags %d", cnt,
                           (int)e.kind, (int)e.flags);
        cnt++;
    }
    if (c.failed)
        return err_set(err, ERR_CORRUPT, 0, "entry %u can't be read", cnt);
    if (cnt == 0 || cnt != f->entry_cnt || c.next != f->end)
        return err_set(err, ERR_CORRUPT, 0, "the entries do not fill the frame");
    return 0;
}

static int check_extensions(const uint8_t *ext, size_t len, struct err *err)
{
    struct reader r;

    reader_init(&r, ext, len);
    while (r.left != 0) {
        uint16_t type = reader_u16(&r);
        uint16_t size = reader_u16(&r);

        (void)reader_bytes(&r, size);
        if (r.failed)
            return err_set(err, ERR_CORRUPT, 0, "an extension can't be read");
        if (type & EXT_CRITICAL)
            return err_set(err, ERR_CORRUPT, 0,
                           "critical extension %u is unknown: written by a newer version",
                           (unsigned)(type & ~EXT_CRITICAL));
    }
    return 0;
}

static int decode_head(const uint8_t *p, size_t len, struct frame *f, size_t *ext_len,
                       struct err *err)
{
    uint16_t flags;
    uint64_t body_len;

    if (len < FRAME_HEAD)
        return err_set(err, ERR_CORRUPT, 0, "%zu bytes are too short for a frame", len);
    if (memcmp(p, MAGIC, sizeof(MAGIC)) != 0)
        return err_set(err, ERR_CORRUPT, 0, "no frame: the magic is missing");
    if (p[4] != FRAME_VERSION)
        return err_set(err, ERR_CORRUPT, 0, "frame version %d is unknown", (int)p[4]);
    *ext_len = get_u32le(p + 12);
    body_len = get_u32le(p + 16);
    if (FRAME_HEAD + (uint64_t)*ext_len + body_len != len)
        return err_set(err, ERR_CORRUPT, 0, "the frame's length does not match its header");
    if (frame_crc(p, len) != get_u32le(p + CRC_AT))
        return err_set(err, ERR_CORRUPT, 0, "bad CRC");
    flags = get_u16le(p + 6);
    if (flags & ~FLAGS_KNOWN)
        return err_set(err, ERR_CORRUPT, 0, "unknown frame flags 0x%x", (unsigned)flags);
    if (p[5] < FRAME_DATA || p[5] > FRAME_HEARTBEAT)
        return err_set(err, ERR_CORRUPT, 0, "unknown frame type %d", (int)p[5]);
    f->type = (enum frame_type)p[5];
    f->phase = flags & FLAG_STREAM ? PHASE_STREAM : PHASE_SNAPSHOT;
    f->entry_cnt = get_u32le(p + 20);
    f->source_id = get_u64le(p + 24);
    f->owner_id = get_u64le(p + 32);
    f->owner_run = get_u64le(p + 40);
    f->epoch = get_u64le(p + 48);
    replid_text(p + 56, f->replid);
    f->key_id = get_u32le(p + 76);
    f->base = get_u64le(p + 80);
    f->end = get_u64le(p + 88);
    f->d.epoch = get_u64le(p + 96);
    f->d.lsn = get_u64le(p + 104);
    f->d.phase = flags & FLAG_D_STREAM ? PHASE_STREAM : PHASE_SNAPSHOT;
    f->recv_ms = (int64_t)get_u64le(p + 112);
    f->origin = get_u64le(p + 120);
    f->d_db = get_u32le(p + 128);
    f->body = p + FRAME_HEAD + *ext_len;
    f->body_len = body_len;
    return 0;
}

int frame_decode(const void *data, size_t len, struct frame *out, struct err *err)
{
    struct frame f = {0};
    size_t ext_len = 0;

    if (data == NULL)
        return err_set(err, ERR_CORRUPT, 0, "no frame: the record has no value");
    if (decode_head(data, len, &f, &ext_len, err) != 0 ||
        check_extensions((const uint8_t *)data + FRAME_HEAD, ext_len, err) != 0)
        return -1;
    if (f.key_id != 0)
        return err_set(err, ERR_CORRUPT, 0, "the frame is encrypted with the unknown key %u",
                       f.key_id);
    if (f.d.epoch == 0 && (f.d.lsn != 0 || f.d.phase != PHASE_SNAPSHOT || f.d_db != 0))
        return err_set(err, ERR_CORRUPT, 0, "a durable position without an epoch");
    if (f.type == FRAME_DATA) {
        if (check_entries(&f, err) != 0)
            return -1;
    } else if (f.entry_cnt != 0 || f.base != 0 || f.end != 0) {
        return err_set(err, ERR_CORRUPT, 0, "a control frame has entries or positions");
    }
    *out = f;
    return 0;
}

static bool read_start(struct reader *r, struct start *s)
{
    uint8_t kind = reader_u8(r);
    uint8_t flags = reader_u8(r);
    const uint8_t *replid, *owner;
    uint8_t owner_len;

    s->kind = (enum start_kind)kind;
    s->has_prev_end = (flags & START_HAS_PREV) != 0;
    s->partition_cnt = reader_u16(r);
    s->db = reader_u32(r);
    s->epoch = reader_u64(r);
    replid = reader_bytes(r, REPLID_BYTES);
    s->base = reader_u64(r);
    s->prev_epoch = reader_u64(r);
    s->prev_end = reader_u64(r);
    s->snapshot_epoch = reader_u64(r);
    owner_len = reader_u8(r);
    owner = reader_bytes(r, owner_len);
    if (r->failed || (kind != START_STREAM && kind != START_SNAPSHOT) ||
        (flags & ~START_HAS_PREV) || s->partition_cnt == 0 ||
        s->partition_cnt > FRAME_PARTITIONS_MAX || memchr(owner, 0, owner_len) != NULL ||
        (!s->has_prev_end && s->prev_end != 0) || (kind == START_SNAPSHOT && s->db != 0))
        return false;
    replid_text(replid, s->replid);
    memcpy(s->owner, owner, owner_len);
    s->owner[owner_len] = '\0';
    return true;
}

/* The header says again what the block says. */
static bool is_of(const struct start *s, const struct frame *f)
{
    return s->epoch == f->epoch && strcmp(s->replid, f->replid) == 0;
}

int frame_start(const struct frame *f, struct start *out, struct err *err)
{
    struct start s = {0};
    struct reader r;

    reader_init(&r, f->body, f->body_len);
    if (!read_start(&r, &s) || r.left != 0 || !is_of(&s, f))
        return err_set(err, ERR_CORRUPT, 0, "the START can't be read");
    *out = s;
    return 0;
}

int frame_heartbeat(const struct frame *f, struct heartbeat *out, struct err *err)
{
    struct heartbeat h = {0};
    struct reader r;
    bool ok;

    reader_init(&r, f->body, f->body_len);
    ok = read_start(&r, &h.start);
    h.read_lsn = reader_u64(&r);
    h.source_lsn = reader_u64(&r);
    h.source_clock_ms = (int64_t)reader_u64(&r);
    if (!ok || r.failed || r.left != 0 || !is_of(&h.start, f))
        return err_set(err, ERR_CORRUPT, 0, "the heartbeat can't be read");
    *out = h;
    return 0;
}

void frame_begin(struct frame_writer *w, struct buf *b)
{
    *w = (struct frame_writer){.b = b};
    memset(buf_reserve(b, FRAME_HEAD), 0, FRAME_HEAD);
    buf_added(b, FRAME_HEAD);
}

void frame_add(struct frame_writer *w, const struct entry *e)
{
    if (w->cnt == 0) {
        w->base = e->start;
        w->end = e->start;
    }
    buf_put_u8(w->b, (uint8_t)e->kind);
    buf_put_u8(w->b, e->flags);
    buf_put_varint(w->b, e->db);
    if (e->flags & ENTRY_DB_END)
        buf_put_varint(w->b, e->db_end);
    buf_put_varint(w->b, e->start - w->end);
    buf_put_varint(w->b, e->len);
    buf_append(w->b, e->data, e->len);
    w->end = e->start + e->len;
    w->cnt++;
}

void frame_end(struct frame_writer *w, const struct frame *f)
{
    uint8_t *p = buf_data(w->b);
    unsigned flags = 0;

    if (f->phase == PHASE_STREAM && f->type == FRAME_DATA)
        flags |= FLAG_STREAM;
    if (f->d.epoch != 0 && f->d.phase == PHASE_STREAM)
        flags |= FLAG_D_STREAM;
    memcpy(p, MAGIC, sizeof(MAGIC));
    p[4] = FRAME_VERSION;
    p[5] = (uint8_t)f->type;
    put_u16le(p + 6, (uint16_t)flags);
    put_u32le(p + 12, 0);
    put_u32le(p + 16, (uint32_t)(w->b->len - FRAME_HEAD));
    put_u32le(p + 20, w->cnt);
    put_u64le(p + 24, f->source_id);
    put_u64le(p + 32, f->owner_id);
    put_u64le(p + 40, f->owner_run);
    put_u64le(p + 48, f->epoch);
    replid_bytes(f->replid, p + 56);
    put_u32le(p + 76, f->key_id);
    put_u64le(p + 80, w->base);
    put_u64le(p + 88, w->end);
    put_u64le(p + 96, f->d.epoch);
    put_u64le(p + 104, f->d.epoch != 0 ? f->d.lsn : 0);
    put_u64le(p + 112, (uint64_t)f->recv_ms);
    put_u64le(p + 120, f->origin);
    put_u32le(p + 128, f->d.epoch != 0 ? f->d_db : 0);
    put_u32le(p + CRC_AT, frame_crc(p, w->b->len));
}

static void put_start(struct buf *b, const struct start *s)
{
    size_t owner_len = strlen(s->owner);

    buf_put_u8(b, (uint8_t)s->kind);
    buf_put_u8(b, s->has_prev_end ? START_HAS_PREV : 0);
    buf_put_u16(b, (uint16_t)s->partition_cnt);
    buf_put_u32(b, s->kind == START_STREAM ? s->db : 0);
    buf_put_u64(b, s->epoch);
    replid_bytes(s->replid, buf_reserve(b, REPLID_BYTES));
    buf_added(b, REPLID_BYTES);
    buf_put_u64(b, s->base);
    buf_put_u64(b, s->prev_epoch);
    buf_put_u64(b, s->has_prev_end ? s->prev_end : 0);
    buf_put_u64(b, s->snapshot_epoch);
    buf_put_u8(b, (uint8_t)owner_len);
    buf_append(b, s->owner, owner_len);
}

static void put_control(struct buf *b, const struct frame *f, enum frame_type type,
                        const struct start *s, const struct heartbeat *h)
{
    struct frame_writer w;
    struct frame head = *f;

    head.type = type;
    head.epoch = s->epoch;
    memcpy(head.replid, s->replid, sizeof(head.replid));
    frame_begin(&w, b);
    put_start(b, s);
    if (h != NULL) {
        buf_put_u64(b, h->read_lsn);
        buf_put_u64(b, h->source_lsn);
        buf_put_u64(b, (uint64_t)h->source_clock_ms);
    }
    frame_end(&w, &head);
}

void frame_put_start(struct buf *b, const struct frame *f, const struct start *s)
{
    put_control(b, f, FRAME_START, s, NULL);
}

void frame_put_heartbeat(struct buf *b, const struct frame *f, const struct heartbeat *h)
{
    put_control(b, f, FRAME_HEARTBEAT, &h->start, h);
}
