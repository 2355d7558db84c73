"""The Python reader of frames against the golden vectors and against the C codec."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess

import pytest

from harness import frames

ROOT = pathlib.Path(__file__).resolve().parent.parent
VECTORS = sorted((ROOT / "common/vectors").glob("*.hex"))
# Numbers of 64 bits are text in the vectors: JSON readers keep only 53 bits.
WIDE = {f.name for c in (frames.Frame, frames.Start, frames.Heartbeat, frames.Entry) for f in dataclasses.fields(c)}
WIDE -= {"db", "db_end", "d_db", "partitions"}


def as_json(value: object, name: str = "") -> object:
    """A decoded frame in the form of the vectors' JSON."""
    if dataclasses.is_dataclass(value):
        return {f.name: as_json(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and name in WIDE:
        return str(value)
    return value


def test_crc() -> None:
    assert frames.crc32c(b"123456789") == 0xE3069283
    assert frames.crc32c(b"56789", frames.crc32c(b"1234")) == 0xE3069283


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 75


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_vector(path: pathlib.Path) -> None:
    lines = path.read_text().splitlines()
    record = bytes.fromhex("".join(line for line in lines if not line.startswith("#")))
    want = json.loads(path.with_suffix(".json").read_text())
    if "error" in want:
        with pytest.raises(frames.FrameError):
            frames.decode(record)
        # But for the CRC itself and what is checked before it, the CRC is not the reason.
        if "crc" not in path.stem and "length" not in path.stem and len(record) >= frames.HEAD:
            assert int.from_bytes(record[8:12], "little") == frames.frame_crc(record)
    else:
        assert as_json(frames.decode(record)) == want


def c_decoder() -> pathlib.Path:
    flavour = pathlib.Path(os.environ.get("RWAL_BIN", ROOT / "build/gcc/bin")).parent
    program = flavour / "common/test/test_frame"
    subprocess.run(["make", "-s", str(program.relative_to(ROOT)), f"CC={flavour.name.split('-')[0]}"], cwd=ROOT, check=True)
    return program


def test_c_and_python_read_the_same() -> None:
    command = [c_decoder(), "--random", "3000", "1"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    read = refused = 0
    for line in out.splitlines():
        record, fields = line.split(" ", 1)
        try:
            mine = as_json(frames.decode(bytes.fromhex(record)))
        except frames.FrameError:
            mine = None
        assert mine == json.loads(fields), record
        read, refused = read + (mine is not None), refused + (mine is None)
    assert read >= 1500 and refused >= 300
