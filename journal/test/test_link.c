/*
 * Tests of link against a scripted master, over loopback TCP. Each script is played twice: read
 * in large pieces, and byte by byte.
 */
#include "journal/test/fake_master.h"
#include "journal/test/link_rig.h"

#define ID     "0123456789abcdef0123456789abcdef01234567"
#define ID2    "fedcba9876543210fedcba9876543210fedcba98"
#define MARK   "aabaabaac4e1aabaabaac4e1aabaabaac4e1aabf"
#define PING   "*1\r\n$4\r\nPING\r\n"
#define CNT(a) (sizeof(a) / sizeof((a)[0]))

static const size_t sizes[] = {0, 1};

struct play {
    struct rig r;
    struct fake f;
};

static void play_start(struct play *p, const struct fake_step *step, size_t cnt, size_t size)
{
    fake_listen(&p->f);
    if (p->r.conf.redis == NULL)
        p->r.conf.redis = p->f.addr;
    fake_run(&p->f, step, cnt);
    rig_start(&p->r, size);
}

static void play_new(struct play *p)
{
    rig_init(&p->r, NULL);
}

static void play_end(struct play *p)
{
    rig_release(&p->r);
    fake_release(&p->f);
    if (p->f.problem[0] != '\0')
        fail_msg("%s", p->f.problem);
}

static bool stream_is_28(struct rig *r)
{
    return r->stream.len >= 28;
}

static void check_bytes(const struct buf *b, const char *want, size_t len)
{
    assert_int_equal(b->len, len);
    assert_memory_equal(buf_data(b), want, len);
}

/* ---- the forms of replies ---- */

static void full_resync(const struct fake_step *step, size_t cnt)
{
    for (size_t i = 0; i < CNT(sizes); i++) {
        struct play p;
        struct link_stats st;

        play_new(&p);
        play_start(&p, step, cnt, sizes[i]);
        rig_wait(&p.r, stream_is_28, "stream");
        assert_string_equal(rig_events(&p.r), "commands:none where full:0123@100 end ");
        check_bytes(&p.r.snapshot, "REDIS\naab\r\n", 11);
        check_bytes(&p.r.stream, PING PING, 28);
        link_get_stats(p.r.l, &st);
        assert_true(st.up);
        assert_int_equal(st.source_lsn, 128);
        assert_int_equal(st.connects, 1);
        assert_string_equal(st.peer, p.f.addr);
        play_end(&p);
    }
}

static void test_full_sized(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC ? -1"),
        SEND("\n\n"),
        SLEEP(5),
        SEND("\n+FULLRESYNC " ID " 100\r\n\n\n"),
        SLEEP(5),
        SEND("\n$11\r\nREDIS"),
        SLEEP(5),
        SEND("\naab\r\n" PING PING),
        EXPECT("REPLCONF ACK 0"),
        HOLD,
    };

    (void)state;
    full_resync(step, CNT(step));
}

/* The stream comes only after the first ACK, as Redis 7 does it. */
static void test_full_marked(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC ? -1"),
        SEND("+FULLRESYNC " ID " 100\r\n\n$EOF:" MARK "\r\nREDIS\naab\r\naabaaba"),
        SLEEP(20),
        SEND("ac4e1aabaabaac4e1aabaabaac4e1aabf"),
        EXPECT("REPLCONF ACK 0"),
        SEND(PING PING),
        HOLD,
    };

    (void)state;
    full_resync(step, CNT(step));
}

static void test_full_marked_glued(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC ? -1"),
        SEND("+FULLRESYNC " ID " 100\r\n$EOF:" MARK "\r\nREDIS\naab\r\n" MARK PING PING),
        EXPECT("REPLCONF ACK 0"),
        HOLD,
    };

    (void)state;
    full_resync(step, CNT(step));
}

