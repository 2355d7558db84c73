#!/usr/bin/env python3
"""Four ratios on this machine, both sides of each on real servers in one run.

    bench.py [--quick] [--pairs N] [--only NAME]... [--json FILE] [--keep-logs]

Every ratio is ours / theirs of neighbouring runs in alternating order: median (min..max). Absolute numbers belong to
the machine and to what else runs on it. There is no pass or fail: exit code 0 means that it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchlib import catchup, dccost, latency, mirror, stage  # noqa: E402
from benchlib.cost import busy_seconds  # noqa: E402
from benchlib.report import table  # noqa: E402
from harness import kafka_config, proc, redis as servers  # noqa: E402
from harness.daemon import ROOT, binary  # noqa: E402
from harness.kafka import KafkaCluster  # noqa: E402

RATE = 10_000


class Bench:
    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory = directory
        self.quick = options.quick
        self.pairs = options.pairs or (1 if options.quick else 3)
        self._clusters: dict[str, KafkaCluster] = {}

    def cluster(self, name: str) -> KafkaCluster:
        if name not in self._clusters:
            self._clusters[name] = stage.kafka(self.directory, name)
        return self._clusters[name]

    # --- the four ---

    def catch_up(self) -> dict[str, Any]:
        count = 500_000 if self.quick else 2_000_000
        found: dict[str, Any] = {"rows": []}
        for title, dr in (("one Kafka", None), ("two Kafkas, mirror", self.cluster("dr-kafka"))):
            say(f"    {title}: {count:,} SETs of {stage.VALUE_BYTES} bytes")
            one = catchup.measure(self.directory, self.cluster("dc-kafka"), dr, count, self.pairs, say)
            found["rows"].append([f"commands/s, {title}", one["ratio"], one["ours"], one["native"]])
            found[title] = one
            found["limits"] = one["limits"]
        return found

    def mirror(self) -> dict[str, Any]:
        count = 200_000 if self.quick else 1_000_000
        return mirror.measure(
            self.directory, self.cluster("dc-kafka"), self.cluster("dr-kafka"), count, self.pairs, say
        )

    def dc_cost(self) -> dict[str, Any]:
        return dccost.measure(
            self.directory, self.cluster("dc-kafka"), 300_000 if self.quick else 1_000_000, self.pairs, say
        )

    def latency(self) -> dict[str, Any]:
        return latency.measure(
            self.directory, self.cluster("dc-kafka"), self.cluster("dr-kafka"), RATE, 5 if self.quick else 10,
            self.pairs, say,
        )

    def close(self) -> None:
        for process in reversed(proc.registry):
            process.finish()


PARTS: dict[str, tuple[str, str, Callable[[Bench], dict[str, Any]]]] = {
    "catch-up": ("Catching up on a backlog", "native replica", Bench.catch_up),
    "mirror": ("Mirroring a topic of 1 KB records", "MirrorMaker 2", Bench.mirror),
    "dc-cost": ("What a write costs DC", "native replica", Bench.dc_cost),
    "latency": (
        f"Latency at {RATE:,} writes/s (PUBLISH on DC to its subscriber on DR)", "native replica", Bench.latency
    ),
}


def say(text: str) -> None:
    """Progress goes beside the results."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    def output(*argv: str) -> str:
        try:
            done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return (done.stdout or done.stderr).strip().split("\n")[0]

    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    jars = [re.search(r"kafka-clients-(.*)\.jar", jar.name) for jar in kafka_config.LIBS.glob("kafka-clients-*.jar")]
    linked = subprocess.run(["ldd", binary("kafka-mirror")], capture_output=True, text=True).stdout
    library = re.search(r"librdkafka\S* => (\S+)", linked)
    clean = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, capture_output=True).returncode == 0
    return {
        "cores": f"{os.cpu_count()} of {cpu.group(1) if cpu else platform.machine()}",
        "memory": f"{int(memory.group(1)) / 1048576:.0f} GiB" if memory else "",
        "system": f"{platform.system()} {platform.release()}",
        "redis": ".".join(map(str, servers.version())),
        "kafka": next((found.group(1) for found in jars if found), ""),
        "java": output("java", "-version"),
        "librdkafka": _library_version(library.group(1) if library else ""),
        "redis-wal": f"{output(binary('redis-journal'), '--version')} {output('git', 'rev-parse', '--short', 'HEAD')}"
        + ("" if clean else " and changes"),
        "load before": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def _library_version(path: str) -> str:
    folder = Path(path).parent / "pkgconfig" / "rdkafka.pc"
    found = re.search(r"Version: (.*)", folder.read_text()) if folder.exists() else None
    return found.group(1) if found else path


def run(bench: Bench, names: list[str]) -> dict[str, Any]:
    results: dict[str, Any] = {"machine": machine()}
    print(table([[key, value] for key, value in results["machine"].items()]), "\n", flush=True)
    for name in names:
        title, other, part = PARTS[name]
        say(f"{title} …")
        begin, busy = time.monotonic(), busy_seconds()
        found = part(bench)
        seconds = time.monotonic() - begin
        found["seconds"], found["machine_busy"] = seconds, (busy_seconds() - busy) / seconds / (os.cpu_count() or 1)
        results[name] = found
        print(f"{title}\n\n{table(found['rows'], ['', 'ratio', 'redis-wal', other])}\n")
        print(f"  cores used by ours in the last run: {found['limits']}\n", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less data and one pair of each")
    parser.add_argument("--pairs", type=int, help="pairs of each (default 3; 1 with --quick)")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this one alone; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every number to FILE")
    parser.add_argument("--keep-logs", action="store_true", help="leaves the folder with data and logs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    directory = Path(tempfile.mkdtemp(prefix="redis-wal-bench-"))
    bench = Bench(directory, options)
    code = 1
    try:
        results = run(bench, options.only or list(PARTS))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
        code = 0
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        code = 130
    except (AssertionError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}\nlogs and data: {directory}", file=sys.stderr)
    finally:
        bench.close()
    if code != 1 and not options.keep_logs:
        shutil.rmtree(directory, ignore_errors=True)
    elif code == 0:
        print(f"logs and data: {directory}")
    return code


if __name__ == "__main__":
    sys.exit(main())
