#!/usr/bin/env python3
"""Writes the golden vectors of ../FORMAT.md beside itself: NAME.json as listed here, NAME.hex from it.

The encoder here shares nothing with the C one but the page. Run it after adding a vector; those that are there
must not change, since logs written with them exist.
"""

import copy
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "integration"))
from harness.frames import HEAD, frame_crc  # noqa: E402

TYPE = {"data": 1, "start": 2, "heartbeat": 3}
PHASE = {"snapshot": 0, "stream": 1}
KIND = {"command": 1, "transaction": 2, "link": 3, "rdb_meta": 16, "rdb_function": 17, "rdb_key": 18, "rdb_end": 19}
REPLID = "00112233445566778899aabbccddeeff01234567"
EPOCH = 1767225600000
NAME_ID = 0xF1E2D3C4B5A69788

_vectors: dict[str, tuple[dict, bytes]] = {}


def varint(v: int) -> bytes:
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    return bytes(out + bytes([v]))


def entry_bytes(e: dict, end: int) -> bytes:
    flags = (not e["first"]) | (not e["last"]) << 1 | (e["db"] != e["db_end"]) << 2
    out = bytes([KIND[e["kind"]], flags]) + varint(e["db"])
    if flags & 4:
        out += varint(e["db_end"])
    data = bytes.fromhex(e["data"])
    return out + varint(int(e["start"]) - end) + varint(len(data)) + data


def start_bytes(s: dict) -> bytes:
    prev = s["prev_end"]
    head = struct.pack(
        "<BBHIQ", {"stream": 1, "snapshot": 2}[s["kind"]], prev is not None, s["partitions"], s["db"], int(s["epoch"])
    )
    owner = s["owner"].encode()
    tail = struct.pack("<QQQQB", int(s["base"]), int(s["prev_epoch"]), int(prev or 0), int(s["snapshot_epoch"]), len(owner))
    return head + bytes.fromhex(s["replid"]) + tail + owner


def body_bytes(v: dict) -> bytes:
    if v["type"] == "start":
        return start_bytes(v["start"])
    if v["type"] == "heartbeat":
        h = v["heartbeat"]
        beat = struct.pack("<QQq", int(h["read_lsn"]), int(h["source_lsn"]), int(h["source_clock_ms"]))
        return start_bytes(h["start"]) + beat
    body, end = b"", int(v["base"])
    for e in v["entries"]:
        body += entry_bytes(e, end)
        end = int(e["start"]) + len(e["data"]) // 2
    return body


def seal(rec: bytes) -> bytes:
    return rec[:8] + struct.pack("<I", frame_crc(rec)) + rec[12:]


def record(v: dict, ext: bytes = b"") -> bytes:
    body = body_bytes(v)
    flags = PHASE[v["phase"]] | PHASE[v["d_phase"]] << 1
    head = b"RWAL" + struct.pack("<BBHIIII", 1, TYPE[v["type"]], flags, 0, len(ext), len(body), len(v["entries"]))
    head += struct.pack("<QQQQ", *(int(v[k]) for k in ("source_id", "owner_id", "owner_run", "epoch")))
    head += bytes.fromhex(v["replid"]) + struct.pack("<I", 0)
    head += struct.pack("<QQQQqQ", *(int(v[k]) for k in ("base", "end", "d_epoch", "d_position", "recv_ms", "origin")))
    head += struct.pack("<I", v["d_db"])
    return seal(head + ext + body)


def frame(type_: str, phase: str = "snapshot", **other) -> dict:
    v = {
        "type": type_,
        "phase": phase,
        "source_id": str(NAME_ID),
        "owner_id": "72623859790382856",
        "owner_run": "18446744073709551615",
        "epoch": str(EPOCH),
        "replid": REPLID,
        "base": "0",
        "end": "0",
        "d_epoch": str(EPOCH),
        "d_phase": phase,
        "d_position": "0",
        "d_db": 0,
        "recv_ms": str(EPOCH + 1234),
        "origin": "0",
        "entries": [],
        "start": None,
        "heartbeat": None,
    }
    return v | other


def entry(kind: str, start: int, data: bytes, db: int = 0, **other) -> dict:
    e = {"kind": kind, "db": db, "db_end": db, "start": str(start), "data": data.hex(), "first": True, "last": True}
    return e | other


def data(phase: str, *entries: dict, **other) -> dict:
    end = int(entries[-1]["start"]) + len(entries[-1]["data"]) // 2
    return frame("data", phase, base=entries[0]["start"], end=str(end), entries=list(entries)) | other


def start(kind: str, prev_end: int | None, **other) -> dict:
    s = {
        "kind": kind,
        "partitions": 12,
        "db": 3 if kind == "stream" else 0,
        "epoch": str(EPOCH),
        "replid": REPLID,
        "base": "123456789012",
        "prev_epoch": str(EPOCH - 86400000),
        "prev_end": None if prev_end is None else str(prev_end),
        "snapshot_epoch": str(EPOCH - 86400000),
        "owner": "journal-0.dc",
    }
    return s | other


