"""A TCP proxy with the faults of a network: cut, refuse, hold, delay, corrupt, cut after so many bytes.

All connections of a proxy are served by one thread; a fault is ordered from any thread and is in force when the
call returns. It never reads from a side that it does not forward, so a held connection fills up the buffers of the
kernel as it does when a network is lost.
"""

from __future__ import annotations

import queue
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from .ports import free_port

CHUNK = 1 << 18
BUFFER_LIMIT = 4 << 20
UP, DOWN = "up", "down"
"""up: from the client to the server. down: from the server to the client."""


class _Side:
    """One direction of one connection: what was read and is not written yet."""

    def __init__(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        self.source = source
        self.sink = sink
        self.name = name
        self.chunks: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.ended = False
        self.shut = False


class _Link:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.sides = [_Side(client, server, UP), _Side(server, client, DOWN)]
        self.events: dict[socket.socket, int] = {}


class Proxy:
    """Listens on 127.0.0.1:port and forwards to `target`; start() and stop() frame its life."""

    def __init__(self, target: tuple[str, int], port: int | None = None) -> None:
        self.target = target
        self.port = port or free_port()
        self.accepted = 0
        self.bytes: dict[str, int] = {UP: 0, DOWN: 0}
        self._held: set[str] = set()
        self._delay_s = 0.0
        self._refusing = False
        self._corrupt: dict[str, int] = {}
        self._cut_after: dict[str, int] = {}
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._thread: threading.Thread | None = None
        self._running = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # --- orders, from any thread ---

    def start(self) -> Proxy:
        if self._thread is None:
            self._running = True
            self._listen()
            self._selector.register(self._wake_r, selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._loop, name=f"proxy-{self.port}", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread is not None:
            thread = self._thread
            self._order(self._shut_down)
            thread.join(5)
            self._thread = None

    def cut(self) -> None:
        """Resets every connection (RST, not FIN); new ones are accepted."""
        self._order(self._cut_all)

    def refuse(self) -> None:
        """Resets every connection and refuses new ones, as a host without the service does."""

        def act() -> None:
            self._refusing = True
            self._unlisten()
            self._cut_all()

        self._order(act)

    def hold(self, direction: str = "both") -> None:
        """Stops forwarding "up", "down" or "both"; connections stay open, also new ones."""
        self._order(lambda: self._held.update({UP, DOWN} if direction == "both" else {direction}))

    def delay(self, milliseconds: float) -> None:
        """Every byte comes later by that much, each way."""

        def act() -> None:
            self._delay_s = milliseconds / 1000

        self._order(act)

    def corrupt(self, direction: str = DOWN, after: int = 0) -> None:
        """Flips one bit of the byte that comes `after` bytes from now in that direction."""
        self._order(lambda: self._corrupt.__setitem__(direction, after))

    def cut_after(self, count: int, direction: str = DOWN) -> None:
        """Forwards `count` more bytes in that direction and then resets every connection, in mid-message."""
        self._order(lambda: self._cut_after.__setitem__(direction, count))

    def resume(self) -> None:
        """Ends every fault; what was held goes on."""

        def act() -> None:
            self._held.clear()
            self._delay_s = 0.0
            self._corrupt.clear()
            self._cut_after.clear()
            if self._refusing:
                self._refusing = False
                self._listen()

        self._order(act)

    @property
    def connections(self) -> int:
        return len(self._links)

    def _order(self, act: Callable[[], None]) -> None:
        if self._thread is None:
            act()
            return
        done = threading.Event()
        self._orders.put((act, done))
        self._wake_w.send(b"x")
        if not done.wait(10):
            raise AssertionError(f"proxy {self.port} does not answer")

    # --- the loop's thread ---

    def _listen(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        sock.listen(128)
        sock.setblocking(False)
        self._listener = sock
        self._selector.register(sock, selectors.EVENT_READ)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _shut_down(self) -> None:
        self._running = False
        self._unlisten()
        self._cut_all()

    def _loop(self) -> None:
        while self._running:
            for key, _events in self._selector.select(self._next_due()):
                if key.fileobj is self._wake_r:
                    self._wake_r.recv(4096)
                elif key.fileobj is self._listener:
                    self._accept()
            while not self._orders.empty():
                act, done = self._orders.get()
                act()
                done.set()
            for link in list(self._links):
                self._serve(link)

    def _next_due(self) -> float | None:
        due = [side.chunks[0][0] for link in self._links for side in link.sides
               if side.chunks and side.name not in self._held]
        if not due or self._delay_s == 0 and min(due) <= time.monotonic():
            return None
        # What became due since the sides were served is not watched yet: to wait for an event would be for ever.
        return max(0.001, min(due) - time.monotonic())

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.accepted += 1
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            _reset(client)
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(_Link(client, server))

    def _serve(self, link: _Link) -> None:
        try:
            for side in link.sides:
                self._read(side)
                self._write(side)
        except _Cut:
            self._cut_all()
            return
        except OSError:
            self._drop(link)
            return
        if all(side.shut for side in link.sides):
            self._drop(link, reset=False)
            return
        self._watch(link)

    def _read(self, side: _Side) -> None:
        while side.name not in self._held and not side.ended and side.size < BUFFER_LIMIT:
            try:
                data = side.source.recv(CHUNK)
            except BlockingIOError:
                return
            if not data:
                side.ended = True
                return
            side.chunks.append((time.monotonic() + self._delay_s, data))
            side.size += len(data)

    def _write(self, side: _Side) -> None:
        if side.name in self._held:
            return
        while side.chunks and (side.chunks[0][0] <= time.monotonic()):
            due, data = side.chunks.popleft()
            side.size -= len(data)
            limit = self._cut_after.get(side.name)
            part = data if limit is None else data[:limit]
            try:
                sent = side.sink.send(self._damaged(side.name, part)) if part else 0
            except BlockingIOError:
                sent = 0
            self._count(side.name, sent)
            if sent < len(data):
                side.chunks.appendleft((due, data[sent:]))
                side.size += len(data) - sent
            if limit is not None and sent == limit:
                raise _Cut
            if sent < len(part):
                return
        if side.ended and not side.chunks and not side.shut:
            side.shut = True
            side.sink.shutdown(socket.SHUT_WR)

    def _damaged(self, name: str, data: bytes) -> bytes:
        at = self._corrupt.get(name)
        if at is None or at >= len(data):
            return data
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    def _count(self, name: str, sent: int) -> None:
        self.bytes[name] += sent
        if name in self._cut_after:
            self._cut_after[name] -= sent
        if name in self._corrupt:
            self._corrupt[name] -= sent
            if self._corrupt[name] < 0:
                del self._corrupt[name]

    def _watch(self, link: _Link) -> None:
        """Asks the selector for just those events that can lead on; a held side must not make it spin."""
        wanted = {link.client: 0, link.server: 0}
        now = time.monotonic()
        for side in link.sides:
            if side.name in self._held:
                continue
            if not side.ended and side.size < BUFFER_LIMIT:
                wanted[side.source] |= selectors.EVENT_READ
            if side.chunks and side.chunks[0][0] <= now:
                wanted[side.sink] |= selectors.EVENT_WRITE
        for sock, events in wanted.items():
            before = link.events.get(sock, 0)
            if events == before:
                continue
            if not events:
                self._selector.unregister(sock)
            elif before:
                self._selector.modify(sock, events)
            else:
                self._selector.register(sock, events)
            link.events[sock] = events

    def _cut_all(self) -> None:
        self._cut_after.clear()
        for link in list(self._links):
            self._drop(link)

    def _drop(self, link: _Link, reset: bool = True) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        for sock, events in link.events.items():
            if events:
                self._selector.unregister(sock)
        for sock in (link.client, link.server):
            _reset(sock) if reset else sock.close()


class _Cut(Exception):
    """The byte count of cut_after() is reached."""


def _reset(sock: socket.socket) -> None:
    """Closes with RST: the linger time of 0 throws away what is not sent."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
