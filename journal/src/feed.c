/* feed - bytes of the link into entries of the sink. */
#include "journal/src/feed.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/cmd.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/mem.h"
#include "common/rdb.h"
#include "common/slot.h"
#include "journal/src/cut.h"
#include "journal/src/sink.h"

/* The entry being put together. */
struct unit {
    enum entry_kind kind;
    uint32_t db, db_end;
    int32_t slot; /* -1: partition 0 */
};

struct feed {
    uint32_t partition_cnt;
    struct cmd_table *table;
    struct cut *cut;
    struct rdb *rdb;
    bool rdb_done;
    struct sink *sink;
    enum phase phase;
    struct buf rest;    /* bytes of the unfinished entry that are in no fragment yet */
    uint64_t start;     /* position of the unfinished entry's next fragment */
    bool continues;     /* a fragment of it was added */
    uint32_t partition; /* of its fragments */
    uint64_t read;      /* position behind the last byte fed */
    uint64_t getack;
};

struct feed *feed_new(uint32_t partition_cnt)
{
    struct feed *f = xcalloc(1, sizeof(*f));

    f->partition_cnt = partition_cnt;
    f->cut = cut_new(NULL, 0);
    buf_init(&f->rest);
    return f;
}

void feed_free(struct feed *f)
{
    if (f == NULL)
        return;
    cut_free(f->cut);
    cmd_table_free(f->table);
    rdb_free(f->rdb);
    buf_release(&f->rest);
    free(f);
}

void feed_set_commands(struct feed *f, struct cmd_table *table)
{
    cut_set_table(f->cut, table);
    cmd_table_free(f->table);
    f->table = table;
}

static void begin(struct feed *f, struct sink *s, enum phase phase, uint64_t at)
{
    buf_reset(&f->rest);
    f->sink = s;
    f->phase = phase;
    f->start = at;
    f->read = at;
    f->continues = false;
    f->getack = 0;
}

void feed_begin_stream(struct feed *f, struct sink *s, uint64_t lsn, uint32_t db)
{
    begin(f, s, PHASE_STREAM, lsn);
    cut_reset(f->cut, db);
}

void feed_begin_snapshot(struct feed *f, struct sink *s)
{
    begin(f, s, PHASE_SNAPSHOT, 0);
    rdb_free(f->rdb);
    f->rdb = rdb_new();
    f->rdb_done = false;
}

void feed_end(struct feed *f)
{
    f->sink = NULL;
    buf_reset(&f->rest);
    rdb_free(f->rdb);
    f->rdb = NULL;
}

/* One piece of the entry: the whole of it, or a fragment. */
static void add(struct feed *f, const struct unit *u, const uint8_t *data, size_t len,
                bool last, int64_t now_ms)
{
    struct entry e = {.kind = u->kind,
                      .db = u->db,
                      .db_end = last ? u->db_end : u->db,
                      .start = f->start,
                      .data = data,
                      .len = len};

    if (!f->continues)
        f->partition = u->slot < 0 ? 0 : (uint32_t)u->slot % f->partition_cnt;
    e.flags = (uint8_t)((f->continues ? ENTRY_CONTINUES : 0) | (last ? 0 : ENTRY_CONTINUED) |
                        (e.db_end != e.db ? ENTRY_DB_END : 0));
    sink_add(f->sink, f->partition, &e, f->phase, now_ms);
    f->start += len;
    f->continues = !last;
}

/* Cuts data[0, len), which ends the entry or (last = false) leaves something for its end, into
 * pieces of exactly the fragment size and the rest. Returns what was added. */
static size_t add_pieces(struct feed *f, const struct unit *u, const uint8_t *data, size_t len,
                         bool last, int64_t now_ms)
{
    size_t max = sink_fragment_bytes(f->sink);
    size_t done = 0;

    while (len - done > max) {
        add(f, u, data + done, max, false, now_ms);
        done += max;
    }
    if (!last)
        return done;
    add(f, u, data + done, len - done, true, now_ms);
    return len;
}

