"""Free loopback ports that no test running at the same time can take.

Binding port 0 and closing it again leaves a gap in which another run gets the same number, and a server that is
restarted must find its old port free. So each port is also held by a lock file of its own until the process ends.
The range lies below the kernel's ephemeral ports, so that no outgoing connection takes one while a server is down.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import threading

LOCK_DIR = "/tmp/rwal-ports"
FIRST, LAST = 20000, 32000

_held: dict[int, int] = {}
_mutex = threading.Lock()
_random = random.SystemRandom()


def _lock(port: int) -> int | None:
    """The descriptor that holds the port's lock, or None where another process has it."""
    fd = os.open(os.path.join(LOCK_DIR, str(port)), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that stays ours until release_port() or the end of this process."""
    os.makedirs(LOCK_DIR, mode=0o777, exist_ok=True)
    with _mutex:
        for _ in range(2000):
            port = _random.randrange(FIRST, LAST)
            if port in _held:
                continue
            fd = _lock(port)
            if fd is None:
                continue
            if _bindable(port):
                _held[port] = fd
                return port
            os.close(fd)
    raise RuntimeError(f"no free port between {FIRST} and {LAST}")


def release_port(port: int) -> None:
    """Gives the port back early; for harness parts that are made and dropped in numbers."""
    with _mutex:
        fd = _held.pop(port, None)
    if fd is not None:
        os.close(fd)
