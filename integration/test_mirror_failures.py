"""kafka-mirror when something is wrong: one partition halts with the exact range, or all wait and go on by themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.daemon import Mirror
from harness.kafka import KafkaCluster
from harness.wait import wait_until
from mirror_checks import assert_same, by_partition, content, lanes, wait_copied

Clusters = tuple[KafkaCluster, KafkaCluster]
STARTING = (requests.RequestException, KeyError)  # it does not answer yet, or does not know its lanes


def put(cluster: KafkaCluster, topic: str, partitions: int, count: int, mark: bytes = b"") -> None:
    cluster.produce(topic, [(p, b"k", b"%s%d-%d" % (mark, p, i)) for p in range(partitions) for i in range(count)])


def wait_halted(mirror: Mirror, topic: str, partition: int) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        lane = lanes(mirror, topic).get(partition)
        return lane if lane and lane["state"] == "HALTED" else None

    return wait_until(found, 30, f"partition {partition} of {topic} halted", STARTING)


def wait_lanes(mirror: Mirror, topic: str, partitions: list[int], count: int) -> None:
    """Until these partitions have `count` records on the target."""
    wait_until(
        lambda: all(lanes(mirror, topic)[p]["target_offset"] == count for p in partitions), 60,
        lambda: f"{count} records each: {lanes(mirror, topic)}", STARTING,
    )


@pytest.mark.allow_errors("partition halted")
def test_retention_gap_halts_its_partition_alone(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    source, target = two_kafkas
    source.create_topic(topic, 3)
    put(source, topic, 3, 100)
    mirror = Mirror(workdir, source, target, [topic]).start()
    wait_copied(source, target, topic, mirror)
    mirror.stop()
    put(source, topic, 3, 100)
    source.delete_records(topic, {1: 150})
    mirror.start(ready=False)
    lane = wait_halted(mirror, topic, 1)
    assert re.search(r"gap: source no longer has its offsets \[100,150\) .* target ends at 100", lane["error"])
    put(source, topic, 3, 50)
    wait_lanes(mirror, topic, [0, 2], 250)
    assert target.log_ends(topic)[1] == 100
    assert mirror.metrics()[f'rwal_mirror_lane_halted{{topic="{topic}",partition="1"}}'] == 1
    assert not mirror.ready()
    mirror.restart(ready=False)  # a restart does not step over it
    assert "[100,150)" in wait_halted(mirror, topic, 1)["error"]


@pytest.mark.allow_errors("partition halted")
def test_gap_while_running(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """The source's log start overtakes a mirror that the target holds up."""
    source, target = two_kafkas
    source.create_topic(topic, 2)
    mirror = Mirror(workdir, source, target, [topic]).start()
    put(source, topic, 2, 10)
    wait_copied(source, target, topic, mirror)
    mirror.sigstop()
    put(source, topic, 2, 40_000, b"x" * 500)
    source.delete_records(topic, {0: 40_005})
    mirror.sigcont()
    lane = wait_halted(mirror, topic, 0)
    match = re.search(r"gap: source no longer has its offsets \[(\d+),40005\)", lane["error"])
    assert match, lane
    wait_lanes(mirror, topic, [1], 40_010)
    copied = by_partition(target.records(topic))
    assert len(copied[0]) == int(match.group(1))


