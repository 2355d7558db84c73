/*
 * fuzz_plan - entries of the log, as commands, transactions and snapshot items, into the commands
 * of a batch: whatever the bytes are, the plan either refuses the entry or appends whole commands.
 */
#include <stdint.h>
#include <stdlib.h>

#include "applier/src/batch.h"
#include "applier/src/plan.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/rdb.h"
#include "common/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target would read what was appended: whole commands, to the last byte. */
static void check_commands(const struct buf *b)
{
    const uint8_t *p = buf_data(b);
    size_t left = b->len;
    struct resp r;
    struct err err;

    while (left > 0) {
        bool done = false;
        ptrdiff_t n;

        resp_init(&r);
        n = resp_feed(&r, p, left, &done, &err);
        if (n <= 0 || !done)
            abort();
        p += n;
        left -= (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum entry_kind kinds[] = {ENTRY_COMMAND, ENTRY_TXN, ENTRY_LINK};
    static const struct plan_conf conf = {.position_key = "redis-wal:position:fuzz",
                                          .guard_ms = 604800000};
    struct batch_entry where = {0};
    struct plan_entry e = {.where = &where, .recv_ms = 1700000000000};
    struct plan *plan;
    struct batch batch;
    struct rdb_item item;
    struct err err;
    int rc;

    if (size < 2)
        return 0;
    plan = plan_new(&conf);
    batch_init(&batch);
    batch_begin(&batch, 0);
    e.db = data[0] >> 2;
    e.data = data + 1;
    e.len = size - 1;
    if ((data[0] & 3) == 3) {
        rc = plan_add_key(plan, &e, &batch, &item, &err);
    } else {
        e.kind = kinds[data[0] & 3];
        rc = plan_add(plan, &e, &batch, &err);
    }
    if (rc == 0)
        check_commands(&batch.bytes);
    batch_release(&batch);
    plan_free(plan);
    return 0;
}
