"""The commands of the mixed workload: a stream of units, each one command or a whole MULTI…EXEC.

What comes is decided by the generator of random numbers alone, save the ids of stream entries to acknowledge, which
are those that the server delivered. XREADGROUP of a consumer's own history is left out: it counts deliveries on the
master alone, since Redis does not replicate it. The type of a key is part of its name, so that no command meets the wrong type.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

Command = tuple[Any, ...]
Unit = list[Command]

NASTY = [b"\r\n", b"\0", b"$5\r\nhello\r\n", b"*1\r\n$4\r\nPING\r\n", b"\xff\xfe", b""]
FLUSHED_DB = 3
"""The only database that FLUSHDB hits, so that the others grow old."""

LIBRARY = b"""#!lua name=%s
local function bump(keys, args)
  redis.call('INCRBY', keys[1], %d)
  redis.call('RPUSH', keys[2], args[1])
  redis.call('LTRIM', keys[2], -50, -1)
  return redis.call('GET', keys[1])
end
redis.register_function('%s_bump', bump)
"""

SCRIPTS = [
    # Several effects: one transaction in the stream.
    (b"redis.call('INCR',KEYS[1]);redis.call('LPUSH',KEYS[2],ARGV[1]);redis.call('LTRIM',KEYS[2],0,99);"
     b"return redis.call('HSET',KEYS[3],'lua',ARGV[1])", ("cnt", "list", "hash")),
    # One effect: a bare command.
    (b"return redis.call('set',KEYS[1],ARGV[1])", ("str",)),
    # Effects in another database than the caller's.
    (b"redis.call('SELECT',1);redis.call('SET',KEYS[1],ARGV[1]);redis.call('SELECT',2);"
     b"return redis.call('APPEND',KEYS[1],'x')", ("lua",)),
    # What is random on the server must arrive as what it came to.
    (b"local m=redis.call('SPOP',KEYS[1]);if m then redis.call('SADD',KEYS[2],m) end;"
     b"redis.call('PUBLISH','channel',ARGV[1]);return m", ("set", "set")),
    # The time of the server, and a loop.
    (b"local t=redis.call('TIME');for i=1,20 do redis.call('HSET',KEYS[1],'t'..i,t[1]..t[2]) end;return 1", ("hash",)),
    # An error after an effect: the effect stays.
    (b"redis.call('INCR',KEYS[1]);error('on purpose')", ("cnt",)),
    # No effect at all.
    (b"return redis.call('GET',KEYS[1])", ("str",)),
]


class Operations:
    """Gives units for one client; learn() takes replies of the commands that learns() names."""

    def __init__(self, seed: int, client: int, databases: int = 4, keys: int = 200,
                 payloads: dict[str, bytes] | None = None) -> None:
        self.rng = random.Random(seed * 1009 + client)
        self.client = client
        self.databases = databases
        self.keys = keys
        self.db = 0
        self.payloads = payloads or {}
        self._blob = self._make_blob()
        self._delivered: list[tuple[bytes, bytes, list[bytes]]] = []
        table = self._table()
        self._makers = [maker for _weight, maker in table]
        total = 0.0
        self._weights = [total := total + weight for weight, _maker in table]

    # --- what a client asks for ---

    def unit(self) -> Unit:
        rng = self.rng
        dice = rng.random()
        if dice < 0.02:
            self.db = rng.randrange(self.databases)
            return [("SELECT", self.db)]
        if dice < 0.05:
            return self._transaction()
        if dice < 0.0501 and self.databases > FLUSHED_DB:
            return [("SELECT", FLUSHED_DB), ("FLUSHDB", rng.choice(("ASYNC", "SYNC"))), ("SELECT", self.db)]
        if dice < 0.0505:
            return [("SWAPDB", 1, 2)]
        if dice < 0.0510:
            return [self._function_change()]
        return [self._command()]

    @staticmethod
    def learns(command: Command) -> bool:
        return command[0] == "XREADGROUP"

    def learn(self, command: Command, reply: Any) -> None:
        """Remembers delivered entries, to acknowledge or claim them later."""
        if not isinstance(reply, list):
            return
        for key, entries in reply:
            ids = [entry[0] for entry in entries]
            if ids and len(self._delivered) < 64:
                self._delivered.append((key, command[2], ids))

    # --- parts ---

    def _make_blob(self) -> bytes:
        noise = bytearray(self.rng.randbytes(1 << 17))
        for _ in range(400):
            piece = self.rng.choice(NASTY)
            at = self.rng.randrange(len(noise) - len(piece))
            noise[at : at + len(piece)] = piece
        return bytes(noise)

    def value(self) -> bytes:
        """0 bytes to 64 KB, mostly short."""
        dice = self.rng.random()
        if dice < 0.02:
            return b""
        limit = 32 if dice < 0.7 else 512 if dice < 0.985 else 8192 if dice < 0.998 else 65536
        size = self.rng.randrange(1, limit + 1)
        at = self.rng.randrange(len(self._blob) - size)
        return self._blob[at : at + size]

    def key(self, kind: str) -> bytes:
        number = int(self.rng.random() * self.keys)
        if number % 17 == 0:
            return b"%s:{tag%d}:%d" % (kind.encode(), number % 5, number)
        if number % 19 == 0:
            return b"%s:\r\n\0%d" % (kind.encode(), number)
        if number == 7 and kind == "str":
            return b""
        return b"%s:%d" % (kind.encode(), number)

    def stream_key(self) -> bytes:
        return b"stream:%d" % self.rng.randrange(12)

    def _group(self) -> bytes:
        return b"g%d" % self.rng.randrange(3)

    def _consumer(self) -> bytes:
        return b"c%d" % self.rng.randrange(4)

    def _field(self) -> bytes:
        return b"f%d" % self.rng.randrange(40)

    def _member(self) -> bytes:
        return b"m%d" % self.rng.randrange(300)

    def _score(self) -> Any:
        dice = self.rng.random()
        return self.rng.randrange(-1000, 1000) if dice < 0.5 else repr(self.rng.uniform(-1e6, 1e6)) if dice < 0.97 else (
            self.rng.choice(("inf", "-inf", "1e300", "5e-324")))

    def _command(self) -> Command:
        maker = self.rng.choices(self._makers, cum_weights=self._weights)[0]
        return maker()

    def _transaction(self) -> Unit:
        rng = self.rng
        dice = rng.random()
        size = 1 if dice < 0.2 else rng.randrange(2, 11) if dice < 0.93 else rng.randrange(11, 101) if dice < 0.995 else 500
        inner: Unit = []
        for _ in range(size):
            if rng.random() < 0.03:
                self.db = rng.randrange(self.databases)
                inner.append(("SELECT", self.db))
            inner.append(self._command())
        return [("MULTI",), *inner, ("EXEC",)]

    def _function_change(self) -> Command:
        name = b"lib%d" % self.rng.randrange(2)
        if self.rng.random() < 0.2:
            return ("FUNCTION", "DELETE", name)
        return ("FUNCTION", "LOAD", "REPLACE", LIBRARY % (name, self.rng.randrange(1, 100), name))

    def _pick(self, *commands: Callable[[], Command]) -> Command:
        return self.rng.choice(commands)()

    def _ttl(self) -> int:
        """Milliseconds: some end while the workload runs."""
        return self.rng.randrange(1, 300) if self.rng.random() < 0.4 else self.rng.randrange(60_000, 9_000_000)

    # --- families; the weights are shares of all commands ---

    def _table(self) -> list[tuple[float, Callable[[], Command]]]:
        return [
            (20, self._string), (6, self._set_expiring), (8, self._expiry), (12, self._counter), (4, self._bits),
            (12, self._list), (4, self._list_move), (3, self._queue), (9, self._hash), (9, self._set), (3, self._set_store),
            (8, self._zset), (3, self._zset_store), (9, self._stream), (6, self._group_command), (2, self._hll),
            (2, self._geo), (4, self._keyspace), (3, self._script), (2, self._function), (2, self._publish),
        ]

    def _string(self) -> Command:
        k, v, r = self.key, self.value, self.rng
        return self._pick(
            lambda: ("SET", k("str"), v()), lambda: ("SET", k("str"), v()), lambda: ("SET", k("str"), v()),
            lambda: ("set", k("str"), v(), r.choice(("NX", "XX", "GET", "KEEPTTL"))),
            lambda: ("SETNX", k("str"), v()), lambda: ("GETSET", k("str"), v()), lambda: ("GETDEL", k("str")),
            lambda: ("APPEND", k("app"), v()[:200]), lambda: ("SETRANGE", k("app"), r.randrange(3000), v()[:200]),
            lambda: ("SET", k("app"), b""),
            lambda: ("MSET", *[x for _ in range(r.randrange(1, 6)) for x in (k("str"), v())]),
            lambda: ("MSETNX", b"msetnx:%d" % r.randrange(999), v(), b"msetnx:%d" % r.randrange(999), v()),
        )

    def _set_expiring(self) -> Command:
        k, v, t = self.key, self.value, self._ttl
        return self._pick(
            lambda: ("SET", k("ttl"), v(), "PX", t()), lambda: ("SET", k("ttl"), v(), "EX", t() // 1000 + 1),
            lambda: ("SETEX", k("ttl"), t() // 1000 + 1, v()), lambda: ("PSETEX", k("ttl"), t(), v()),
            lambda: ("SET", k("ttl"), v(), "PXAT", int(time.time() * 1000) + t()),
            lambda: ("SET", k("ttl"), v(), "NX", "PX", t()),
            lambda: ("SET", k("ttlcnt"), 5, "PX", t()),
        )

    def _expiry(self) -> Command:
        r, t = self.rng, self._ttl
        k = self.key(r.choice(("ttl", "ttl", "str", "cnt", "list", "hash", "set", "zset", "ttlcnt")))
        now = int(time.time() * 1000)
        return self._pick(
            lambda: ("PEXPIRE", k, t()), lambda: ("EXPIRE", k, t() // 1000 + 1), lambda: ("PEXPIREAT", k, now + t()),
            lambda: ("EXPIREAT", k, now // 1000 + t() // 1000 + 1), lambda: ("PERSIST", k), lambda: ("PERSIST", k),
            lambda: ("PEXPIRE", k, t(), r.choice(("NX", "XX", "GT", "LT"))), lambda: ("PEXPIREAT", k, 1000),
            lambda: ("GETEX", self.key("ttl"), "PX", t()), lambda: ("GETEX", self.key("ttl"), "PERSIST"),
            lambda: ("GETEX", self.key("ttl"), "EXAT", now // 1000 + t() // 1000 + 1),
            lambda: ("INCR", self.key("ttlcnt")), lambda: ("GET", self.key("ttl")),
        )

    def _counter(self) -> Command:
        k, r = self.key, self.rng
        return self._pick(
            lambda: ("INCR", k("cnt")), lambda: ("INCR", k("cnt")), lambda: ("DECR", k("cnt")),
            lambda: ("INCRBY", k("cnt"), r.randrange(-99, 99)), lambda: ("DECRBY", k("cnt"), r.randrange(99)),
            lambda: ("INCRBYFLOAT", k("flt"), repr(r.uniform(-9, 9))),
        )

    def _bits(self) -> Command:
        k, r = self.key, self.rng
        return self._pick(
            lambda: ("SETBIT", k("bit"), r.randrange(4096), r.randrange(2)),
            # Without FAIL: where it fails, 7.0 still lengthens the string, and tells neither replicas nor the AOF.
            lambda: ("BITFIELD", k("bit"), "OVERFLOW", r.choice(("WRAP", "SAT")), "INCRBY", "u8", r.randrange(256), 77),
            lambda: ("BITOP", r.choice(("AND", "OR", "XOR")), k("bit"), k("bit"), k("bit")),
            lambda: ("BITOP", "NOT", k("bit"), k("bit")),
        )

    def _list(self) -> Command:
        k, v, r = self.key, self.value, self.rng
        return self._pick(
            lambda: ("LPUSH", k("list"), *[v()[:300] for _ in range(r.randrange(1, 5))]),
            lambda: ("RPUSH", k("list"), *[b"%d" % r.randrange(500) for _ in range(r.randrange(1, 9))]),
            lambda: ("LPUSHX", k("list"), v()[:300]), lambda: ("RPUSHX", k("list"), v()[:300]),
            lambda: ("LPOP", k("list")), lambda: ("RPOP", k("list"), r.randrange(1, 5)),
            lambda: ("LTRIM", k("list"), 0, r.randrange(200)), lambda: ("LSET", k("list"), r.randrange(-5, 5), v()[:300]),
            lambda: ("LREM", k("list"), r.randrange(-2, 3), b"%d" % r.randrange(500)),
            lambda: ("LINSERT", k("list"), r.choice(("BEFORE", "AFTER")), b"%d" % r.randrange(500), v()[:300]),
            lambda: ("LMPOP", 2, k("list"), k("list"), r.choice(("LEFT", "RIGHT")), "COUNT", r.randrange(1, 4)),
        )

    def _list_move(self) -> Command:
        k, side = self.key, lambda: self.rng.choice(("LEFT", "RIGHT"))
        return self._pick(
            lambda: ("LMOVE", k("list"), k("list"), side(), side()), lambda: ("RPOPLPUSH", k("list"), k("list")),
            lambda: ("SORT", k("list"), "ALPHA", "STORE", k("list")),
            lambda: ("SORT", k("set"), "ALPHA", "DESC", "LIMIT", 0, 20, "STORE", k("list")),
            lambda: ("SORT", k("list"), "BY", "nosort", "GET", "str:*", "GET", "#", "LIMIT", 0, 10, "STORE", k("list")),
        )

    def _queue(self) -> Command:
        """What the blocking clients wait for."""
        r = self.rng
        number = r.randrange(4)
        if r.random() < 0.7:
            return ("LPUSH", b"queue:%d" % number, *[self.value()[:100] for _ in range(r.randrange(1, 3))])
        return ("ZADD", b"zqueue:%d" % number, self._score(), self._member())

    def _hash(self) -> Command:
        k, v, f, r = self.key, self.value, self._field, self.rng
        return self._pick(
            lambda: ("HSET", k("hash"), *[x for _ in range(r.randrange(1, 6)) for x in (f(), v()[:600])]),
            lambda: ("HMSET", k("hash"), f(), v()[:600]), lambda: ("HSETNX", k("hash"), f(), v()[:600]),
            lambda: ("HDEL", k("hash"), f(), f()), lambda: ("HINCRBY", k("hash"), b"n", r.randrange(-9, 9)),
            lambda: ("HINCRBYFLOAT", k("hash"), b"x", repr(r.uniform(-9, 9))),
            lambda: ("HSET", k("bighash"), b"field%d" % r.randrange(2000), v()[:20]),
        )

    def _set(self) -> Command:
        k, m, r = self.key, self._member, self.rng
        return self._pick(
            lambda: ("SADD", k("set"), *[m() for _ in range(r.randrange(1, 9))]),
            lambda: ("SADD", k("set"), *[r.randrange(9999) for _ in range(r.randrange(1, 9))]),
            lambda: ("SREM", k("set"), m(), m()), lambda: ("SPOP", k("set")),
            lambda: ("SPOP", k("set"), r.randrange(1, 12)), lambda: ("SMOVE", k("set"), k("set"), m()),
            lambda: ("SADD", k("set"), self.value()[:200]),
        )

    def _set_store(self) -> Command:
        k = self.key
        name = self.rng.choice(("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"))
        return (name, k("set"), k("set"), k("set"))

    def _zset(self) -> Command:
        k, m, s, r = self.key, self._member, self._score, self.rng
        return self._pick(
            lambda: ("ZADD", k("zset"), *[x for _ in range(r.randrange(1, 6)) for x in (s(), m())]),
            lambda: ("ZADD", k("zset"), r.choice(("NX", "XX", "GT", "LT")), s(), m()),
            lambda: ("ZADD", k("zset"), "INCR", r.randrange(9), m()), lambda: ("ZINCRBY", k("zset"), repr(r.uniform(-9, 9)), m()),
            lambda: ("ZREM", k("zset"), m(), m()), lambda: ("ZPOPMIN", k("zset"), r.randrange(1, 4)), lambda: ("ZPOPMAX", k("zset")),
            lambda: ("ZREMRANGEBYRANK", k("zset"), 100, -1), lambda: ("ZREMRANGEBYSCORE", k("zset"), 10, 20),
            # Of one score only: with several, what a range by name holds depends on the key's encoding, and a
            # replica's may be another than its master's.
            lambda: ("ZADD", k("lex"), 0, m(), 0, m(), 0, m()), lambda: ("ZREMRANGEBYLEX", k("lex"), "[m1", "[m10"),
            lambda: ("ZMPOP", 2, k("zset"), k("zset"), r.choice(("MIN", "MAX")), "COUNT", 2),
        )

    def _zset_store(self) -> Command:
        k, r = self.key, self.rng
        return self._pick(
            lambda: ("ZUNIONSTORE", k("zset"), 2, k("zset"), k("set"), "WEIGHTS", 2, repr(r.uniform(0, 3)), "AGGREGATE", "MAX"),
            lambda: ("ZINTERSTORE", k("zset"), 2, k("zset"), k("zset")), lambda: ("ZDIFFSTORE", k("zset"), 2, k("zset"), k("zset")),
            lambda: ("ZRANGESTORE", k("zset"), k("zset"), 0, 30),
        )

    def _stream(self) -> Command:
        x, v, r = self.stream_key, self.value, self.rng
        return self._pick(
            lambda: ("XADD", x(), "*", self._field(), v()[:200]), lambda: ("XADD", x(), "*", self._field(), v()[:200]),
            lambda: ("XADD", x(), "MAXLEN", "~", 300, "*", "a", v()[:50], "b", v()[:50]),
            lambda: ("XADD", x(), "MAXLEN", 200, "*", "a", 1), lambda: ("XADD", x(), "NOMKSTREAM", "*", "a", 1),
            lambda: ("XTRIM", x(), "MAXLEN", "~", 150), lambda: ("XTRIM", x(), "MINID", f"{int(time.time() * 1000) - 5000}"),
            lambda: ("XDEL", *self._some_ids(x())), lambda: ("XSETID", x(), f"{int(time.time() * 1000)}-9"),
        )

    def _some_ids(self, fallback: bytes) -> tuple[Any, ...]:
        if not self._delivered:
            return (fallback, "1-1")
        key, _group, ids = self.rng.choice(self._delivered)
        return (key, self.rng.choice(ids))

    def _group_command(self) -> Command:
        x, g, c, r = self.stream_key, self._group, self._consumer, self.rng
        return self._pick(
            lambda: ("XREADGROUP", "GROUP", g(), c(), "COUNT", r.randrange(1, 9), "STREAMS", x(), ">"),
            lambda: ("XREADGROUP", "GROUP", g(), c(), "COUNT", 5, "STREAMS", x(), ">"),
            lambda: ("XREADGROUP", "GROUP", g(), c(), "COUNT", 5, "NOACK", "STREAMS", x(), ">"),
            self._acknowledge, self._acknowledge, self._claim,
            lambda: ("XAUTOCLAIM", x(), g(), c(), 0, "0", "COUNT", 5), lambda: ("XAUTOCLAIM", x(), g(), c(), 0, "0", "JUSTID"),
            lambda: ("XGROUP", "CREATE", x(), g(), r.choice(("$", "0")), "MKSTREAM"),
            lambda: ("XGROUP", "CREATECONSUMER", x(), g(), c()),
            lambda: ("XGROUP", "DELCONSUMER", x(), g(), c()) if r.random() < 0.2 else ("XGROUP", "SETID", x(), g(), "$"),
            lambda: ("XGROUP", "DESTROY", x(), g()) if r.random() < 0.1 else ("XGROUP", "CREATE", x(), g(), "0", "MKSTREAM"),
        )

    def _acknowledge(self) -> Command:
        if not self._delivered:
            return ("XACK", self.stream_key(), self._group(), "1-1")
        key, group, ids = self._delivered.pop(self.rng.randrange(len(self._delivered)))
        return ("XACK", key, group, *ids[: self.rng.randrange(1, len(ids) + 1)])

    def _claim(self) -> Command:
        if not self._delivered:
            return ("XCLAIM", self.stream_key(), self._group(), self._consumer(), 0, "1-1")
        key, group, ids = self.rng.choice(self._delivered)
        return ("XCLAIM", key, group, self._consumer(), 0, *ids)

    def _hll(self) -> Command:
        k = self.key
        return self._pick(
            lambda: ("PFADD", k("hll"), *[self._member() for _ in range(4)]), lambda: ("PFMERGE", k("hll"), k("hll"), k("hll")),
            lambda: ("PFCOUNT", k("hll")),
        )

    def _geo(self) -> Command:
        k, r = self.key, self.rng
        return self._pick(
            lambda: ("GEOADD", k("geo"), repr(r.uniform(-180, 180)), repr(r.uniform(-80, 80)), self._member()),
            lambda: ("GEOSEARCHSTORE", k("geo"), k("geo"), "FROMLONLAT", 10, 50, "BYRADIUS", 3000, "km", "ASC", "COUNT", 20),
        )

    def _keyspace(self) -> Command:
        r = self.rng
        kind = r.choice(("str", "list", "hash", "set", "zset", "cnt", "ttl", "bit"))
        k = self.key
        return self._pick(
            lambda: ("DEL", k(kind), k(kind)), lambda: ("UNLINK", k(kind)), lambda: ("RENAME", k(kind), k(kind)),
            lambda: ("RENAMENX", k(kind), k(kind)), lambda: ("COPY", k(kind), k(kind), "REPLACE"),
            lambda: ("COPY", k(kind), k(kind), "DB", r.randrange(self.databases)),
            lambda: ("MOVE", k(kind), r.randrange(self.databases)), lambda: self._restore(), lambda: ("TOUCH", k(kind)),
        )

    def _restore(self) -> Command:
        if not self.payloads:
            return ("DEL", self.key("list"))
        kind = self.rng.choice(sorted(self.payloads))
        return ("RESTORE", self.key(kind), self.rng.choice((0, 0, self._ttl())), self.payloads[kind], "REPLACE")

    def _script(self) -> Command:
        script, kinds = self.rng.choice(SCRIPTS)
        return ("EVAL", script, len(kinds), *[self.key(kind) for kind in kinds], self.value()[:100])

    def _function(self) -> Command:
        return ("FCALL", b"lib%d_bump" % self.rng.randrange(2), 2, self.key("cnt"), self.key("list"), self.value()[:100])

    def _publish(self) -> Command:
        return ("PUBLISH", b"channel%d" % self.rng.randrange(3), self.value()[:100])

    def blocking(self) -> Command:
        """For a client of its own: it may wait for what others push."""
        r = self.rng
        q = lambda: b"queue:%d" % r.randrange(4)  # noqa: E731
        z = lambda: b"zqueue:%d" % r.randrange(4)  # noqa: E731
        wait = "0.05"
        return self._pick(
            lambda: ("BLPOP", q(), q(), wait), lambda: ("BRPOP", q(), wait), lambda: ("BLMOVE", q(), q(), "LEFT", "RIGHT", wait),
            lambda: ("BLMOVE", q(), self.key("list"), "RIGHT", "LEFT", wait), lambda: ("BRPOPLPUSH", q(), q(), wait),
            lambda: ("BLMPOP", wait, 2, q(), q(), "LEFT", "COUNT", 3), lambda: ("BZPOPMIN", z(), z(), wait),
            lambda: ("BZPOPMAX", z(), wait), lambda: ("BZMPOP", wait, 2, z(), z(), "MIN", "COUNT", 2),
            lambda: ("XREADGROUP", "GROUP", self._group(), self._consumer(), "COUNT", 3, "BLOCK", 30, "STREAMS", self.stream_key(), ">"),
        )
