"""A log of the journal, to be copied into another topic in changed ways, and how far a reader can come in it.

`reach()` is a naive reader: it looks every entry up by its start and stops at the first hole. What a test expects of an
applier on a damaged copy comes from here and not from the code under test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from . import frames
from .frames import SNAPSHOT, STREAM, Entry, Frame
from .kafka import KafkaCluster, Record

PHASES = (SNAPSHOT, STREAM)


@dataclass(frozen=True)
class Item:
    """A record and what it holds; of a changed record, what it held."""

    record: Record
    frame: Frame

    @property
    def partition(self) -> int:
        return self.record.partition

    @property
    def is_data(self) -> bool:
        return self.frame.type == "data"

    @property
    def is_start(self) -> bool:
        return self.frame.start is not None

    @property
    def end(self) -> tuple[int, int, int]:
        """Behind its last entry, in the order of the log."""
        return self.frame.epoch, PHASES.index(self.frame.phase), self.frame.end

    def with_value(self, value: bytes) -> Item:
        return Item(dataclasses.replace(self.record, value=value), self.frame)


@dataclass
class Reach:
    """Where a reader of some records has to stand still."""

    epoch: int = 0  # 0: not even a START
    phase: str = SNAPSHOT
    whole: int = 0  # behind the last whole entry
    hole: int = 0  # where the first byte is missing; above `whole` inside an entry in fragments
    hole_end: int | None = None  # the next byte that is there; None: nothing of this epoch and phase is
    entries: list[tuple[tuple[int, int, int], Entry, bytes]] = field(default_factory=list)
    """(end, last fragment, all bytes) of each whole entry on the way."""

    @property
    def position(self) -> tuple[int, int, int]:
        return self.epoch, PHASES.index(self.phase), self.whole

    @property
    def last_change(self) -> tuple[int, int, int]:
        """Behind the last entry that changes data: a position without commands is written when there is time."""
        return max((end for end, entry, _ in self.entries if entry.kind not in ("link", "rdb_meta")), default=(0, 0, 0))


def decode(records: Iterable[Record]) -> list[Item]:
    return [Item(record, frames.decode(record.value or b"")) for record in records]


def starts(items: Iterable[Item]) -> list[frames.Start]:
    """Of each epoch, once, in order."""
    found = {item.frame.start.epoch: item.frame.start for item in items if item.frame.start is not None}
    return [found[epoch] for epoch in sorted(found)]


def reach(items: Iterable[Item]) -> Reach:
    """How far a reader of exactly these records comes."""
    items = list(items)
    chain = starts(items)
    at: dict[tuple[int, str, int], Entry] = {}
    for item in items:
        if item.is_data:
            for entry in item.frame.entries:
                at.setdefault((item.frame.epoch, item.frame.phase, entry.start), entry)
    result = Reach()
    for i, start in enumerate(chain):
        following = chain[i + 1] if i + 1 < len(chain) else None
        result.epoch, result.phase, result.whole, result.hole = start.epoch, start.kind, 0, 0
        if start.kind == SNAPSHOT:
            if not _walk(result, at, None):
                break
            result.phase = STREAM
        result.whole = result.hole = start.base
        limit = following.prev_end if following is not None else None
        _walk(result, at, limit)
        if limit is None or result.whole != limit:
            result.hole_end = min((end for end in (result.hole_end, limit) if end is not None), default=None)
            break
    return result


def _walk(result: Reach, at: dict[tuple[int, str, int], Entry], limit: int | None) -> bool:
    """Goes on to the next hole or `limit`; whether the snapshot's end was met."""
    parts: list[bytes] = []
    while (limit is None or result.hole < limit) and (entry := at.get((result.epoch, result.phase, result.hole))):
        parts.append(entry.data)
        result.hole = entry.end
        if entry.last:
            result.whole = entry.end
            result.entries.append((result.position, entry, b"".join(parts)))
            parts = []
            if entry.kind == "rdb_end":
                return True
    beyond = [
        start for epoch, phase, start in at if (epoch, phase) == (result.epoch, result.phase) and start > result.hole
    ]
    result.hole_end = min(beyond, default=None)
    return False


def offsets(items: Iterable[Item], keep: Callable[[Item], bool]) -> dict[int, list[tuple[int, Item]]]:
    """Of each partition the offsets that the chosen records have where `items` were written to an empty topic."""
    next_offset: dict[int, int] = {}
    found: dict[int, list[tuple[int, Item]]] = {}
    for item in items:
        offset = next_offset.get(item.partition, 0)
        next_offset[item.partition] = offset + 1
        if keep(item):
            found.setdefault(item.partition, []).append((offset, item))
    return found


def write(kafka: KafkaCluster, topic: str, items: Iterable[Item]) -> None:
    """Appends them in this order: same partition, value and timestamp."""
    producer = kafka.producer(**{"linger.ms": 2, "enable.idempotence": True})
    failed: list[object] = []

    def report(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    for item in items:
        record = item.record
        while True:
            try:
                producer.produce(
                    topic, record.value, record.key, record.partition, on_delivery=report, timestamp=record.timestamp
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(30) or failed:
        raise AssertionError(f"could not produce to '{topic}': {failed[:1] or 'time-out'}")
