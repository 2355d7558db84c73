"""Timed writes through a replication chain: how long until one that was sent to DC shows on DR.

`Probe` publishes the present time on DC every few ms; a subscriber on DR says when it arrives there. PUBLISH takes
its place in the replication stream as every write does, so what it waits for is what a write waits for. Both ends are
here, so that one monotonic clock counts.

As a program (benchmarks run it as a process of its own, so that no other thread delays it) it prints JSON:

    probe.py lag  HOST:PORT HOST:PORT SECONDS INTERVAL_MS    # SECONDS 0: until SIGTERM, with the lag each 100 ms
    probe.py wait HOST:PORT SECONDS INTERVAL_MS        # SET and WAIT 1 in one write, until WAIT's reply
    probe.py load HOST:PORT SECONDS RATE               # no probe: SETs of 100 bytes at that rate
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

CHANNEL = b"redis-wal-lag-probe"
LOAD_KEYS = 100_000
TICK_S = 0.001
GRACE_S = 10.0
TELL_S = 0.1
WAIT_LIMIT_MS = 5000

_MESSAGE = re.compile(rb"message\r\n\$%d\r\n%s\r\n\$20\r\n(\d{20})\r\n" % (len(CHANNEL), CHANNEL))


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Probe:
    """Times in seconds of all probes that arrived, in order; run() may live in a thread of its own."""

    def __init__(self, writes_to: str, reads_from: str, interval_s: float) -> None:
        self.times: list[float] = []
        self.sent = 0
        self.interval_s = interval_s
        self._oldest: list[int] = []
        self._writer = connect(writes_to)
        self._reader = connect(reads_from)
        self._reader.sendall(command(b"SUBSCRIBE", CHANNEL))
        self._seen = b""
        # What is published before the server has taken the subscription is not for us.
        while not self._seen.endswith(b":1\r\n"):
            self._seen += self._reader.recv(4096)

    def run(self, stop: threading.Event, tell: Callable[[float], None] = lambda _lag: None) -> None:
        """Until `stop`, and then until the last probe has arrived or is 10 s late. `tell` gets lag_s() now and then."""
        due = told = time.monotonic()
        end: float | None = None
        while end is None or (self._oldest and time.monotonic() < end):
            now = time.monotonic()
            if end is None and stop.is_set():
                end = now + GRACE_S
            if end is None and now >= due:
                self._send()
                due = max(due + self.interval_s, now)
            if now >= told + TELL_S:
                tell(self.lag_s())
                told = now
            pause = self.interval_s if end is not None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([self._reader, self._writer], [], [], pause)
            if self._writer in ready and not self._writer.recv(65536):
                raise EOFError("DC closed the probe's connection")
            if self._reader in ready:
                self._receive()
        self._writer.close()
        self._reader.close()

    def waiting_s(self) -> float:
        """Age of the oldest probe that did not arrive yet; 0 without one."""
        oldest = self._oldest[:1]
        return (time.monotonic_ns() - oldest[0]) / 1e9 if oldest else 0.0

    def lag_s(self) -> float:
        """What DR is behind now: the last probe's time, or more where the next one is late already."""
        return max(self.waiting_s(), self.times[-1] if self.times else 0.0)

    @property
    def lost(self) -> int:
        return len(self._oldest)

    def _send(self) -> None:
        stamp = time.monotonic_ns()
        self._oldest.append(stamp)
        self.sent += 1
        self._writer.sendall(command(b"PUBLISH", CHANNEL, b"%020d" % stamp))

    def _receive(self) -> None:
        data = self._reader.recv(65536)
        now = time.monotonic_ns()
        if not data:
            raise EOFError("DR closed the probe's connection")
        self._seen += data
        used = 0
        for match in _MESSAGE.finditer(self._seen):
            stamp = int(match.group(1))
            used = match.end()
            # They arrive in order, each once: anything else would be a fault of the chain.
            if self._oldest[:1] != [stamp]:
                raise AssertionError("probes arrived doubled, lost or out of order")
            del self._oldest[0]
            self.times.append((now - stamp) / 1e9)
        self._seen = self._seen[used:]


