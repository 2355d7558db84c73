"""The promise of the whole suite: DR becomes DC, whoever is killed when. Every schedule comes from a printed seed."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from harness.daemon import Daemon
from harness.kafka import KafkaCluster
from harness.oracle import key_count
from harness.pipeline import Pipeline
from harness.redis import RedisServer
from harness.wait import wait_until
from harness.workload import Workload

WRITES = int(os.environ.get("RWAL_CHAOS_WRITES", "200000"))
KILLS = int(os.environ.get("RWAL_CHAOS_KILLS", "10"))
SEED = os.environ.get("RWAL_SEED")


def new_seed() -> int:
    """RWAL_SEED plays a run again."""
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed} (RWAL_SEED={seed} plays it again)")
    return seed


class Killer:
    """Kills programs at random moments, each `kills` times, in threads of their own."""

    def __init__(self, seed: int, parts: dict[str, Daemon], kills: int, longest: float = 2.0) -> None:
        self.threads = []
        self.failures: list[BaseException] = []
        self.killed = 0
        for number, (name, part) in enumerate(sorted(parts.items())):
            rng = random.Random(seed + number)
            thread = threading.Thread(target=self._run, args=(rng, part, kills, longest), name=f"kill-{name}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run(self, rng: random.Random, part: Daemon, kills: int, longest: float) -> None:
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0, longest))  # the random moment is what the test is about
                part.kill9()
                self.killed += 1
                part.start(ready=False)
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self.failures.append(error)

    def join(self) -> None:
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


def run_chaos(pipeline: Pipeline, seed: int, backlog: str) -> None:
    pipeline.settings["dc"] = {"repl-backlog-size": backlog}
    Workload(pipeline.dc, 10_000, seed=seed).run()
    pipeline.start()
    # Spread over the time that the kills take, so that each of them falls into the load.
    work = Workload(pipeline.dc, WRITES, seed=seed, clients=8, rate=WRITES / (KILLS * 2.5)).start()
    killer = Killer(seed, {"journal": pipeline.journal, "mirror": pipeline.mirror, "applier": pipeline.applier}, KILLS)
    killer.join()
    work.join(600)
    assert killer.killed == 3 * KILLS
    pipeline.wait_equal(180)
    assert key_count(pipeline.dr) > 2000


@pytest.mark.timeout(900)
def test_all_killed_with_a_large_backlog(pipeline: Pipeline) -> None:
    """No full resync happens, so every INCR and LPUSH of DR came through the stream, once."""
    run_chaos(pipeline, new_seed(), "512mb")
    assert pipeline.journal.status()["full_resyncs"] == 0


@pytest.mark.timeout(900)
def test_all_killed_with_redis_default_backlog(pipeline: Pipeline) -> None:
    """1 MB: full resyncs happen, over live data."""
    run_chaos(pipeline, new_seed(), "1mb")


class Watch:
    """Looks all the time for keys that must never vanish from a Redis."""

    def __init__(self, server: RedisServer, keys: list[str]) -> None:
        self.missing: list[str] = []
        self.rounds = 0
        self._stop = threading.Event()
        self._server, self._keys = server, keys
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._server.client() as client:
            while not self._stop.is_set():
                if client.exists(*self._keys) != len(self._keys):
                    self.missing.append(f"round {self.rounds}")
                self.rounds += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def test_full_resync_never_empties_dr(pipeline: Pipeline) -> None:
    """The backlog is lost and keys were deleted on DC meanwhile: DR equals DC, and no key of both sides vanished."""
    pipeline.settings["dc"] = {"repl-backlog-size": "1mb"}
    client = pipeline.dc.client()
    stays = [f"stays:{i}" for i in range(500)]
    for key in stays:
        client.set(key, "x" * 100)
    for db in range(4):
        gone = pipeline.dc.client(db)
        for i in range(2000):
            gone.set(f"goes:{i}", "y" * 50)
    client.function_load("#!lua name=goes\nredis.register_function('g', function() return 1 end)")
    pipeline.start()
    pipeline.wait_equal()
    watch = Watch(pipeline.dr, stays)
    pipeline.journal.kill9()
    for db in range(4):
        gone = pipeline.dc.client(db)
        gone.delete(*[f"goes:{i}" for i in range(0, 2000, 2)])
    client.function_delete("goes")
    client.function_load("#!lua name=comes\nredis.register_function('g', function() return 2 end)")
    for i in range(3000):
        client.set(f"filler:{i}", "z" * 1000)
    pipeline.journal.start()
    pipeline.wait_equal()
    assert pipeline.journal.status()["full_resyncs"] == 1
    wait_until(lambda: watch.rounds > 10, 30, "the watch to have looked")
    watch.stop()
    assert watch.missing == []


def test_transaction_of_100000_commands_and_huge_values(pipeline: Pipeline) -> None:
    """Each is one entry, applied in one piece, and larger than a frame."""
    pipeline.start()
    client = pipeline.dc.client()
    pipe = client.pipeline(transaction=True)
    for i in range(100_000):
        pipe.incr(f"n{i % 10}")
    pipe.execute()
    client.set("huge", random.Random(1).randbytes(20_000_000))
    client.append("huge", b"\r\n\0" * 1000)
    client.set("", b"")
    client.rpush("binary\r\n\0key", b"", b"\0", b"\r\n")
    pipeline.wait_equal(120)
    assert pipeline.dr.client().get("n0") == b"10000"


@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_snapshots(short_pipeline: Pipeline) -> None:
    """Journal and applier die while a large snapshot is under way, again and again, and DC goes on writing."""
    seed = new_seed()
    rng = random.Random(seed)
    pipeline = short_pipeline
    pipeline.settings["dc"] = {"repl-backlog-size": "1mb"}
    with pipeline.dc.client() as client:
        for first in range(0, 60_000, 2000):
            client.mset({f"big:{i}": rng.randbytes(500) for i in range(first, first + 2000)})
    pipeline.start()
    pipeline.wait_equal(180)
    work = Workload(pipeline.dc, None, seed=seed, rate=3000).start()
    for _ in range(4):
        pipeline.journal.kill9()
        with pipeline.dc.client() as client:  # more than the backlog holds, so that a snapshot must follow
            client.set("pusher", rng.randbytes(3_000_000))
            client.delete(*[f"big:{rng.randrange(60_000)}" for _ in range(500)])
        pipeline.journal.start(ready=False)
        time.sleep(rng.uniform(0.3, 2))  # the random moment is what the test is about
        pipeline.applier.kill9()
        pipeline.applier.start(ready=False)
    work.stop()
    pipeline.wait_equal(240)


def test_two_sources_share_one_kafka(workdir: Path, kafka: KafkaCluster, name: str) -> None:
    """Topics, transactional ids and positions come from the sources' names: neither sees the other."""
    pair = [Pipeline(workdir / n, kafka, None, f"{name}-{n}") for n in ("one", "two")]
    for number, pipeline in enumerate(pair):
        pipeline.dc.client().set("who", number)
        pipeline.start()
    for number, pipeline in enumerate(pair):
        Workload(pipeline.dc, 3000, seed=number).run()
    for number, pipeline in enumerate(pair):
        pipeline.wait_equal()
        assert pipeline.dr.client().get("who") == str(number).encode()
        assert pipeline.journal.status()["failures"] == 0