static void continued(const struct fake_step *step, size_t cnt, const char *events)
{
    for (size_t i = 0; i < CNT(sizes); i++) {
        struct play p;
        struct link_stats st;

        play_new(&p);
        p.r.replid = ID;
        p.r.lsn = 9007199254740993; /* not a double */
        play_start(&p, step, cnt, sizes[i]);
        rig_wait(&p.r, stream_is_28, "stream");
        assert_string_equal(rig_events(&p.r), events);
        link_get_stats(p.r.l, &st);
        assert_int_equal(st.source_lsn, 9007199254740993 + 28);
        play_end(&p);
    }
}

static void test_continue(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC " ID " 9007199254740994"),
        SEND("\n+CONTINUE\r\n" PING PING),
        HOLD,
    };

    (void)state;
    continued(step, CNT(step), "commands:none where continued:0123 ");
}

static void test_continue_new_id(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC " ID " 9007199254740994"),
        SEND("+CONTINUE " ID2 "\r\n" PING PING),
        HOLD,
    };

    (void)state;
    continued(step, CNT(step), "commands:none where continued:fedc ");
}

static void test_command_table(void **state)
{
    static const struct fake_step step[] = {
        EXPECT("PING"),
        SEND("+PONG\r\n"),
        EXPECT("COMMAND"),
        SEND("*1\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"),
        EXPECT("REPLCONF capa eof capa psync2"),
        SEND("+OK\r\n"),
        EXPECT("PSYNC ? -1"),
        HOLD,
    };

    (void)state;
    for (size_t i = 0; i < CNT(sizes); i++) {
        struct play p;

        play_new(&p);
        play_start(&p, step, CNT(step), sizes[i]);
        rig_wait_event(&p.r, "where");
        assert_string_equal(rig_events(&p.r), "commands where ");
        assert_non_null(p.r.table);
        play_end(&p);
    }
}

/* ---- refusals: what `down` says, and that it is tried again ---- */

struct refusal {
    struct fake_step step[16];
    size_t cnt;
    const char *user, *password;
    const char *event; /* the first `down` */
    const char *text;  /* in its message */
};

