"""The three programs under test: configuration from nested dicts, life, and what they tell over HTTP.

RWAL_BIN names the folder of the binaries (build/gcc/bin without it), RWAL_WRAP a command to start them with, such as
"valgrind -q" or "gdbserver 127.0.0.1:4444".
"""

from __future__ import annotations

import copy
import functools
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import yaml

from .kafka import KafkaCluster
from .ports import free_port
from .proc import Process
from .redis import RedisServer
from .wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_BIN = ROOT / "build" / "gcc" / "bin"

SANITIZER_ENV = {
    # A report must end the program, or a test could pass in spite of it.
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


@functools.cache
def binary(name: str) -> str:
    """Path of a program; the default flavour is built when it is not there."""
    folder = Path(os.environ.get("RWAL_BIN") or DEFAULT_BIN)
    path = folder / name
    if not path.exists() and folder == DEFAULT_BIN:
        done = subprocess.run(["make", "-j2", "CC=gcc", f"build/gcc/bin/{name}"], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"'make {name}' failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    if not path.exists():
        raise RuntimeError(f"no '{path}'; build it or set RWAL_BIN")
    return str(path)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `changes` over it; a value of None takes the key away."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class _Program(Process):
    is_daemon = True


class Daemon:
    """A program with its configuration file; `config` may be changed until, and between, starts."""

    program = ""

    def __init__(
        self,
        directory: Path,
        name: str,
        config: Mapping[str, Any],
        overrides: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        args: tuple[str, ...] = (),
    ) -> None:
        self.directory = Path(directory)
        self.name = name
        self.http_port = free_port()
        common = {"http": {"listen": f"127.0.0.1:{self.http_port}"}, "log": {"level": "debug"}}
        self.config = merged(merged(common, config), overrides or {})
        self.config_path = self.directory / f"{name}.yaml"
        self.directory.mkdir(parents=True, exist_ok=True)
        argv = [
            *shlex.split(os.environ.get("RWAL_WRAP", "")),
            binary(self.program),
            "--config",
            str(self.config_path),
            *args,
        ]
        self.process = _Program(name, argv, self.directory, env={**SANITIZER_ENV, **(env or {})}, ok_codes=(0,))

    # --- life ---

    def start(self, ready: bool = True, timeout: float = 30.0) -> Daemon:
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self.process.start()
        if ready:
            self.wait_ready(timeout)
        return self

    def stop(self, timeout: float = 30.0) -> int | None:
        return self.process.stop(timeout)

    def kill9(self) -> None:
        self.process.kill9()

    def restart(self, ready: bool = True, timeout: float = 30.0) -> None:
        if self.process.alive:
            self.stop()
        self.start(ready, timeout)

    def sigstop(self) -> None:
        self.process.sigstop()

    def sigcont(self) -> None:
        self.process.sigcont()

    @property
    def alive(self) -> bool:
        return self.process.alive

    def run(self, *args: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """The same program once with other arguments (a verb, --check), to its end."""
        return subprocess.run(
            [binary(self.program), *args], capture_output=True, text=True, timeout=timeout, cwd=self.directory,
            env={**os.environ, **SANITIZER_ENV},
        )

    # --- what it tells ---

    def get(self, path: str, timeout: float = 5.0) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=timeout)

    def status(self) -> dict[str, Any]:
        response = self.get("/status")
        response.raise_for_status()
        return response.json()

    def metrics(self) -> dict[str, float]:
        """'name' or 'name{labels}' as it stands in the text, to its value."""
        response = self.get("/metrics")
        response.raise_for_status()
        found = {}
        for line in response.text.splitlines():
            match = re.fullmatch(r"([a-zA-Z_:][\w:]*(?:\{.*\})?)\s+(\S+)(?:\s+\d+)?", line)
            if match:
                found[match.group(1)] = float(match.group(2))
        return found

    def metric(self, name: str) -> float:
        """The sum over all labels; 0 where there is none."""
        return sum(value for key, value in self.metrics().items() if key.split("{")[0] == name)

    def ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def wait_ready(self, timeout: float = 30.0) -> None:
        def state() -> bool:
            if not self.process.alive:
                raise AssertionError(
                    f"'{self.name}' ended (code {self.process.returncode}):\n{self.process.tail()}"
                )
            return self.ready()

        wait_until(
            state, timeout, lambda: f"'{self.name}' ready:\n{self.process.tail(15)}",
            tolerate=(requests.RequestException,),
        )

    def wait_log(self, pattern: str, timeout: float = 10.0, since: int = 0) -> re.Match[str]:
        return self.process.wait_log(pattern, timeout, since)

    def log_mark(self) -> int:
        return self.process.log_mark()

    def log_contains(self, pattern: str, since: int = 0) -> bool:
        return self.process.log_contains(pattern, since)


class Journal(Daemon):
    """redis-journal between a Redis and a topic."""

    program = "redis-journal"

    def __init__(
        self,
        directory: Path,
        redis: RedisServer | str,
        kafka: KafkaCluster | str,
        topic: str,
        source: str = "test",
        partitions: int = 12,
        replication: int | None = None,
        name: str = "journal",
        instance: str | None = None,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        base: dict[str, Any] = {
            "source": {"name": source, "redis": _address(redis)},
            "kafka": {"bootstrap.servers": _bootstrap(kafka)},
            "topic": {
                "name": topic,
                "partitions": partitions,
                "replication_factor": replication or _copies(kafka),
                "create": True,
            },
            "instance": instance or name,
        }
        super().__init__(directory, name, base, config, **kwargs)


class Mirror(Daemon):
    """kafka-mirror from one cluster to another, in its plain form of configuration."""

    program = "kafka-mirror"

    def __init__(
        self,
        directory: Path,
        source: KafkaCluster | str,
        target: KafkaCluster | str,
        topics: list[str],
        alias: str = "dc",
        name: str = "mirror",
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        base: dict[str, Any] = {
            "source": {"name": alias, "kafka": {"bootstrap.servers": _bootstrap(source)}},
            "target": {"kafka": {"bootstrap.servers": _bootstrap(target)}},
            "topics": topics,
        }
        super().__init__(directory, name, base, config, **kwargs)


class Applier(Daemon):
    """redis-applier from a topic to a Redis."""

    program = "redis-applier"

    def __init__(
        self,
        directory: Path,
        kafka: KafkaCluster | str,
        topic: str,
        redis: RedisServer | str,
        source: str = "test",
        name: str = "applier",
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        base: dict[str, Any] = {
            "source": {"name": source},
            "kafka": {"bootstrap.servers": _bootstrap(kafka)},
            "topic": {"name": topic},
            "target": {"redis": _address(redis)},
        }
        super().__init__(directory, name, base, config, **kwargs)


def _address(redis: RedisServer | str) -> str:
    return redis if isinstance(redis, str) else redis.address


def _bootstrap(kafka: KafkaCluster | str) -> str:
    return kafka if isinstance(kafka, str) else kafka.bootstrap


def _copies(kafka: KafkaCluster | str) -> int:
    return 1 if isinstance(kafka, str) else min(3, len(kafka.brokers))
