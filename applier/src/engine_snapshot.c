/*
 * engine_snapshot - a snapshot over the live data: functions first and in one piece, then every
 * key by RESTORE REPLACE, then the sweep of what the snapshot does not have. Until the sweep is
 * done the position holds the offsets of the START, so that a crash reads the snapshot again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/engine_priv.h"
#include "applier/src/keyset.h"
#include "applier/src/plan.h"
#include "applier/src/restore.h"
#include "applier/src/sweep.h"
#include "applier/src/wire.h"
#include "common/log.h"
#include "common/mem.h"

void engine_snapshot_begin(struct engine *e)
{
    keyset_free(e->keys);
    e->keys = keyset_new();
    buf_reset(&e->functions);
    e->function_cnt = 0;
    e->functions_due = true;
    e->sweep_due = false;
    e->is_snapshot = true;
    for (uint32_t i = 0; i < e->part_cnt; i++)
        e->part[i].start = engine_log_offset(e, i);
}

static int keep_function(struct engine *e, const struct entry *entry, struct err *err)
{
    struct buf name;
    int rc;

    if (e->function_cnt == e->function_cap) {
        e->function_cap = e->function_cap != 0 ? e->function_cap * 2 : 8;
        e->function_at = xrealloc(e->function_at, e->function_cap * sizeof(*e->function_at));
    }
    e->function_at[e->function_cnt++] = e->functions.len;
    buf_init(&name);
    rc = restore_put_function(&e->functions, &name, entry->data, entry->len, err);
    buf_release(&name);
    return rc;
}

/* All libraries at once, in the batch being filled: a caller of a function sees the old ones or
 * the new ones. */
static void put_functions(struct engine *e)
{
    struct batch *b = e->filling;

    if (!e->functions_due)
        return;
    e->functions_due = false;
    if (e->function_cnt == 0 && !session_has_functions(e->session))
        return;
    batch_add_cmd(b, BATCH_OWN);
    wire_command(&b->bytes, "FUNCTION", "FLUSH", NULL);
    for (size_t i = 0; i < e->function_cnt; i++) {
        size_t from = e->function_at[i];
        size_t upto = i + 1 < e->function_cnt ? e->function_at[i + 1] : e->functions.len;

        batch_add_cmd(b, BATCH_OWN);
        buf_append(&b->bytes, buf_data(&e->functions) + from, upto - from);
        b->log_cmd_cnt++;
    }
    buf_release(&e->functions);
}

static int put_key(struct engine *e, const struct entry *entry, int64_t recv_ms,
                   const struct batch_entry *where, struct err *err)
{
    struct plan_entry pe = {.kind = entry->kind,
                            .db = entry->db,
                            .data = entry->data,
                            .len = entry->len,
                            .recv_ms = recv_ms,
                            .where = where};
    struct rdb_item item;

    put_functions(e);
    if (plan_add_key(e->plan, &pe, e->filling, &item, err) != 0)
        return -1;
    if (restore_payload_size(&item) > e->conf.max_bulk_bytes)
        return err_set(err, ERR_INPUT, 0,
                       "a value of %" PRIu64 " bytes is more than the target takes in one "
                       "RESTORE; raise its proto-max-bulk-len and then target.max_bulk",
                       restore_payload_size(&item));
    (void)keyset_add(e->keys, entry->db, item.key, item.key_len);
    return 0;
}

int engine_snapshot_entry(struct engine *e, const struct entry *entry, int64_t recv_ms,
                          const struct batch_entry *where, struct err *err)
{
    switch (entry->kind) {
    case ENTRY_RDB_META:
        e->filling->log_entry_cnt++;
        return 0;
    case ENTRY_RDB_FUNCTION:
        e->filling->log_entry_cnt++;
        return keep_function(e, entry, err);
    case ENTRY_RDB_KEY:
        return put_key(e, entry, recv_ms, where, err);
    case ENTRY_RDB_END:
        e->filling->log_entry_cnt++;
        put_functions(e);
        e->sweep_due = true;
        return 0;
    default:
        return err_set(err, ERR_CORRUPT, 0, "an entry of kind %d in a snapshot",
                       (int)entry->kind);
    }
}

static void on_submit(void *arg, struct batch *b)
{
    struct engine *e = arg;

    engine_seal(e, b);
    session_submit(e->session, b);
}

static void on_done(void *arg, uint64_t removed)
{
    struct engine *e = arg;

    log_info("snapshot applied", F_U64("epoch", e->at.epoch),
             F_U64("keys", keyset_cnt(e->keys)), F_U64("swept", removed));
    e->cnt.keys_swept += removed;
    e->cnt.snapshots++;
    sweep_free(e->sweep);
    e->sweep = NULL;
    keyset_free(e->keys);
    e->keys = NULL;
    engine_snapshot_end(e);
}

void engine_snapshot_sweep(struct engine *e)
{
    struct sweep_conf conf = {.session = e->session,
                              .keep = e->keys,
                              .position_db = e->conf.session.position_db,
                              .alive_ms = ENGINE_ALIVE_MS,
                              .submit = on_submit,
                              .done = on_done,
                              .arg = e};

    e->sweep_due = false;
    e->state = ENGINE_SWEEPING;
    e->sweep = sweep_new(&conf);
}