static const struct refusal refusals[] = {
    {{EXPECT("PING"), SEND("-LOADING Redis is loading\r\n"), CLOSE},
     3,
     NULL,
     NULL,
     "down:again",
     "PING refused: 'LOADING"},
    {{EXPECT("PING"), SEND("-ERR max number of clients reached\r\n"), CLOSE},
     3,
     NULL,
     NULL,
     "down:again",
     "max number of clients"},
    {{EXPECT("PING"), SEND("-NOAUTH Authentication required.\r\n"), CLOSE},
     3,
     NULL,
     NULL,
     "down:auth",
     "a password is needed"},
    {{EXPECT("PING"), SEND("-DENIED Redis is running in protected mode\r\n"), CLOSE},
     3,
     NULL,
     NULL,
     "down:auth",
     "protected mode"},
    {{EXPECT("PING"), SEND("-NOAUTH no\r\n"), EXPECT("AUTH me pw"),
      SEND("-WRONGPASS invalid username-password pair\r\n"), CLOSE},
     5,
     "me",
     "pw",
     "down:auth",
     "AUTH refused: 'WRONGPASS"},
    {{EXPECT("PING"), SEND("+PONG\r\n"), EXPECT("AUTH pw"),
      SEND("-ERR AUTH called without any password configured\r\n"), CLOSE},
     5,
     NULL,
     "pw",
     "down:auth",
     "without any password"},
    {{EXPECT("PING"), SEND("HTTP/1.1 400 Bad Request\r\n"), CLOSE},
     3,
     NULL,
     NULL,
     "down:again",
     "broken reply"},
    {{EXPECT("PING"), SEND("+PONG\r\n"), EXPECT("COMMAND"), SEND("-LOADING wait\r\n"), CLOSE},
     5,
     NULL,
     NULL,
     "down:again",
     "COMMAND refused"},
    {{HELLO, EXPECT("PSYNC ? -1"),
      SEND("-NOMASTERLINK Can't SYNC while not connected with my master\r\n"), CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "NOMASTERLINK"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("\n-MASTERDOWN Link with MASTER is down\r\n"), CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "MASTERDOWN"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("-BUSY Redis is busy\r\n"), CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "BUSY"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("-ERR unknown command 'PSYNC'\r\n"), CLOSE},
     9,
     NULL,
     NULL,
     "down:input",
     "managed service or a proxy"},
    {{EXPECT("PING"), SEND("-NOPERM no ping\r\n"), EXPECT("AUTH me pw"), SEND("+OK\r\n"),
      EXPECT("COMMAND"), SEND("-NOPERM no\r\n"), EXPECT("REPLCONF capa eof capa psync2"),
      SEND("+OK\r\n"), EXPECT("PSYNC ? -1"), SEND("-NOPERM no right\r\n"), CLOSE},
     11,
     "me",
     "pw",
     "down:auth",
     "run: ACL SETUSER me on +psync +replconf +ping +command"},
    {{EXPECT("PING"), SEND("-ERR operation not permitted\r\n"), EXPECT("AUTH pw"),
      SEND("+OK\r\n"), EXPECT("COMMAND"), SEND("-ERR unknown command 'COMMAND'\r\n"),
      EXPECT("REPLCONF capa eof capa psync2"), SEND("-NOPERM no\r\n"), CLOSE},
     9,
     NULL,
     "pw",
     "down:auth",
     "REPLCONF refused"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("+CONTINUE " ID "\r\n"), CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "unexpected reply to 'PSYNC ? -1'"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("+RDBCHANNELSYNC 7\r\n"), CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "unexpected reply to PSYNC: '+RDBCHANNELSYNC 7'"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("+FULLRESYNC " ID " 5\r\n\n-ERR BGSAVE failed\r\n"),
      CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "made no snapshot: 'ERR BGSAVE failed'"},
    {{HELLO, EXPECT("PSYNC ? -1"), SEND("+FULLRESYNC " ID " 5\r\n\x02\x03"), CLOSE},
     9,
     NULL,
     NULL,
     "down:again",
     "byte 0x02"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * CNT(refusals); i++) {
        const struct refusal *c = &refusals[i / 2];
        struct fake_step step[20];
        struct play p;

        memcpy(step, c->step, sizeof(c->step));
        step[c->cnt] = (struct fake_step)EXPECT("PING"); /* the next attempt */
        step[c->cnt + 1] = (struct fake_step)HOLD;
        play_new(&p);
        p.r.conf.username = c->user;
        p.r.conf.password = c->password;
        play_start(&p, step, c->cnt + 2, sizes[i % 2]);
        rig_wait_event(&p.r, "down");
        if (strstr(rig_events(&p.r), c->event) == NULL || strstr(p.r.last.msg, c->text) == NULL)
            fail_msg("case %zu: %s: %s", i / 2, rig_events(&p.r), p.r.last.msg);
        assert_in_range(p.r.retry_ms, 5, 10);
        rig_run_ms(&p.r, 30);
        play_end(&p);
    }
}

/* ---- broken connections ---- */

struct breakage {
    struct fake_step step[12];
    size_t cnt;
    const char *text; /* %s: the peer */
};

