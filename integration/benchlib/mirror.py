"""Ratio 2: kafka-mirror against Java's MirrorMaker 2, both copying the same topic into the same cluster.

MirrorMaker runs in its dedicated mode with Kafka's own settings, heap and JVM flags, one replica a topic since there is
one broker. CPU and memory are its whole JVM's, since that is what one pays for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from harness import kafka_config
from harness.daemon import Mirror
from harness.kafka import KafkaCluster
from harness.proc import Process

from .cost import Meter, peak_bytes
from .report import human_bytes, spread

TOPIC = "bench-1k"
PARTITIONS = 12
RECORD_BYTES = 1000
POLL_S = 0.02
LIMIT_S = 600

MM2_MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"
MM2_FLAGS = [
    "-Xms256M", "-Xmx2G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
MM2_PROPERTIES = """\
clusters = dc, {target}
dc.bootstrap.servers = {dc}
{target}.bootstrap.servers = {dr}
dc->{target}.enabled = true
dc->{target}.topics = {topic}
{target}->dc.enabled = false
replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
"""


def fill(cluster: KafkaCluster, count: int) -> None:
    """The topic that both copy; the values are cut from one random block, so they don't compress to nothing."""
    cluster.create_topic(TOPIC, PARTITIONS)
    block = random.Random(1).randbytes(1 << 20)
    values = [block[i : i + RECORD_BYTES] for i in range(0, 1 << 19, 97)]
    cluster.produce(TOPIC, ((i % PARTITIONS, None, values[i % len(values)]) for i in range(count)), **{"linger.ms": 20})


class Target:
    """How many records of the topic are on the other side, asked at one interval for both programs."""

    def __init__(self, cluster: KafkaCluster, topic: str) -> None:
        self.cluster = cluster
        self.topic = topic
        self.consumer = cluster.consumer()

    def count(self) -> int:
        """0 while there is no topic, or not every partition has a leader."""
        try:
            return self._count()
        except KafkaException:
            return 0

    def _count(self) -> int:
        found = self.cluster.admin.list_topics(timeout=10).topics.get(self.topic)
        if found is None or len(found.partitions) < PARTITIONS:
            return 0
        return self._ends()

    def _ends(self) -> int:
        total = 0
        for partition in range(PARTITIONS):
            wanted = TopicPartition(self.topic, partition)
            bounds = self.consumer.get_watermark_offsets(wanted, timeout=10, cached=False)
            total += bounds[1] - bounds[0] if bounds else 0
        return total

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.count() < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.count()} of {count} records in '{self.topic}' after {LIMIT_S} s")
            time.sleep(POLL_S)

    def close(self) -> None:
        self.consumer.close()
        self.cluster.delete_topic(self.topic)


def _timed(process: Process, brokers: dict[str, Process], target: Target, count: int) -> dict[str, Any]:
    """From a start that has just happened to the last record; what comes after the first counts by itself."""
    begin = time.monotonic()
    target.wait(1)
    meter = Meter(mirror=process, **brokers)
    at_first, seen = process.cpu_seconds(), target.count()
    to_first = time.monotonic() - begin
    target.wait(count)
    wall, cpu, busy = meter.seconds, meter.read(), meter.busiest()
    gigabytes = (count - seen) * RECORD_BYTES / 1e9
    return {
        "seconds_to_first": to_first,
        "seconds": wall,
        "megabytes_per_second": gigabytes * 1000 / wall,
        "cpu_seconds_per_gb": cpu["mirror"] / gigabytes,
        "cpu_seconds_per_gb_with_start": (at_first + cpu["mirror"]) / (count * RECORD_BYTES / 1e9),
        "peak_bytes": peak_bytes(process),
        "busiest": busy,
    }


