"""What the tests of kafka-mirror share: random records, and the comparison of both sides.

The comparison reads both topics with a client of its own and knows nothing of the mirror but its log lines.
"""

from __future__ import annotations

import random
import re
import time
from typing import Any

from confluent_kafka import Producer

from harness.daemon import Mirror
from harness.kafka import KafkaCluster, Record
from harness.wait import wait_until

PARTITIONS = 12
DOUBLED = re.compile(
    r'msg="doubled records on the target.*topic=(\S+) partition=(\d+) source_offset=(\d+) target_first=(\d+) '
    r"target_last=(\d+) count=(\d+)"
)


def random_bytes(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size)


def random_record(rng: random.Random) -> dict[str, Any]:
    """Every corner of a record that Kafka knows."""
    names = ["a", "b", "trace", ""]
    headers = [
        (rng.choice(names), rng.choice([None, b"", random_bytes(rng, rng.randrange(1, 20))]))
        for _ in range(rng.choice([0, 0, 1, 3]))
    ]
    return {
        "key": rng.choice([None, b"", random_bytes(rng, rng.randrange(1, 40))]),
        "value": rng.choice([None, b"", random_bytes(rng, rng.randrange(1, 2000))]),
        "headers": headers,
        "timestamp": rng.choice([1, int(time.time() * 1000) - rng.randrange(10**9)]),
        "partition": rng.randrange(PARTITIONS),
    }


def send(producer: Producer, topic: str, record: dict[str, Any]) -> None:
    while True:
        try:
            producer.produce(topic, **record)
            return
        except BufferError:
            producer.poll(0.1)


def content(record: Record) -> tuple[Any, ...]:
    return (record.key, record.value, tuple(record.headers), record.timestamp)


def by_partition(records: list[Record]) -> dict[int, list[Record]]:
    parts: dict[int, list[Record]] = {}
    for record in records:
        parts.setdefault(record.partition, []).append(record)
    return parts


def assert_same(source: KafkaCluster, target: KafkaCluster, topic: str) -> int:
    """Both sides have the same records in the same order, partition by partition; returns their number."""
    left, right = by_partition(source.records(topic)), by_partition(target.records(topic))
    assert {p: len(r) for p, r in left.items()} == {p: len(r) for p, r in right.items()}
    for partition, records in left.items():
        for one, other in zip(records, right[partition], strict=True):
            assert content(one) == content(other), f"partition {partition}: {one} became {other}"
    return sum(len(records) for records in left.values())


def named_doubles(logs: str, topic: str) -> set[tuple[int, int]]:
    """(partition, target offset) of every record that the mirror called doubled."""
    found = set()
    for match in DOUBLED.finditer(logs):
        if match.group(1) == topic:
            first, last = int(match.group(4)), int(match.group(5))
            found |= {(int(match.group(2)), offset) for offset in range(first, last + 1)}
    return found


def assert_same_but_named(source: KafkaCluster, target: KafkaCluster, topic: str, logs: str) -> int:
    """As assert_same, after taking away what the mirror called doubled; returns how many those were."""
    named = named_doubles(logs, topic)
    left, right = by_partition(source.records(topic)), by_partition(target.records(topic))
    for partition, records in left.items():
        kept = [r for r in right.get(partition, []) if (partition, r.offset) not in named]
        assert [content(r) for r in records] == [content(r) for r in kept], f"partition {partition} differs"
    assert set(right) <= set(left)
    return len(named)


def lanes(mirror: Mirror, topic: str) -> dict[int, dict[str, Any]]:
    return {lane["partition"]: lane for lane in mirror.status()["lanes"] if lane["topic"] == topic}


def wait_copied(source: KafkaCluster, target: KafkaCluster, topic: str, mirror: Mirror, timeout: float = 60) -> None:
    """Until the mirror says of every lane that it runs and lacks nothing of what the source has now."""
    ends = {p: len(r) for p, r in by_partition(source.records(topic)).items()}

    def done() -> bool:
        state = lanes(mirror, topic)
        return all(
            p in state and state[p]["state"] == "RUNNING" and state[p]["lag_records"] == 0
            and state[p]["target_offset"] is not None and state[p]["target_offset"] >= count
            for p, count in ends.items()
        )

    wait_until(done, timeout, lambda: f"all of '{topic}' copied: {lanes(mirror, topic)}")
