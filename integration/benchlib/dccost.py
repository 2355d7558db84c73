"""Ratio 3: what a write costs DC's Redis with the journal attached, against a native replica attached.

One DC for all runs. CPU is counted until all that was written is also at the other end, because Redis still sends then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.kafka import KafkaCluster
from harness.wait import wait_until

from . import stage
from .cost import Meter
from .report import spread

KINDS = ("journal", "native", "none")


class DcCost:
    def __init__(self, directory: Path, dc_kafka: KafkaCluster) -> None:
        self.pipe = stage.pipeline(directory, dc_kafka, None, "dccost")
        self.kafka = dc_kafka.brokers[1].process
        self.replica = stage.replica(self.pipe)

    def run(self, kind: str, count: int) -> dict[str, Any]:
        """SETs with only that attached; it is detached again afterwards."""
        pipe, journal = self.pipe, self.pipe.journal
        processes = {"dc": pipe.dc.process}
        if kind == "journal":
            journal.start()
            wait_until(lambda: self._durable() >= pipe.dc.repl_offset(), 60, "journal in sync")
            processes.update(journal=journal.process, kafka=self.kafka)
        elif kind == "native":
            self.replica.replicaof(pipe.dc)
            self.replica.wait_replica_of(pipe.dc)
            processes.update(replica=self.replica.process)
        meter = Meter(**processes)
        stage.sets(pipe.dc, count)
        load_seconds = meter.seconds
        target = pipe.dc.repl_offset()
        if kind == "journal":
            wait_until(lambda: self._durable() >= target, 60, f"journal at {target}")
        elif kind == "native":
            stage.wait_offset(self.replica, target)
        cpu, busy = meter.read(), meter.busiest()
        if kind == "journal":
            journal.stop()
        elif kind == "native":
            self.replica.replicaof(None)
        return {
            "seconds": load_seconds,
            "writes_per_second": count / load_seconds,
            "cpu_us_per_write": {name: seconds / count * 1e6 for name, seconds in cpu.items()},
            "busiest": busy,
        }

    def _durable(self) -> int:
        found = self.pipe.journal.status()["durable"]
        return int(found["position"]) if found["phase"] == "stream" else -1

    def close(self) -> None:
        self.pipe.close()
        self.replica.close()


def measure(
    directory: Path, dc_kafka: KafkaCluster, count: int, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    bench = DcCost(directory, dc_kafka)
    found = []
    try:
        say("    warm-up round, not counted")
        for kind in KINDS:
            bench.run(kind, count // 4)
        for number in range(rounds):
            say(f"    round {number + 1} of {rounds}")
            order = KINDS if number % 2 == 0 else tuple(reversed(KINDS))
            one = {kind: bench.run(kind, count) for kind in order}
            found.append(one)
            for kind in KINDS:
                costs = "  ".join(f"{name} {us:.2f}" for name, us in one[kind]["cpu_us_per_write"].items())
                say(f"    {kind:<8} {one[kind]['writes_per_second']:>9,.0f} writes/s   CPU us/write: {costs}")
    finally:
        bench.close()

    def dc(kind: str) -> list[float]:
        return [one[kind]["cpu_us_per_write"]["dc"] for one in found]

    reader = [
        (one["journal"]["cpu_us_per_write"]["journal"], one["native"]["cpu_us_per_write"]["replica"]) for one in found
    ]
    speed = [(one["journal"]["writes_per_second"], one["native"]["writes_per_second"]) for one in found]

    def row(name: str, pairs: list[tuple[float, float]], form: str) -> list[str]:
        ours, native = zip(*pairs, strict=True)
        return [name, spread([a / b for a, b in pairs]), spread(ours, form), spread(native, form)]

    return {
        "rounds": found,
        "rows": [
            row("DC's CPU us a write", list(zip(dc("journal"), dc("native"), strict=True)), "{:.2f}"),
            ["  of it for nothing attached", "", spread(dc("none")), ""],
            row("CPU us a write of journal, replica", reader, "{:.2f}"),
            row("writes/s of the load", speed, "{:,.0f}"),
        ],
        "limits": found[-1]["journal"]["busiest"],
    }