def good(name: str, v: dict, ext: bytes = b"") -> None:
    _vectors[name] = (v, record(v, ext))


def bad(name: str, word: str, rec: bytes, sealed: bool = True) -> None:
    _vectors["refused-" + name] = ({"error": word}, seal(rec) if sealed else rec)


def put(rec: bytes, at: int, form: str, *values: int) -> bytes:
    raw = struct.pack("<" + form, *values)
    return rec[:at] + raw + rec[at + len(raw) :]


SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
SELECT = b"*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n"
TXN = b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" + SELECT + b"*1\r\n$4\r\nEXEC\r\n"
PING = b"*1\r\n$4\r\nPING\r\n"
STREAM = data(
    "stream",
    entry("command", 5000, SET),
    entry("link", 5100, SELECT, 0, db_end=7),
    entry("transaction", 9000, TXN, 7, db_end=4294967295),
    entry("command", 1 << 40, PING, 4294967295),
    d_position="4990",
    d_db=4294967295,
)
TOP = (1 << 64) - 1
BEAT = {"start": start("stream", 123456789012), "read_lsn": "123456790000", "source_lsn": "123456790100"}
BEAT["source_clock_ms"] = str(EPOCH + 1230)


def valid() -> None:
    good("stream", STREAM)
    good("stream-ping", data("stream", entry("link", 0, PING), d_epoch="0", d_phase="snapshot"))
    good("fragment-first", data("stream", entry("command", 77, SET[:10], 2, last=False)))
    good("fragment-middle", data("stream", entry("command", 87, SET[10:20], 2, first=False, last=False)))
    good("fragment-last", data("stream", entry("transaction", 97, SET[20:], 2, db_end=3, first=False)))
    two = (entry("rdb_key", 500, b"ab", 1, first=False), entry("rdb_key", 502, b"c" * 200, 1, last=False))
    good("fragments-in-one-frame", data("snapshot", *two))
    rdb = (
        entry("rdb_meta", 0, b"REDIS0011"),
        entry("rdb_function", 20, b"\xf5\x03abc"),
        entry("rdb_meta", 25, b"\xfe\x09", 0, db_end=9),
        entry("rdb_key", 300, b"\x00\x01k\x01v", 9),
        entry("rdb_end", 400, b"\xff12345678", 9, db_end=0),
    )
    good("snapshot", data("snapshot", *rdb, d_position="17"))
    good("limits", data("stream", entry("command", 0, b"a"), entry("command", TOP - 2, b"bc"), recv_ms="-1", origin=str(TOP)))
    good("start-stream", frame("start", start=start("stream", 123456789012)))
    good("start-stream-max", frame("start", start=start("stream", TOP, base=str(TOP), partitions=4096, owner="ö" * 127)))
    good("start-snapshot", frame("start", start=start("snapshot", 42)))
    first = start("snapshot", None, prev_epoch="0", snapshot_epoch="0", owner="")
    good("start-snapshot-first", frame("start", start=first, d_epoch="0"))
    good("heartbeat", frame("heartbeat", heartbeat=BEAT, d_phase="stream", d_position="123456789999", d_db=2))
    none = BEAT | {"start": first, "source_lsn": "0", "source_clock_ms": "0"}
    good("heartbeat-snapshot", frame("heartbeat", heartbeat=none))
    ext = struct.pack("<HH3sHH", 5, 3, b"abc", 0x7FFF, 0)
    good("extension-ignorable", copy.deepcopy(STREAM), ext)


def refused_headers() -> None:
    rec = record(STREAM)
    beat = record(frame("heartbeat", heartbeat=BEAT))
    bad("empty", "short", b"", sealed=False)
    bad("short", "short", rec[: HEAD - 1], sealed=False)
    bad("magic", "magic", put(rec, 3, "B", 0x4D))
    bad("version", "version", put(rec, 4, "B", 2))
    bad("version-0", "version", put(rec, 4, "B", 0))
    bad("crc", "CRC", put(rec, 8, "I", frame_crc(rec) ^ 1), sealed=False)
    bad("type-0", "type", put(rec, 5, "B", 0))
    bad("type-4", "type", put(rec, 5, "B", 4))
    bad("flags", "flags", put(rec, 6, "H", 7))
    bad("flags-high", "flags", put(rec, 6, "H", 0x8003))
    bad("length-long", "length", rec + b"\0")
    bad("length-short", "length", rec[:-1])
    bad("length-huge", "length", put(rec, 12, "I", 0xFFFFFFFF))
    bad("key-id", "key", put(rec, 76, "I", 1))
    bad("d-without-epoch", "durable", put(put(rec, 96, "Q", 0), 128, "I", 0))
    bad("d-db-without-epoch", "durable", put(put(beat, 96, "Q", 0), 128, "I", 1))
    bad("control-entries", "control", put(beat, 20, "I", 1))
    bad("control-base", "control", put(beat, 80, "Q", 1))
    bad("control-end", "control", put(beat, 88, "Q", 1))
    bad("extension-critical", "critical", record(STREAM, struct.pack("<HHB", 0x8001, 1, 0)))
    bad("extension-overrun", "extension", record(STREAM, struct.pack("<HHB", 1, 2, 0)))
    bad("extension-cut", "extension", record(STREAM, b"\1\0\0"))


