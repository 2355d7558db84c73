/* engine_priv - the state that the engine's files share; included by engine*.c only. */
#ifndef APPLIER_ENGINE_PRIV_H
#define APPLIER_ENGINE_PRIV_H

#include "applier/src/batch.h"
#include "applier/src/engine.h"
#include "common/err.h"
#include "common/merge.h"

struct keyset;
struct plan;
struct sweep;

/* A position is written at least this often, for those who stand by. */
#define ENGINE_ALIVE_MS 4000

#define BATCHES 3 /* one being applied, one sent behind it, one being filled */

struct engine_part {
    int64_t low;    /* first offset in the log when the topic was found */
    int64_t begin;  /* where delivery began */
    int64_t start;  /* needed again to read the snapshot that is being applied */
    int64_t next;   /* behind the last frame delivered; -1: none */
    bool paused;    /* holds more than its share of memory */
    bool looking;   /* paused, but read on without keeping frames */
    int64_t looked; /* first frame that was not kept; -1: none */
    int64_t sought; /* what was asked for again; all else is of before that; -1: none */
    int64_t hold;   /* frame of an entry that could not be applied; -1: none */
    bool damaged;   /* nothing more of it can be used */
};

struct engine {
    uv_loop_t *loop;
    uv_timer_t *tick;
    struct engine_conf conf;
    struct engine_counters cnt;
    enum engine_state state;
    char detail[sizeof(((struct err *)0)->msg)];
    char *key;
    char writer[POSITION_WRITER + 1];

    /* the target */
    struct session *session; /* NULL, or over: `session_over` */
    bool session_over;
    int64_t retry_at_ms;
    unsigned tries;
    struct position position;         /* what the target holds */
    char halt[POSITION_HALT_MAX + 1]; /* to be written into the position before all else */

    /* the log */
    uint32_t part_cnt; /* 0: the source is not ready */
    struct engine_part *part;
    uint32_t paused_cnt;
    bool looking;
    struct merge *merge; /* NULL: not running */
    uint64_t beat_epoch, beat_lsn;

    /* the batches */
    struct plan *plan;
    struct batch batch[BATCHES];
    bool batch_busy[BATCHES];
    struct batch *filling;
    struct buf whole;         /* fragments of one entry */
    struct batch_entry where; /* of the entry in `whole` */
    int64_t whole_recv_ms;
    struct wal_pos at; /* behind the last entry that was put into a batch */
    uint32_t db;
    int64_t time_ms; /* when the journal received it */
    bool moved;      /* `at` is ahead of what was submitted */
    int64_t submitted_ms;
    int64_t committed_ms;

    /* the snapshot */
    bool is_snapshot;
    struct keyset *keys;
    struct buf functions; /* FUNCTION LOAD commands */
    size_t *function_at;  /* where each of them begins */
    size_t function_cnt, function_cap;
    bool functions_due;
    bool sweep_due;
    struct sweep *sweep;

    /* standing by, or ending */
    bool standby, take_over;
    struct position seen;
    int64_t still_since_ms;
    int64_t drain_until_ms;
    struct err end;    /* why; kind ERR_NONE: asked to */
    struct err damage; /* of the log, found ahead of what is applied; ERR_NONE: none */
    int64_t damaged_ms;
};

/* engine.c */
/* Stops for good because of *err, after what is on its way was applied. */
void engine_fail(struct engine *e, const struct err *err);
/* Nothing is on its way any more: ends, if the engine is draining. */
void engine_try_end(struct engine *e);

/* engine_log.c */
/* Begins to read the log where *pos says, or from its beginning. */
void engine_log_begin(struct engine *e, const struct position *pos);
void engine_log_end(struct engine *e);
/* Lets paused partitions go on that hold little now. */
void engine_log_resume(struct engine *e);
/* The merge waits and nothing is on its way: reads on in paused partitions, if there are any. */
void engine_log_look(struct engine *e);
/* The merge went on: frames that were only looked at are read again. */
void engine_log_look_end(struct engine *e);
/*
 * A partition can't be read any further. What the other ones hold before that place is still
 * applied; engine_damage_tick() stops the engine when nothing moved for a while.
 */
void engine_log_damaged(struct engine *e, uint32_t partition, const struct err *err);
void engine_damage_tick(struct engine *e, int64_t now_ms);
int64_t engine_log_offset(const struct engine *e, uint32_t partition);

/* engine_apply.c */
void engine_apply_reset(struct engine *e);
/* Moves entries from the merge into batches and sends them, as far as that goes now. */
void engine_pump(struct engine *e);
/* Sends what there is, also a position alone, if nothing is on its way. */
void engine_flush_idle(struct engine *e);
/* Sends the batch being filled; there is room. */
void engine_flush_all(struct engine *e);
/* ERR_CORRUPT when what was received at last_ms is too old for the guard. */
int engine_check_standstill(const struct engine *e, int64_t last_ms, int64_t now_ms,
                            struct err *err);
void engine_applied(struct engine *e, struct batch *b);
void engine_snapshot_end(struct engine *e);

/* engine_snapshot.c */
void engine_snapshot_begin(struct engine *e);
int engine_snapshot_entry(struct engine *e, const struct entry *entry, int64_t recv_ms,
                          const struct batch_entry *where, struct err *err);
void engine_snapshot_sweep(struct engine *e);
void engine_seal(struct engine *e, struct batch *b);

#endif
