"""Ratio 1: how fast DR catches up on a backlog of SETs, the pipeline against a native replica.

Both were in sync, are stopped, and DC takes the writes into its backlog. Then one after the other is started again on
the same backlog: from start until its position is DC's offset.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from harness.kafka import KafkaCluster
from harness.redis import NOT_YET, RedisServer

from . import stage
from .cost import Meter
from .report import spread

POLL_S = 0.01
LIMIT_S = 300


class CatchUp:
    def __init__(
        self, directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster | None, name: str,
        say: Callable[[str], None],
    ) -> None:
        self.say = say
        self.pipe = stage.pipeline(directory, dc_kafka, dr_kafka, name)
        self.kafkas = {"dc-kafka": dc_kafka.brokers[1].process}
        if dr_kafka is not None:
            self.kafkas["dr-kafka"] = dr_kafka.brokers[1].process
        self.replica = stage.replica(self.pipe)
        self.replica.replicaof(self.pipe.dc)
        # So that a restart is a replica at once, and the start is not that of a master.
        self.replica.config["replicaof"] = f"{self.pipe.dc.host} {self.pipe.dc.port}"
        self.pipe.start()
        self.key = f"redis-wal:position:{self.pipe.source}"

    @property
    def programs(self) -> list[Any]:
        pipe = self.pipe
        return [pipe.journal, *([pipe.mirror] if pipe.mirrored else []), pipe.applier]

    def pair(self, count: int, ours_first: bool) -> dict[str, Any]:
        target = self._prepare(count)
        runs: dict[str, dict[str, Any]] = {}
        for name in ("ours", "native") if ours_first else ("native", "ours"):
            runs[name] = self._ours(target, count) if name == "ours" else self._native(target, count)
            self.say(f"    {name:<6} {runs[name]['per_second']:>9,.0f} commands/s   {runs[name]['busiest']}")
        self._check()
        return {**runs, "ratio": runs["ours"]["per_second"] / runs["native"]["per_second"]}

    def _prepare(self, count: int) -> int:
        """Both in sync and empty, then stopped, then the writes; returns DC's offset after them."""
        pipe = self.pipe
        with pipe.dc.client() as client:
            client.flushall()
        pipe.wait_caught_up(LIMIT_S)
        self.replica.wait_replica_of(pipe.dc, LIMIT_S)
        for program in reversed(self.programs):
            program.stop()
        with self.replica.client() as client:
            client.shutdown(save=True)
        self.replica.process.wait(60)
        stage.sets(pipe.dc, count)
        return pipe.dc.repl_offset()

    def _native(self, target: int, count: int) -> dict[str, Any]:
        meter = Meter(dc=self.pipe.dc.process, replica=self.replica.process)
        self.replica.start(wait=False)
        _poll(lambda: stage.replica_offset(self.replica) >= target)
        return _result(meter, count)

    def _ours(self, target: int, count: int) -> dict[str, Any]:
        pipe = self.pipe
        meter = Meter(
            dc=pipe.dc.process, **self.kafkas, **{p.name: p.process for p in self.programs}, dr=pipe.dr.process
        )
        for program in self.programs:
            program.start(ready=False)
        with pipe.dr.client() as client:
            _poll(lambda: int(client.hget(self.key, "lsn") or 0) >= target)
        return _result(meter, count)

    def _check(self) -> None:
        """The pair counts only when both hold what DC holds (DR also has its position)."""
        self.pipe.wait_caught_up()
        self.replica.wait_replica_of(self.pipe.dc)
        sizes = [_size(server) for server in (self.pipe.dc, self.replica, self.pipe.dr)]
        if not sizes[0] == sizes[1] == sizes[2] - 1:
            raise AssertionError(f"keys of DC, replica and DR: {sizes}; DR should have one more")

    def close(self) -> None:
        self.pipe.close()
        self.replica.close()


def _size(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.dbsize())


def _poll(reached: Callable[[], bool]) -> None:
    """At one interval for both, so that neither pays more for being asked."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            if reached():
                return
        except (*NOT_YET, redis.exceptions.ResponseError):
            pass
        time.sleep(POLL_S)
    raise AssertionError(f"not caught up within {LIMIT_S} s")


def _result(meter: Meter, count: int) -> dict[str, Any]:
    wall, cpu, busy = meter.seconds, meter.read(), meter.busiest()
    return {
        "seconds": wall,
        "per_second": count / wall,
        "cpu_us_per_command": {name: seconds / count * 1e6 for name, seconds in cpu.items()},
        "busiest": busy,
    }


def measure(
    directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster | None, count: int, pairs: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """`pairs` pairs in alternating order after a whole one that is thrown away: a cold JVM costs twice as much."""
    bench = CatchUp(directory, dc_kafka, dr_kafka, "mirrored" if dr_kafka else "direct", say)
    try:
        say("    warm-up pair, not counted")
        bench.pair(count, True)
        found = []
        for number in range(pairs):
            say(f"    pair {number + 1} of {pairs}")
            found.append(bench.pair(count, number % 2 == 0))
    finally:
        bench.close()
    ratios = [pair["ratio"] for pair in found]
    return {
        "pairs": found,
        "ratio": spread(ratios),
        "ours": spread([p["ours"]["per_second"] for p in found], "{:,.0f}") + " /s",
        "native": spread([p["native"]["per_second"] for p in found], "{:,.0f}") + " /s",
        "limits": found[-1]["ours"]["busiest"],
    }
