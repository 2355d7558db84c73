"""The log as its readers see it: epochs, each with its snapshot's and its stream's bytes, merged by contiguity.

A third reader beside merge.c and frame.c, kept naive on purpose: it holds everything in memory and looks entries up by
their start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from . import frames
from .kafka import Record


@dataclass
class Epoch:
    start: frames.Start
    snapshot: bytes = b""
    snapshot_complete: bool = False
    stream: bytes = b""
    # (start, end, kind, db) of every whole entry of the stream, in order
    entries: list[tuple[int, int, str, int]] = field(default_factory=list)

    @property
    def base(self) -> int:
        return self.start.base

    @property
    def end(self) -> int:
        return self.base + len(self.stream)


class LogView:
    """Epochs in the order of their STARTs; each cut where the next START says that it ended."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.frames: list[tuple[int, int, frames.Frame]] = []
        for record in records:
            try:
                frame = frames.decode(record.value or b"")
            except frames.FrameError as error:
                raise AssertionError(f"partition {record.partition} offset {record.offset}: {error}") from error
            self.frames.append((record.partition, record.offset, frame))
        self.duplicates = 0
        self.epochs: list[Epoch] = []
        seen = 0
        for partition, _, frame in self.frames:
            if frame.start is not None:
                assert partition == 0, "a START stands outside partition 0"
                if frame.epoch > seen:
                    self.epochs.append(Epoch(frame.start))
                    seen = frame.epoch
        for i, epoch in enumerate(self.epochs):
            following = self.epochs[i + 1].start if i + 1 < len(self.epochs) else None
            self._merge(epoch, following)

    def _merge(self, epoch: Epoch, following: frames.Start | None) -> None:
        phases: dict[str, dict[int, frames.Entry]] = {frames.SNAPSHOT: {}, frames.STREAM: {}}
        for _, _, frame in self.frames:
            if frame.type == "data" and frame.epoch == epoch.start.epoch:
                for entry in frame.entries:
                    if entry.start in phases[frame.phase]:
                        self.duplicates += 1
                    phases[frame.phase].setdefault(entry.start, entry)
        if epoch.start.kind == frames.SNAPSHOT:
            parts, _, last = _contiguous(phases[frames.SNAPSHOT], 0, None)
            epoch.snapshot = b"".join(parts)
            epoch.snapshot_complete = last is not None and last.kind == "rdb_end"
        limit = following.prev_end if following is not None else None
        parts, epoch.entries, _ = _contiguous(phases[frames.STREAM], epoch.base, limit)
        epoch.stream = b"".join(parts)

    def stream(self) -> list[tuple[str, int, bytes]]:
        """(replid, base, bytes) of each piece of uninterrupted timeline."""
        return [(e.start.replid, e.base, e.stream) for e in self.epochs]


def _contiguous(
    entries: dict[int, frames.Entry], at: int, limit: int | None
) -> tuple[list[bytes], list[tuple[int, int, str, int]], frames.Entry | None]:
    parts: list[bytes] = []
    whole: list[tuple[int, int, str, int]] = []
    pending: list[bytes] = []
    begin, last = at, None
    while at in entries and (limit is None or at < limit):
        entry = entries[at]
        pending.append(entry.data)
        at = entry.end
        if entry.last:
            parts += pending
            pending = []
            whole.append((begin, at, entry.kind, entry.db))
            begin, last = at, entry
    return parts, whole, last
