"""kafka-mirror killed at any moment loses nothing, keeps the order, and names every record that it doubled."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from harness.daemon import Mirror
from harness.kafka import KafkaCluster
from harness.wait import wait_until
from mirror_checks import PARTITIONS, assert_same_but_named, random_record, send, wait_copied

KILLS = 10
Clusters = tuple[KafkaCluster, KafkaCluster]


class Load(threading.Thread):
    """Writes until stopped: plain records, and transactions that commit or abort."""

    def __init__(self, cluster: KafkaCluster, topic: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.topic = topic
        self.rng = random.Random(seed)
        self.over = threading.Event()
        self.sent = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._write()
        except BaseException as error:  # shown by the test, not lost in a thread
            self.failure = error

    def _write(self) -> None:
        plain = self.cluster.producer(**{"linger.ms": 1})
        ours = self.cluster.producer(**{"transactional.id": f"load-{self.topic}"})
        ours.init_transactions(30)
        while not self.over.wait(0.02):
            for _ in range(60):
                send(plain, self.topic, random_record(self.rng))
            plain.poll(0)
            ours.begin_transaction()
            for _ in range(20):
                send(ours, self.topic, random_record(self.rng))
            if self.rng.random() < 0.3:
                ours.flush(30)
                ours.abort_transaction(30)
            else:
                ours.commit_transaction(30)
            self.sent += 80
        assert plain.flush(30) == 0

    def stop(self) -> None:
        self.over.set()
        self.join(60)
        assert self.failure is None, self.failure


def test_kill_nine_in_a_loop(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """Ten kills under load, at moments that depend on how far it came; then both sides are compared."""
    source, target = two_kafkas
    rng = random.Random(7)
    source.create_topic(topic, PARTITIONS, config={"retention.ms": "-1"})
    load = Load(source, topic, 11)
    mirror = Mirror(workdir, source, target, [topic])
    load.start()
    for _ in range(KILLS):
        # Some die before all lanes run, some in full flow.
        mirror.start(ready=rng.random() < 0.7)
        mark = load.sent
        more = rng.randrange(100, 1500)
        wait_until(lambda m=mark, n=more: load.sent >= m + n or load.failure, 60, "more load")
        mirror.kill9()
    load.stop()
    mirror.start()
    wait_copied(source, target, topic, mirror)
    doubled = assert_same_but_named(source, target, topic, mirror.process.log_text())
    assert load.sent > 3000
    print(f"{load.sent} records, {doubled} doubled and named")
    assert mirror.stop() == 0


def test_kill_while_the_backlog_is_copied(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """At full speed much is in flight and the stored place is old: the comparison of both logs finds it."""
    source, target = two_kafkas
    source.create_topic(topic, 4)
    source.produce(topic, [(i % 4, b"%d" % i, b"x" * 500) for i in range(120_000)])
    mirror = Mirror(workdir, source, target, [topic], config={"commit_interval": "60s"})
    for number in range(1, 4):
        mirror.start(ready=False)
        wait_until(
            lambda n=number: topic in target.topics() and sum(target.log_ends(topic).values()) >= n * 20_000, 60,
            "a part of the backlog",
        )
        mirror.kill9()
    mirror.start()
    wait_copied(source, target, topic, mirror)
    assert_same_but_named(source, target, topic, mirror.process.log_text())


def test_late_records_of_a_former_run(two_kafkas: Clusters, workdir: Path, topic: str) -> None:
    """What was in flight at a kill and is appended behind the end that the next run read: named, once and for all.

    The late records are played by a producer of the test, which writes copies of the last ones.
    """
    source, target = two_kafkas
    source.create_topic(topic, 1)
    source.produce(topic, [(0, b"%d" % i, b"value") for i in range(100)])
    mirror = Mirror(workdir, source, target, [topic], config={"commit_interval": "60s"}).start()
    wait_copied(source, target, topic, mirror)
    mirror.kill9()
    mirror.start()
    copier = target.producer()
    for record in source.records(topic)[-3:]:
        copier.produce(topic, record.value, record.key, 0, timestamp=record.timestamp)
    assert copier.flush(30) == 0
    source.produce(topic, [(0, b"%d" % i, b"value") for i in range(100, 200)])
    wait_copied(source, target, topic, mirror)
    assert mirror.metric("rwal_mirror_doubled_total") == 3
    assert assert_same_but_named(source, target, topic, mirror.process.log_text()) == 3
    mirror.kill9()  # the stored place is still the first one
    mark = mirror.log_mark()
    mirror.start()
    source.produce(topic, [(0, b"%d" % i, b"value") for i in range(200, 300)])
    wait_copied(source, target, topic, mirror)
    assert assert_same_but_named(source, target, topic, mirror.process.log_text(mark)) == 3
