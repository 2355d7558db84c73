"""Real Redis servers and Sentinels on free loopback ports, with the settings that make tests quick and strict."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from .ports import free_port
from .proc import Process
from .wait import wait_until

BINARY = os.environ.get("REDIS_SERVER", "redis-server")
OLDEST = (7, 0, 0)
"""PEXPIRETIME, functions and EVAL_RO, which the oracle needs."""

NOT_YET = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.BusyLoadingError)


@functools.cache
def version() -> tuple[int, ...]:
    """Of the redis-server that the tests start; too old a one ends the run with a reason."""
    if shutil.which(BINARY) is None:
        raise RuntimeError(f"no '{BINARY}' in PATH; try 'make deps'")
    text = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise RuntimeError(f"'{BINARY} --version' says {text!r}")
    found = tuple(int(part) for part in match.groups())
    if found < OLDEST:
        raise RuntimeError(f"redis-server is {found}, but the tests need at least {OLDEST}")
    return found


def _conf(settings: Mapping[str, Any]) -> str:
    lines = []
    for key, value in settings.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            lines.append(f"{key} {item}\n")
    return "".join(lines)


class RedisServer:
    """One server; restart() keeps its port and folder, so that a master comes back as itself."""

    def __init__(
        self, directory: Path, name: str = "redis", port: int | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        version()
        self.directory = Path(directory)
        self.name = name
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.data = self.directory / f"{name}-data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.config: dict[str, Any] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.data,
            "save": '""',
            "appendonly": "no",
            "databases": 16,
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": 0,
            # Redis' own 1 MB would turn every short pause of a test into a full resync.
            "repl-backlog-size": "64mb",
            "repl-backlog-ttl": 0,
            "loglevel": "verbose",
            **(config or {}),
        }
        self.conf_path = self.directory / f"{name}.conf"
        self.process = Process(name, [BINARY, str(self.conf_path)], self.directory)

    # --- life ---

    def start(self, wait: bool = True) -> RedisServer:
        self.conf_path.write_text(_conf(self.config))
        self.process.start()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout: float = 15.0) -> None:
        """Until it answers and has loaded its data."""

        def answers() -> bool:
            if not self.process.alive:
                raise AssertionError(f"'{self.name}' ended:\n{self.process.tail()}\n{self.process.out_text()}")
            with self.client() as client:
                return bool(client.ping())

        wait_until(answers, timeout, f"'{self.name}' on port {self.port}", tolerate=NOT_YET)

    def stop(self) -> None:
        """SIGTERM; a master waits for its replicas then (shutdown-timeout)."""
        self.process.stop()

    def kill9(self) -> None:
        self.process.kill9()

    def restart(self, wait: bool = True) -> None:
        """Starts it again after a stop or kill (stopping it first when it runs)."""
        if self.process.alive:
            self.stop()
        self.start(wait)

    def close(self) -> None:
        self.process.finish()

    # --- use ---

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self, db: int = 0, **options: Any) -> redis.Redis:
        """A client of raw bytes. It does not introduce itself: 7.0 counts that as an error in its statistics."""
        options = {"socket_timeout": 30, "lib_name": None, "lib_version": None, **options}
        return redis.Redis(host=self.host, port=self.port, db=db, **options)

    def replicaof(self, master: RedisServer | tuple[str, int] | None) -> None:
        """None: a master again."""
        host, port = ("NO", "ONE") if master is None else (
            (master.host, master.port) if isinstance(master, RedisServer) else master
        )
        with self.client() as client:
            client.execute_command("REPLICAOF", host, port)

    def wait_replica_of(self, master: RedisServer, timeout: float = 30.0) -> None:
        """Until this server, a replica, has applied what its master has written by now."""
        target = master.repl_offset()

        def caught_up() -> bool:
            info = self.info("replication")
            return info.get("master_link_status") == "up" and info["slave_repl_offset"] >= target

        wait_until(caught_up, timeout, f"'{self.name}' at offset {target}", tolerate=NOT_YET)

    def info(self, section: str = "all") -> dict[str, Any]:
        with self.client() as client:
            return client.info(section)

    def repl_offset(self) -> int:
        return int(self.info("replication")["master_repl_offset"])

    def replid(self) -> str:
        return str(self.info("replication")["master_replid"])

    def loglevel(self, level: str) -> None:
        with self.client() as client:
            client.config_set("loglevel", level)

    def log_text(self) -> str:
        """Redis logs to stdout."""
        return self.process.out_text()


class Sentinel:
    """A Sentinel that watches one master, quick to find it down; start several for a quorum."""

    def __init__(
        self,
        directory: Path,
        master: RedisServer,
        name: str = "sentinel",
        master_name: str = "mymaster",
        quorum: int = 1,
        down_after_ms: int = 1000,
        failover_timeout_ms: int = 5000,
        address: tuple[str, int] | None = None,
    ) -> None:
        version()
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.name = name
        self.master_name = master_name
        host, port = address or (master.host, master.port)
        self.conf_path = self.directory / f"{name}.conf"
        # Sentinel rewrites its file, so it is written once and not at each start.
        self.conf_path.write_text(
            _conf(
                {
                    "port": self.port,
                    "bind": "127.0.0.1",
                    "dir": self.directory,
                    "sentinel monitor": f"{master_name} {host} {port} {quorum}",
                    "sentinel down-after-milliseconds": f"{master_name} {down_after_ms}",
                    "sentinel failover-timeout": f"{master_name} {failover_timeout_ms}",
                }
            )
        )
        self.process = Process(name, [BINARY, str(self.conf_path), "--sentinel"], self.directory)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> Sentinel:
        self.process.start()
        wait_until(lambda: self.client().ping(), 15, f"'{self.name}'", tolerate=NOT_YET)
        return self

    def client(self) -> redis.Redis:
        return redis.Redis(host=self.host, port=self.port, socket_timeout=10)

    def master_address(self) -> tuple[str, int]:
        host, port = self.client().execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
        return host.decode(), int(port)

    def wait_replicas(self, count: int, timeout: float = 30.0) -> None:
        """Sentinel finds replicas by the master's INFO, every 10 s; a failover before that has no candidate."""

        def known() -> bool:
            found = self.client().execute_command("SENTINEL", "REPLICAS", self.master_name)
            return len(found) >= count

        wait_until(known, timeout, f"{count} replicas known to '{self.name}'", tolerate=NOT_YET)

    def failover(self) -> None:
        self.client().execute_command("SENTINEL", "FAILOVER", self.master_name)

    def stop(self) -> None:
        self.process.stop()

    def kill9(self) -> None:
        self.process.kill9()

    def close(self) -> None:
        self.process.finish()
