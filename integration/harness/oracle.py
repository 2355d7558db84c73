"""Says whether two Redis hold the same, key by key, in both directions and in every database.

First pass: a read-only script returns type, absolute expiry and a SHA-1 of the DUMP payload (less its trailer of
version and checksum) for some hundred keys at once. Equal payloads are equal values. Unequal ones need not differ:
hash tables are dumped in the order of a random seed, streams with the time at which a consumer was seen, lists by how
their nodes happened to be split. So the second pass reads those keys from both sides and compares what they mean.

Keys whose time is over on DC: SCAN expires them on a master, as the script does, and that sends their DEL down the
stream; those of DR stay until that DEL arrives. So a difference counts only when it is still there after DR has passed
the offset that DC had when it was seen (`settle`); just the keys that differed are looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import redis

from .oracle_values import meaning, parts_that_differ
from .redis import RedisServer
from .wait import wait_until

BATCH = 256
SHOWN = 20
RESERVED = b"redis-wal:"

FACTS = """
local out = {}
for i, key in ipairs(ARGV) do
  local kind = redis.call('TYPE', key).ok
  local dump = redis.call('DUMP', key)
  if dump then
    out[i] = kind .. ' ' .. string.format('%.0f', redis.call('PEXPIRETIME', key)) .. ' ' ..
             redis.sha1hex(string.sub(dump, 1, -11))
  else
    out[i] = 'none -2 -'
  end