def wait_times(address: str, seconds: float, interval_s: float) -> list[float]:
    """Of SET and WAIT 1, from sending both to the reply of WAIT; a WAIT that nobody confirmed is an error."""
    sock = connect(address)
    request = command(b"SET", b"wait:probe", b"x" * 100) + command(b"WAIT", b"1", b"%d" % WAIT_LIMIT_MS)
    times = []
    end = time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        sock.sendall(request)
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += sock.recv(4096)
        if answer != b"+OK\r\n:1\r\n":
            raise AssertionError(f"SET and WAIT 1 answered {answer!r}")
        now = time.monotonic()
        times.append(now - begin)
        time.sleep(max(0.0, interval_s - (now - begin)))
    sock.close()
    return times


def load(address: str, seconds: float, rate: float) -> dict[str, float]:
    """SETs of 100 bytes, those that are due every ms in one write."""
    sock = connect(address)
    sets = [command(b"SET", b"key:%012d" % i, b"x" * 100) for i in range(LOAD_KEYS)]
    begin = time.monotonic()
    sent = 0
    while (now := time.monotonic() - begin) < seconds:
        due = int(now * rate)
        if due > sent:
            sock.sendall(b"".join(sets[i % LOAD_KEYS] for i in range(sent, due)))
            sent = due
        ready, _, _ = select.select([sock], [], [], 0)
        if ready:
            sock.recv(1 << 20)
        time.sleep(TICK_S)
    sock.close()
    return {"sent": sent, "seconds": now, "rate": sent / now}


class ProbeProcess:
    """A probe in a process of its own, for a program whose threads would delay it; lag_s() is at most 0.1 s old."""

    def __init__(self, writes_to: str, reads_from: str, interval_ms: float) -> None:
        argv = [sys.executable, __file__, "lag", writes_to, reads_from, "0", str(interval_ms)]
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0)
        self._told = (time.monotonic(), 0.0)
        self._result: dict[str, object] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            found = json.loads(line)
            if "lag" in found:
                self._told = (float(found["at"]), float(found["lag"]))
            else:
                self._result = found

    def lag_s(self) -> float:
        return self._told[1]

    def arrived_until(self) -> float:
        """Of the monotonic clock: what was sent before has arrived."""
        at, lag = self._told
        return at - lag

    def finish(self) -> tuple[list[float], int]:
        """Lets the last ones arrive; all times in order, and how many probes were lost."""
        self._child.terminate()
        self._thread.join(GRACE_S * 2)
        self._child.wait(GRACE_S)
        if "times" not in self._result:
            raise AssertionError("the probe's process failed")
        return list(self._result["times"]), int(self._result["lost"])  # type: ignore[call-overload]

    def close(self) -> None:
        """The quick end."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()


def lag(writes_to: str, reads_from: str, seconds: float, interval_s: float) -> dict[str, object]:
    probe = Probe(writes_to, reads_from, interval_s)
    stop = threading.Event()
    if seconds > 0:
        threading.Timer(seconds, stop.set).start()
        probe.run(stop)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        probe.run(stop, lambda now: print(json.dumps({"at": time.monotonic(), "lag": now}), flush=True))
    return {"times": probe.times, "lost": probe.lost}


def main(argv: list[str]) -> None:
    kind, *rest = argv
    if kind == "lag":
        print(json.dumps(lag(rest[0], rest[1], float(rest[2]), float(rest[3]) / 1000)))
    elif kind == "wait":
        print(json.dumps({"times": wait_times(rest[0], float(rest[1]), float(rest[2]) / 1000)}))
    else:
        print(json.dumps(load(rest[0], float(rest[1]), float(rest[2]))))


if __name__ == "__main__":
    main(sys.argv[1:])
