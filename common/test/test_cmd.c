/*
 * test_cmd - first keys against a real redis-server's own COMMAND GETKEYS, and hand-written
 * replies for other versions' forms and for broken ones.
 */
#include "common/cmd.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "common/err.h"
#include "common/resp.h"

#define WORDS 64

struct server {
    char dir[64];
    char socket[80];
    pid_t pid;
    redisContext *redis;
    redisReply *commands;
    struct cmd_table *table;
};

static redisContext *connect_within(const char *socket, int seconds)
{
    for (int i = 0; i < seconds * 100; i++) {
        const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        redisContext *redis = redisConnectUnix(socket);

        if (redis != NULL && redis->err == 0)
            return redis;
        if (redis != NULL)
            redisFree(redis);
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static int server_start(void **state)
{
    struct server *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/test_cmd.XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    (void)snprintf(s->socket, sizeof(s->socket), "%s/redis", s->dir);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a failed assertion ends the test */
        (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", s->socket,
                     "--save", "", "--logfile", "/dev/null", "--dir", s->dir, (char *)NULL);
        _exit(127);
    }
    *state = s;
    s->redis = connect_within(s->socket, 20);
    assert_non_null(s->redis);
    s->commands = redisCommand(s->redis, "COMMAND");
    assert_non_null(s->commands);
    s->table = cmd_table_new(s->commands);
    assert_non_null(s->table);
    return 0;
}

static int server_stop(void **state)
{
    struct server *s = *state;

    cmd_table_free(s->table);
    freeReplyObject(s->commands);
    if (s->redis != NULL)
        redisFree(s->redis);
    if (s->pid > 0) {
        (void)kill(s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
    }
    (void)unlink(s->socket);
    (void)rmdir(s->dir);
    free(s);
    return 0;
}

/* Splits at blanks; '' is an empty argument. Returns the number of words. */
static int split(char *line, const char **word)
{
    int cnt = 0;

    for (char *p = strtok_r(line, " ", &line); p != NULL; p = strtok_r(NULL, " ", &line)) {
        assert_true(cnt < WORDS);
        word[cnt++] = strcmp(p, "''") == 0 ? "" : p;
    }
    return cnt;
}

/* The index that cmd_first_key() gives for a command of `cnt` words. */
static size_t first_key(const struct cmd_table *t, int cnt, const char **word)
{
    struct err err = {.kind = ERR_NONE};
    char *text;
    size_t index;
    bool done;
    struct resp r;
    long long len = redisFormatCommandArgv(&text, cnt, word, NULL);

    assert_true(len > 0);
    resp_init(&r);
    assert_int_equal(resp_feed(&r, (uint8_t *)text, (size_t)len, &done, &err), len);
    assert_true(done);
    index = cmd_first_key(t, &r, (uint8_t *)text);
    /* On a prefix: the same answer or none yet. */
    for (uint64_t argc = r.argi, n = 0; n < argc; n++) {
        size_t early;

        r.argi = n;
        early = cmd_first_key(t, &r, (uint8_t *)text);
        assert_true(early == 0 || early == index);
        assert_true(early == 0 || early < n);
    }
    redisFreeCommand(text);
    return index;
}

static size_t first_key_of_line(const struct cmd_table *t, const char *line)
{
    char copy[1024];
    const char *word[WORDS];

    assert_true(strlen(line) < sizeof(copy));
    (void)snprintf(copy, sizeof(copy), "%s", line);
    return first_key(t, split(copy, word), word);
}

static const char *const lines[] = {
    "SET k v",
    "set k v PXAT 1700000000000",
    "SETNX k v",
    "SETEX k 10 v",
    "GETSET k v",
    "APPEND k v",
    "INCR k",
    "IncrBy k 5",
    "SETRANGE k 3 abc",
    "SETBIT k 7 1",
    "BITFIELD k SET u8 0 255",
    "BITOP AND dst a b",
    "MSET a 1 b 2",
    "MSETNX a 1 b 2",
    "DEL a b c",
    "UNLINK a b",
    "EXPIRE k 10",
    "PEXPIREAT k 1700000000000 NX",
    "PERSIST k",
    "RENAME a b",
    "RENAMENX a b",
    "MOVE k 1",
    "COPY a b REPLACE",
    "RESTORE k 0 payload ABSTTL",
    "RESTORE-ASKING k 0 payload",
    "SORT k BY nosort STORE dst",
    "LPUSH k a b",
    "RPUSHX k a",
    "LINSERT k BEFORE a b",
    "LSET k 0 a",
    "LREM k 1 a",
    "LTRIM k 0 1",
    "LMOVE a b LEFT RIGHT",
    "lmove a b left left",
    "RPOPLPUSH a b",
    "BLMOVE a b LEFT LEFT 0",
    "BLPOP a b 0",
    "LMPOP 2 a b LEFT",
    "BLMPOP 0 2 a b LEFT",
    "SADD k a b",
    "SREM k a",
    "SMOVE a b m",
    "SPOP k 3",
    "SINTERSTORE dst a b",
    "SUNIONSTORE dst a b",
    "SDIFFSTORE dst a b",
    "HSET k f v",
    "HINCRBY k f 1",
    "HDEL k f",
    "ZADD k 1 a",
    "zadd k 1 a",
    "ZINCRBY k 1 a",
    "ZREM k a",
    "ZPOPMIN k 2",
    "ZMPOP 2 a b MIN",
    "BZMPOP 0 2 a b MIN",
    "ZUNIONSTORE dst 2 a b WEIGHTS 1 2",
    "ZINTERSTORE dst 2 a b",
    "ZDIFFSTORE dst 2 a b",
    "ZRANGESTORE dst src 0 -1",
    "ZREMRANGEBYSCORE k 0 1",
    "GEOADD k 1 2 m",
    "GEOSEARCHSTORE dst src FROMMEMBER m BYRADIUS 1 km",
    "GEORADIUS src 1 2 3 km STORE dst",
    "GEORADIUSBYMEMBER src m 3 km STOREDIST dst",
    "PFADD k a",
    "PFMERGE dst a b",
    "PFCOUNT a b",
    "XADD k 1-1 f v",
    "XDEL k 1-1",
    "XTRIM k MAXLEN = 5",
    "XSETID k 5-0",
    "XACK k g 1-1",
    "XCLAIM k g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1",
    "XAUTOCLAIM k g c 0 0",
    "XREADGROUP GROUP g c COUNT 1 STREAMS a b 0 0",
    "XGROUP CREATE k g $ MKSTREAM",
    "xgroup create k g $",
    "XGroup SetId k g 0-0 ENTRIESREAD 3",
    "XGROUP CREATECONSUMER k g c",
    "XGROUP DELCONSUMER k g c",
    "XGROUP DESTROY k g",
    "EVAL return 2 a b x",
    "EVAL return 0 x",
    "EVALSHA 0123456789012345678901234567890123456789 1 a",
    "FCALL f 2 a b x",
    "FCALL f 0 x",
    "MIGRATE host 6379 k 0 5000",
    "MIGRATE host 6379 '' 0 5000 KEYS a b",
    "MIGRATE host 6379 '' 0 5000 COPY AUTH secret KEYS a b c",
    "SET '' v",
    "FUNCTION LOAD code",
    "FUNCTION FLUSH",
    "FUNCTION DELETE lib",
    "FUNCTION RESTORE payload",
    "SCRIPT LOAD code",
    "FLUSHALL ASYNC",
    "FLUSHDB SYNC",
    "SWAPDB 0 1",
    "SELECT 5",
    "PING hello",
    "REPLCONF GETACK *",
};

/* What the server says to COMMAND GETKEYS. */
static redisReply *server_keys(redisContext *redis, int cnt, const char **word)
{
    const char *all[WORDS + 2] = {"COMMAND", "GETKEYS"};
    redisReply *reply;

    memcpy(all + 2, word, (size_t)cnt * sizeof(*word));
    reply = redisCommandArgv(redis, cnt + 2, all, NULL);
    assert_non_null(reply);
    return reply;
}

static void agrees_with_the_server(void **state)
{
    struct server *s = *state;
    size_t with_key = 0, without = 0;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char copy[1024];
        const char *word[WORDS];
        int cnt;
        size_t index;
        redisReply *keys;

        (void)snprintf(copy, sizeof(copy), "%s", lines[i]);
        cnt = split(copy, word);
        index = first_key(s->table, cnt, word);
        keys = server_keys(s->redis, cnt, word);
        if (keys->type == REDIS_REPLY_ARRAY && keys->elements > 0) {
            if (index == 0 || strcmp(word[index], keys->element[0]->str) != 0)
                fail_msg("'%s': argument %zu, but the key is '%s'", lines[i], index,
                         keys->element[0]->str);
            with_key++;
        } else {
            if (keys->type == REDIS_REPLY_ERROR &&
                strstr(keys->str, "The command has no key arguments") == NULL)
                fail_msg("'%s': %s", lines[i], keys->str);
            if (index != 0)
                fail_msg("'%s': argument %zu, but there is no key", lines[i], index);
            without++;
        }
        freeReplyObject(keys);
    }
    assert_true(with_key >= 80);
    assert_true(without >= 10);
}

static void channels(void **state)
{
    struct server *s = *state;

    assert_int_equal(first_key_of_line(s->table, "PUBLISH news hello"), 1);
    assert_int_equal(first_key_of_line(s->table, "publish news hello"), 1);
    assert_int_equal(first_key_of_line(s->table, "SPUBLISH news hello"), 1);
}

static void unknown_and_short_commands(void **state)
{
    struct server *s = *state;

    assert_int_equal(first_key_of_line(s->table, "JSON.SET doc . 1"), 0);
    assert_int_equal(first_key_of_line(s->table, "SE k v"), 0);
    assert_int_equal(first_key_of_line(s->table, "SETS k v"), 0);
    assert_int_equal(first_key_of_line(s->table, "'' k v"), 0);
    assert_int_equal(first_key_of_line(s->table, "SET"), 0);
    assert_int_equal(first_key_of_line(s->table, "XGROUP"), 0);
    assert_int_equal(first_key_of_line(s->table, "XGROUP CREATE"), 0);
    assert_int_equal(first_key_of_line(s->table, "XGROUP NOSUCH k g"), 0);
    assert_int_equal(first_key_of_line(s->table, "XGROUP|CREATE x k"), 2);
    assert_int_equal(first_key_of_line(s->table, "EVAL return 3"), 0);
    assert_int_equal(first_key_of_line(s->table, "EVAL return -1 a"), 0);
    assert_int_equal(first_key_of_line(s->table, "EVAL return many a"), 0);
    assert_int_equal(first_key_of_line(s->table, "FLUSHALL"), 0); /* too short for GETKEYS */
    assert_int_equal(first_key_of_line(s->table, "PING"), 0);
    assert_int_equal(first_key_of_line(NULL, "SET k v"), 0);
}

/* A keyword behind the last argument whose place is recorded is not found, and does no harm. */
static void keyword_out_of_sight(void **state)
{
    struct server *s = *state;

    assert_int_equal(first_key_of_line(s->table, "XREAD COUNT 1 BLOCK 0 STREAMS k 0"), 6);
    assert_int_equal(first_key_of_line(s->table, "XREAD 1 2 3 4 5 6 7 8 9 10 11 12 13 "
                                                 "STREAMS k 0"),
                     15);
    assert_int_equal(first_key_of_line(s->table, "XREAD 1 2 3 4 5 6 7 8 9 10 11 12 13 14 "
                                                 "STREAMS k 0"),
                     0);
    assert_int_equal(first_key_of_line(s->table, "XREAD 1 2 3 STREAMS"), 0);
}

static void names_longer_than_any(void **state)
{
    struct server *s = *state;
    char name[300];
    const char *word[] = {name, name, "k"};
    const char *sub[] = {"XGROUP", name, "k"};

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(first_key(s->table, 3, word), 0);
    assert_int_equal(first_key(s->table, 3, sub), 0);
}

static struct cmd_table *table_of(const char *reply_text)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    struct cmd_table *t;

    assert_non_null(reader);
    assert_int_equal(redisReaderFeed(reader, reply_text, strlen(reply_text)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    t = cmd_table_new(reply);
    freeReplyObject(reply);
    redisReaderFree(reader);
    return t;
}

/* The form of Redis 2.8-6.2: six fields, subcommands and movable keys unexplained. */
#define OLD(name, first)                                                                       \
    "*6\r\n+" name "\r\n:-2\r\n*2\r\n+write\r\n+movablekeys\r\n:" #first "\r\n:1\r\n:1\r\n"

static void six_fields(void **state)
{
    struct cmd_table *t = table_of("*8\r\n" OLD("set", 1) OLD("XGroup", 2) OLD("bitop", 2) OLD(
        "eval", 0) OLD("evalsha", 0) OLD("zunionstore", 0) OLD("publish", 0) OLD("ping", 0));

    (void)state;
    assert_non_null(t);
    assert_int_equal(first_key_of_line(t, "SET k v"), 1);
    assert_int_equal(first_key_of_line(t, "xgroup CREATE k g $"), 2);
    assert_int_equal(first_key_of_line(t, "BITOP AND dst a"), 2);
    assert_int_equal(first_key_of_line(t, "EVAL return 1 k"), 3);
    assert_int_equal(first_key_of_line(t, "EVAL return 0 k"), 0);
    assert_int_equal(first_key_of_line(t, "EVALSHA sha 2 k l"), 3);
    assert_int_equal(first_key_of_line(t, "ZUNIONSTORE dst 1 k"), 1);
    assert_int_equal(first_key_of_line(t, "PUBLISH news hello"), 1);
    assert_int_equal(first_key_of_line(t, "PING hello"), 0);
    cmd_table_free(t);
}

/* A real reply, cut down to what older servers send, still knows the plain commands. */
static void real_reply_without_key_specs(void **state)
{
    struct server *s = *state;
    size_t *was = calloc(s->commands->elements, sizeof(*was));
    struct cmd_table *t;

    assert_non_null(was);
    for (size_t i = 0; i < s->commands->elements; i++) {
        was[i] = s->commands->element[i]->elements;
        s->commands->element[i]->elements = 6;
    }
    t = cmd_table_new(s->commands);
    for (size_t i = 0; i < s->commands->elements; i++)
        s->commands->element[i]->elements = was[i];
    free(was);
    assert_non_null(t);
    assert_int_equal(first_key_of_line(t, "SET k v"), 1);
    assert_int_equal(first_key_of_line(t, "ZUNIONSTORE dst 1 k"), 1);
    assert_int_equal(first_key_of_line(t, "EVAL return 1 k"), 3);
    assert_int_equal(first_key_of_line(t, "SORT k STORE dst"), 1);
    assert_int_equal(first_key_of_line(t, "FLUSHALL ASYNC"), 0);
    cmd_table_free(t);
}

/* A module's command whose specification is 'unknown' still has the old first key. */
static void unknown_specification(void **state)
{
    struct cmd_table *t =
        table_of("*1\r\n*10\r\n$7\r\nmod.set\r\n:-2\r\n*0\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n"
                 "*2\r\n*4\r\n+begin_search\r\n*4\r\n+type\r\n+unknown\r\n+spec\r\n*0\r\n"
                 "+find_keys\r\n*4\r\n+type\r\n+unknown\r\n+spec\r\n*0\r\n:7\r\n*0\r\n");

    (void)state;
    assert_non_null(t);
    assert_int_equal(first_key_of_line(t, "MOD.SET k v"), 1);
    cmd_table_free(t);
}

/* Two rules: as long as the first one can't tell, the second one must not answer. */
static void rules_in_order(void **state)
{
    struct cmd_table *t = table_of(
        "*1\r\n*10\r\n$5\r\nmod.x\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*2\r\n"
        "*4\r\n+begin_search\r\n*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:2\r\n"
        "+find_keys\r\n*4\r\n+type\r\n+keynum\r\n+spec\r\n"
        "*4\r\n+keynumidx\r\n:0\r\n+firstkey\r\n:1\r\n"
        "*4\r\n+begin_search\r\n*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:1\r\n"
        "+find_keys\r\n*4\r\n+type\r\n+range\r\n+spec\r\n*0\r\n*0\r\n");

    (void)state;
    assert_non_null(t);
    assert_int_equal(first_key_of_line(t, "MOD.X a 1 k"), 3);
    assert_int_equal(first_key_of_line(t, "MOD.X a 0 k"), 1);
    cmd_table_free(t);
}

static void broken_replies(void **state)
{
    static const char *const bad[] = {
        "-ERR unknown command\r\n",
        "+OK\r\n",
        ":5\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*1\r\n+set\r\n",
        "*1\r\n*-1\r\n",
        "*1\r\n*0\r\n",
        "*1\r\n*5\r\n+set\r\n:-3\r\n*0\r\n:1\r\n:1\r\n",
        "*1\r\n*6\r\n:1\r\n:-3\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
        "*1\r\n*6\r\n+set\r\n:-3\r\n*0\r\n+1\r\n:1\r\n:1\r\n",
        "*2\r\n" OLD("set", 1) "$-1\r\n",
        /* a broken subcommand */
        "*1\r\n*10\r\n+c\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*1\r\n*0\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (table_of(bad[i]) != NULL)
            fail_msg("accepted: %s", bad[i]);
    assert_null(cmd_table_new(NULL));
    cmd_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_server),
        cmocka_unit_test(channels),
        cmocka_unit_test(unknown_and_short_commands),
        cmocka_unit_test(keyword_out_of_sight),
        cmocka_unit_test(names_longer_than_any),
        cmocka_unit_test(six_fields),
        cmocka_unit_test(real_reply_without_key_specs),
        cmocka_unit_test(unknown_specification),
        cmocka_unit_test(rules_in_order),
        cmocka_unit_test(broken_replies),
    };

    return cmocka_run_group_tests(tests, server_start, server_stop);
}
