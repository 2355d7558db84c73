/* real_data - for tests: keys of every type and encoding of Redis 7.0. */
#ifndef COMMON_TEST_REAL_DATA_H
#define COMMON_TEST_REAL_DATA_H

#include "common/test/real_redis.h"

#define REAL_LONG_KEY 100000 /* bytes, more than RDB_KEY_KEPT */

/* Bytes that LZF can't compress. */
static inline void real_noise(uint8_t *p, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        p[i] = (uint8_t)(seed >> 56);
    }
}

static inline void real_strings(struct real_redis *s)
{
    static const char *const ints[] = {"0",          "-1",          "127",        "-128",
                                       "128",        "-129",        "32767",      "-32768",
                                       "32768",      "-32769",      "2147483647", "-2147483648",
                                       "2147483648", "99999999999", "007"};
    static uint8_t noise[REAL_LONG_KEY];
    char *pairs = malloc(REAL_LONG_KEY);

    assert_non_null(pairs);
    for (size_t i = 0; i < REAL_LONG_KEY; i++)
        pairs[i] = (char)('a' + i / 7 % 3);
    real_noise(noise, sizeof(noise), 1);
    for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
        real_do(s, "SET %s %s", ints[i], ints[i]);
        real_do(s, "SET v:%s %s", ints[i], ints[i]);
    }
    real_do(s, "SET embstr abc");
    real_do(s, "SET emptyvalue %b", "", (size_t)0);
    real_do(s, "SET %b empty-key", "", (size_t)0);
    real_do(s, "SET %b %b", "\0\r\n\xff*$", (size_t)6, "\0\r\n\xff", (size_t)4);
    real_do(s, "SET raw %b", noise, (size_t)200);
    real_do(s, "SET raw:16384 %b", noise, (size_t)16384);
    real_do(s, "SET lzf %b", pairs, (size_t)5000);
    real_do(s, "SET %b lzf-key", pairs, (size_t)1000);
    real_do(s, "SET %b at-limit", pairs, (size_t)65536);
    real_do(s, "SET %b over-limit", pairs, (size_t)65537);
    real_do(s, "SET %b long-lzf-key", pairs, (size_t)REAL_LONG_KEY);
    real_do(s, "SET %b long-plain-key", noise, (size_t)REAL_LONG_KEY);
    real_do(s, "SETBIT bits 4000 1");
    real_do(s, "PFADD hll a b c");
    for (int i = 0; i < 500; i++)
        real_do(s, "SET many:%d value:%d", i, i);
    free(pairs);
}

static inline void real_collections(struct real_redis *s)
{
    static uint8_t noise[3000];

    real_noise(noise, sizeof(noise), 2);
    real_do(s, "RPUSH list:small 1 -70000 abc 5000000000");
    real_do(s, "RPUSH list:%b x", "lzf", (size_t)3);
    real_do(s, "DEBUG QUICKLIST-PACKED-THRESHOLD 1000B");
    real_do(s, "RPUSH list:plain a %b b %b", noise, sizeof(noise), noise, (size_t)1500);
    real_do(s, "SADD set:int 1 2 -70000 5000000000");
    real_do(s, "ZADD zset:small 1 a 2.5 b -inf c +inf d");
    real_do(s, "HSET hash:small f v n 12 e %b", "", (size_t)0);
    for (int i = 0; i < 3000; i++) {
        real_do(s, "RPUSH list:big element:%d", i);
        real_do(s, "SADD set:table member:%d", i);
        real_do(s, "ZADD zset:skiplist %d.25 member:%d", i, i);
        real_do(s, "HSET hash:table field:%d value:%d", i, i);
    }
    real_do(s, "ZADD zset:skiplist -inf low +inf high 1e300 large");
    real_do(s, "HSET hash:table blob %b", noise, sizeof(noise));
    real_do(s, "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
}

static inline void real_streams(struct real_redis *s)
{
    for (int i = 1; i <= 500; i++)
        real_do(s, "XADD stream %d-%d n %d text entry:%d", i, i % 3, i, i);
    real_do(s, "XDEL stream 3-0 500-2");
    real_do(s, "XGROUP CREATE stream g1 0");
    real_do(s, "XGROUP CREATE stream g2 100-0 ENTRIESREAD 99");
    real_do(s, "XGROUP CREATE stream idle $");
    real_do(s, "XGROUP CREATECONSUMER stream g1 nobody");
    real_do(s, "XREADGROUP GROUP g1 alice COUNT 70 STREAMS stream >");
    real_do(s, "XREADGROUP GROUP g1 bob COUNT 40 STREAMS stream >");
    real_do(s, "XREADGROUP GROUP g2 carol COUNT 10 STREAMS stream >");
    real_do(s, "XACK stream g1 1-1 2-2 80-2");
    real_do(s, "XCLAIM stream g1 bob 0 5-2 6-0");
    real_do(s, "XADD stream:one * f v");
    real_do(s, "XGROUP CREATE stream:empty g 0 MKSTREAM");
    real_do(s, "XADD stream:deleted 1-1 f v");
    real_do(s, "XDEL stream:deleted 1-1");
}

/* Keys that have expired stay: the server does not look for them by itself. */
static inline void real_expiries(struct real_redis *s)
{
    redisReply *reply;
    long long size;

    real_do(s, "DEBUG SET-ACTIVE-EXPIRE 0");
    real_do(s, "SET ttl:far v PXAT 32503680000123");
    real_do(s, "SET ttl:max v PXAT %lld", (long long)INT64_MAX);
    real_do(s, "SET ttl:hour v EX 3600");
    real_do(s, "RPUSH ttl:list a b");
    real_do(s, "PEXPIRE ttl:list 7200000");
    reply = real_ask(s, "DBSIZE");
    size = reply->integer;
    freeReplyObject(reply);
    real_do(s, "SET ttl:past v PX 1");
    real_do(s, "SET ttl:past2 v PX 1");
    real_pause();
    reply = real_ask(s, "DBSIZE");
    assert_int_equal(reply->integer, size + 2);
    freeReplyObject(reply);
}

static inline void real_fill(struct real_redis *s)
{
    real_strings(s);
    real_collections(s);
    real_streams(s);
    real_expiries(s);
    real_do(s, "FUNCTION LOAD %s",
            "#!lua name=lib1\nredis.register_function('f1', function() return 1 end)");
    real_do(s, "FUNCTION LOAD %s",
            "#!LUA  NAME=\"lib_2\" \nredis.register_function{function_name='f2', "
            "callback=function() return 'f2 f2 f2 f2 f2 f2 f2 f2 f2 f2 f2 f2 f2' end, "
            "flags={'no-writes'}}");
    real_do(s, "SELECT 3");
    real_do(s, "SET embstr other-database");
    real_do(s, "XADD stream 7-7 f v");
    real_do(s, "SELECT 15");
    real_do(s, "SADD last a b c");
    real_do(s, "SELECT 0");
}

#endif
