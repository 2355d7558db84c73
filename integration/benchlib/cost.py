"""What processes cost: CPU time between two moments, and peak memory."""

from __future__ import annotations

import re
import time
from pathlib import Path

from harness.proc import Process


class Meter:
    """CPU-seconds of each process since the meter was made or reset; of one that is started later, since its start."""

    def __init__(self, **processes: Process) -> None:
        self.processes = processes
        self._first: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        self._begin = time.monotonic()
        self._busy = busy_seconds()
        self._first = {name: p.cpu_seconds() if p.alive else 0.0 for name, p in self.processes.items()}

    def read(self) -> dict[str, float]:
        """Of processes that live now."""
        return {name: p.cpu_seconds() - self._first[name] for name, p in self.processes.items() if p.alive}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def busiest(self) -> str:
        """Who used how much of a core, the busiest first, less than 2 % left out; and what all the rest of the machine
        used (load generators and probes, and whatever else runs on it)."""
        wall, cpu = self.seconds, self.read()
        rest = max(0.0, busy_seconds() - self._busy - sum(cpu.values())) / wall
        shares = sorted(((seconds / wall, name) for name, seconds in cpu.items()), reverse=True)
        return ", ".join([*(f"{name} {share:.0%}" for share, name in shares if share >= 0.02), f"the rest {rest:.0%}"])


def peak_bytes(process: Process) -> int:
    """The highest resident memory so far (VmHWM)."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(match.group(1)) * 1024 if match else 0


def busy_seconds() -> float:
    """CPU time of everything on this machine so far, all cores."""
    fields = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / 100
