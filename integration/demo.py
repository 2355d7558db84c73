#!/usr/bin/env python3
"""The whole pipeline on this machine: writes on DC, crashes of every program, and the proof that DR equals DC.

    demo.py [--seconds N] [--rate N] [--seed N] [--keep]
    demo.py --stop DIR

Everything runs in a folder below the temporary one, on free loopback ports. Exit code 0 means that DR equals DC.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchlib.probe import ProbeProcess  # noqa: E402
from benchlib.report import human_bytes, human_ms, percentile, table  # noqa: E402
from harness import oracle, proc  # noqa: E402
from harness.checks import complaints  # noqa: E402
from harness.daemon import Daemon  # noqa: E402
from harness.kafka import KafkaCluster  # noqa: E402
from harness.pipeline import Pipeline  # noqa: E402
from harness.wait import wait_until  # noqa: E402
from harness.workload import Workload  # noqa: E402

PROBE_INTERVAL_MS = 20
LINE_EVERY_S = 5.0
REFRESH_S = 0.25
SHOWN = 20
KEEPER = "demo.pid"


class Screen:
    """One line that is refreshed on a terminal, a line every 5 s elsewhere; other lines go above it."""

    def __init__(self) -> None:
        self.tty = sys.stdout.isatty()
        self._next = 0.0
        self._width = 0

    def say(self, text: str) -> None:
        self._wipe()
        print(text, flush=True)

    def status(self, text: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (REFRESH_S if self.tty else LINE_EVERY_S)
        if self.tty:
            text = text[: shutil.get_terminal_size().columns - 1]
            sys.stdout.write(f"\r{text:<{self._width}}")
            sys.stdout.flush()
            self._width = len(text)
        else:
            print(text, flush=True)

    def _wipe(self) -> None:
        if self.tty and self._width:
            sys.stdout.write("\r" + " " * self._width + "\r")
            self._width = 0


class Demo:
    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory = directory
        self.options = options
        self.screen = Screen()
        self.clusters = [
            KafkaCluster(directory / "dc", 1, "kafka-dc"),
            KafkaCluster(directory / "dr", 1, "kafka-dr"),
        ]
        self.pipeline = Pipeline(directory, *self.clusters, "demo")
        for name in ("journal", "mirror", "applier"):
            self.pipeline.settings[name] = {"log": {"level": "info"}}
        self.recoveries: dict[str, float] = {}
        self.failure: str | None = None

    # --- acts ---

    def run(self) -> int:
        """0 when DR equals DC after all that was done to it."""
        self._start()
        probe = ProbeProcess(self.pipeline.dc.address, self.pipeline.dr.address, PROBE_INTERVAL_MS)
        try:
            work = self._write(probe)
            times, lost = probe.finish()
        finally:
            probe.close()
        differences = self._compare()
        if lost:
            self.failure = f"{lost} of {lost + len(times)} published messages never came to DR"
        self._results(work, sorted(times), differences)
        return 0 if not differences and self.failure is None else 1

    def _start(self) -> None:
        begin = time.monotonic()
        self.screen.say("Starting two Redis, two Kafka, and the three programs …")
        threads = [threading.Thread(target=self._guarded, args=(c.start,), daemon=True) for c in self.clusters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise AssertionError(self.failure)
        self.pipeline.start()
        # The others may be up before the first byte went all the way through.
        self.pipeline.wait_caught_up()
        self.screen.say(f"All up after {time.monotonic() - begin:.0f} s. Logs and data: {self.directory}\n")

    def _write(self, probe: ProbeProcess) -> Workload:
        """The mixed workload, and a SIGKILL for each program while it runs."""
        options, pipeline = self.options, self.pipeline
        work = Workload(pipeline.dc, writes=None, seed=options.seed, rate=options.rate)
        with contextlib.redirect_stdout(io.StringIO()):
            work.start()
        self.screen.say(
            f"Writing to DC for {options.seconds} s, {options.rate} a second: every type, transactions, scripts, "
            f"expiries,\n{work.databases} databases (seed {work.seed}). Each program is killed once on the way.\n"
        )
        programs: list[Daemon] = [pipeline.journal, pipeline.mirror, pipeline.applier]
        begin = time.monotonic()
        for number, program in enumerate(programs, 1):
            self._watch(work, probe, begin + options.seconds * number / (len(programs) + 1))
            self._kill(program, work, probe)
        self._watch(work, probe, begin + options.seconds)
        work.stop()
        self.screen.say(f"\nDone writing: {work.written:,} writes. Waiting for DR …")
        pipeline.wait_caught_up()
        return work

    def _kill(self, program: Daemon, work: Workload, probe: ProbeProcess) -> None:
        program.kill9()
        begin = time.monotonic()
        program.start(ready=False)

        def back() -> bool:
            """It says so itself, and a message that was sent after the kill has come to DR."""
            return self._ready(program, work, probe) and probe.arrived_until() > begin

        wait_until(back, 60, f"'{program.name}' back after SIGKILL")
        seconds = time.monotonic() - begin
        self.recoveries[program.name] = seconds
        self.screen.say(f"  SIGKILL to the {program.name}, started again: DR follows after {seconds:.1f} s")

    def _ready(self, program: Daemon, work: Workload, probe: ProbeProcess) -> bool:
        self._tell(work, probe)
        if not program.alive:
            raise AssertionError(f"'{program.name}' ended:\n{program.process.tail(10)}")
        with contextlib.suppress(OSError):  # its HTTP server is not up yet
            return program.ready()
        return False

    def _watch(self, work: Workload, probe: ProbeProcess, until: float) -> None:
        pause = threading.Event()
        while (left := until - time.monotonic()) > 0:
            self._tell(work, probe)
            pause.wait(min(left, REFRESH_S))

    def _tell(self, work: Workload, probe: ProbeProcess) -> None:
        if self.failure is not None:
            raise AssertionError(self.failure)
        elapsed = time.monotonic() - work._begin
        self.screen.status(
            f"  {elapsed:3.0f} s  {work.written:>9,} writes  DR behind {human_ms(probe.lag_s()):>9}"
        )

    def _compare(self) -> list[oracle.Difference]:
        """Every key, both ways; what differs is looked at again after DR has passed what DC sent meanwhile."""
        self.screen.say("Comparing every key of both in both directions …")
        pipeline = self.pipeline
        found = oracle.compare(pipeline.dc, pipeline.dr, pipeline.rules)
        for _ in range(5):
            if not found:
                break
            pipeline.wait_caught_up()
            found = oracle.recheck(pipeline.dc, pipeline.dr, found, pipeline.rules)
        return found

    # --- results ---

    def _results(self, work: Workload, times: list[float], differences: list[oracle.Difference]) -> None:
        keys = oracle.key_count(self.pipeline.dc)
        if keys == 0:
            self.failure = "no key was compared"
        rows = [
            ("writes on DC", f"{work.written:,}"),
            ("replication stream", human_bytes(self.pipeline.dc.repl_offset())),
            ("log in DC's Kafka", human_bytes(self._log_bytes())),
            ("lag of DR, p50 / p99", f"{human_ms(percentile(times, 50))} / {human_ms(percentile(times, 99))}"),
            ("longest lag (kills)", human_ms(times[-1])),
            ("SIGKILLs", ", ".join(f"{name} ({s:.1f} s)" for name, s in self.recoveries.items())),
            ("keys compared", f"{keys:,}"),
            ("differences", f"{len(differences)}"),
        ]
        self.screen.say("\n" + table(rows))
        if differences:
            self.screen.say(f"\nDR DIFFERS FROM DC (workload seed {work.seed}):")
            for one in differences[:SHOWN]:
                self.screen.say(f"  {one}")
        problems = complaints(proc.registry)
        if problems and self.failure is None:
            self.failure = "\n  ".join(["a program complained:", *problems[:SHOWN]])
        if not differences and self.failure is None:
            self.screen.say("\nDR equals DC.")

    def _log_bytes(self) -> int:
        broker = self.clusters[0].brokers[1]
        return sum(f.stat().st_size for f in broker.data.glob(f"{self.pipeline.topic}-*/*.log"))

    def addresses(self) -> str:
        pipeline = self.pipeline
        rows = [
            ("DC Redis", pipeline.dc.address),
            ("DC Kafka", f"{self.clusters[0].bootstrap}  topic {pipeline.topic}"),
            ("DR Redis", pipeline.dr.address),
            ("DR Kafka", f"{self.clusters[1].bootstrap}  topic {pipeline.topic}"),
        ]
        for program in (pipeline.journal, pipeline.mirror, pipeline.applier):
            rows.append((program.name, f"http://127.0.0.1:{program.http_port}/"))
        return table(rows)

    # --- frame ---

    def _guarded(self, body: Any) -> None:
        try:
            body()
        except BaseException as error:  # for the main thread to tell
            self.failure = f"{type(error).__name__}: {error}"

    def close(self) -> None:
        for process in reversed(proc.registry):
            process.finish()


def perform(directory: Path, options: argparse.Namespace, report: Any) -> int:
    """The demonstration from start to end; with --keep `report` gets the code and the rest goes on until a signal."""
    code = 1
    demo = Demo(directory, options)
    try:
        code = demo.run()
        if demo.failure is not None:
            print(f"\nFAILED: {demo.failure}")
        if options.keep and code == 0:
            _keep(demo, report)
    except KeyboardInterrupt:
        print("\nstopped")
        code = 130
    except (AssertionError, RuntimeError, OSError, EOFError) as error:
        print(f"\nFAILED: {error}")
    finally:
        demo.close()
    if code == 1:
        print(f"logs and data: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return code


def _keep(demo: Demo, report: Any) -> None:
    """Leaves everything running: this process stays behind as its keeper, and its end is theirs."""
    (demo.directory / KEEPER).write_text(f"{os.getpid()}\n")
    stopping = f"{sys.executable} {__file__} --stop {demo.directory}"
    print(f"\nStill running:\n\n{demo.addresses()}\n\nStop it: {stopping}", flush=True)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    report(0)
    while True:
        signal.pause()


def keeping(directory: Path, options: argparse.Namespace) -> int:
    """perform() in a child that can stay when this process ends with the demonstration's code."""
    begin, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(begin)

        def report(code: int) -> None:
            os.write(end, bytes([code]))
            os.close(end)

        code = perform(directory, options, report)
        sys.stdout.flush()
        with contextlib.suppress(OSError):
            report(code)
        # exit() would also run what this process has registered before the fork.
        os._exit(code)
    os.close(end)
    # A Ctrl-C goes to both; the child cleans up and says so.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    told = os.read(begin, 1)
    return told[0] if told else 1


def stop(directory: Path) -> int:
    """Ends what --keep left running, and removes its folder."""
    try:
        pid = int((directory / KEEPER).read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        print(f"error: no demonstration runs in '{directory}'", file=sys.stderr)
        return 2
    if Path(__file__).name.encode() not in arguments:
        print(f"error: process {pid} of '{directory}' is not the demonstration's any more", file=sys.stderr)
        return 2
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 60, f"end of process {pid}")
    print("stopped")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=35, help="how long DC is written to (default %(default)s)")
    parser.add_argument("--rate", type=int, default=3000, help="writes a second (default %(default)s)")
    parser.add_argument("--seed", type=int, help="of the workload, to have a run again")
    parser.add_argument("--keep", action="store_true", help="leaves everything running and prints how to stop it")
    parser.add_argument("--stop", type=Path, metavar="DIR", help="ends what --keep left running")
    options = parser.parse_args()
    if options.stop is not None:
        return stop(options.stop)
    # Ends like Ctrl-C, so that nothing stays behind.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    directory = Path(tempfile.mkdtemp(prefix="redis-wal-demo-"))
    if options.keep:
        return keeping(directory, options)
    return perform(directory, options, lambda _code: None)


if __name__ == "__main__":
    sys.exit(main())
