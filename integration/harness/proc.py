"""A child process: start, stop, SIGKILL, SIGSTOP, and what it wrote.

Children must not outlive the tests, also when pytest itself is killed. The kernel sends them SIGKILL when the
*thread* that forked them ends, so all of them are forked by one thread that lives as long as the process does:
a test may start a daemon from any thread of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .wait import wait_until

PR_SET_PDEATHSIG = 1
CRASH_SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)

_libc = ctypes.CDLL(None, use_errno=True)
_requests: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]]] = queue.SimpleQueue()
_spawner: threading.Thread | None = None
_spawner_mutex = threading.Lock()

registry: list[Process] = []
"""Every process that was made, in order: the fixtures look here for logs to check and to show."""


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _spawn_loop() -> None:
    while True:
        call, answer = _requests.get()
        try:
            answer.put(call())
        except BaseException as error:  # goes to the caller, whatever it is
            answer.put(error)


def popen(argv: Sequence[str], **kwargs: Any) -> subprocess.Popen[bytes]:
    """subprocess.Popen in the spawner's thread, in a process group of its own."""
    global _spawner
    with _spawner_mutex:
        if _spawner is None or not _spawner.is_alive():
            _spawner = threading.Thread(target=_spawn_loop, name="spawner", daemon=True)
            _spawner.start()
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
    _requests.put(
        (lambda: subprocess.Popen(argv, process_group=0, preexec_fn=_die_with_parent, **kwargs), answer)
    )
    result = answer.get()
    if isinstance(result, BaseException):
        raise result
    return result


class Process:
    """One program with its logs; may be started again after its end (the logs are appended to)."""

    is_daemon = False
    """Whether a line of level error or a sanitizer report in the log fails the test."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0, -signal.SIGTERM),
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.env = dict(env or {})
        self.ok_codes = tuple(ok_codes)
        self.cwd = cwd or self.directory
        self.stdout_path = self.directory / f"{name}.out"
        self.stderr_path = self.directory / f"{name}.err"
        self.starts = 0
        self.crashed: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._wanted = False
        registry.append(self)

    # --- life ---

    def start(self) -> None:
        if self.alive:
            raise AssertionError(f"'{self.name}' runs already")
        self._note_end()
        with open(self.stdout_path, "ab") as out, open(self.stderr_path, "ab") as err:
            self._popen = popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.cwd,
                env={**os.environ, **self.env},
            )
        self._wanted = True
        self.starts += 1

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise AssertionError(f"'{self.name}' was never started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return None if self._popen is None else self._popen.poll()

    def wait(self, timeout: float = 10.0) -> int:
        """Waits for the end that the program takes by itself; returns its code."""
        if self._popen is None:
            raise AssertionError(f"'{self.name}' was never started")
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"'{self.name}' still runs after {timeout:g} s") from None
        self._note_end()
        self._wanted = False
        return code

    def stop(self, timeout: float = 15.0, check: bool = True) -> int | None:
        """SIGTERM and the wait for the end; a process that needs SIGKILL after that is an error.

        So is a code that is not in ok_codes, unless the test has seen that end already: by wait(), kill9(), or a
        stop() before.
        """
        if self._popen is None:
            return None
        self._note_end()
        check = check and self._wanted
        self._wanted = False
        if self.alive:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill9()
                if check:
                    raise AssertionError(f"'{self.name}' did not end within {timeout:g} s of SIGTERM") from None
        code = self._popen.returncode
        if check and code not in self.ok_codes:
            raise AssertionError(f"'{self.name}' ended with code {code}; last lines:\n{self.tail(20)}")
        return code

    def kill9(self) -> None:
        """SIGKILL to the whole process group, and the wait until the kernel has reaped it."""
        if self._popen is None:
            return
        self._note_end()
        self._wanted = False
        if self.alive:
            try:
                os.killpg(self._popen.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._popen.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def sigstop(self) -> None:
        """Freezes it, and returns when it is frozen: a signal alone is only a request."""
        self._signal(signal.SIGSTOP)
        wait_until(lambda: self._state() in "Tt", 5, f"'{self.name}' stopped")

    def sigcont(self) -> None:
        self._signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        self._signal(number)

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def _state(self) -> str:
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    def _note_end(self) -> None:
        """Remembers an end that nobody asked for, so that the fixtures can fail the test for it."""
        if self._popen is not None and self._wanted and self._popen.poll() is not None:
            code = self._popen.returncode
            if -code in CRASH_SIGNALS:
                self.crashed = code

    def cpu_seconds(self) -> float:
        """User and system time so far; for tests that bound the cost of something."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(match.group(1)) * 1024 if match else 0

    # --- logs ---

    def log_bytes(self) -> bytes:
        return b"".join(p.read_bytes() for p in (self.stdout_path, self.stderr_path) if p.exists())

    def log_text(self, since: int = 0) -> str:
        """stderr, where every program here logs; `since` is a value of log_mark()."""
        if not self.stderr_path.exists():
            return ""
        with open(self.stderr_path, "rb") as file:
            file.seek(since)
            return file.read().decode("utf-8", "replace")

    def out_text(self) -> str:
        return self.stdout_path.read_text(errors="replace") if self.stdout_path.exists() else ""

    def log_mark(self) -> int:
        """The log's length now, to look only at what comes later."""
        return self.stderr_path.stat().st_size if self.stderr_path.exists() else 0

    def log_contains(self, pattern: str, since: int = 0) -> bool:
        return re.search(pattern, self.log_text(since), re.MULTILINE) is not None

    def wait_log(self, pattern: str, timeout: float = 10.0, since: int = 0) -> re.Match[str]:
        """Waits for a line that matches; fails at once when the process ends without it."""

        def look() -> re.Match[str] | None:
            ended = not self.alive
            match = re.search(pattern, self.log_text(since), re.MULTILINE)
            if match is None and ended:
                raise AssertionError(
                    f"'{self.name}' ended (code {self.returncode}) without {pattern!r}:\n{self.tail(20)}"
                )
            return match

        found = wait_until(look, timeout, lambda: f"{pattern!r} in the log of '{self.name}':\n{self.tail(20)}")
        assert found is not None
        return found

    def tail(self, lines: int = 40) -> str:
        text = self.log_bytes()[-65536:].decode("utf-8", "replace")
        return "\n".join(line[:500] for line in text.splitlines()[-lines:])

    def finish(self) -> None:
        """The quick end for fixtures: no matter how it ends, it is gone."""
        self._note_end()
        self.kill9()


def wait_gone(pid: int, timeout: float = 10.0) -> None:
    """Waits until no process has this id (for children of a killed program)."""
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), timeout, f"end of process {pid}")


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@atexit.register
def _reap() -> None:
    for process in registry:
        process.finish()