end
return table.concat(out, '\\n')
"""


@dataclass(frozen=True)
class Difference:
    db: int
    key: bytes | None
    what: str
    dc: Any = None
    dr: Any = None

    def __str__(self) -> str:
        where = f"db {self.db} key {_short(self.key)}" if self.key is not None else f"db {self.db}"
        return f"{where}: {self.what}: DC {_short(self.dc)}, DR {_short(self.dr)}"


@dataclass(frozen=True)
class Rules:
    """What may differ.

    `ttl_guard_ms`: DR's expiry is DC's and this much later, where DC has one. `ttl_tolerance_ms`: either way of that.
    `idle_consumers`: a consumer without pending entries that DR lacks is no difference, because Redis does not
    replicate the one that a blocking XREADGROUP makes. `delivery_times`: those of pending entries must be equal.
    `entries_read`: so must that counter of a group. It is off, since XREADGROUP replicates as XCLAIM … LASTID, which
    does not carry it: a native replica of 7.0 lacks it too.
    """

    ttl_guard_ms: int = 0
    ttl_tolerance_ms: int = 0
    idle_consumers: bool = True
    delivery_times: bool = True
    entries_read: bool = False
    functions: bool = True
    reserved: bytes = RESERVED


Endpoint = RedisServer | redis.Redis
Facts = tuple[str, int, str]


def compare(dc: Endpoint, dr: Endpoint, rules: Rules = Rules(), databases: int = 16) -> list[Difference]:
    """All differences at this moment; both should be at rest."""
    found: list[Difference] = []
    for db in _used(dc, dr, databases):
        with _open(dc, db) as left, _open(dr, db) as right:
            keys: set[bytes] = set()
            for batch in _scan(left, rules.reserved):
                fresh = [key for key in batch if key not in keys]
                keys.update(fresh)
                found += _compare_keys(db, left, right, fresh, rules)
            for batch in _scan(right, rules.reserved):
                fresh = [key for key in batch if key not in keys]
                keys.update(fresh)
                found += _compare_keys(db, left, right, fresh, rules)
    if rules.functions:
        found += _compare_functions(dc, dr)
    return found


def recheck(dc: Endpoint, dr: Endpoint, differences: Iterable[Difference], rules: Rules = Rules()) -> list[Difference]:
    """Looks again at the keys of `differences` only."""
    wanted: dict[int, dict[bytes, None]] = {}
    functions = False
    for one in differences:
        if one.key is None:
            functions = True
        else:
            wanted.setdefault(one.db, {})[one.key] = None
    found: list[Difference] = []
    for db, keys in wanted.items():
        with _open(dc, db) as left, _open(dr, db) as right:
            found += _compare_keys(db, left, right, list(keys), rules)
    if functions:
        found += _compare_functions(dc, dr)
    return found


def assert_equal(
    dc: Endpoint,
    dr: Endpoint,
    rules: Rules = Rules(),
    settle: Callable[[], object] | None = None,
    rounds: int = 5,
) -> None:
    """Fails with the first differences. `settle` returns when DR has all that DC sent before the call; with it a
    difference is looked at again, up to `rounds` times, before it counts."""
    found = compare(dc, dr, rules)
    for _ in range(rounds if settle is not None else 0):
        if not found:
            break
        assert settle is not None
        settle()
        found = recheck(dc, dr, found, rules)
    if found:
        shown = "\n".join(f"  {one}" for one in found[:SHOWN])
        raise AssertionError(f"DC and DR differ in {len(found)} places:\n{shown}")


def wait_equal(
    dc: RedisServer,
    dr: RedisServer,
    position: Callable[[], int | None],
    timeout: float = 60.0,
    rules: Rules = Rules(),
) -> None:
    """Waits until `position` (of DR, in DC's offsets) has passed what DC has written by now, then compares."""
    deadline = time.monotonic() + timeout

    def settle() -> None:
        target = dc.repl_offset()
        left = max(1.0, deadline - time.monotonic())

        def passed() -> bool:
            at = position()
            return at is not None and at >= target

        wait_until(passed, left, lambda: f"DR at offset {target}, is at {position()}")

    settle()
    assert_equal(dc, dr, rules, settle)


def key_count(server: Endpoint, reserved: bytes = RESERVED) -> int:
    """Keys that are compared: a test that compares two empty servers proves nothing."""
    total = 0
    for db in _used(server, server, 16):
        with _open(server, db) as client:
            total += sum(len(batch) for batch in _scan(client, reserved))
    return total


# --- one database ---


def _compare_keys(
    db: int, dc: redis.Redis, dr: redis.Redis, keys: list[bytes], rules: Rules
) -> list[Difference]:
    found: list[Difference] = []
    for begin in range(0, len(keys), BATCH):
        part = keys[begin : begin + BATCH]
        unequal = []
        for key, left, right in zip(part, _facts(dc, part), _facts(dr, part), strict=True):
            found += _compare_facts(db, key, left, right, rules)
            if left[0] == right[0] != "none" and left[2] != right[2]:
                unequal.append((key, left[0]))
        found += _compare_values(db, dc, dr, unequal, rules)
    return found


def _compare_facts(db: int, key: bytes, left: Facts, right: Facts, rules: Rules) -> list[Difference]:
    if left[0] != right[0]:
        if right[0] == "none":
            return [Difference(db, key, "missing on DR", left[0], None)]
        if left[0] == "none":
            return [Difference(db, key, "only on DR", None, right[0])]
        return [Difference(db, key, "type", left[0], right[0])]
    if left[0] == "none":
        return []
    if (left[1] < 0) != (right[1] < 0):
        return [Difference(db, key, "expiry", left[1], right[1])]
    if left[1] >= 0 and abs(right[1] - left[1] - rules.ttl_guard_ms) > rules.ttl_tolerance_ms:
        return [Difference(db, key, f"expiry (guard {rules.ttl_guard_ms} ms)", left[1], right[1])]
    return []


def _compare_values(
    db: int, dc: redis.Redis, dr: redis.Redis, keys: list[tuple[bytes, str]], rules: Rules
) -> list[Difference]:
    found: list[Difference] = []
    for key, kind in keys:
        left, right = meaning(dc, key, kind), meaning(dr, key, kind)
        if left == right:
            continue
        for what, mine, other in parts_that_differ(kind, left, right, rules):
            found.append(Difference(db, key, what, mine, other))
    return found


def _facts(client: redis.Redis, keys: list[bytes]) -> list[Facts]:
    if not keys:
        return []
    reply = client.execute_command("EVAL_RO", FACTS, 0, *keys)
    found = []
    for line in reply.decode().split("\n"):
        kind, expiry, digest = line.split(" ")
        found.append((kind, int(expiry), digest))
    return found


def _scan(client: redis.Redis, reserved: bytes) -> Iterator[list[bytes]]:
    cursor = b"0"
    while True:
        cursor, keys = client.execute_command("SCAN", cursor, "COUNT", 1000)
        yield [key for key in dict.fromkeys(keys) if not key.startswith(reserved)]
        if int(cursor) == 0:
            return


# --- the server ---


def _compare_functions(dc: Endpoint, dr: Endpoint) -> list[Difference]:
    with _open(dc, 0) as left, _open(dr, 0) as right:
        mine, other = _functions(left), _functions(right)
    return [
        Difference(0, None, f"function library {name!r}", mine.get(name), other.get(name))
        for name in sorted({*mine, *other})
        if mine.get(name) != other.get(name)
    ]


def _functions(client: redis.Redis) -> dict[bytes, tuple[bytes, bytes]]:
    """Library name to engine and code; the functions of a library follow from its code."""
    found = {}
    for library in client.execute_command("FUNCTION", "LIST", "WITHCODE"):
        fields = dict(zip(library[::2], library[1::2], strict=True))
        found[fields[b"library_name"]] = (fields[b"engine"], fields[b"library_code"])
    return found


def _used(dc: Endpoint, dr: Endpoint, databases: int) -> list[int]:
    """Databases with keys on either side."""
    used: set[int] = set()
    for endpoint in (dc, dr):
        with _open(endpoint, 0) as client:
            used |= {int(name[2:]) for name in client.info("keyspace")}
    return sorted(db for db in used if db < databases)


def _open(endpoint: Endpoint, db: int) -> redis.Redis:
    if isinstance(endpoint, RedisServer):
        return endpoint.client(db, socket_timeout=120)
    settings = dict(endpoint.connection_pool.connection_kwargs, db=db)
    pool = redis.ConnectionPool(connection_class=endpoint.connection_pool.connection_class, **settings)
    return redis.Redis.from_pool(pool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]}… ({len(text)} characters)"