/* `n` more bytes of an entry; end: they are its last ones. */
static void take(struct feed *f, const struct unit *u, const uint8_t *data, size_t n, bool end,
                 int64_t now_ms)
{
    f->read += n;
    if (end && f->rest.len == 0) {
        (void)add_pieces(f, u, data, n, true, now_ms);
        return;
    }
    buf_append(&f->rest, data, n);
    buf_consume(&f->rest, add_pieces(f, u, buf_data(&f->rest), f->rest.len, end, now_ms));
}

/* How much of `len` bytes to look at in one go. The partition of an entry in fragments is decided
 * by what its first piece and one byte show, however the bytes arrive: when the entry comes again,
 * its fragments must go to the same partition. */
static size_t next_look(const struct feed *f, size_t len)
{
    size_t room = sink_fragment_bytes(f->sink) + 1 - f->rest.len;

    return f->continues || len < room ? len : room;
}

int feed_stream(struct feed *f, const uint8_t *data, size_t len, int64_t now_ms,
                struct err *err)
{
    while (len > 0) {
        struct cut_item item = {0};
        bool end = false;
        ptrdiff_t n = cut_feed(f->cut, data, next_look(f, len), &end, &item, err);
        struct unit u;

        if (n < 0)
            return -1;
        u = (struct unit){
            .kind = item.kind, .db = item.db, .db_end = item.db_end, .slot = item.slot};
        take(f, &u, data, (size_t)n, end, now_ms);
        if (end && item.getack)
            f->getack = f->start - item.size;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static struct unit rdb_unit(const struct rdb_item *item, uint32_t db, const struct rdb *rdb)
{
    static const enum entry_kind kinds[] = {[RDB_META] = ENTRY_RDB_META,
                                            [RDB_FUNCTION] = ENTRY_RDB_FUNCTION,
                                            [RDB_KEY] = ENTRY_RDB_KEY,
                                            [RDB_END] = ENTRY_RDB_END};
    const struct rdb_origin *origin = rdb_origin(rdb);
    struct unit u = {.kind = kinds[item->kind], .db = db, .db_end = item->db, .slot = -1};

    if (item->kind == RDB_KEY && item->key != NULL)
        u.slot = slot_of_key(item->key, item->key_len);
    if (item->kind == RDB_END) /* where the stream goes on, for a replica's master (chained) */
        u.db_end = origin->has_stream_db ? origin->stream_db : 0;
    return u;
}

int feed_snapshot(struct feed *f, const uint8_t *data, size_t len, int64_t now_ms,
                  struct err *err)
{
    while (len > 0) {
        struct rdb_item item = {0};
        bool end = false;
        uint32_t db;
        ptrdiff_t n;
        struct unit u;

        if (f->rdb_done)
            return err_set(err, ERR_CORRUPT, 0, "bytes follow the end of the snapshot");
        (void)sink_end(f->sink, &db);
        n = rdb_feed(f->rdb, data, next_look(f, len), &end, &item, err);
        if (n < 0)
            return -1;
        u = rdb_unit(&item, db, f->rdb);
        take(f, &u, data, (size_t)n, end, now_ms);
        if (end && item.kind == RDB_END) {
            /* From here on the log has a complete snapshot, even if the link breaks before the
             * transfer's own end mark: an epoch that follows must say where this one ended. */
            f->rdb_done = true;
            sink_enter_stream(f->sink, u.db_end);
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int feed_snapshot_end(struct feed *f, uint64_t lsn, struct err *err)
{
    uint32_t db;

    if (!f->rdb_done)
        return err_set(err, ERR_CORRUPT, 0,
                       "the snapshot ends after %" PRIu64 " bytes without its end mark",
                       f->read);
    (void)sink_end(f->sink, &db);
    feed_begin_stream(f, f->sink, lsn, db);
    return 0;
}

const struct rdb_origin *feed_origin(const struct feed *f)
{
    return f->rdb != NULL ? rdb_origin(f->rdb) : NULL;
}

uint64_t feed_read_lsn(const struct feed *f)
{
    return f->phase == PHASE_STREAM ? f->read : 0;
}

uint64_t feed_take_getack(struct feed *f)
{
    uint64_t at = f->getack;

    f->getack = 0;
    return at;
}
