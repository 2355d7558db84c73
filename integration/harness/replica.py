"""A replica that stores nothing and interprets nothing: it records the snapshot and the stream byte by byte.

It is the independent witness of what a master sent, against which the log is compared. It announces no port.
"""

from __future__ import annotations

import socket
import threading
import time

from .redis import RedisServer
from .wait import wait_until

ACK_INTERVAL_S = 0.1
MARK_LEN = 40


class FakeReplica:
    """Attach with start(); `stream` then has the bytes from `base` on (byte i is at offset base + i of Redis' count
    before it: after n bytes the replica's offset is base + n)."""

    def __init__(self, server: RedisServer | tuple[str, int], replid: str = "?", offset: int = -1, ack: bool = True) -> None:
        """`offset`: of the first byte wanted, as PSYNC takes it. `ack`: acknowledge what was received; without it the
        master counts the replica as one that lags, and sends no stream after a diskless snapshot."""
        self.target = server if isinstance(server, tuple) else (server.host, server.port)
        self.wanted = (replid, offset)
        self.ack = ack
        self.replid = ""
        self.base = 0
        self.full = False
        self.rdb = b""
        self.failure: BaseException | None = None
        self._stream = bytearray()
        self._rest = b""
        self._sock: socket.socket | None = None
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._main, name="fake-replica", daemon=True)

    # --- for the test ---

    def start(self, timeout: float = 30.0) -> FakeReplica:
        """Returns when the stream begins: after the snapshot, or at once after +CONTINUE."""
        self._thread.start()
        wait_until(lambda: self._ready.is_set() or self.failure, timeout, "stream of the master")
        if self.failure is not None:
            raise AssertionError("the replica could not attach") from self.failure
        return self

    @property
    def offset(self) -> int:
        return self.base + len(self._stream)

    @property
    def stream(self) -> bytes:
        return bytes(self._stream)

    def between(self, begin: int, end: int) -> bytes:
        """The bytes [begin, end) in Redis' offsets."""
        if begin < self.base or end > self.offset:
            raise AssertionError(f"[{begin}, {end}) is not within [{self.base}, {self.offset})")
        return bytes(self._stream[begin - self.base : end - self.base])

    def wait_offset(self, offset: int, timeout: float = 30.0) -> None:
        def reached() -> bool:
            if self.failure is not None and not self._stopped.is_set():
                raise AssertionError("the replica lost its master") from self.failure
            return self.offset >= offset

        wait_until(reached, timeout, lambda: f"offset {offset}, is {self.offset}")

    def stop(self) -> None:
        self._stopped.set()
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(10)

    # --- the thread ---

    def _main(self) -> None:
        try:
            self._sock = socket.create_connection(self.target, 30)
            self._handshake()
            if self.full:
                self._read_rdb()
            self._ready.set()
            self._follow()
        except (OSError, EOFError, ValueError) as error:
            if not self._stopped.is_set():
                self.failure = error
        finally:
            if self._sock is not None:
                self._sock.close()

    def _recv(self) -> bytes:
        assert self._sock is not None
        data = self._sock.recv(1 << 18)
        if not data:
            raise EOFError("the master closed the connection")
        return data

    def _line(self) -> bytes:
        """The next line; bare newlines are the master's way to say that it is alive."""
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if not found:
                self._rest += self._recv()
                continue
            self._rest = rest
            if line.strip():
                return line.rstrip(b"\r")

    def _send(self, *words: str) -> None:
        assert self._sock is not None
        parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
        self._sock.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())

    def _handshake(self) -> None:
        for words in (("PING",), ("REPLCONF", "capa", "eof", "capa", "psync2")):
            self._send(*words)
            reply = self._line()
            if not reply.startswith(b"+"):
                raise ValueError(f"{words} was answered with {reply!r}")
        self._send("PSYNC", self.wanted[0], str(self.wanted[1]))
        reply = self._line().decode()
        words = reply.split()
        if words[0] == "+FULLRESYNC":
            self.full, self.replid, self.base = True, words[1], int(words[2])
        elif words[0] == "+CONTINUE":
            self.replid = words[1] if len(words) > 1 else self.wanted[0]
            self.base = self.wanted[1] - 1
        else:
            raise ValueError(f"PSYNC was answered with {reply!r}")

    def _read_rdb(self) -> None:
        head = self._line()
        if head.startswith(b"$EOF:"):
            mark = head[5:]
            if len(mark) != MARK_LEN:
                raise ValueError(f"end mark of {len(mark)} bytes")
            data = bytearray(self._rest)
            # The master holds the stream back until it is acknowledged, so the mark is the last that comes.
            while not data.endswith(mark):
                data += self._recv()
            self.rdb, self._rest = bytes(data[:-MARK_LEN]), b""
        else:
            size = int(head[1:])
            data = bytearray(self._rest)
            while len(data) < size:
                data += self._recv()
            self.rdb, self._rest = bytes(data[:size]), bytes(data[size:])

    def _follow(self) -> None:
        assert self._sock is not None
        self._stream += self._rest
        self._sock.settimeout(ACK_INTERVAL_S)
        last = 0.0
        while not self._stopped.is_set():
            # The first acknowledgements may come too early to count, so they go on.
            if self.ack and time.monotonic() - last >= ACK_INTERVAL_S:
                self._send("REPLCONF", "ACK", str(self.offset))
                last = time.monotonic()
            try:
                self._stream += self._recv()
            except TimeoutError:
                continue
