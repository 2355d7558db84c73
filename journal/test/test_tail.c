/* Tests of tail.c on librdkafka's mock cluster: where a log ends, from logs written by hand. */
#include "journal/src/tail.h"
#include "journal/test/mock_log.h"

#define E1   ((uint64_t)1700000000000)
#define E2   (E1 + 10)
#define BASE ((uint64_t)1000)

struct lab {
    struct mock_log *log;
    struct frame head; /* of the next frame: epoch, D, owner */
    struct tail *tail;
};

static void lab_open(struct lab *l)
{
    memset(l, 0, sizeof(*l));
    l->log = log_open();
    l->head = (struct frame){.source_id = frame_name_id(LOG_SOURCE),
                             .owner_id = frame_name_id("me"),
                             .owner_run = 7,
                             .epoch = E1};
    memcpy(l->head.replid, LOG_REPLID, sizeof(l->head.replid));
}

static void lab_close(struct lab *l)
{
    tail_close(l->tail);
    log_close(l->log);
}

static void durable(struct lab *l, uint64_t epoch, enum phase phase, uint64_t lsn)
{
    l->head.d = (struct wal_pos){.epoch = epoch, .phase = phase, .lsn = lsn};
    l->head.d_db = 3;
}

static struct start start_of(uint64_t epoch, enum start_kind kind, uint64_t base)
{
    struct start s = {
        .kind = kind, .epoch = epoch, .base = base, .partition_cnt = LOG_PARTS, .db = 1};

    memcpy(s.replid, LOG_REPLID, sizeof(s.replid));
    (void)snprintf(s.owner, sizeof(s.owner), "me");
    return s;
}

static void put_buf(struct lab *l, int32_t partition, struct buf *b)
{
    log_put(l->log, partition, buf_data(b), b->len);
    buf_release(b);
}

static void put_start(struct lab *l, const struct start *s)
{
    struct buf b;

    buf_init(&b);
    l->head.epoch = s->epoch;
    frame_put_start(&b, &l->head, s);
    put_buf(l, 0, &b);
}

static void put_heartbeat(struct lab *l, int32_t partition, const struct start *s,
                          uint64_t read_lsn)
{
    struct heartbeat h = {.start = *s, .read_lsn = read_lsn};
    struct buf b;

    buf_init(&b);
    frame_put_heartbeat(&b, &l->head, &h);
    put_buf(l, partition, &b);
}

/* A data frame with one entry or fragment, [from, to). */
static void put_entry(struct lab *l, int32_t partition, enum entry_kind kind, uint8_t flags,
                      uint64_t from, uint64_t to)
{
    static const uint8_t bytes[4096];
    bool stream = kind < ENTRY_RDB_META;
    struct entry e = {.kind = kind,
                      .flags = flags,
                      .db = 4,
                      .db_end = flags & ENTRY_DB_END ? 5 : 4,
                      .start = from,
                      .data = bytes,
                      .len = to - from};
    struct frame f = l->head;
    struct frame_writer w;
    struct buf b;

    assert_true(to - from <= sizeof(bytes));
    f.type = FRAME_DATA;
    f.phase = stream ? PHASE_STREAM : PHASE_SNAPSHOT;
    buf_init(&b);
    frame_begin(&w, &b);
    frame_add(&w, &e);
    frame_end(&w, &f);
    put_buf(l, partition, &b);
}

static void put(struct lab *l, int32_t partition, uint64_t from, uint64_t to)
{
    put_entry(l, partition, ENTRY_COMMAND, 0, from, to);
}

static int end_of(struct lab *l, struct tail_end *end, struct err *err)
{
    if (l->tail == NULL)
        assert_int_equal(tail_open(&l->log->kafka, LOG_TOPIC, LOG_PARTS,
                                   frame_name_id(LOG_SOURCE), &l->tail, err),
                         0);
    return tail_end(l->tail, end, err);
}

static struct tail_end end(struct lab *l)
{
    struct tail_end e;
    struct err err;

    if (end_of(l, &e, &err) != 0)
        fail_msg("%s", err.msg);
    return e;
}

static void expect(struct lab *l, uint64_t epoch, bool usable, uint64_t lsn, uint32_t db)
{
    struct tail_end e = end(l);

    assert_true(e.has_start);
    assert_int_equal(e.start.epoch, epoch);
    assert_int_equal(e.usable, usable);
    if (!usable)
        return;
    assert_int_equal(e.lsn, lsn);
    assert_int_equal(e.db, db);
}

