/* Tests of link with Sentinels, which are scripted; see test_link.c. */
#include "journal/test/fake_master.h"
#include "journal/test/link_rig.h"

#define ID     "0123456789abcdef0123456789abcdef01234567"
#define PING   "*1\r\n$4\r\nPING\r\n"
#define CNT(a) (sizeof(a) / sizeof((a)[0]))

static const size_t sizes[] = {0, 1};

static bool stream_is_28(struct rig *r)
{
    return r->stream.len >= 28;
}

#define ASK EXPECT("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster")

static char *answer_for(const struct fake *master)
{
    char *text = malloc(100);
    const char *port = strchr(master->addr, ':') + 1;

    assert_non_null(text);
    (void)snprintf(text, 100, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n", strlen(port), port);
    return text;
}

/* The first is dead, the second knows nothing, the third is stale, and then knows. */
static void test_sentinels(void **state)
{
    static const struct fake_step unknown[] = {ASK, SEND("*-1\r\n"), HOLD};
    static const struct fake_step master[] = {
        EXPECT("PING"),
        SEND("+PONG\r\n"),
        EXPECT("COMMAND"),
        SEND("-NOPERM no\r\n"),
        EXPECT("ROLE"),
        SEND("*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n:1\r\n"),
        HOLD,
        EXPECT("PING"),
        SEND("+PONG\r\n"),
        EXPECT("COMMAND"),
        SEND("-NOPERM no\r\n"),
        EXPECT("ROLE"),
        SEND("*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n"),
        EXPECT("REPLCONF capa eof capa psync2"),
        SEND("+OK\r\n"),
        EXPECT("PSYNC ? -1"),
        SEND("+FULLRESYNC " ID " 5\r\n$2\r\nab" PING PING),
        HOLD,
    };

    (void)state;
    for (size_t i = 0; i < CNT(sizes); i++) {
        struct fake dead, f2, f3, m;
        struct fake_step twice[] = {
            EXPECT("AUTH spw"), SEND("+OK\r\n"), ASK, {.what = FAKE_SEND}, HOLD,
            EXPECT("AUTH spw"), SEND("+OK\r\n"), ASK, {.what = FAKE_SEND}, HOLD,
        };
        struct fake_step second[] = {
            EXPECT("AUTH spw"), SEND("+OK\r\n"),     unknown[0], unknown[1], HOLD,
            EXPECT("AUTH spw"), SEND("-ERR no\r\n"), HOLD};
        char *list[] = {dead.addr, f2.addr, f3.addr};
        char *text;
        struct rig r;

        fake_listen(&dead);
        (void)close(dead.listener);
        fake_listen(&f2);
        fake_listen(&f3);
        fake_listen(&m);
        text = answer_for(&m);
        twice[3].text = twice[8].text = text;
        twice[3].len = twice[8].len = strlen(text);
        fake_run(&f2, second, CNT(second));
        fake_run(&f3, twice, CNT(twice));
        fake_run(&m, master, CNT(master));
        rig_init(&r, NULL);
        r.conf.sentinels = list;
        r.conf.sentinel_cnt = 3;
        r.conf.master_name = "mymaster";
        r.conf.sentinel_password = "spw";
        rig_start(&r, sizes[i]);
        rig_wait(&r, stream_is_28, "stream");
        assert_string_equal(rig_events(&r),
                            "commands:none down:again commands:none where full:0123@5 end ");
        assert_non_null(strstr(r.last.msg, "is no master but a 'slave'"));
        assert_int_equal(r.l->sentinel, 2); /* remembered */
        rig_release(&r);
        fake_release(&f2);
        fake_release(&f3);
        fake_release(&m);
        assert_string_equal(f2.problem, "");
        assert_string_equal(f3.problem, "");
        assert_string_equal(m.problem, "");
        free(text);
    }
}

static void test_sentinels_unknown_name(void **state)
{
    static const struct fake_step unknown[] = {ASK, SEND("*-1\r\n"), HOLD};
    static const struct fake_step mute[] = {ASK, HOLD};
    struct fake f1, f2;
    char *list[] = {f1.addr, f2.addr};
    struct rig r;

    (void)state;
    for (int with_mute = 0; with_mute < 2; with_mute++) {
        fake_listen(&f1);
        fake_listen(&f2);
        fake_run(&f1, with_mute ? mute : unknown, with_mute ? CNT(mute) : CNT(unknown));
        fake_run(&f2, unknown, CNT(unknown));
        rig_init(&r, NULL);
        r.conf.sentinels = list;
        r.conf.sentinel_cnt = 2;
        r.conf.master_name = "mymaster";
        r.conf.connect_timeout_ms = 200;
        r.conf.retry_min_ms = 5000;
        r.conf.retry_max_ms = 5000;
        rig_start(&r, 0);
        rig_wait_event(&r, "down");
        /* Only when every Sentinel says so it is the user's mistake. */
        assert_int_equal(r.last.kind, with_mute ? ERR_AGAIN : ERR_INPUT);
        assert_non_null(strstr(r.last.msg, "knows no master 'mymaster'"));
        rig_release(&r);
        fake_release(&f1);
        fake_release(&f2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentinels),
        cmocka_unit_test(test_sentinels_unknown_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
