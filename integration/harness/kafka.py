"""A real Kafka cluster of one or three brokers (KRaft, combined mode) on loopback, and what tests ask of it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from . import kafka_config
from .ports import free_port
from .proc import Process
from .proxy import Proxy
from .wait import wait_until

QUICK: dict[str, Any] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "retry.backoff.ms": 50,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "log_level": 0,
}
"""Client settings for the harness' own clients: they poll while brokers start and stop."""


@dataclass(frozen=True)
class Record:
    """One record of a topic, as a consumer that reads uncommitted sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp: int = -1


class Broker:
    """One node: its process, its ports, and the proxy that stands in front of it when the cluster has them."""

    def __init__(self, cluster: KafkaCluster, node: int, controller_ports: dict[int, int], proxied: bool) -> None:
        self.node = node
        self.directory = cluster.directory / f"broker-{node}"
        self.data = self.directory / "data"
        self.client_port = free_port()
        self.internal_port = free_port()
        self.proxy = Proxy(("127.0.0.1", self.client_port)) if proxied else None
        self.advertised_port = self.proxy.port if self.proxy else self.client_port
        config = self.directory / "server.properties"
        self.directory.mkdir(parents=True, exist_ok=True)
        values = kafka_config.properties(
            node, self.client_port, self.internal_port, controller_ports, self.advertised_port, self.data
        )
        values.update(cluster.overrides)
        kafka_config.write_properties(config, values)
        kafka_config.format_storage(self.data, node, cluster.cluster_id)
        argv = kafka_config.java(kafka_config.shared_classes(), kafka_config.MAIN, str(config))
        self.process = Process(f"{cluster.name}-{node}", argv, self.directory, ok_codes=(0, 143))
        self._mark = 0

    def start(self) -> None:
        self._mark = self.process.log_mark()
        self.process.start()

    def wait_started(self, timeout: float) -> None:
        """Until it says so itself: metadata of the others shows a killed broker as alive for a while."""
        self.process.wait_log(r"Kafka Server started", timeout, self._mark)


class KafkaCluster:
    """Start with start(); it returns when every broker is registered and the coordinators answer."""

    def __init__(
        self,
        directory: Path,
        brokers: int = 1,
        name: str = "kafka",
        proxied: bool = False,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.name = name
        self.overrides = dict(overrides or {})
        self.cluster_id = kafka_config.random_id()
        controller_ports = {node: free_port() for node in range(1, brokers + 1)}
        self.brokers = {
            node: Broker(self, node, controller_ports, proxied) for node in range(1, brokers + 1)
        }
        self._admin: AdminClient | None = None

    # --- life ---

    def start(self) -> KafkaCluster:
        for broker in self.brokers.values():
            if broker.proxy:
                broker.proxy.start()
            broker.start()
        self.wait_ready()
        self._warm_up()
        return self

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Until every broker that runs is registered, leads or follows, and has caught up."""
        running = {node for node, broker in self.brokers.items() if broker.process.alive}
        for node in running:
            self.brokers[node].wait_started(timeout)

        def whole(partition: Any) -> bool:
            return partition.leader in running and running & set(partition.replicas) <= set(partition.isrs)

        def ready() -> bool:
            metadata = self.admin.list_topics(timeout=2)
            parts = [p for topic in metadata.topics.values() for p in topic.partitions.values()]
            return running <= set(metadata.brokers) and all(whole(p) for p in parts)

        wait_until(ready, timeout, f"brokers {sorted(running)} of '{self.name}'", tolerate=(KafkaException,))

    def _warm_up(self) -> None:
        """Has the two internal topics made, so that no test pays for it or sees its passing errors."""
        consumer = Consumer({**self.client, "group.id": "warm-up"})
        producer = Producer({**self.client, "transactional.id": "warm-up"})
        try:
            def committed() -> bool:
                return bool(consumer.committed([TopicPartition("none", 0)], timeout=2))

            wait_until(committed, 30, "group coordinator", tolerate=(KafkaException,))
            producer.init_transactions(30)
        finally:
            consumer.close()

    def stop_broker(self, node: int = 1) -> None:
        """Controlled shutdown. Where it would lose the quorum a broker can't finish it; SIGKILL ends it then."""
        self.brokers[node].process.stop(timeout=10, check=False)

    def kill9(self, node: int = 1) -> None:
        self.brokers[node].process.kill9()

    def restart(self, node: int = 1, wait: bool = True) -> None:
        """Starts it again (after a stop or kill, or stopping it first): same ports, same data."""
        if self.brokers[node].process.alive:
            self.stop_broker(node)
        self.brokers[node].start()
        if wait:
            self.wait_ready()

    def kill9_all(self) -> None:
        for broker in self.brokers.values():
            broker.process.kill9()

    def start_all(self, wait: bool = True) -> None:
        for broker in self.brokers.values():
            if not broker.process.alive:
                broker.start()
        if wait:
            self.wait_ready()

    def ensure_up(self) -> None:
        """For fixtures that share a cluster: undoes what a test left stopped or held."""
        for broker in self.brokers.values():
            if broker.process.alive:
                broker.process.sigcont()
            if broker.proxy:
                broker.proxy.resume()
        self.start_all()

    def close(self) -> None:
        """The end of the cluster and of its data; nobody needs a controlled shutdown for that."""
        self.kill9_all()
        for broker in self.brokers.values():
            if broker.proxy:
                broker.proxy.stop()
            shutil.rmtree(broker.data, ignore_errors=True)

    # --- clients ---

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{broker.advertised_port}" for broker in self.brokers.values())

    @property
    def client(self) -> dict[str, Any]:
        """Settings of the harness' own clients, past any proxy for the bootstrap."""
        direct = ",".join(f"127.0.0.1:{broker.client_port}" for broker in self.brokers.values())
        return {"bootstrap.servers": direct, **QUICK}

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self.client)
        return self._admin

    def producer(self, **config: Any) -> Producer:
        return Producer({**self.client, **_dotted(config)})

    def consumer(self, **config: Any) -> Consumer:
        base = {
            "group.id": f"harness-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_uncommitted",
        }
        return Consumer({**self.client, **base, **_dotted(config)})

    # --- topics ---

    def create_topic(
        self, topic: str, partitions: int = 1, replication: int | None = None, config: Mapping[str, str] | None = None
    ) -> None:
        copies = replication or min(len(self.brokers), 3)
        new = NewTopic(topic, num_partitions=partitions, replication_factor=copies, config=dict(config or {}))
        self.admin.create_topics([new])[topic].result(30)

        def led() -> bool:
            found = self.admin.list_topics(topic, timeout=5).topics.get(topic)
            return (
                found is not None
                and found.error is None
                and len(found.partitions) == partitions
                and all(p.leader > 0 for p in found.partitions.values())
            )

        wait_until(led, 30, f"leaders of '{topic}'", tolerate=(KafkaException,))

    def delete_topic(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in self.topics(), 30, f"'{topic}' to be gone", tolerate=(KafkaException,))
        # librdkafka before 2.10 corrupts its memory when a topic that it knows comes back with another id (its issue
        # 4964): who sees the next one of this name has not seen this one.
        self._admin = None

    def topics(self) -> set[str]:
        return set(self.admin.list_topics(timeout=10).topics)

    def partitions(self, topic: str) -> list[int]:
        found = self.admin.list_topics(topic, timeout=10).topics.get(topic)
        if found is None or found.error is not None:
            raise AssertionError(f"no topic '{topic}'")
        return sorted(found.partitions)

    def leader(self, topic: str, partition: int) -> int:
        """Node of the leader; -1 for none."""
        return self.admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader

    def alter_topic(self, topic: str, **config: str) -> None:
        """alter_topic(t, retention_ms="1"): underscores stand for the dots of the names."""
        entries = [
            ConfigEntry(key, str(value), incremental_operation=AlterConfigOpType.SET)
            for key, value in _dotted(config).items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def topic_config(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        return {e.name: e.value for e in self.admin.describe_configs([resource])[resource].result(30).values()}

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Removes the records below an offset, a partition each: what retention does, at once."""
        wanted = [TopicPartition(topic, p, offset) for p, offset in before.items()]
        for future in self.admin.delete_records(wanted).values():
            future.result(30)

    # --- what is in them ---

    def log_bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """First offset and end offset of every partition."""
        consumer = self.consumer()
        try:
            return {p: self._bounds(consumer, topic, p) for p in self.partitions(topic)}
        finally:
            consumer.close()

    @staticmethod
    def _bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
        """With patience for an election: right after one the client may still ask the old leader."""
        wanted = TopicPartition(topic, partition)
        return wait_until(
            lambda: consumer.get_watermark_offsets(wanted, timeout=5, cached=False),
            30,
            f"the log's ends of {topic}[{partition}]",
            tolerate=(KafkaException,),
        )

    def log_ends(self, topic: str) -> dict[int, int]:
        return {p: bounds[1] for p, bounds in self.log_bounds(topic).items()}

    def records(
        self, topic: str, start: Mapping[int, int] | None = None, timeout: float = 60.0, **config: Any
    ) -> list[Record]:
        """Every record from `start` (or the first) up to the ends as they are now, by partition and offset.

        Ends of transactions take offsets but are no records, so the end of a partition is where the broker says
        that there is no more, not where a record has the last offset.
        """
        consumer = self.consumer(**{"enable.partition.eof": True, **config})
        found: list[Record] = []
        try:
            bounds = {p: self._bounds(consumer, topic, p) for p in self.partitions(topic)}
            begin = {p: max(low, (start or {}).get(p, low)) for p, (low, high) in bounds.items()}
            pending = {p for p, (low, high) in bounds.items() if begin[p] < high}
            consumer.assign([TopicPartition(topic, p, begin[p]) for p in pending])

            def drained() -> bool:
                for message in consumer.consume(num_messages=5000, timeout=0.05):
                    _take(message, bounds, pending, found)
                return not pending

            if pending:
                wait_until(drained, timeout, lambda: f"the ends of '{topic}' in partitions {sorted(pending)}")
        finally:
            consumer.close()
        found.sort(key=lambda record: (record.partition, record.offset))
        return found

    def produce(self, topic: str, records: Iterable[tuple[int, bytes | None, bytes | None]], **config: Any) -> None:
        """(partition, key, value) each; returns when all are acknowledged."""
        producer = self.producer(**config)
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(error)

        for partition, key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, partition, on_delivery=report)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if producer.flush(30) or failed:
            raise AssertionError(f"could not produce to '{topic}': {failed[:1] or 'time-out'}")


def _take(message: Any, bounds: Mapping[int, tuple[int, int]], pending: set[int], found: list[Record]) -> None:
    error = message.error()
    partition = message.partition()
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        pending.discard(partition)
    elif message.offset() < bounds[partition][1]:
        found.append(
            Record(partition, message.offset(), message.key(), message.value(), list(message.headers() or []),
                   message.timestamp()[1])
        )
        if message.offset() == bounds[partition][1] - 1:
            pending.discard(partition)
    else:
        pending.discard(partition)


def _dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments can't have dots: retention_ms is retention.ms."""
    return {key.replace("_", "."): value for key, value in config.items()}
