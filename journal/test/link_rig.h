/*
 * link_rig - what the tests of link share: a loop with a link whose events are written down.
 * Header only, because each test is one program of one file.
 */
#ifndef JOURNAL_TEST_LINK_RIG_H
#define JOURNAL_TEST_LINK_RIG_H

#include "common/buf.h"
#include "common/cmd.h"
#include "common/err.h"
#include "journal/src/link.h"
#include "journal/src/link_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig;
typedef void rig_hook(struct rig *r, const char *event);
typedef bool rig_until(struct rig *r);

struct rig {
    uv_loop_t loop;
    uv_timer_t tick;
    struct link_conf conf;
    struct link *l;
    struct buf
        events; /* "commands where full:<id>@<lsn> end down:<kind> …", blank after each */
    struct buf snapshot, stream;
    const char *replid; /* what `where` gives; NULL: nothing known */
    uint64_t lsn;
    struct cmd_table *table;
    struct err last; /* of `down` */
    int64_t retry_ms;
    unsigned downs, continues, fulls, ends;
    uint64_t data_calls;
    rig_hook *hook; /* called in every callback with the event's first word */
    rig_until *until;
    const char *until_event;
    void *user;
};

static inline void rig_event(struct rig *r, const char *word, const char *more)
{
    buf_printf(&r->events, "%s%s ", word, more);
    if (r->hook != NULL)
        r->hook(r, word);
}

static inline void rig_continued(void *arg, const char *replid)
{
    struct rig *r = arg;
    char more[64];

    r->continues++;
    (void)snprintf(more, sizeof(more), ":%.4s", replid);
    rig_event(r, "continued", more);
}

static inline void rig_begin(void *arg, const char *replid, uint64_t lsn)
{
    struct rig *r = arg;
    char more[80];

    r->fulls++;
    (void)snprintf(more, sizeof(more), ":%.4s@%llu", replid, (unsigned long long)lsn);
    rig_event(r, "full", more);
}

static inline void rig_snapshot(void *arg, const uint8_t *data, size_t len)
{
    struct rig *r = arg;

    assert_true(len > 0);
    assert_false(r->l->paused);
    r->data_calls++;
    buf_append(&r->snapshot, data, len);
    if (r->hook != NULL)
        r->hook(r, "snapshot");
}

static inline void rig_end(void *arg)
{
    struct rig *r = arg;

    r->ends++;
    rig_event(r, "end", "");
}

static inline void rig_stream(void *arg, const uint8_t *data, size_t len)
{
    struct rig *r = arg;

    assert_true(len > 0);
    assert_false(r->l->paused);
    r->data_calls++;
    buf_append(&r->stream, data, len);
    if (r->hook != NULL)
        r->hook(r, "stream");
}

static inline void rig_down(void *arg, const struct err *err, int64_t retry_ms)
{
    static const char *const kinds[] = {"none",    "again",  "input", "auth",
                                        "corrupt", "fenced", "fatal"};
    struct rig *r = arg;
    char more[16];

    r->downs++;
    r->last = *err;
    r->retry_ms = retry_ms;
    (void)snprintf(more, sizeof(more), ":%s", kinds[err->kind]);
    rig_event(r, "down", more);
}

static inline void rig_where(void *arg, const char **replid, uint64_t *lsn)
{
    struct rig *r = arg;

    *replid = r->replid;
    *lsn = r->lsn;
    rig_event(r, "where", "");
}

static inline void rig_commands(void *arg, struct cmd_table *table)
{
    struct rig *r = arg;

    cmd_table_free(r->table);
    r->table = table;
    rig_event(r, "commands", table != NULL ? "" : ":none");
}

static inline void rig_tick(uv_timer_t *t)
{
    (void)t;
}

static inline void rig_init(struct rig *r, const char *redis)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->tick), 0);
    assert_int_equal(uv_timer_start(&r->tick, rig_tick, 5, 5), 0);
    buf_init(&r->events);
    buf_init(&r->snapshot);
    buf_init(&r->stream);
    r->conf = (struct link_conf){
        .redis = redis,
        .connect_timeout_ms = 3000,
        .timeout_ms = 5000,
        .retry_min_ms = 10,
        .retry_max_ms = 200,
    };
}

/* read_size 0: the link's own; 1: byte by byte. */
static inline void rig_start(struct rig *r, size_t read_size)
{
    static const struct link_events events = {
        .continued = rig_continued,
        .snapshot_begin = rig_begin,
        .snapshot_data = rig_snapshot,
        .snapshot_end = rig_end,
        .stream_data = rig_stream,
        .down = rig_down,
        .where = rig_where,
        .commands = rig_commands,
    };
    struct err err = {0};

    if (link_new(&r->loop, &r->conf, &events, r, &r->l, &err) != 0)
        fail_msg("link_new: %s", err.msg);
    if (read_size != 0)
        r->l->size = read_size;
    link_start(r->l);
}

static inline void rig_release(struct rig *r)
{
    link_free(r->l);
    uv_close((uv_handle_t *)&r->tick, NULL);
    assert_int_equal(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    buf_release(&r->events);
    buf_release(&r->snapshot);
    buf_release(&r->stream);
    cmd_table_free(r->table);
}

static inline const char *rig_events(struct rig *r)
{
    *buf_reserve(&r->events, 1) = '\0';
    return (const char *)buf_data(&r->events);
}

static inline void rig_run_ms(struct rig *r, int64_t ms)
{
    uint64_t end = uv_hrtime() / 1000000 + (uint64_t)ms;

    while (uv_hrtime() / 1000000 < end)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
}

/* Runs the loop until `done`; fails after 10 s. */
static inline void rig_wait(struct rig *r, rig_until *done, const char *what)
{
    uint64_t end = uv_hrtime() / 1000000 + 10000;

    while (!done(r)) {
        if (uv_hrtime() / 1000000 > end)
            fail_msg("no %s within 10 s; events: %s; last: %s", what, rig_events(r),
                     r->last.msg);
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
}

static inline bool rig_saw_event(struct rig *r)
{
    return strstr(rig_events(r), r->until_event) != NULL;
}

static inline void rig_wait_event(struct rig *r, const char *event)
{
    r->until_event = event;
    rig_wait(r, rig_saw_event, event);
}

#endif