static void test_broken(void **state)
{
    static const struct breakage all[] = {
        {{HELLO, EXPECT("PSYNC ? -1"), SEND("+FULLRESYNC " ID " 5\r\n$10\r\n1234"), CLOSE},
         9,
         "connection closed by %s after 4 bytes of the snapshot"},
        {{HELLO, EXPECT("PSYNC ? -1"), SEND("+FULLRESYNC " ID " 5\r\n"), CLOSE},
         9,
         "connection closed by %s before the snapshot began"},
        {{HELLO, EXPECT("PSYNC ? -1"),
          SEND("+FULLRESYNC " ID " 5\r\n$EOF:" MARK "\r\n12345aabaab"), CLOSE},
         9,
         "connection closed by %s after 5 bytes of the snapshot"},
        {{HELLO, EXPECT("PSYNC ? -1"), SEND("\n\n"), CLOSE},
         9,
         "connection closed by %s before the reply to PSYNC"},
        {{HELLO, EXPECT("PSYNC ? -1"), SEND("+FULLRESYNC " ID " 5\r\n$2\r\nab" PING), SLEEP(50),
          RESET},
         10,
         "connection reset by %s after 14 bytes of the stream"},
        {{EXPECT("PING"), SEND("+PO"), CLOSE},
         3,
         "connection closed by %s before the reply to PING"},
    };

    (void)state;
    for (size_t i = 0; i < 2 * CNT(all); i++) {
        char want[200];
        struct play p;

        play_new(&p);
        p.r.conf.retry_min_ms = 200;
        play_start(&p, all[i / 2].step, all[i / 2].cnt, sizes[i % 2]);
        rig_wait_event(&p.r, "down:again");
        (void)snprintf(want, sizeof(want), "%.*s%s%s",
                       (int)(strstr(all[i / 2].text, "%s") - all[i / 2].text), all[i / 2].text,
                       p.f.addr, strstr(all[i / 2].text, "%s") + 2);
        assert_string_equal(p.r.last.msg, want);
        play_end(&p);
    }
}

static void test_silence(void **state)
{
    static const struct fake_step step[] = {
        HELLO,      EXPECT("PSYNC ? -1"),
        SLEEP(100), SEND("\n"),
        SLEEP(100), SEND("\n"),
        SLEEP(100), SEND("\n"),
        SLEEP(100), SEND("+FULLRESYNC " ID " 5\r\n"),
        SLEEP(100), SEND("\n"),
        SLEEP(100), SEND("\n"),
        SLEEP(100), SEND("$2\r\nab"),
        HOLD,
    };
    struct play p;
    uint64_t from;

    (void)state;
    play_new(&p);
    p.r.conf.timeout_ms = 250;
    p.r.conf.retry_min_ms = 1000;
    play_start(&p, step, CNT(step), 0);
    rig_wait_event(&p.r, "end");
    from = uv_hrtime() / 1000000;
    assert_int_equal(p.r.downs, 0);
    rig_wait_event(&p.r, "down:again");
    assert_in_range(uv_hrtime() / 1000000 - from, 200, 600);
    assert_non_null(strstr(p.r.last.msg, "for 250 ms after 0 bytes of the stream"));
    play_end(&p);
}

/* The process stood still for longer than the timeout: what came meanwhile counts. */
static void test_stopped_process(void **state)
{
    static const struct fake_step step[] = {
        HELLO,      EXPECT("PSYNC ? -1"), SEND("+FULLRESYNC " ID " 5\r\n$2\r\nab"),
        SLEEP(100), SEND(PING PING),      HOLD,
    };
    struct play p;

    (void)state;
    play_new(&p);
    p.r.conf.timeout_ms = 300;
    play_start(&p, step, CNT(step), 0);
    rig_wait_event(&p.r, "end");
    fake_sleep(500);
    rig_wait(&p.r, stream_is_28, "stream");
    assert_int_equal(p.r.downs, 0);
    play_end(&p);
}

/* ---- ACKs ---- */

static void ack_early(struct rig *r, const char *event)
{
    if (strcmp(event, "full") == 0 || strcmp(event, "where") == 0)
        link_ack(r->l, 999, true); /* of another connection: nothing to count here */
}

static void test_acks(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC ? -1"),
        SEND("+FULLRESYNC " ID " 5\r\n$2\r\nab"),
        HOLD,
    };
    struct play p;
    unsigned before;

    (void)state;
    play_new(&p);
    p.r.hook = ack_early;
    play_start(&p, step, CNT(step), 0);
    rig_wait_event(&p.r, "end");
    rig_run_ms(&p.r, 450); /* no stream yet: every 100 ms */
    assert_in_range(atomic_load(&p.f.heard_cnt), 3, 6);
    link_ack(p.r.l, 19, true);
    rig_run_ms(&p.r, 20);
    before = atomic_load(&p.f.heard_cnt);
    link_ack(p.r.l, 20, false);
    rig_run_ms(&p.r, 130);
    assert_true(atomic_load(&p.f.heard_cnt) > before);
    play_end(&p);
    assert_int_equal(strncmp(p.f.heard, "REPLCONF ACK 0|REPLCONF ACK 0|", 30), 0);
    assert_null(strstr(p.f.heard, "999"));
    assert_non_null(strstr(p.f.heard, "ACK 0|REPLCONF ACK 19|REPLCONF ACK 20|"));
}

