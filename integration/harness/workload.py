"""The mixed workload: several clients that write everything Redis can, as fast as one machine allows.

    work = Workload(dc, writes=50_000, seed=7)
    work.run()

The seed is printed, so that a run can be had again; how the clients interleave is the server's choice, and nothing
depends on it: DR must equal DC, whatever DC became.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from .redis import RedisServer
from .wait import wait_until
from .workload_ops import LIBRARY, Command, Operations, Unit

BATCH_COMMANDS = 100
NOT_A_WRITE = {"SELECT", "MULTI", "EXEC"}
LOST = (OSError, EOFError)


class ReplyError(Exception):
    """An error that the server answered with."""


class Connection:
    """RESP over a socket, for deep pipelines; replies are bytes, int, None, list or ReplyError."""

    def __init__(self, host: str, port: int, timeout: float = 30.0) -> None:
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb", 1 << 16)

    def send(self, commands: list[Command]) -> None:
        out: list[bytes] = []
        for command in commands:
            out.append(b"*%d\r\n" % len(command))
            for part in command:
                data = part if type(part) is bytes else str(part).encode()
                out.append(b"$%d\r\n%b\r\n" % (len(data), data))
        self.sock.sendall(b"".join(out))

    def read(self) -> Any:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("connection closed by the server")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ReplyError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            data = self.file.read(size + 2)
            if len(data) != size + 2:
                raise EOFError("connection closed in a reply")
            return data[:-2]
        return [self.read() for _ in range(size)]

    def call(self, *command: Any) -> Any:
        self.send([command])
        return self.read()

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class Workload:
    """`writes`: commands in all (None: until stop()); `rate`: commands a second in all (None: as fast as can be).

    With `tolerate_disconnects` a lost connection is made again, to where `address` says (a failover): what was under
    way may or may not have been done, which is for DC to know. Without it a lost connection fails the run.
    """

    def __init__(
        self,
        server: RedisServer,
        writes: int | None = 20_000,
        seed: int | None = None,
        clients: int = 4,
        blocking_clients: int = 2,
        databases: int = 4,
        rate: float | None = None,
        tolerate_disconnects: bool = False,
        reconnect_timeout: float = 60.0,
        address: Callable[[], tuple[str, int]] | None = None,
    ) -> None:
        self.seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
        self.writes = writes
        self.clients = clients
        self.blocking_clients = blocking_clients
        self.databases = databases
        self.rate = rate
        self.tolerate_disconnects = tolerate_disconnects
        self.reconnect_timeout = reconnect_timeout
        self.address = address or (lambda: (server.host, server.port))
        self.errors: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        self.disconnects = 0
        self.elapsed = 0.0
        self._done = 0
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._begin = 0.0

    # --- for the test ---

    def start(self) -> Workload:
        print(f"workload seed {self.seed}")
        payloads = self._prepare()
        share = None if self.writes is None else -(-self.writes // self.clients)
        self._begin = time.monotonic()
        for number in range(self.clients + self.blocking_clients):
            ops = Operations(self.seed, number, self.databases, payloads=payloads)
            body = (lambda o=ops: self._write(o, share)) if number < self.clients else (lambda o=ops: self._block(o))
            thread = threading.Thread(target=self._guarded, args=(body,), name=f"workload-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def join(self, timeout: float = 300.0) -> Workload:
        """Waits for the writers, then ends the blocking clients; raises what a client failed with."""
        deadline = time.monotonic() + timeout
        for thread in self._threads[: self.clients]:
            thread.join(max(0.0, deadline - time.monotonic()))
        late = any(thread.is_alive() for thread in self._threads[: self.clients])
        self.elapsed = time.monotonic() - self._begin
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        if self._failure is not None:
            raise AssertionError(f"workload (seed {self.seed}) failed") from self._failure
        if late:
            raise AssertionError(f"workload (seed {self.seed}) not done within {timeout:g} s")
        return self

    def stop(self, timeout: float = 60.0) -> Workload:
        self._stop.set()
        return self.join(timeout)

    def run(self, timeout: float = 300.0) -> Workload:
        return self.start().join(timeout)

    @property
    def written(self) -> int:
        """Commands that were answered, errors included."""
        return self._done

    def wait_written(self, count: int, timeout: float = 120.0) -> None:
        def reached() -> bool:
            if self._failure is not None:
                raise AssertionError("the workload failed") from self._failure
            return self._done >= count

        wait_until(reached, timeout, lambda: f"{count} writes, are {self._done}")

    # --- the clients' threads ---

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # for join() to raise in the test's thread
            self._failure = error
            self._stop.set()

    def _connect(self, db: int) -> Connection:
        def attempt() -> Connection | None:
            connection = Connection(*self.address())
            if isinstance(connection.call("SELECT", db), ReplyError) or isinstance(connection.call("PING"), ReplyError):
                connection.close()
                return None
            return connection

        if not self.tolerate_disconnects:
            return Connection(*self.address())
        connection = wait_until(attempt, self.reconnect_timeout, "DC Redis back", tolerate=LOST)
        assert connection is not None
        return connection

    def _prepare(self) -> dict[str, bytes]:
        """Functions to call, and payloads for RESTORE made by the server itself."""
        connection = self._connect(0)
        for name in (b"lib0", b"lib1"):
            connection.call("FUNCTION", "LOAD", "REPLACE", LIBRARY % (name, 1, name))
        makers: dict[str, Command] = {
            "str": ("SET", "workload:made", "x" * 100), "list": ("RPUSH", "workload:made", *range(50)),
            "hash": ("HSET", "workload:made", "a", 1, "b", 2), "zset": ("ZADD", "workload:made", 1, "a", 2.5, "b"),
            "set": ("SADD", "workload:made", "a", "b", 3),
        }
        payloads = {}
        for kind, maker in makers.items():
            connection.call("DEL", "workload:made")
            connection.call(*maker)
            payloads[kind] = connection.call("DUMP", "workload:made")
        connection.call("DEL", "workload:made")
        connection.close()
        return payloads

    def _write(self, ops: Operations, share: int | None) -> None:
        connection = self._connect(0)
        done = 0
        while not self._stop.is_set() and (share is None or done < share):
            wanted = BATCH_COMMANDS if self.rate is None else max(1, min(BATCH_COMMANDS, int(self.rate / self.clients / 50)))
            batch = self._batch(ops, min(wanted, BATCH_COMMANDS if share is None else share - done))
            count = sum(command[0] not in NOT_A_WRITE for command in batch)
            if not self._exchange(connection, ops, batch):
                connection = self._again(connection, ops)
            done += count
            with self._mutex:
                self._done += count
            if self.rate is not None:
                ahead = self._begin + done * self.clients / self.rate - time.monotonic()
                if ahead > 0:
                    self._stop.wait(ahead)
        connection.close()

    def _block(self, ops: Operations) -> None:
        connection = self._connect(0)
        while not self._stop.is_set():
            db = ops.rng.randrange(self.databases)
            if not self._exchange(connection, ops, [("SELECT", db), *[ops.blocking() for _ in range(8)]]):
                connection = self._again(connection, ops)
        connection.close()

    def _again(self, connection: Connection, ops: Operations) -> Connection:
        connection.close()
        with self._mutex:
            self.disconnects += 1
        return self._connect(ops.db)

    @staticmethod
    def _batch(ops: Operations, wanted: int) -> Unit:
        batch: Unit = []
        while len(batch) < wanted:
            batch += ops.unit()
        return batch

    def _exchange(self, connection: Connection, ops: Operations, batch: Unit) -> bool:
        """False for a connection that was lost, where that is tolerated."""
        queued = False
        errors: Counter[str] = Counter()
        try:
            connection.send(batch)
            for command in batch:
                reply = connection.read()
                queued = command[0] == "MULTI" or queued and command[0] != "EXEC"
                for one in reply if command[0] == "EXEC" and isinstance(reply, list) else (reply,):
                    if isinstance(one, ReplyError):
                        errors[self._kind(command, str(one))] += 1
                if not queued and ops.learns(command):
                    ops.learn((command[0], command[1], command[2]), reply)
        except LOST:
            if not self.tolerate_disconnects:
                raise
            return False
        finally:
            with self._mutex:
                self.errors.update(errors)
                self.commands.update(str(command[0]).upper() for command in batch)
        return True

    @staticmethod
    def _kind(command: Command, text: str) -> str:
        return f"{str(command[0]).upper()}: {text[:60]}"