@pytest.mark.allow_errors("partition halted")
def test_record_that_the_target_refuses(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """It is named, what stands before it is copied, nothing behind it is, and the other partitions go on."""
    source, target = two_kafkas
    source.create_topic(topic, 3)
    target.create_topic(topic, 3, config={"max.message.bytes": "20000"})
    records = [(p, b"k", b"v" * (50_000 if (p, i) == (1, 333) else 300)) for p in range(3) for i in range(1000)]
    source.produce(topic, records)
    mirror = Mirror(workdir, source, target, [topic]).start(ready=False)
    lane = wait_halted(mirror, topic, 1)
    assert re.search(r"deliver source offset 333 of .* partition 1: .*too large", lane["error"]), lane
    wait_lanes(mirror, topic, [0, 2], 1000)
    assert target.log_ends(topic)[1] == 333
    wanted, copied = by_partition(source.records(topic)), by_partition(target.records(topic))
    for p, count in ((0, 1000), (1, 333), (2, 1000)):
        assert [content(r) for r in wanted[p][:count]] == [content(r) for r in copied[p]]
    target.alter_topic(topic, max_message_bytes="1000000")
    mirror.restart()
    wait_copied(source, target, topic, mirror)
    assert_same(source, target, topic)


@pytest.mark.allow_errors("lead to the same cluster")
def test_one_cluster_as_both_sides_is_refused(kafka: KafkaCluster, workdir: Path, topic: str) -> None:
    """An empty topic looks like a good start, and would then be copied into itself for ever."""
    kafka.create_topic(topic, 2)
    mirror = Mirror(workdir, kafka, kafka, [topic]).start(ready=False)
    assert mirror.process.wait(20) == 2
    put(kafka, topic, 2, 1)
    assert kafka.log_ends(topic) == {0: 1, 1: 1}


@pytest.mark.allow_errors("partition halted")
def test_foreign_data_is_refused(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    source, target = two_kafkas
    source.create_topic(topic, 2)
    target.create_topic(topic, 2)
    put(source, topic, 2, 10)
    target.produce(topic, [(0, b"not", b"ours")])
    mirror = Mirror(workdir, source, target, [topic]).start(ready=False)
    assert "foreign data" in wait_halted(mirror, topic, 0)["error"]
    wait_lanes(mirror, topic, [1], 10)
    assert target.log_ends(topic) == {0: 1, 1: 10}


@pytest.mark.allow_errors("partition halted")
def test_foreign_writer_is_found(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    source, target = two_kafkas
    source.create_topic(topic, 2)
    mirror = Mirror(workdir, source, target, [topic]).start()
    put(source, topic, 2, 5)
    wait_copied(source, target, topic, mirror)
    # Right after a start it would pass for a late record of the former run.
    wait_until(lambda: lanes(mirror, topic)[0]["since_ms"] > 11_000, 30, "the lane to settle")
    target.produce(topic, [(0, b"not", b"ours")])
    put(source, topic, 2, 5)
    lane = wait_halted(mirror, topic, 0)
    assert re.search(r"foreign writer: source offset 5 .* target offset 6, 5 was expected", lane["error"]), lane
    wait_lanes(mirror, topic, [1], 10)
    mirror.restart(ready=False)  # it stays found
    assert "offset 5" in wait_halted(mirror, topic, 0)["error"]


@pytest.mark.allow_errors("partition halted")
def test_target_recreated_while_running(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """The target's log is shorter than what was written to it."""
    source, target = two_kafkas
    source.create_topic(topic, 1)
    put(source, topic, 1, 100)
    mirror = Mirror(workdir, source, target, [topic], config={"refresh_interval": "200ms"}).start()
    wait_copied(source, target, topic, mirror)
    target.delete_topic(topic)
    wait_until(lambda: topic in target.topics(), 30, "the topic to be made again")
    put(source, topic, 1, 10)
    lane = wait_halted(mirror, topic, 0)
    assert re.search(r"target lost records.*(\[0,100\)|100 was expected)", lane["error"]), lane


@pytest.mark.allow_errors("partition halted")
def test_source_recreated(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """Another topic of the same name is found, even where it is longer than what was copied, or shorter."""
    source, target = two_kafkas
    longer, shorter = f"{topic}-longer", f"{topic}-shorter"
    for name in (longer, shorter):
        source.create_topic(name, 1)
        put(source, name, 1, 100)
    mirror = Mirror(workdir, source, target, [longer, shorter]).start()
    for name in (longer, shorter):
        wait_copied(source, target, name, mirror)
    mirror.stop()
    for name, count in ((longer, 200), (shorter, 50)):
        source.delete_topic(name)
        source.create_topic(name, 1)
        put(source, name, 1, count, b"new")
    mirror.start(ready=False)
    assert "no copy of the source's at offset 99" in wait_halted(mirror, longer, 0)["error"]
    assert re.search(r"truncated or recreated: .* ends at 50.* below 100", wait_halted(mirror, shorter, 0)["error"])
    assert target.log_ends(longer)[0] == target.log_ends(shorter)[0] == 100


@pytest.mark.parametrize("side", ["source", "target"])
def test_outage_is_a_state(two_kafkas: Clusters, workdir: Path, topic: str, side: str) -> None:
    """Killed brokers: the state says so, nothing halts, and it goes on by itself when they are back."""
    source, target = two_kafkas
    source.create_topic(topic, 4)
    mirror = Mirror(workdir, source, target, [topic]).start()
    put(source, topic, 4, 1000)
    wait_copied(source, target, topic, mirror)
    away = source if side == "source" else target
    state = f"{side.upper()}_UNAVAILABLE"
    away.kill9_all()
    if side == "target":
        put(source, topic, 4, 3000, b"x" * 300)
    wait_until(lambda: {lane["state"] for lane in lanes(mirror, topic).values()} == {state}, 40, state)
    wait_until(lambda: mirror.status()[side]["state"] == state, 20, f"{side} {state}")
    assert not mirror.ready()
    away.start_all()
    put(source, topic, 4, 500)
    wait_copied(source, target, topic, mirror)
    mirror.wait_ready()
    assert_same(source, target, topic)
    assert mirror.metric("rwal_mirror_doubled_total") == 0
    assert mirror.stop() == 0


def test_start_while_clusters_are_away(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    source, target = two_kafkas
    source.create_topic(topic, 4)
    put(source, topic, 4, 100)
    target.kill9_all()
    mirror = Mirror(workdir, source, target, [topic]).start(ready=False)
    wait_until(lambda: mirror.status()["target"]["state"] == "TARGET_UNAVAILABLE", 30, "the target away", STARTING)
    target.start_all()
    mirror.wait_ready()
    wait_copied(source, target, topic, mirror)
    assert_same(source, target, topic)


def test_stop_while_the_target_is_away(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """SIGTERM gives up waiting after stop_timeout; the next start goes on without loss."""
    source, target = two_kafkas
    source.create_topic(topic, 4)
    mirror = Mirror(workdir, source, target, [topic], config={"stop_timeout": "1s"}).start()
    put(source, topic, 4, 100)
    wait_copied(source, target, topic, mirror)
    target.kill9_all()
    put(source, topic, 4, 1000)
    wait_until(lambda: mirror.status()["inflight_bytes"] > 0, 20, "records in flight")
    assert mirror.stop(timeout=30) == 0
    target.start_all()
    mirror.start()
    wait_copied(source, target, topic, mirror)
    assert_same(source, target, topic)