static void test_empty(void **state)
{
    struct lab l;
    struct tail_end e;
    struct tail_owner o = {.any = true};
    struct err err;

    (void)state;
    lab_open(&l);
    e = end(&l);
    assert_false(e.has_start || e.usable);
    assert_int_equal(e.max_epoch, 0);
    assert_int_equal(tail_owner(l.tail, &o, &err), 0);
    assert_false(o.any || o.has_start);
    lab_close(&l);
}

static void test_start_only(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);
    struct tail_owner o;
    struct err err;

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    expect(&l, E1, true, BASE, 1);
    assert_int_equal(tail_owner(l.tail, &o, &err), 0);
    assert_true(o.any && o.has_start);
    assert_int_equal(o.owner_id, frame_name_id("me"));
    assert_int_equal(o.owner_run, 7);
    assert_int_equal(o.offset, 0);
    /* Another owner's heartbeat, of the same START: it is the last frame that counts. */
    l.head.owner_run = 8;
    put_heartbeat(&l, 0, &s, 0);
    assert_int_equal(tail_owner(l.tail, &o, &err), 0);
    assert_int_equal(o.owner_run, 8);
    assert_int_equal(o.offset, 1);
    assert_int_equal(o.start.epoch, E1);
    lab_close(&l);
}

/* What is durable stands in heartbeats; what goes beyond it is found by merging. */
static void test_durable_and_beyond(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    durable(&l, E1, PHASE_STREAM, BASE);
    put(&l, 0, BASE, 1100);
    put(&l, 1, 1100, 1200);
    durable(&l, E1, PHASE_STREAM, 1200);
    put_heartbeat(&l, 2, &s, 1200);
    expect(&l, E1, true, 1200, 3);
    put(&l, 2, 1200, 1300);
    put_entry(&l, 1, ENTRY_LINK, ENTRY_DB_END, 1300, 1330);
    expect(&l, E1, true, 1330, 5);
    put(&l, 0, 1400, 1500); /* a hole */
    put(&l, 1, 1330, 1350);
    expect(&l, E1, true, 1350, 4);
    put(&l, 2, 1350, 1400);
    expect(&l, E1, true, 1500, 4);
    lab_close(&l);
}

/* Below D nothing is needed: retention may have taken it. */
static void test_log_begins_later(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);

    (void)state;
    lab_open(&l);
    l.head.epoch = E1;
    durable(&l, E1, PHASE_STREAM, 5000);
    put(&l, 1, 5000, 5100);
    put_heartbeat(&l, 0, &s, 5100);
    expect(&l, E1, true, 5100, 4);
    lab_close(&l);
}

static void test_fragments(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    durable(&l, E1, PHASE_STREAM, BASE);
    put(&l, 0, BASE, 1100);
    put_entry(&l, 1, ENTRY_COMMAND, ENTRY_CONTINUED, 1100, 1400);
    put_entry(&l, 1, ENTRY_COMMAND, ENTRY_CONTINUED | ENTRY_CONTINUES, 1400, 1700);
    expect(&l, E1, true, 1100, 4); /* half an entry is none */
    put_entry(&l, 1, ENTRY_COMMAND, ENTRY_CONTINUED, 1100, 1400);
    put_entry(&l, 1, ENTRY_COMMAND, ENTRY_CONTINUED | ENTRY_CONTINUES, 1400, 1700);
    expect(&l, E1, true, 1100, 4);
    put_entry(&l, 1, ENTRY_COMMAND, ENTRY_CONTINUES, 1700, 1750);
    expect(&l, E1, true, 1750, 4);
    lab_close(&l);
}

static void test_snapshot(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_SNAPSHOT, BASE);
    struct tail_end e;

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    expect(&l, E1, false, 0, 0);
    durable(&l, E1, PHASE_SNAPSHOT, 0);
    put_entry(&l, 1, ENTRY_RDB_META, 0, 0, 9);
    put_entry(&l, 2, ENTRY_RDB_KEY, 0, 9, 500);
    durable(&l, E1, PHASE_SNAPSHOT, 500);
    put_heartbeat(&l, 1, &s, 0);
    expect(&l, E1, false, 0, 0);
    put_entry(&l, 0, ENTRY_RDB_END, ENTRY_DB_END, 600, 609); /* its key is missing */
    put(&l, 0, BASE, 1100);
    expect(&l, E1, false, 0, 0);
    put_entry(&l, 2, ENTRY_RDB_KEY, 0, 500, 600);
    expect(&l, E1, true, 1100, 4);
    /* Complete, and no stream yet. */
    s = start_of(E2, START_SNAPSHOT, 7000);
    s.prev_epoch = E1;
    put_start(&l, &s);
    put_entry(&l, 0, ENTRY_RDB_END, ENTRY_DB_END, 0, 9);
    expect(&l, E2, true, 7000, 5);
    durable(&l, E2, PHASE_STREAM, 7000);
    s.snapshot_epoch = E2;
    put_heartbeat(&l, 0, &s, 7000);
    e = end(&l);
    assert_int_equal(e.start.snapshot_epoch, E2);
    assert_int_equal(e.lsn, 7000);
    lab_close(&l);
}

