"""`make install` into a folder of its own: the programs run from there and take the examples that come with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = {"redis-journal": "journal", "kafka-mirror": "mirror", "redis-applier": "applier"}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("install")
    command = ["make", "-s", "CC=gcc", "SAN=", "install", f"DESTDIR={dest}", "PREFIX=/usr"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return dest / "usr"


@pytest.mark.parametrize("program", EXAMPLES)
def test_installed_program_runs_and_takes_its_example(prefix: Path, program: str, tmp_path: Path) -> None:
    binary = str(prefix / "bin" / program)
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=30)
    assert (version.returncode, version.stderr) == (0, "")
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, timeout=30).stdout
    assert str(ROOT) not in libraries, "an installed program must not need the build tree"
    example = prefix / "share" / "redis-wal" / f"{EXAMPLES[program]}.example.yaml"
    check = subprocess.run([binary, "--config", str(example), "--check"], capture_output=True, text=True, timeout=30)
    assert check.returncode == 0, check.stderr
