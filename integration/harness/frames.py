"""Frames of the log: a second reader, written from common/FORMAT.md alone.

It is strict and slow on purpose: where it and the C decoder disagree, one of them, or the page, is wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

HEAD = 132
STREAM, SNAPSHOT = "stream", "snapshot"
TYPES = {1: "data", 2: "start", 3: "heartbeat"}
START_KINDS = {1: STREAM, 2: SNAPSHOT}
KINDS = {
    1: ("command", STREAM),
    2: ("transaction", STREAM),
    3: ("link", STREAM),
    16: ("rdb_meta", SNAPSHOT),
    17: ("rdb_function", SNAPSHOT),
    18: ("rdb_key", SNAPSHOT),
    19: ("rdb_end", SNAPSHOT),
}
NOT_FIRST, NOT_LAST, HAS_DB_END = 1, 2, 4
CRITICAL = 0x8000

_HEADER = struct.Struct("<4sBBHIIIIQQQQ20sIQQQQqQI")
_START = struct.Struct("<BBHIQ20sQQQQB")
_BEAT = struct.Struct("<QQq")
assert _HEADER.size == HEAD


class FrameError(ValueError):
    """The bytes are not a frame of version 1."""


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (RFC 3720) of data, going on from crc."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def frame_crc(record: bytes) -> int:
    """What the crc field of a record has to be."""
    return crc32c(record[12:], crc32c(record[:8]))


@dataclass
class Entry:
    kind: str
    db: int
    db_end: int
    start: int
    data: bytes
    first: bool = True  # the first fragment, or whole
    last: bool = True  # the last fragment, or whole

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass
class Start:
    kind: str
    partitions: int
    db: int
    epoch: int
    replid: str
    base: int
    prev_epoch: int
    prev_end: int | None
    snapshot_epoch: int
    owner: str


@dataclass
class Heartbeat:
    start: Start
    read_lsn: int
    source_lsn: int
    source_clock_ms: int


@dataclass
class Frame:
    type: str
    phase: str
    source_id: int
    owner_id: int
    owner_run: int
    epoch: int
    replid: str
    base: int
    end: int
    d_epoch: int
    d_phase: str
    d_position: int
    d_db: int
    recv_ms: int
    origin: int
    entries: list[Entry] = field(default_factory=list)
    start: Start | None = None
    heartbeat: Heartbeat | None = None


class _Reader:
    def __init__(self, data: bytes, what: str):
        self.data, self.at, self.what = data, 0, what

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise FrameError(f"{self.what}: {size} bytes at {self.at} overrun it")
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, form: struct.Struct) -> tuple:
        return form.unpack(self.take(form.size))

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value >= 1 << 64 or (shift and byte == 0):
            raise FrameError(f"{self.what}: varint at {self.at} is too large or not the shortest form")
        return value

    def done(self) -> None:
        if self.at != len(self.data):
            raise FrameError(f"{self.what}: {len(self.data) - self.at} bytes stand behind its end")


def _extensions(area: bytes) -> None:
    r = _Reader(area, "extension area")
    while r.at < len(area):
        kind, size = struct.unpack("<HH", r.take(4))
        r.take(size)
        if kind & CRITICAL:
            raise FrameError(f"extension {kind:#06x} is critical and not known")


def _entry(r: _Reader, phase: str, end: int, first: bool) -> Entry:
    code, flags = r.take(2)
    if code not in KINDS:
        raise FrameError(f"entry kind {code} is not known")
    name, in_phase = KINDS[code]
    if in_phase != phase:
        raise FrameError(f"entry kind {name} stands in the {phase} phase")
    if flags & ~7:
        raise FrameError(f"entry flags {flags:#x} are not known")
    db = r.varint()
    db_end = r.varint() if flags & HAS_DB_END else db
    if db >= 1 << 32 or db_end >= 1 << 32:
        raise FrameError("a database is above 32 bits")
    if flags & HAS_DB_END and (db_end == db or flags & NOT_LAST):
        raise FrameError("db_end equals db, or stands in a fragment that is not the last")
    delta, size = r.varint(), r.varint()
    if first and delta:
        raise FrameError("the first entry does not begin at base")
    if size == 0:
        raise FrameError("an entry has length 0")
    data = r.take(size)
    if end + delta + size >= 1 << 64:
        raise FrameError("an entry ends above 64 bits")
    return Entry(name, db, db_end, end + delta, data, not flags & NOT_FIRST, not flags & NOT_LAST)


def _entries(body: bytes, phase: str, cnt: int, base: int, end: int) -> list[Entry]:
    r = _Reader(body, "body")
    entries: list[Entry] = []
    at = base
    for i in range(cnt):
        entries.append(_entry(r, phase, at, i == 0))
        at = entries[-1].end
    r.done()
    if not entries:
        raise FrameError("a data frame has no entry")
    if at != end:
        raise FrameError(f"the entries end at {at}, the header says {end}")
    return entries


def _start(r: _Reader) -> Start:
    code, flags, partitions, db, epoch, replid, base, prev_epoch, prev_end, snapshot, owner_len = r.unpack(_START)
    if code not in START_KINDS:
        raise FrameError(f"START kind {code} is not known")
    if flags & ~1:
        raise FrameError(f"START flags {flags:#x} are not known")
    if not 1 <= partitions <= 4096:
        raise FrameError(f"{partitions} partitions")
    if not flags & 1 and prev_end:
        raise FrameError("prev_end without its flag")
    if START_KINDS[code] == SNAPSHOT and db:
        raise FrameError("a snapshot's START has a db")
    owner = r.take(owner_len).decode("utf-8", "replace")
    if "\0" in owner:
        raise FrameError("the owner has a NUL")
    return Start(
        START_KINDS[code],
        partitions,
        db,
        epoch,
        replid.hex(),
        base,
        prev_epoch,
        prev_end if flags & 1 else None,
        snapshot,
        owner,
    )


def decode(record: bytes) -> Frame:
    """The record as a Frame; FrameError when FORMAT.md refuses it."""
    if len(record) < HEAD:
        raise FrameError(f"{len(record)} bytes are shorter than a header")
    (
        magic,
        version,
        code,
        flags,
        crc,
        ext_len,
        body_len,
        entry_cnt,
        source_id,
        owner_id,
        owner_run,
        epoch,
        replid,
        key_id,
        base,
        end,
        d_epoch,
        d_position,
        recv_ms,
        origin,
        d_db,
    ) = _HEADER.unpack_from(record)
    if magic != b"RWAL":
        raise FrameError("the magic is not RWAL")
    if version != 1:
        raise FrameError(f"version {version}")
    if len(record) != HEAD + ext_len + body_len:
        raise FrameError(f"{len(record)} bytes, the header says {HEAD} + {ext_len} + {body_len}")
    if crc != frame_crc(record):
        raise FrameError("the CRC is wrong")
    if code not in TYPES:
        raise FrameError(f"type {code} is not known")
    if flags & ~3:
        raise FrameError(f"flags {flags:#x} are not known")
    if key_id:
        raise FrameError(f"key_id {key_id} is not known")
    if d_epoch == 0 and (d_position or d_db or flags & 2):
        raise FrameError("a durable position without an epoch")
    _extensions(record[HEAD : HEAD + ext_len])
    phases = (SNAPSHOT, STREAM)
    frame = Frame(
        TYPES[code],
        phases[flags & 1],
        source_id,
        owner_id,
        owner_run,
        epoch,
        replid.hex(),
        base,
        end,
        d_epoch,
        phases[flags >> 1],
        d_position,
        d_db,
        recv_ms,
        origin,
    )
    body = record[HEAD + ext_len :]
    if frame.type == "data":
        frame.entries = _entries(body, frame.phase, entry_cnt, base, end)
        return frame
    if entry_cnt or base or end:
        raise FrameError("a control frame has entries or positions")
    r = _Reader(body, "control block")
    start = _start(r)
    if (start.epoch, start.replid) != (epoch, frame.replid):
        raise FrameError("the control block's epoch or replid is not the header's")
    if frame.type == "start":
        frame.start = start
    else:
        frame.heartbeat = Heartbeat(start, *r.unpack(_BEAT))
    r.done()
    return frame