/* The last START counts, wherever in the log the earlier epochs end. */
static void test_several_epochs(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    durable(&l, E1, PHASE_STREAM, BASE);
    put(&l, 1, BASE, 1100);
    put(&l, 2, 1200, 1300); /* never continued: its owner died */
    s = start_of(E2, START_STREAM, 1100);
    s.prev_epoch = E1;
    s.prev_end = 1100;
    s.has_prev_end = true;
    put_start(&l, &s);
    expect(&l, E2, true, 1100, 1);
    durable(&l, E2, PHASE_STREAM, 1100);
    put(&l, 2, 1100, 1150);
    expect(&l, E2, true, 1150, 4);
    assert_int_equal(end(&l).max_epoch, E2);
    /* A heartbeat of a takeover repeats the START, without any D. */
    l.head.d = (struct wal_pos){0};
    l.head.owner_run = 9;
    put_heartbeat(&l, 0, &s, 0);
    expect(&l, E2, true, 1150, 4);
    lab_close(&l);
}

/* The last START is far back behind frames of its partition. */
static void test_start_is_far_back(void **state)
{
    enum { CNT = 700 };
    struct lab l;
    struct start s = start_of(E1, START_STREAM, 0);
    uint64_t at = 0;

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    for (int i = 0; i < CNT; i++, at += 10) {
        durable(&l, E1, PHASE_STREAM, at);
        put(&l, 0, at, at + 10);
    }
    expect(&l, E1, true, at, 4);
    lab_close(&l);
}

/* Idle partitions are full of heartbeats: they are not read back to their begin. */
static void test_idle_partitions(void **state)
{
    enum { CNT = 600 };
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);
    uint64_t at = BASE;
    struct tail_end e;

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    for (int i = 0; i < CNT; i++) {
        durable(&l, E1, PHASE_STREAM, at);
        put(&l, 0, at, at + 10);
        at += 10;
        if (i % 10 == 0)
            put_heartbeat(&l, 0, &s, at);
        put_heartbeat(&l, 1, &s, at);
        put_heartbeat(&l, 2, &s, at);
    }
    e = end(&l);
    assert_int_equal(e.lsn, at);
    assert_true(e.frames < CNT);
    lab_close(&l);
}

static void expect_error(struct lab *l, const char *want)
{
    struct tail_end e;
    struct err err;

    assert_int_equal(end_of(l, &e, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    if (strstr(err.msg, want) == NULL)
        fail_msg("wanted '%s' in '%s'", want, err.msg);
}

static void test_not_ours(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    put(&l, 1, BASE, 1100);
    l.head.source_id++;
    put(&l, 1, 1100, 1200);
    expect_error(&l, "partition 1 offset 1: the frame is of another source");
    lab_close(&l);

    lab_open(&l);
    put_start(&l, &s);
    log_put(l.log, 2, "hello", 5);
    expect_error(&l, "partition 2 offset 0: ");
    lab_close(&l);

    /* An epoch whose START is not there. */
    lab_open(&l);
    put_start(&l, &s);
    l.head.epoch = E2;
    put(&l, 0, BASE, 1100);
    expect_error(&l, "partition 0 offset 1: ");
    lab_close(&l);
}

/* Kafka is away: an error to try again on, and then it works. */
static void test_away(void **state)
{
    struct lab l;
    struct start s = start_of(E1, START_STREAM, BASE);
    struct tail_owner o;
    struct err err;

    (void)state;
    lab_open(&l);
    put_start(&l, &s);
    expect(&l, E1, true, BASE, 1);
    for (int32_t i = 1; i <= 1 + LOG_PARTS; i++)
        assert_int_equal(rd_kafka_mock_broker_set_down(l.log->mock, i), 0);
    assert_int_equal(tail_owner(l.tail, &o, &err), -1);
    assert_int_equal(err.kind, ERR_AGAIN);
    for (int32_t i = 1; i <= 1 + LOG_PARTS; i++)
        assert_int_equal(rd_kafka_mock_broker_set_up(l.log->mock, i), 0);
    expect(&l, E1, true, BASE, 1);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_start_only),
        cmocka_unit_test(test_durable_and_beyond),
        cmocka_unit_test(test_log_begins_later),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_several_epochs),
        cmocka_unit_test(test_start_is_far_back),
        cmocka_unit_test(test_idle_partitions),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
