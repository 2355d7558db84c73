"""What a key of each type means, apart from how a server happens to store it, and how two such meanings differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from .oracle import Rules

HLL_MAGIC = b"HYLL"
HLL_CACHE = slice(8, 16)
"""The cached cardinality of a HyperLogLog, refreshed whenever someone counts."""

MISSING = "none"
Part = tuple[str, Any, Any]


def meaning(client: redis.Redis, key: bytes, kind: str) -> Any:
    """A value that compares equal exactly when the keys mean the same; None for a key that is gone."""
    run = client.execute_command
    if kind == "string":
        value = run("GET", key)
        if value is not None and value.startswith(HLL_MAGIC) and len(value) >= 16:
            return value[: HLL_CACHE.start] + bytes(8) + value[HLL_CACHE.stop :]
        return value
    if kind == "list":
        return run("LRANGE", key, 0, -1)
    if kind == "set":
        return frozenset(run("SMEMBERS", key))
    if kind == "hash":
        return run("HGETALL", key)
    if kind == "zset":
        # Scores as the server writes them, 17 digits: equal text is the equal double.
        flat = run("ZRANGE", key, 0, -1, "WITHSCORES")
        return dict(zip(flat[::2], flat[1::2], strict=True))
    if kind == "stream":
        return _stream(client, key)
    return run("DUMP", key)


def _stream(client: redis.Redis, key: bytes) -> dict[str, Any] | None:
    try:
        full = _fields(client.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", 0))
    except redis.exceptions.ResponseError:
        return None  # expired or deleted since
    return {
        "entries": [(entry[0], tuple(entry[1])) for entry in full["entries"]],
        "length": full["length"],
        "last-id": full["last-generated-id"],
        "max-deleted-id": full.get("max-deleted-entry-id"),
        "entries-added": full.get("entries-added"),
        "groups": {group[b"name"]: _group(group) for group in map(_pairs, full["groups"])},
    }


def _group(group: dict[bytes, Any]) -> dict[str, Any]:
    consumers = {}
    for consumer in map(_pairs, group[b"consumers"]):
        consumers[consumer[b"name"]] = {entry[0]: (entry[1], entry[2]) for entry in consumer[b"pending"]}
    return {
        "last-delivered-id": group[b"last-delivered-id"],
        "entries-read": group.get(b"entries-read"),
        "pending": {entry[0]: (entry[1], entry[2], entry[3]) for entry in group[b"pending"]},
        "consumers": consumers,
    }


def _fields(flat: list[Any]) -> dict[str, Any]:
    return {key.decode(): value for key, value in _pairs(flat).items()}


def _pairs(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


# --- how they differ ---


def parts_that_differ(kind: str, left: Any, right: Any, rules: Rules) -> Iterator[Part]:
    """(what, DC's, DR's) for each part. Nothing where the rules excuse all of it."""
    if left is None or right is None:
        yield "value", left, right
    elif kind == "stream":
        yield from _stream_parts(left, right, rules)
    elif kind == "set":
        yield "set members", sorted(left - right), sorted(right - left)
    elif kind in ("hash", "zset"):
        names = sorted(name for name in {*left, *right} if left.get(name) != right.get(name))
        what = "hash fields" if kind == "hash" else "zset scores"
        yield what, {n: left.get(n) for n in names}, {n: right.get(n) for n in names}
    elif kind == "list":
        at = next((i for i, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
        yield f"list from index {at} (lengths {len(left)}, {len(right)})", left[at : at + 3], right[at : at + 3]
    else:
        at = next((i for i, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
        yield f"{kind} from byte {at} (lengths {len(left)}, {len(right)})", left[at : at + 40], right[at : at + 40]


def _stream_parts(left: dict[str, Any], right: dict[str, Any], rules: Rules) -> Iterator[Part]:
    for what in ("last-id", "max-deleted-id", "entries-added", "length"):
        if left[what] != right[what]:
            yield f"stream {what}", left[what], right[what]
    if left["entries"] != right["entries"]:
        mine, other = dict(left["entries"]), dict(right["entries"])
        ids = sorted(i for i in {*mine, *other} if mine.get(i) != other.get(i))
        yield "stream entries", {i: mine.get(i) for i in ids}, {i: other.get(i) for i in ids}
    for name in sorted({*left["groups"], *right["groups"]}):
        mine, other = left["groups"].get(name), right["groups"].get(name)
        if mine is None or other is None:
            yield f"group {name!r}", mine and "there", other and "there"
        else:
            yield from _group_parts(name, mine, other, rules)


def _group_parts(name: bytes, left: dict[str, Any], right: dict[str, Any], rules: Rules) -> Iterator[Part]:
    counters = ["last-delivered-id"] + (["entries-read"] if rules.entries_read else [])
    for what in counters:
        if left[what] != right[what]:
            yield f"group {name!r} {what}", left[what], right[what]
    mine, other = _pending(left["pending"], rules), _pending(right["pending"], rules)
    if mine != other:
        ids = sorted(i for i in {*mine, *other} if mine.get(i) != other.get(i))
        yield (
            f"group {name!r} pending (consumer, time, deliveries)",
            {i: left["pending"].get(i) for i in ids},
            {i: right["pending"].get(i) for i in ids},
        )
    for consumer in sorted({*left["consumers"], *right["consumers"]}):
        there, here = left["consumers"].get(consumer), right["consumers"].get(consumer)
        if here is None and not there and rules.idle_consumers:
            continue
        if there is None or here is None:
            yield f"group {name!r} consumer {consumer!r}", there, here
        elif set(there) != set(here):
            yield f"group {name!r} consumer {consumer!r} pending", sorted(there), sorted(here)


def _pending(entries: dict[bytes, tuple[Any, ...]], rules: Rules) -> dict[bytes, tuple[Any, ...]]:
    """The id's consumer, time of delivery and count of deliveries."""
    if rules.delivery_times:
        return entries
    return {entry: (owner, count) for entry, (owner, _time, count) in entries.items()}