static void test_acks_in_stream(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC " ID " 8"),
        SEND("+CONTINUE\r\n" PING),
        HOLD,
    };
    struct play p;

    (void)state;
    play_new(&p);
    p.r.replid = ID;
    p.r.lsn = 7;
    play_start(&p, step, CNT(step), 0);
    rig_wait_event(&p.r, "continued");
    link_pause(p.r.l); /* ACKs go on */
    rig_run_ms(&p.r, 2300);
    play_end(&p);
    assert_string_equal(p.f.heard, "REPLCONF ACK 0|REPLCONF ACK 0|REPLCONF ACK 0|");
}

/* ---- pause and re-entrancy ---- */

static void pause_on_data(struct rig *r, const char *event)
{
    if (strcmp(event, "snapshot") == 0 || strcmp(event, "stream") == 0)
        link_pause(r->l);
}

static void test_pause(void **state)
{
    static const struct fake_step step[] = {
        HELLO,
        EXPECT("PSYNC ? -1"),
        SEND("+FULLRESYNC " ID " 5\r\n$4\r\nabcd" PING PING),
        HOLD,
    };

    (void)state;
    for (size_t i = 0; i < CNT(sizes); i++) {
        struct play p;

        play_new(&p);
        p.r.hook = pause_on_data;
        p.r.conf.timeout_ms = 100; /* no silence: what comes is not known while paused */
        play_start(&p, step, CNT(step), sizes[i]);
        rig_wait_event(&p.r, "full");
        rig_run_ms(&p.r, 250);
        assert_int_equal(p.r.data_calls, 1);
        while (p.r.stream.len < 28) {
            uint64_t calls = p.r.data_calls;

            link_resume(p.r.l);
            link_resume(p.r.l);
            assert_int_equal(p.r.data_calls, calls); /* not from within */
            rig_run_ms(&p.r, 20);
            assert_int_equal(p.r.data_calls, calls + 1);
        }
        assert_string_equal(rig_events(&p.r), "commands:none where full:0123@5 end ");
        check_bytes(&p.r.snapshot, "abcd", 4);
        check_bytes(&p.r.stream, PING PING, 28);
        play_end(&p);
    }
}

/* At one named event, once: `user` is the event, then NULL. */
static void stop_at(struct rig *r, const char *event)
{
    if (r->user == NULL || strcmp(event, r->user) != 0)
        return;
    r->user = NULL;
    link_stop(r->l);
}

static void restart_at(struct rig *r, const char *event)
{
    if (r->user == NULL || strcmp(event, r->user) != 0)
        return;
    r->user = NULL;
    link_pause(r->l);
    link_resume(r->l);
    link_ack(r->l, 1, true);
    link_start(r->l);
}

#define ONCE HELLO, EXPECT("PSYNC " ID " 8"), SEND("+FULLRESYNC " ID " 5\r\n$2\r\nab" PING PING)
static const struct fake_step thrice[] = {ONCE, CLOSE, ONCE, HOLD, ONCE, HOLD};
static const char *const all_events[] = {"commands", "where",  "full", "snapshot",
                                         "end",      "stream", "down"};

static void test_stop_inside(void **state)
{
    (void)state;
    for (size_t i = 0; i < CNT(all_events); i++) {
        struct play p;
        struct link_stats st;
        unsigned downs;

        play_new(&p);
        p.r.replid = ID;
        p.r.lsn = 7;
        p.r.hook = stop_at;
        p.r.user = (void *)(uintptr_t)all_events[i];
        play_start(&p, thrice, CNT(thrice), 0);
        while (p.r.user != NULL)
            (void)uv_run(&p.r.loop, UV_RUN_ONCE);
        downs = p.r.downs;
        rig_run_ms(&p.r, 40);
        link_get_stats(p.r.l, &st);
        assert_int_equal(st.attempts, 1);
        assert_false(st.up);
        assert_int_equal(p.r.downs, downs);
        p.f.problem[0] = '\0'; /* of course the script was not played to its end */
        rig_release(&p.r);
        fake_release(&p.f);
    }
}

