"""The oracle finds every kind of difference, and what it excuses is just what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from harness.oracle import Difference, Rules, assert_equal, compare, key_count, wait_equal
from harness.redis import RedisServer
from harness.wait import wait_until

Pair = tuple[redis.Redis, redis.Redis]
LIBRARY = "#!lua name=%s\nredis.register_function('%s', function() return %d end)"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    folder: Path = tmp_path_factory.mktemp("oracle")
    pair = RedisServer(folder, "left").start(), RedisServer(folder, "right").start()
    yield pair
    for server in pair:
        server.close()


@pytest.fixture
def pair(servers: tuple[RedisServer, RedisServer]) -> Iterator[Pair]:
    clients = servers[0].client(), servers[1].client()
    for client in clients:
        client.flushall()
        client.execute_command("FUNCTION", "FLUSH")
        # redis-py's reading of the reply does not know JUSTID in this form.
        client.response_callbacks.pop("XCLAIM")
    yield clients
    for client in clients:
        client.close()


def both(pair: Pair, *command: object) -> None:
    for client in pair:
        client.execute_command(*command)


def only(pair: Pair, what: str, key: bytes = b"k", db: int = 0, rules: Rules = Rules()) -> Difference:
    """The one difference there must be, and that it is no accident of direction."""
    found = compare(*pair, rules)
    assert len(found) == 1, found
    assert (found[0].db, found[0].key) == (db, key)
    assert what in found[0].what
    return found[0]


def test_equal_servers_have_no_difference(pair: Pair) -> None:
    both(pair, "SET", b"a\r\n\0", b"\0\r\n" * 1000)
    both(pair, "SET", "", "")
    both(pair, "RPUSH", "l", *range(2000))
    both(pair, "ZADD", "z", 1.1, "a", "-inf", "b", 3, "c")
    both(pair, "SET", "t", "v", "PXAT", 4102444800000)
    for client, order in zip(pair, (1, -1), strict=True):
        client.sadd("s", *[f"member-{i}" for i in range(3000)][::order])
        client.hset("h", mapping={f"f{i}": i for i in range(3000)[::order]})
    both(pair, "XADD", "x", "1-1", "f", "v")
    both(pair, "XGROUP", "CREATE", "x", "g", "0")
    assert compare(*pair) == []
    assert key_count(pair[0]) == 8
    assert_equal(*pair)


def test_missing_on_dr(pair: Pair) -> None:
    pair[0].set("k", "v")
    only(pair, "missing on DR")


def test_only_on_dr(pair: Pair) -> None:
    pair[1].set("k", "v")
    only(pair, "only on DR")


def test_every_database_is_compared(pair: Pair, servers: tuple[RedisServer, RedisServer]) -> None:
    with servers[0].client(15) as last, servers[1].client(14) as other:
        last.set("k", "v")
        other.set("k", "v")
    found = compare(*pair)
    assert [(one.db, one.what) for one in found] == [(14, "only on DR"), (15, "missing on DR")]


def test_type(pair: Pair) -> None:
    pair[0].set("k", "v")
    pair[1].rpush("k", "v")
    only(pair, "type")


def test_string(pair: Pair) -> None:
    pair[0].set("k", b"a\0b")
    pair[1].set("k", b"a\0c")
    only(pair, "string from byte 2")


def test_string_that_is_a_prefix(pair: Pair) -> None:
    pair[0].set("k", b"abc")
    pair[1].set("k", b"abcd")
    only(pair, "string from byte 3")


def test_list_order(pair: Pair) -> None:
    pair[0].rpush("k", "a", "b", "c")
    pair[1].rpush("k", "a", "c", "b")
    only(pair, "list from index 1")


def test_list_length(pair: Pair) -> None:
    pair[0].rpush("k", "a", "a")
    pair[1].rpush("k", "a")
    only(pair, "list from index 1")


def test_set_member(pair: Pair) -> None:
    for client, last in zip(pair, ("x", "y"), strict=True):
        client.sadd("k", *range(1000), last)
    difference = only(pair, "set members")
    assert (difference.dc, difference.dr) == ([b"x"], [b"y"])


def test_hash_field(pair: Pair) -> None:
    pair[0].hset("k", mapping={"a": 1, "b": 2})
    pair[1].hset("k", mapping={"a": 1, "b": 3})
    assert only(pair, "hash fields").dc == {b"b": b"2"}


def test_zset_score_by_one_bit(pair: Pair) -> None:
    pair[0].execute_command("ZADD", "k", "0.1", "m")
    pair[1].execute_command("ZADD", "k", "0.10000000000000002", "m")
    only(pair, "zset scores")


def test_zset_member(pair: Pair) -> None:
    pair[0].execute_command("ZADD", "k", 1, "m")
    pair[1].execute_command("ZADD", "k", 1, "n")
    only(pair, "zset scores")


def test_hyperloglog_registers_count_but_not_the_cache(pair: Pair) -> None:
    both(pair, "PFADD", "k", *range(500))
    pair[0].pfcount("k")
    assert compare(*pair) == []
    pair[1].pfadd("k", *range(500, 600))
    only(pair, "string")


def test_expiry_missing(pair: Pair) -> None:
    both(pair, "SET", "k", "v")
    pair[0].pexpireat("k", 4102444800000)
    only(pair, "expiry")


def test_expiry_extra(pair: Pair) -> None:
    both(pair, "SET", "k", "v")
    pair[1].pexpireat("k", 4102444800000)
    only(pair, "expiry")


def test_expiry_off_by_one_millisecond(pair: Pair) -> None:
    pair[0].set("k", "v", pxat=4102444800000)
    pair[1].set("k", "v", pxat=4102444800001)
    only(pair, "expiry")
    assert compare(*pair, Rules(ttl_tolerance_ms=1)) == []


def test_expiry_guard(pair: Pair) -> None:
    pair[0].set("k", "v", pxat=4102444800000)
    pair[1].set("k", "v", pxat=4102444800000 + 3600000)
    assert compare(*pair, Rules(ttl_guard_ms=3600000)) == []
    only(pair, "guard", rules=Rules(ttl_guard_ms=3600001))
    only(pair, "expiry")


def test_key_that_is_over_on_dc_is_missing_there(pair: Pair) -> None:
    both(pair, "DEBUG", "SET-ACTIVE-EXPIRE", "0")
    try:
        both(pair, "SET", "k", "v")
        pair[0].execute_command("SET", "k", "v", "PX", 1)
        until = pair[0].execute_command("PEXPIRETIME", "k")
        wait_until(lambda: int(time.time() * 1000) > until, 5)
        # Nobody has touched it since, so the server still holds it.
        assert until < 0 or pair[0].dbsize() == 1
        only(pair, "only on DR")
    finally:
        both(pair, "DEBUG", "SET-ACTIVE-EXPIRE", "1")


def stream(pair: Pair) -> None:
    """The same stream on both, with a group, two consumers and three pending entries."""
    for i in range(1, 6):
        both(pair, "XADD", "k", f"{i}-0", "f", f"v{i}")
    both(pair, "XGROUP", "CREATE", "k", "g", "0")
    for consumer, entry in (("one", "1-0"), ("one", "2-0"), ("two", "3-0")):
        both(pair, "XCLAIM", "k", "g", consumer, 0, entry, "TIME", 1000, "RETRYCOUNT", 1, "FORCE", "JUSTID", "LASTID", entry)
    assert compare(*pair) == []


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("stream entries", [("XDEL", "k", "5-0"), ("XADD", "k", "6-0", "f", "v"), ("XDEL", "k", "6-0")]),
        ("last-id", [("XSETID", "k", "9-0")]),
        ("max-deleted-id", [("XSETID", "k", "5-0", "ENTRIESADDED", 5, "MAXDELETEDID", "0-1")]),
        ("entries-added", [("XSETID", "k", "5-0", "ENTRIESADDED", 7, "MAXDELETEDID", "0-0")]),
        ("group b'new'", [("XGROUP", "CREATE", "k", "new", "0")]),
        ("last-delivered-id", [("XGROUP", "SETID", "k", "g", "4-0")]),
        ("entries-read", [("XGROUP", "SETID", "k", "g", "3-0", "ENTRIESREAD", 2)]),
        ("pending", [("XACK", "k", "g", "3-0")]),
        ("consumer b'late'", [("XGROUP", "CREATECONSUMER", "k", "g", "late")]),
    ],
)
def test_stream(pair: Pair, what: str, change: list[tuple[object, ...]]) -> None:
    stream(pair)
    for command in change:
        pair[1].execute_command(*command)
    found = compare(*pair, Rules(entries_read=True))
    assert any(what in one.what for one in found), found


def test_stream_delivery_count_owner_and_time(pair: Pair) -> None:
    stream(pair)
    claim: Callable[..., object] = pair[1].execute_command
    claim("XCLAIM", "k", "g", "two", 0, "3-0", "TIME", 1000, "RETRYCOUNT", 2, "FORCE", "JUSTID")
    only(pair, "pending")
    claim("XCLAIM", "k", "g", "two", 0, "3-0", "TIME", 1001, "RETRYCOUNT", 1, "FORCE", "JUSTID")
    only(pair, "pending")
    assert compare(*pair, Rules(delivery_times=False)) == []
    claim("XCLAIM", "k", "g", "one", 0, "3-0", "TIME", 1000, "RETRYCOUNT", 1, "FORCE", "JUSTID")
    assert len(compare(*pair)) == 3


def test_idle_consumer_only_on_dc_is_excused_when_asked(pair: Pair) -> None:
    stream(pair)
    pair[0].execute_command("XGROUP", "CREATECONSUMER", "k", "g", "idle")
    assert compare(*pair) == []
    only(pair, "consumer b'idle'", rules=Rules(idle_consumers=False))


def test_consumer_with_pending_entries_is_never_excused(pair: Pair) -> None:
    stream(pair)
    pair[1].execute_command("XGROUP", "DELCONSUMER", "k", "g", "two")
    assert {one.what.split(" ", 2)[2] for one in compare(*pair)} == {
        "pending (consumer, time, deliveries)", "consumer b'two'"
    }


def test_function_missing_extra_and_changed(pair: Pair) -> None:
    pair[0].function_load(LIBRARY % ("one", "f1", 1))
    pair[1].function_load(LIBRARY % ("two", "f2", 1))
    for client, version in zip(pair, (1, 2), strict=True):
        client.function_load(LIBRARY % ("three", "f3", version))
    assert [one.what for one in compare(*pair)] == [
        "function library b'one'", "function library b'three'", "function library b'two'"
    ]
    assert compare(*pair, Rules(functions=False)) == []


def test_reserved_keys_are_left_out(pair: Pair) -> None:
    pair[1].set("redis-wal:position", "x")
    assert compare(*pair) == []
    only(pair, "only on DR", b"redis-wal:position", rules=Rules(reserved=b"other:"))


def test_many_keys_and_one_difference(pair: Pair) -> None:
    for client in pair:
        with client.pipeline(transaction=False) as batch:
            for i in range(20000):
                batch.set(f"k{i}", i)
            batch.execute()
    pair[1].incr("k17777")
    only(pair, "string", b"k17777")


def test_assert_equal_names_the_first_differences(pair: Pair) -> None:
    for i in range(30):
        pair[0].set(f"k{i}", i)
    with pytest.raises(AssertionError, match="differ in 30 places") as caught:
        assert_equal(*pair)
    assert str(caught.value).count("missing on DR") == 20


def test_a_difference_that_settles_is_none_and_one_that_stays_is(pair: Pair) -> None:
    pair[0].set("late", "v")
    assert_equal(*pair, settle=lambda: pair[1].set("late", "v"))
    pair[0].set("never", "v")
    with pytest.raises(AssertionError, match="never"):
        assert_equal(*pair, settle=lambda: None)


def test_wait_equal_waits_for_the_position(servers: tuple[RedisServer, RedisServer], pair: Pair) -> None:
    pair[0].set("k", "v")
    asked: list[int] = []

    def position() -> int:
        asked.append(1)
        if len(asked) < 5:
            return -1
        pair[1].set("k", "v")
        return servers[0].repl_offset()

    wait_equal(*servers, position, 20)
    with pytest.raises(AssertionError, match="DR at offset"):
        wait_equal(*servers, lambda: -1, 1)
