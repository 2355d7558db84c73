/*
 * frame - the log's record format: encoding and decoding of frames, entries, START and
 * heartbeats. No I/O. The normative description, byte by byte, is FORMAT.md.
 *
 * One Kafka record is one frame: a fixed little-endian header of FRAME_HEAD bytes, an extension
 * area, and a body (entries of one partition in order of position; or the control block of a
 * START or heartbeat). Positions are byte offsets: of the RDB in the snapshot phase, of Redis'
 * replication stream (LSN) in the stream phase. An entry covers [start, start + len).
 */
#ifndef COMMON_FRAME_H
#define COMMON_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

#define FRAME_HEAD           132
#define FRAME_VERSION        1
#define FRAME_REPLID         40  /* hex digits of a replication id */
#define FRAME_NAME_MAX       255 /* bytes of an owner's name */
#define FRAME_PARTITIONS_MAX 4096

enum frame_type { FRAME_DATA = 1, FRAME_START = 2, FRAME_HEARTBEAT = 3 };

/* Ordered: a snapshot comes before the stream of its epoch. */
enum phase { PHASE_SNAPSHOT = 0, PHASE_STREAM = 1 };

/* A place in the log: everything of the epoch below it. Compared in this order. */
struct wal_pos {
    uint64_t epoch;
    enum phase phase;
    uint64_t lsn; /* position within the phase */
};
int wal_pos_cmp(const struct wal_pos *a, const struct wal_pos *b);

enum entry_kind {
    ENTRY_COMMAND = 1, /* one command, not in a transaction */
    ENTRY_TXN = 2,     /* MULTI … EXEC, whole */
    ENTRY_LINK = 3,    /* PING, SELECT, REPLCONF: belongs to the stream, is never applied */
    ENTRY_RDB_META = 16,
    ENTRY_RDB_FUNCTION = 17,
    ENTRY_RDB_KEY = 18,
    ENTRY_RDB_END = 19, /* the snapshot is complete with this entry */
};

/* A fragment has one of these or both set; a whole entry none. */
#define ENTRY_CONTINUES 0x01 /* not the first fragment of its entry */
#define ENTRY_CONTINUED 0x02 /* not the last fragment of its entry */
#define ENTRY_DB_END    0x04 /* db_end differs from db */

struct entry {
    enum entry_kind kind;
    uint8_t flags;
    uint32_t db;         /* database in force where the entry (not the fragment) starts */
    uint32_t db_end;     /* in force behind it; equals db without ENTRY_DB_END */
    uint64_t start;      /* position of the first byte */
    const uint8_t *data; /* borrowed */
    size_t len;
};

enum start_kind { START_STREAM = 1, START_SNAPSHOT = 2 };

/* What opens an epoch; a heartbeat repeats the last one. */
struct start {
    enum start_kind kind;
    bool
        has_prev_end; /* false: prev P is `none` (no earlier epoch, or an incomplete snapshot) */
    uint64_t epoch;
    char replid[FRAME_REPLID + 1];
    uint32_t db;         /* database in force at base (kind stream) */
    uint64_t base;       /* first LSN of the epoch's stream phase */
    uint64_t prev_epoch; /* 0: the log was empty */
    uint64_t prev_end;   /* LSN where the previous epoch ended, in its stream phase */
    uint32_t partition_cnt;
    uint64_t snapshot_epoch; /* of the newest complete snapshot in the log so far; 0: none. Its
                              * frames' Kafka timestamps are not below the epoch in ms */
    char owner[FRAME_NAME_MAX + 1];
};

struct heartbeat {
    struct start start;      /* the last one */
    uint64_t read_lsn;       /* what the owner has read of the epoch's stream; 0: nothing yet */
    uint64_t source_lsn;     /* the source's own master_repl_offset, 0: unknown */
    int64_t source_clock_ms; /* the source's clock, 0: unknown */
};

/* Header fields. For START and heartbeats base = end = 0 and phase is ignored on writing. */
struct frame {
    enum frame_type type;
    enum phase phase;   /* of base, end and the entries */
    uint64_t source_id; /* frame_source_id() of the source's name */
    uint64_t owner_id;  /* frame_source_id() of the owner's name: the same after its restart */
    uint64_t owner_run; /* random, new for every run of the owner */
    uint64_t epoch;
    char replid[FRAME_REPLID + 1];
    uint32_t key_id; /* 0: the body is not encrypted (nothing else is defined yet) */
    uint64_t origin; /* 0: the write was made by a client; else the site it was replayed from */
    uint64_t base, end; /* start of the first entry, end of the last one */
    struct wal_pos d;   /* durable position when the frame was built; all zero: none yet */
    uint32_t d_db;      /* database in force at d */
    int64_t recv_ms;    /* when the owner read it from its source */
    uint32_t entry_cnt;
    const uint8_t *body; /* borrowed from the input */
    size_t body_len;
};

/* XXH64 (seed 0) of a name. */
uint64_t frame_name_id(const char *name);

/*
 * Decodes one whole record. Checks magic, version, flags, lengths, CRC32C, critical extensions
 * and, for data, that the entries parse, are in order and fill [base, end]. Returns 0, or -1 with
 * ERR_CORRUPT saying what is wrong (without offsets: the caller knows partition and offset).
 * Does not allocate. *out borrows from data.
 */
int frame_decode(const void *data, size_t len, struct frame *out, struct err *err);

/* Iterates over the entries of a decoded data frame. */
struct entry_cursor {
    const uint8_t *p;
    size_t left;
    uint64_t next; /* end of the entry before */
    bool failed;   /* only for bodies that frame_decode did not accept */
};
void entry_first(struct entry_cursor *c, const struct frame *f);
/* False at the end (or when failed). */
bool entry_next(struct entry_cursor *c, struct entry *out);

int frame_start(const struct frame *f, struct start *out, struct err *err);
int frame_heartbeat(const struct frame *f, struct heartbeat *out, struct err *err);

/*
 * Building: frame_begin() reserves the header, frame_add() appends entries, frame_end() fills
 * the header in (base, end, entry_cnt come from the entries; the rest from *f) and seals it with
 * the CRC. The bytes are then the whole of `b`.
 */
struct frame_writer {
    struct buf *b;
    uint32_t cnt;
    uint64_t base, end;
};
void frame_begin(struct frame_writer *w, struct buf *b);
/* e->start must not be below the end of the entry before. */
void frame_add(struct frame_writer *w, const struct entry *e);
void frame_end(struct frame_writer *w, const struct frame *f);
/* Whole control frames into an empty `b`; type, epoch and replid of the header are set by these. */
void frame_put_start(struct buf *b, const struct frame *f, const struct start *s);
void frame_put_heartbeat(struct buf *b, const struct frame *f, const struct heartbeat *h);

#endif
