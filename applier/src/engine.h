/*
 * engine - the applier's state machine: position -> merge -> batches -> target.
 *
 * It begins anew from the position that the target holds after every connection, because only the
 * target knows how far it is; nothing about progress is kept here. The log comes through struct
 * source_ops, so that a test can be the source.
 */
#ifndef APPLIER_ENGINE_H
#define APPLIER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "applier/src/position.h"
#include "applier/src/session.h"

struct engine;
struct err;

/* What the engine asks of the source of frames. `src` is engine_conf.source. */
struct source_ops {
    /* Deliver every partition from offset[p] on; whatever was delivered before is void. */
    void (*begin)(void *src, const int64_t *offset);
    void (*stop)(void *src); /* deliver nothing until `begin` */
    void (*pause)(void *src, uint32_t partition, bool on);
    /* Deliver this partition from `offset` on. */
    void (*seek)(void *src, uint32_t partition, int64_t offset);
    /* For tools that watch a consumer group; never read back. */
    void (*commit)(void *src, const int64_t *offset);
    /* A frame given by engine_frame() is not needed any more. */
    void (*release)(void *src, void *owner);
};

struct engine_conf {
    struct session_conf session; /* position_key is set by the engine */
    const struct source_ops *ops;
    void *source;
    const char *source_name; /* borrowed, as all texts */
    const char *topic;
    bool overwrite;
    int64_t guard_ms;
    size_t batch_commands, batch_bytes;
    size_t memory_bytes; /* of frames, all partitions together */
    size_t max_entry_bytes;
    size_t max_bulk_bytes; /* the target's proto-max-bulk-len */
    int64_t standby_ms;    /* another writer's position must stand still this long */
    /* The engine stopped for good; *err says why. NULL: engine_drain() is done. */
    void (*stopped)(void *arg, const struct err *err);
    void *arg;
};

enum engine_state {
    ENGINE_CONNECTING, /* to the target, or waiting to try again */
    ENGINE_CHECKING,   /* the target has no position: may it be written to? */
    ENGINE_WAITING,    /* for the source */
    ENGINE_RUNNING,
    ENGINE_SWEEPING,
    ENGINE_STANDBY,
    ENGINE_HALTING, /* writes why it stands still into the position */
    ENGINE_DRAINING,
    ENGINE_STOPPED,
};

struct engine_counters {
    uint64_t commands, entries, batches, bytes;
    uint64_t frames, frames_dropped; /* dropped: not needed, mostly delivered twice */
    uint64_t reconnects, fenced, lookaheads;
    uint64_t keys_swept, snapshots;
    uint64_t errors_transient, errors_divergence, errors_log;
};

/* For /status and metrics; texts live until the next call. */
struct engine_view {
    enum engine_state state;
    const char *state_name;
    const char *detail; /* why it waits; "" */
    bool has_position;
    const struct position *position; /* applied */
    bool is_snapshot, waits_for_start;
    uint64_t snapshot_keys;
    uint64_t source_lsn; /* of the last heartbeat: what the journal read, or Redis said */
    uint64_t lag_bytes;
    double lag_seconds;
    uint32_t partition_cnt;
    const char *target_version;
};

/* Starts to connect to the target. */
struct engine *engine_new(uv_loop_t *loop, const struct engine_conf *conf);
/* Ends everything at once. */
void engine_free(struct engine *e);
/* Finishes the batches on their way (for at most 5 s), then `stopped`. */
void engine_drain(struct engine *e);

/* ---- from the source ---- */

/* The topic was found; low[p] is the first offset of each partition. */
void engine_source_ready(struct engine *e, uint32_t partition_cnt, const int64_t *low);
/* A record. The bytes stay until release(owner). */
void engine_frame(struct engine *e, uint32_t partition, int64_t offset, const void *data,
                  size_t len, void *owner);
/* No more records for the moment: the engine goes to work. */
void engine_frames_end(struct engine *e);
#define ENGINE_NO_PARTITION UINT32_MAX
/* The source can't go on: AGAIN is only shown, all else stops the engine. CORRUPT: in `partition`,
 * from the next record on; what lies before is still applied. */
void engine_source_failed(struct engine *e, uint32_t partition, const struct err *err);

void engine_view(const struct engine *e, struct engine_view *out);
const struct engine_counters *engine_counters(const struct engine *e);
/* Of a partition: the next offset that will be needed, and bytes held. */
void engine_partition(const struct engine *e, uint32_t partition, int64_t *offset,
                      size_t *bytes, bool *paused);
/* NULL when ready. */
const char *engine_not_ready(const struct engine *e);

#endif
