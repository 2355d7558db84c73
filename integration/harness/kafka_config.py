"""What a test broker is started with: the JVM's command line and server.properties.

Everything that Kafka does late or in large units by default is made early and small, so that a cluster is up in a
second or two and the tests can watch retention, fencing and elections without waiting for minutes.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBS = ROOT / "build" / "kafka" / "libs"
CACHE = ROOT / "build" / "kafka" / "cache"

JVM_FLAGS = ["-Xmx384m", "-Xss512k", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
MAIN = "kafka.Kafka"


def random_id() -> str:
    """An id in Kafka's form: a UUID as base64 for URLs. A leading '-' would be read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def classpath() -> str:
    jars = sorted(str(jar) for jar in LIBS.glob("*.jar"))
    if not any("/kafka_2" in jar for jar in jars):
        raise RuntimeError(f"no Kafka jars in {LIBS}; try 'make deps'")
    return ":".join(jars)


def java(extra: list[str], main: str, *args: str, level: str = "info") -> list[str]:
    log = [
        f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}",
        "-Dorg.slf4j.simpleLogger.log.state.change.logger=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    ]
    return ["java", *JVM_FLAGS, *extra, *log, "-cp", classpath(), main, *args]


def properties(
    node: int, client_port: int, internal_port: int, controller_ports: dict[int, int], advertised: int, data: Path
) -> dict[str, str]:
    """server.properties of one node.

    Clients have a listener of their own, so that a proxy in front of it cuts off clients alone and leaves the
    brokers' replication and the quorum in peace.
    """
    size = len(controller_ports)
    copies = min(size, 3)
    voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in controller_ports.items())
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": voters,
        "listeners": f"CLIENT://127.0.0.1:{client_port},INTERNAL://127.0.0.1:{internal_port},"
        f"CONTROLLER://127.0.0.1:{controller_ports[node]}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{advertised},INTERNAL://127.0.0.1:{internal_port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "offsets.topic.replication.factor": str(copies),
        "offsets.topic.num.partitions": "3",
        "offsets.topic.segment.bytes": str(8 << 20),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(min(copies, 2)),
        "transaction.state.log.num.partitions": "3",
        "transaction.state.log.segment.bytes": str(8 << 20),
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(min(copies, 2)),
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed is refused until its old session is over.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.election.backoff.max.ms": "200",
        "controller.quorum.append.linger.ms": "5",
        "replica.lag.time.max.ms": "5000",
        "replica.fetch.wait.max.ms": "200",
        "log.initial.task.delay.ms": "500",
        "log.retention.check.interval.ms": "1000",
        "log.segment.delete.delay.ms": "1000",
        "log.cleaner.backoff.ms": "500",
        "log.cleaner.dedupe.buffer.size": str(4 << 20),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
    }


def write_properties(path: Path, values: dict[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def format_storage(data: Path, node: int, cluster_id: str) -> None:
    """What 'kafka-storage format' does, without a JVM a broker: the bootstrap records are the same for all."""
    data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_prepared() / "bootstrap.checkpoint", data / "bootstrap.checkpoint")
    text = f"node.id={node}\ndirectory.id={random_id()}\nversion=1\ncluster.id={cluster_id}\n"
    (data / "meta.properties").write_text(text)


def shared_classes() -> list[str]:
    """JVM option for the archive of loaded classes, which takes a broker's start from 2-3 s to about 1 s."""
    archive = _prepared() / "classes.jsa"
    return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []


def _prepared() -> Path:
    """The folder of what is made once for this JVM and these jars; made here by the first run that needs it."""
    version = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    stamp = hashlib.sha256((version + classpath()).encode()).hexdigest()[:16]
    ready = CACHE / stamp
    if ready.is_dir():
        return ready
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                made = _prepare(Path(scratch))
                os.rename(made, ready)
    return ready


def _prepare(scratch: Path) -> Path:
    """Formats one broker with Kafka's own tool and runs it once to record the classes that it loads."""
    from .ports import free_port, release_port  # not needed by anything else here

    made = scratch / "made"
    made.mkdir()
    ports = [free_port() for _ in range(3)]
    config = scratch / "server.properties"
    write_properties(config, properties(1, ports[0], ports[1], {1: ports[2]}, ports[0], scratch / "data"))
    tool = java([], "kafka.tools.StorageTool", "format", "-t", random_id(), "-c", str(config), level="warn")
    subprocess.run(tool, check=True, capture_output=True)
    shutil.copyfile(scratch / "data" / "bootstrap.checkpoint", made / "bootstrap.checkpoint")
    _record_classes(config, ports[0], made / "classes.jsa", scratch)
    for port in ports:
        release_port(port)
    return made


def _record_classes(config: Path, port: int, archive: Path, scratch: Path) -> None:
    from .proc import Process
    from .wait import wait_until

    broker = Process("archive", java([f"-XX:ArchiveClassesAtExit={archive}"], MAIN, str(config)), scratch,
                     ok_codes=(0, 143))
    broker.start()
    try:
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})

        def answers() -> bool:
            try:
                return bool(admin.list_topics(timeout=1).brokers)
            except Exception:  # not up yet
                return False

        wait_until(answers, 60, lambda: f"first start of Kafka:\n{broker.tail()}")
        broker.stop(timeout=60)
    finally:
        broker.finish()