class Copies:
    def __init__(self, directory: Path, dc: KafkaCluster, dr: KafkaCluster, count: int) -> None:
        self.directory = directory
        self.dc, self.dr = dc, dr
        self.count = count
        self.brokers = {"dc-kafka": dc.brokers[1].process, "dr-kafka": dr.brokers[1].process}
        self.runs = 0

    def ours(self) -> dict[str, Any]:
        """In its own name, so that every run is a first one."""
        self.runs += 1
        name = f"mirror-{self.runs}"
        mirror = Mirror(
            self.directory, self.dc, self.dr, [TOPIC], alias=f"dc{self.runs}", name=name,
            config={"log": {"level": "info"}, "replication_factor": 1},
        )
        target = Target(self.dr, TOPIC)
        mirror.start(ready=False)
        try:
            return _timed(mirror.process, self.brokers, target, self.count)
        finally:
            mirror.process.finish()
            target.close()

    def theirs(self) -> dict[str, Any]:
        """With a target alias of its own, which names its internal topics and group."""
        self.runs += 1
        alias = f"dr{self.runs}"
        config = self.directory / f"mm2-{self.runs}.properties"
        config.write_text(
            MM2_PROPERTIES.format(target=alias, dc=self.dc.bootstrap, dr=self.dr.bootstrap, topic=TOPIC)
        )
        argv = ["java", *MM2_FLAGS, "-cp", kafka_config.classpath(), MM2_MAIN, str(config)]
        process = Process(f"mm2-{self.runs}", argv, self.directory, ok_codes=(0, 143))
        target = Target(self.dr, f"dc.{TOPIC}")
        process.start()
        try:
            return _timed(process, self.brokers, target, self.count)
        finally:
            process.finish()
            target.close()
            self._forget()

    def _forget(self) -> None:
        """Its internal topics, which the next run would go on from."""
        for cluster in (self.dc, self.dr):
            for topic in cluster.topics():
                if topic.startswith("mm2-") or topic in ("heartbeats", "dc.heartbeats", "dc.checkpoints.internal"):
                    cluster.delete_topic(topic)


def measure(
    directory: Path, dc: KafkaCluster, dr: KafkaCluster, count: int, pairs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"    filling a topic with {count:,} records of {RECORD_BYTES} bytes")
    fill(dc, count)
    copies = Copies(directory, dc, dr, count)
    found = []
    for number in range(pairs):
        pair: dict[str, Any] = {}
        order = (("ours", copies.ours), ("mm2", copies.theirs))
        for name, run in order if number % 2 == 0 else reversed(order):
            pair[name] = one = run()
            say(f"    {name:<6} {one['cpu_seconds_per_gb']:6.2f} CPU-s/GB  {one['megabytes_per_second']:5.0f} MB/s"
                f"  peak {human_bytes(one['peak_bytes'])}   {one['busiest']}")
        found.append(pair)
    dc.delete_topic(TOPIC)
    ours, mm2 = [p["ours"] for p in found], [p["mm2"] for p in found]

    def ratios(key: str) -> str:
        return spread([a[key] / b[key] for a, b in zip(ours, mm2, strict=True)], "{:.3f}")

    def values(runs: list[dict[str, Any]], key: str, form: str = "{:.2f}") -> str:
        return spread([run[key] for run in runs], form)

    return {
        "pairs": found,
        "rows": [
            ["CPU-s/GB after the first record", ratios("cpu_seconds_per_gb"), values(ours, "cpu_seconds_per_gb"),
             values(mm2, "cpu_seconds_per_gb")],
            ["CPU-s/GB with the start", ratios("cpu_seconds_per_gb_with_start"),
             values(ours, "cpu_seconds_per_gb_with_start"), values(mm2, "cpu_seconds_per_gb_with_start")],
            ["peak memory, MB", ratios("peak_bytes"), spread([r["peak_bytes"] / 1e6 for r in ours], "{:.0f}"),
             spread([r["peak_bytes"] / 1e6 for r in mm2], "{:.0f}")],
            ["MB/s", ratios("megabytes_per_second"), values(ours, "megabytes_per_second", "{:.0f}"),
             values(mm2, "megabytes_per_second", "{:.0f}")],
            ["start to first record, s", ratios("seconds_to_first"), values(ours, "seconds_to_first"),
             values(mm2, "seconds_to_first")],
        ],
        "limits": ours[-1]["busiest"],
    }
