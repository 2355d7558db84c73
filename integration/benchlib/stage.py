"""Servers as the benchmarks use them: brokers with the JVM's full compiler, programs that log as in production."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.kafka import KafkaCluster
from harness.pipeline import Pipeline
from harness.proc import Process
from harness.redis import RedisServer
from harness.wait import wait_until

BACKLOG = "1gb"
TEST_FLAGS = ("-Xmx384m", "-XX:TieredStopAtLevel=1")
KEYS = 1_000_000
VALUE_BYTES = 100
PIPELINE = 64


def kafka(directory: Path, name: str) -> KafkaCluster:
    """One broker. The harness' flags are for a quick start; those of a long run are Kafka's own heap and compilers."""
    cluster = KafkaCluster(directory / name, 1, name)
    process = cluster.brokers[1].process
    process.argv = [arg for arg in process.argv if arg not in TEST_FLAGS]
    process.argv[1:1] = ["-Xmx1G", "-Xms1G"]
    return cluster.start()


def pipeline(directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster | None, name: str) -> Pipeline:
    """With a backlog in DC that outlasts what the programs are stopped for."""
    folder = directory / name
    folder.mkdir()
    made = Pipeline(folder, dc_kafka, dr_kafka, name)
    for program in ("journal", "mirror", "applier"):
        made.settings[program] = {"log": {"level": "info"}}
    made.settings["dc"] = {"repl-backlog-size": BACKLOG, "loglevel": "notice"}
    made.settings["dr"] = {"loglevel": "notice"}
    return made


def replica(pipe: Pipeline) -> RedisServer:
    """A native replica of the pipeline's DC, not attached yet."""
    return RedisServer(pipe.directory, "replica", config={"loglevel": "notice", "repl-backlog-size": "1mb"}).start()


def sets(server: RedisServer, count: int) -> None:
    """SETs of 100 bytes on a million keys, 64 in a pipeline."""
    argv = [
        "redis-benchmark", "-h", server.host, "-p", str(server.port), "-t", "set", "-P", str(PIPELINE),
        "-d", str(VALUE_BYTES), "-r", str(KEYS), "-n", str(count), "-q",
    ]
    subprocess.run(argv, check=True, capture_output=True, timeout=600)


def replica_offset(server: RedisServer) -> int:
    """-1 while it is not in sync with its master."""
    info = server.info("replication")
    return int(info["slave_repl_offset"]) if info.get("master_link_status") == "up" else -1


def wait_offset(server: RedisServer, target: int, timeout: float = 120.0) -> None:
    wait_until(lambda: replica_offset(server) >= target, timeout, f"replica at {target}")


class Tool:
    """probe.py in a process of its own; result() waits for its JSON."""

    def __init__(self, directory: Path, *args: Any) -> None:
        argv = [sys.executable, str(Path(__file__).with_name("probe.py")), *map(str, args)]
        self.process = Process(f"probe-{args[0]}", argv, directory)
        self.process.stdout_path.unlink(missing_ok=True)
        self.process.start()

    def result(self, timeout: float = 120.0) -> dict[str, Any]:
        code = self.process.wait(timeout)
        if code != 0:
            raise AssertionError(f"'{self.process.name}' failed:\n{self.process.tail()}")
        return json.loads(self.process.out_text())