static void test_restart_inside(void **state)
{
    (void)state;
    for (size_t i = 0; i < CNT(all_events); i++) {
        /* Every connection but the last may break off anywhere. */
        static const struct fake_step good[] = {ONCE, HOLD};
        struct play p;
        struct fake second;
        struct err err;

        play_new(&p);
        p.r.replid = ID;
        p.r.lsn = 7;
        p.r.hook = restart_at;
        p.r.user = (void *)(uintptr_t)all_events[i];
        play_start(&p, thrice, CNT(thrice), 0);
        while (p.r.user != NULL)
            (void)uv_run(&p.r.loop, UV_RUN_ONCE);
        /* What comes now, to another server, must be complete and not mixed with the first. */
        fake_listen(&second);
        fake_run(&second, good, CNT(good));
        assert_int_equal(net_addr_parse(second.addr, 0, &p.r.l->redis, &err), 0);
        link_start(p.r.l);
        buf_reset(&p.r.stream);
        buf_reset(&p.r.snapshot);
        buf_reset(&p.r.events);
        rig_wait(&p.r, stream_is_28, "stream");
        check_bytes(&p.r.stream, PING PING, 28);
        check_bytes(&p.r.snapshot, "ab", 2);
        assert_string_equal(rig_events(&p.r), "commands:none where full:0123@5 end ");
        rig_release(&p.r);
        fake_release(&p.f);
        fake_release(&second);
        assert_string_equal(second.problem, "");
    }
}

/* ---- retries ---- */

static void test_backoff(void **state)
{
    struct rig r;
    struct fake f;
    int64_t low = 10;

    (void)state;
    fake_listen(&f);
    (void)close(f.listener); /* nobody listens there */
    rig_init(&r, f.addr);
    r.conf.retry_max_ms = 60;
    rig_start(&r, 0);
    for (unsigned n = 1; n <= 6; n++) {
        while (r.downs < n)
            (void)uv_run(&r.loop, UV_RUN_ONCE);
        assert_in_range(r.retry_ms, low / 2, low);
        assert_non_null(strstr(r.last.msg, "Connection refused"));
        assert_non_null(strstr(r.last.msg, f.addr));
        low = low * 2 < 60 ? low * 2 : 60;
    }
    rig_release(&r);
}

static void test_bad_conf(void **state)
{
    char *const sentinel[] = {(char *)(uintptr_t) "s:1"};
    static const struct link_events none = {0};
    struct link_conf conf[] = {
        {.redis = "a:b:c"},
        {.redis = "host:0"},
        {.redis = "unix:"},
        {.redis = "unix:/tmp/x", .tls = true},
        {.redis = "host:1", .tls = true, .tls_ca = "/nonexistent/ca.pem"},
        {.sentinels = sentinel, .sentinel_cnt = 1},
    };
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < CNT(conf); i++) {
        struct link *l = NULL;
        struct err err = {0};

        assert_int_equal(link_new(&loop, &conf[i], &none, NULL, &l, &err), -1);
        assert_int_equal(err.kind, ERR_INPUT);
        assert_null(l);
    }
    link_free(NULL);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_sized),
        cmocka_unit_test(test_full_marked),
        cmocka_unit_test(test_full_marked_glued),
        cmocka_unit_test(test_continue),
        cmocka_unit_test(test_continue_new_id),
        cmocka_unit_test(test_command_table),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_stopped_process),
        cmocka_unit_test(test_acks),
        cmocka_unit_test(test_acks_in_stream),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_stop_inside),
        cmocka_unit_test(test_restart_inside),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_bad_conf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
