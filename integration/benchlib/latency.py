"""Ratio 4: from a write on DC to its effect on DR at a steady rate, and how long WAIT 1 takes.

What is timed: a PUBLISH on DC that carries its time, until a subscriber of DR has it. Around it SETs of 100 bytes run
at the rate, those due every ms in one write. The pipeline is the whole one, through both Kafkas; the native replica
hangs on the same DC. Only one of the two is attached at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.kafka import KafkaCluster

from . import stage
from .cost import Meter
from .report import human_ms, percentile, spread

INTERVAL_MS = 3
SETTLE_S = 1.0
WARM_UP_S = 5.0
"""A cold JVM answers ten times later: its compilers need some ten thousand requests."""


class Latency:
    def __init__(self, directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster, rate: int) -> None:
        self.pipe = stage.pipeline(directory, dc_kafka, dr_kafka, "latency")
        self.kafkas = {"dc-kafka": dc_kafka.brokers[1].process, "dr-kafka": dr_kafka.brokers[1].process}
        self.replica = stage.replica(self.pipe)
        self.rate = rate

    def window(self, kind: str, seconds: float) -> dict[str, Any]:
        """Lag and WAIT while only the pipeline ('ours') or only the replica ('native') is attached."""
        pipe = self.pipe
        programs = [pipe.journal, pipe.mirror, pipe.applier]
        if kind == "ours":
            pipe.start()
            pipe.wait_caught_up()
            end, processes = pipe.dr, {**self.kafkas, **{p.name: p.process for p in programs}, "dr": pipe.dr.process}
        else:
            self.replica.replicaof(pipe.dc)
            self.replica.wait_replica_of(pipe.dc)
            end, processes = self.replica, {"replica": self.replica.process}
        found = self._timed(end.address, Meter(dc=pipe.dc.process, **processes), seconds)
        if kind == "ours":
            for program in reversed(programs):
                program.stop()
        else:
            self.replica.replicaof(None)
        return found

    def _timed(self, end: str, meter: Meter, seconds: float) -> dict[str, Any]:
        where, dc = self.pipe.directory, self.pipe.dc.address
        load = stage.Tool(where, "load", dc, 2 * seconds + 3 * SETTLE_S, self.rate)
        # The first second has cold caches and sockets in it.
        stage.Tool(where, "lag", dc, end, SETTLE_S, INTERVAL_MS).result()
        meter.reset()
        lag = stage.Tool(where, "lag", dc, end, seconds, INTERVAL_MS).result()
        busy = meter.busiest()
        wait = stage.Tool(where, "wait", dc, seconds, INTERVAL_MS).result()
        if lag["lost"]:
            raise AssertionError(f"{lag['lost']} of the timed messages never arrived")
        return {
            "rate": load.result()["rate"],
            "lag_s": _summary(lag["times"]),
            "wait_s": _summary(wait["times"]),
            "busiest": busy,
        }

    def close(self) -> None:
        self.pipe.close()
        self.replica.close()


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    points = {f"p{percent:g}": percentile(ordered, percent) for percent in (50, 90, 99, 99.9)}
    return {"count": len(ordered), **points, "max": ordered[-1]}


def measure(
    directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster, rate: int, seconds: float, pairs: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    bench = Latency(directory, dc_kafka, dr_kafka, rate)
    found = []
    try:
        say("    warm-up pair, not counted")
        for kind in ("ours", "native"):
            bench.window(kind, WARM_UP_S)
        for number in range(pairs):
            order = ("ours", "native") if number % 2 == 0 else ("native", "ours")
            pair = {kind: bench.window(kind, seconds) for kind in order}
            found.append(pair)
            for kind in ("ours", "native"):
                one = pair[kind]
                say(f"    {kind:<6} lag p50 {human_ms(one['lag_s']['p50'])} p99 {human_ms(one['lag_s']['p99'])}"
                    f"  WAIT p50 {human_ms(one['wait_s']['p50'])} p99 {human_ms(one['wait_s']['p99'])}"
                    f"  at {one['rate']:,.0f}/s   {one['busiest']}")
    finally:
        bench.close()
    rows = []
    for key, name in (("lag_s", "DC to DR"), ("wait_s", "WAIT 1")):
        for percent in ("p50", "p99"):
            ours = [pair["ours"][key][percent] for pair in found]
            native = [pair["native"][key][percent] for pair in found]
            rows.append([
                f"{name} {percent}, ms", spread([a / b for a, b in zip(ours, native, strict=True)]),
                spread([a * 1000 for a in ours]), spread([b * 1000 for b in native]),
            ])
    return {"pairs": found, "rows": rows, "limits": found[-1]["ours"]["busiest"]}
