/* sweep - removes from the target what a snapshot does not hold. */
#include "applier/src/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "applier/src/batch.h"
#include "applier/src/keyset.h"
#include "applier/src/keyspace.h"
#include "applier/src/position.h"
#include "applier/src/reply.h"
#include "applier/src/session.h"
#include "applier/src/wire.h"
#include "common/clock.h"
#include "common/mem.h"

#define DB_MAX     4096
#define SCAN_COUNT "1000"

struct sweep {
    struct sweep_conf conf;
    struct keyspace_db db[DB_MAX];
    size_t db_cnt, db_at;
    char cursor[24]; /* a decimal number, as SCAN gave it */
    struct batch batch;
    int64_t submitted_ms;
    uint64_t removed;
};

static void scan(struct sweep *s);

static void submit_or_go_on(struct sweep *s)
{
    int64_t now = clock_mono_ms();

    if (s->batch.cmd_cnt == 0 && now - s->submitted_ms < s->conf.alive_ms) {
        sweep_applied(s);
        return;
    }
    s->submitted_ms = now;
    s->conf.submit(s->conf.arg, &s->batch);
}

static void take_key(struct sweep *s, uint32_t db, const char *key, size_t len)
{
    static const char prefix[] = POSITION_PREFIX;

    if (len >= sizeof(prefix) - 1 && memcmp(key, prefix, sizeof(prefix) - 1) == 0)
        return;
    if (keyset_has(s->conf.keep, db, key, len))
        return;
    batch_select(&s->batch, db);
    batch_add_cmd(&s->batch, BATCH_OWN);
    wire_array(&s->batch.bytes, 2);
    wire_text(&s->batch.bytes, "UNLINK");
    wire_bulk(&s->batch.bytes, key, len);
    s->removed++;
}

/* Replies to SELECT, SCAN, SELECT. SCAN gives [cursor, [key…]]. */
static void on_scan(void *arg, size_t index, const struct reply *reply)
{
    struct sweep *s = arg;
    uint32_t db = s->db[s->db_at].db;

    if (index == 1) {
        batch_begin(&s->batch, s->conf.position_db);
        s->cursor[0] = 0;
        if (reply->node_cnt >= 3 && reply->node[1].len < sizeof(s->cursor)) {
            memcpy(s->cursor, reply->node[1].p, reply->node[1].len);
            s->cursor[reply->node[1].len] = 0;
        }
        for (size_t i = 3; i < reply->node_cnt; i++)
            take_key(s, db, reply->node[i].p, reply->node[i].len);
    }
    if (index == 2)
        submit_or_go_on(s);
}

static void scan(struct sweep *s)
{
    struct buf out;

    buf_init(&out);
    wire_select(&out, s->db[s->db_at].db);
    wire_command(&out, "SCAN", s->cursor, "COUNT", SCAN_COUNT, NULL);
    wire_select(&out, s->conf.position_db);
    session_call(s->conf.session, &out, 3, on_scan, s);
    buf_release(&out);
}

void sweep_applied(struct sweep *s)
{
    if (strcmp(s->cursor, "0") == 0) {
        s->db_at++;
        if (s->db_at == s->db_cnt) {
            s->conf.done(s->conf.arg, s->removed);
            return;
        }
    }
    scan(s);
}

static void on_keyspace(void *arg, size_t index, const struct reply *reply)
{
    struct sweep *s = arg;

    (void)index;
    if (reply->type == REPLY_STRING)
        s->db_cnt = keyspace_parse(reply->node[0].p, reply->node[0].len, s->db, DB_MAX);
    if (s->db_cnt == 0)
        s->conf.done(s->conf.arg, 0);
    else
        scan(s);
}

struct sweep *sweep_new(const struct sweep_conf *conf)
{
    struct sweep *s = xcalloc(1, sizeof(*s));
    struct buf out;

    s->conf = *conf;
    s->submitted_ms = clock_mono_ms();
    batch_init(&s->batch);
    s->cursor[0] = '0';
    buf_init(&out);
    wire_command(&out, "INFO", "keyspace", NULL);
    session_call(s->conf.session, &out, 1, on_keyspace, s);
    buf_release(&out);
    return s;
}

void sweep_free(struct sweep *s)
{
    if (s == NULL)
        return;
    batch_release(&s->batch);
    free(s);
}
