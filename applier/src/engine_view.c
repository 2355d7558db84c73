/* engine_view - what the engine shows of itself. */
#include "applier/src/engine_priv.h"
#include "applier/src/keyset.h"
#include "common/clock.h"

static const char *state_name(const struct engine *e)
{
    switch (e->state) {
    case ENGINE_CONNECTING:
        return "connecting";
    case ENGINE_CHECKING:
        return "checking";
    case ENGINE_WAITING:
        return "waiting";
    case ENGINE_RUNNING:
        if (e->merge != NULL && merge_waits_for_start(e->merge))
            return "waiting-for-snapshot";
        return e->is_snapshot ? "snapshot" : "stream";
    case ENGINE_SWEEPING:
        return "sweep";
    case ENGINE_STANDBY:
        return "standby";
    case ENGINE_HALTING:
        return "halting";
    case ENGINE_DRAINING:
        return "draining";
    case ENGINE_STOPPED:
        return "stopped";
    }
    return "";
}

void engine_view(const struct engine *e, struct engine_view *out)
{
    const struct wal_pos *at = &e->position.at;
    bool is_stream = e->position.present && at->phase == PHASE_STREAM;

    *out = (struct engine_view){
        .state = e->state,
        .state_name = state_name(e),
        .detail = e->detail,
        .has_position = e->position.present,
        .position = &e->position,
        .is_snapshot = e->is_snapshot,
        .waits_for_start = e->merge != NULL && merge_waits_for_start(e->merge),
        .snapshot_keys = e->keys != NULL ? keyset_cnt(e->keys) : 0,
        .partition_cnt = e->part_cnt,
        .target_version = e->session != NULL ? session_target_version(e->session) : ""};
    if (e->beat_epoch == at->epoch && is_stream) {
        out->source_lsn = e->beat_lsn;
        if (e->beat_lsn > at->lsn)
            out->lag_bytes = e->beat_lsn - at->lsn;
    }
    /* Without a heartbeat of this epoch nothing says that there is no more to apply. */
    if (e->position.present &&
        (out->lag_bytes != 0 || !is_stream || e->beat_epoch != at->epoch))
        out->lag_seconds = (double)(clock_wall_ms() - e->position.time_ms) / 1000.0;
    if (out->lag_seconds < 0)
        out->lag_seconds = 0;
}

const struct engine_counters *engine_counters(const struct engine *e)
{
    return &e->cnt;
}

void engine_partition(const struct engine *e, uint32_t partition, int64_t *offset,
                      size_t *bytes, bool *paused)
{
    *offset = engine_log_offset(e, partition);
    *bytes = e->merge != NULL ? merge_bytes(e->merge, partition) : 0;
    *paused = e->part[partition].paused;
}

const char *engine_not_ready(const struct engine *e)
{
    switch (e->state) {
    case ENGINE_RUNNING:
        return e->merge != NULL && merge_waits_for_start(e->merge)
                   ? "waits for a snapshot in the log"
                   : NULL;
    case ENGINE_SWEEPING:
        return NULL;
    case ENGINE_CONNECTING:
        return "not connected to the target";
    case ENGINE_STANDBY:
        return "another applier is active";
    default:
        return state_name(e);
    }
}
