"""kafka-mirror copies records as they are, creates and grows topics, and keeps its place over a stop."""

from __future__ import annotations

import random
from pathlib import Path

from harness.daemon import Mirror
from harness.kafka import KafkaCluster
from harness.wait import wait_until
from mirror_checks import PARTITIONS, assert_same, lanes, random_record, send, wait_copied

RECORDS = 6000
KEEP = {"retention.ms": "-1"}  # some records have a timestamp of long ago
Clusters = tuple[KafkaCluster, KafkaCluster]


def fill(cluster: KafkaCluster, topic: str, rng: random.Random, count: int = RECORDS) -> None:
    producer = cluster.producer()
    for _ in range(count):
        send(producer, topic, random_record(rng))
    assert producer.flush(30) == 0


def fill_in_transactions(cluster: KafkaCluster, topic: str, rng: random.Random, rounds: int = 30) -> None:
    """Commits and aborts: their markers take offsets on the source."""
    producer = cluster.producer(**{"transactional.id": f"tx-{topic}"})
    producer.init_transactions(30)
    for number in range(rounds):
        producer.begin_transaction()
        for _ in range(40):
            send(producer, topic, random_record(rng))
        producer.flush(30)
        if number % 3 == 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


def test_records_are_identical(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """Key, value, headers, timestamp, partition and order; null and empty differ; aborted records too."""
    source, target = two_kafkas
    rng = random.Random(1)
    source.create_topic(topic, PARTITIONS, config=KEEP)
    fill(source, topic, rng, RECORDS // 2)
    mirror = Mirror(workdir, source, target, [topic]).start()
    fill_in_transactions(source, topic, rng)
    fill(source, topic, rng, RECORDS // 2)
    wait_copied(source, target, topic, mirror)
    assert assert_same(source, target, topic) == RECORDS + 30 * 40
    assert sum(source.log_ends(topic).values()) > sum(target.log_ends(topic).values())  # there were markers
    assert mirror.metric("rwal_mirror_records_total") == RECORDS + 30 * 40
    assert mirror.metric("rwal_mirror_doubled_total") == 0
    assert mirror.stop() == 0


def test_topic_is_made_like_the_source(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """Partitions, cleanup.policy, retention and max.message.bytes; later, partitions are added."""
    source, target = two_kafkas
    wanted = {
        "retention.ms": "86400000", "retention.bytes": "1073741824", "cleanup.policy": "compact,delete",
        "max.message.bytes": "2000000",
    }
    source.create_topic(topic, 3, config=wanted)
    mirror = Mirror(workdir, source, target, [topic], config={"refresh_interval": "200ms"}).start()
    assert target.partitions(topic) == [0, 1, 2]
    found = target.topic_config(topic)
    assert {key: found[key] for key in wanted if key != "cleanup.policy"} == {
        key: value for key, value in wanted.items() if key != "cleanup.policy"
    }
    assert set(found["cleanup.policy"].split(",")) == {"compact", "delete"}
    assert found["message.timestamp.type"] == "CreateTime"

    from confluent_kafka.admin import NewPartitions

    source.admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    source.produce(topic, [(p, b"k", f"{p}-{i}".encode()) for p in range(5) for i in range(100)])
    wait_until(lambda: len(lanes(mirror, topic)) == 5, 30, "five lanes")
    wait_copied(source, target, topic, mirror)
    assert assert_same(source, target, topic) == 500
    assert mirror.log_contains("partitions added on the target")


def test_stop_and_start_doubles_nothing(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """SIGTERM under load stores the exact place."""
    source, target = two_kafkas
    rng = random.Random(2)
    source.create_topic(topic, PARTITIONS, config=KEEP)
    mirror = Mirror(workdir, source, target, [topic])
    for _ in range(4):
        mirror.start()
        fill(source, topic, rng, 1000)
        assert mirror.stop() == 0
    mirror.start()
    wait_copied(source, target, topic, mirror)
    assert assert_same(source, target, topic) == 4000
    assert not mirror.log_contains("doubled records")


def test_several_topics(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """One that does not exist yet is waited for and leaves the others alone."""
    source, target = two_kafkas
    later = f"{topic}-later"
    source.create_topic(topic, 2)
    mirror = Mirror(workdir, source, target, [later, topic], config={"refresh_interval": "200ms"})
    mirror.start(ready=False)
    source.produce(topic, [(p, None, b"v%d" % i) for p in range(2) for i in range(500)])
    wait_until(lambda: mirror.log_contains("topic can't be looked up"), 20, "word of the missing topic")
    wait_copied(source, target, topic, mirror)
    assert not mirror.ready()
    source.create_topic(later, 1)
    source.produce(later, [(0, b"k", b"v")])
    mirror.wait_ready()
    wait_copied(source, target, later, mirror)
    assert_same(source, target, topic)
    assert assert_same(source, target, later) == 1