def refused_bodies() -> None:
    one = data("stream", entry("command", 9, b"abc"))
    rec = record(one)

    def body(raw: bytes, **fields) -> bytes:
        out = rec[:HEAD] + raw
        out = put(out, 16, "I", len(raw))
        for at, form, value in fields.values():
            out = put(out, at, form, value)
        return out

    fine = b"\1\0\0\0\3abc"
    assert seal(body(fine)) == rec
    bad("entry-none", "fill", body(b"", cnt=(20, "I", 0), end=(88, "Q", 9)))
    bad("entry-count-low", "fill", body(fine * 2, end=(88, "Q", 15)))
    bad("entry-count-high", "fill", put(rec, 20, "I", 2))
    bad("entry-overrun", "read", body(b"\1\0\0\0\4abc"))
    bad("entry-behind", "read", body(fine + b"\1"))
    bad("entry-zero-length", "read", body(b"\1\0\0\0\0"))
    bad("entry-length-huge", "read", body(b"\1\0\0\0" + varint(TOP) + b"abc"))
    bad("entry-kind", "kind", body(b"\4\0\0\0\3abc"))
    bad("entry-kind-0", "kind", body(b"\0\0\0\0\3abc"))
    bad("entry-flags", "read", body(b"\1\x08\0\0\3abc"))
    bad("entry-varint-overlong", "read", body(b"\1\0\x80\0\0\3abc"))
    bad("entry-varint-65-bit", "read", body(b"\1\0" + b"\xff" * 9 + b"\2\0\3abc"))
    bad("entry-varint-cut", "read", body(b"\1\0\0\0\x83"))
    bad("entry-db", "read", body(b"\1\0" + varint(1 << 32) + b"\0\3abc"))
    bad("entry-db-end", "read", body(b"\1\4\0" + varint(1 << 32) + b"\0\3abc"))
    bad("entry-db-end-equal", "flags", body(b"\1\4\5\5\0\3abc"))
    bad("entry-db-end-early", "flags", body(b"\1\6\0\1\0\3abc"))
    bad("entry-delta-first", "base", body(b"\1\0\0\1\3abc", end=(88, "Q", 13)))
    bad("entry-end", "fill", put(rec, 88, "Q", 13))
    bad("entry-beyond-64-bit", "read", body(fine, base=(80, "Q", TOP - 2)))
    bad("entry-delta-beyond-64-bit", "read", body(fine + b"\1\0\0" + varint(TOP - 10) + b"\1x", cnt=(20, "I", 2)))
    bad("kind-in-snapshot", "kind", put(rec, 6, "H", 0))
    bad("kind-in-stream", "kind", body(b"\x12\0\0\0\3abc"))


def refused_controls() -> None:
    block = frame("start", start=start("stream", 7))
    rec = record(block)

    def changed(**fields) -> bytes:
        return record(block | {"start": block["start"] | fields})

    bad("start-kind", "START", put(rec, HEAD, "B", 3))
    bad("start-flags", "START", put(rec, HEAD + 1, "B", 2 | 1))
    bad("start-partitions-0", "START", changed(partitions=0))
    bad("start-partitions-4097", "START", changed(partitions=4097))
    bad("start-epoch", "START", changed(epoch="5"))
    bad("start-replid", "START", changed(replid="ff" * 20))
    bad("start-prev-end", "START", put(rec, HEAD + 1, "B", 0))
    bad("start-snapshot-db", "START", changed(kind="snapshot", db=1))
    bad("start-owner-nul", "START", changed(owner="a\0b"))
    longer = put(rec + b"x", 16, "I", len(rec) - HEAD + 1)
    bad("start-behind", "START", longer)
    bad("start-cut", "START", put(rec[:-1], 16, "I", len(rec) - HEAD - 1))
    bad("start-empty", "START", put(rec[:HEAD], 16, "I", 0))
    beat = record(frame("heartbeat", heartbeat=BEAT))
    bad("heartbeat-behind", "heartbeat", put(beat + b"x", 16, "I", len(beat) - HEAD + 1))
    bad("heartbeat-cut", "heartbeat", put(beat[:-1], 16, "I", len(beat) - HEAD - 1))
    bad("heartbeat-epoch", "heartbeat", put(beat, 48, "Q", 1))
    bad("heartbeat-is-start", "heartbeat", put(rec, 5, "B", 3))


def main() -> None:
    valid()
    refused_headers()
    refused_bodies()
    refused_controls()
    for name, (fields, raw) in _vectors.items():
        digits = raw.hex()
        lines = [f"# {name}"] + [digits[i : i + 64] for i in range(0, len(digits), 64)]
        (HERE / f"{name}.hex").write_text("\n".join(lines) + "\n")
        (HERE / f"{name}.json").write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
