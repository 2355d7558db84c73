"""Exactly once, against a DR Redis that fails in every way: rolled back, failed over, cut off, full, empty, shared.

The workload is full of commands that are not idempotent, so a batch that is applied twice or not at all shows.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.daemon import Applier
from harness.oracle import key_count
from harness.pipeline import Pipeline
from harness.proxy import Proxy
from harness.redis import RedisServer
from harness.wait import wait_until
from harness.workload import Workload


def new_seed() -> int:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    return seed


def position_key(pipeline: Pipeline) -> str:
    return f"redis-wal:position:{pipeline.source}"


@pytest.fixture
def line(short_pipeline: Pipeline) -> Iterator[Proxy]:
    """Between the applier and DR."""
    proxy = Proxy(("127.0.0.1", short_pipeline.dr.port)).start()
    short_pipeline.settings["applier"] = {"target": {"redis": proxy.address}}
    yield proxy
    proxy.stop()


def fill(pipeline: Pipeline, seed: int, rounds: int) -> None:
    """Counters and lists over many slots, with values that make a backlog in every partition."""
    value = random.Random(seed).randbytes(2000)
    with pipeline.dc.client() as client:
        for _ in range(rounds):
            pipe = client.pipeline(transaction=False)
            for i in range(500):
                pipe.incr(f"n:{i}")
                pipe.setrange(f"v:{i}", 0, value)
            pipe.execute()


def test_connection_is_lost_while_partitions_are_paused(short_pipeline: Pipeline, line: Proxy) -> None:
    """Little memory, so that all partitions are paused: after each new connection all of them are read again."""
    seed = new_seed()
    rng = random.Random(seed)
    short_pipeline.settings["applier"]["memory"] = "1MiB"
    short_pipeline.settings["applier"]["batch"] = {"commands": 50}
    short_pipeline.start()
    short_pipeline.wait_caught_up()
    for _ in range(4):
        line.hold("down")
        fill(short_pipeline, seed, 8)
        wait_until(lambda: short_pipeline.applier.metric("rwal_applier_buffered_bytes") > 1 << 20, 30,
                   "the memory to be full")
        line.resume()
        line.cut_after(rng.randrange(1, 2000))
        short_pipeline.wait_caught_up()
    short_pipeline.wait_equal()


def test_connection_is_cut_at_any_byte(short_pipeline: Pipeline, line: Proxy) -> None:
    """In commands and in replies: whether an EXEC that was not answered was done is read from the position."""
    seed = new_seed()
    rng = random.Random(seed)
    short_pipeline.settings["applier"]["batch"] = {"commands": 20}
    short_pipeline.start()
    work = Workload(short_pipeline.dc, None, seed=seed, rate=4000).start()
    for number in range(60):
        before = line.accepted
        direction = "down" if number % 3 else "up"
        line.cut_after(number if number < 20 else rng.randrange(1, 4000), direction)
        wait_until(lambda b=before: line.accepted > b, 20, "the applier to connect again")
    work.stop()
    short_pipeline.wait_equal()
    assert key_count(short_pipeline.dr) > 500


def cut_tail(dr: RedisServer, rng: random.Random) -> int:
    """What a power loss does to appendfsync everysec: the end of the file is gone, in mid-command."""
    path = max((dr.data / "appendonlydir").glob("*.incr.aof"), key=lambda p: p.stat().st_mtime_ns)
    size = path.stat().st_size
    gone = min(rng.randrange(1, 300_000), size)
    os.truncate(path, size - gone)
    return gone


def test_target_loses_its_last_second(short_pipeline: Pipeline) -> None:
    """Data and position go back together, and the log is read again from there."""
    seed = new_seed()
    rng = random.Random(seed)
    short_pipeline.settings["dr"] = {"appendonly": "yes", "appendfsync": "everysec"}
    short_pipeline.start()
    work = Workload(short_pipeline.dc, None, seed=seed, rate=4000).start()
    for _ in range(4):
        work.wait_written(work.written + 4000)
        short_pipeline.wait_caught_up()
        short_pipeline.dr.kill9()
        print(f"{cut_tail(short_pipeline.dr, rng)} bytes lost")
        short_pipeline.dr.start()
        # Redis 7.0 leaves the begin of a MULTI that was cut off in its file (it removes only the last, broken
        # command of it), and would execute it together with the next transaction when it loads the file again.
        short_pipeline.dr.client().bgrewriteaof()
        wait_until(lambda: short_pipeline.dr.info("persistence")["aof_base_size"] > 0
                   and not short_pipeline.dr.info("persistence")["aof_rewrite_in_progress"], 20, "the rewrite")
    work.stop()
    short_pipeline.wait_equal()


def test_target_fails_over_to_a_replica_that_lags(short_pipeline: Pipeline, line: Proxy, workdir: Path) -> None:
    seed = new_seed()
    feed = Proxy(("127.0.0.1", short_pipeline.dr.port)).start()
    replica = RedisServer(workdir, "dr-replica").start()
    try:
        short_pipeline.start()
        replica.replicaof(("127.0.0.1", feed.port))
        Workload(short_pipeline.dc, 5000, seed=seed).run()
        short_pipeline.wait_caught_up()
        replica.wait_replica_of(short_pipeline.dr)
        work = Workload(short_pipeline.dc, None, seed=seed + 1, rate=4000).start()
        work.wait_written(3000)
        feed.hold()
        at = work.written
        work.wait_written(at + 8000)
        short_pipeline.wait_caught_up()
        ahead = short_pipeline.dr.client().hget(position_key(short_pipeline), "lsn")
        short_pipeline.dr.kill9()
        feed.stop()
        replica.replicaof(None)
        assert int(replica.client().hget(position_key(short_pipeline), "lsn")) < int(ahead)
        line.target = ("127.0.0.1", replica.port)
        short_pipeline.__dict__["dr"] = replica
        work.wait_written(work.written + 3000)
        work.stop()
        short_pipeline.wait_equal()
    finally:
        feed.stop()


def test_target_comes_back_empty(short_pipeline: Pipeline) -> None:
    """Data and position are gone: all is rebuilt from the log's snapshot, nothing is added to an empty target."""
    seed = new_seed()
    Workload(short_pipeline.dc, 3000, seed=seed).run()
    short_pipeline.start()
    work = Workload(short_pipeline.dc, None, seed=seed + 1, rate=3000).start()
    work.wait_written(4000)
    short_pipeline.wait_caught_up()
    short_pipeline.dr.kill9()
    short_pipeline.dr.start()
    work.wait_written(work.written + 2000)
    work.stop()
    short_pipeline.wait_equal()
    short_pipeline.applier.wait_log("position in the target is gone", timeout=1)


def test_target_has_no_memory_for_a_while(short_pipeline: Pipeline) -> None:
    seed = new_seed()
    short_pipeline.start()
    work = Workload(short_pipeline.dc, None, seed=seed, rate=4000).start()
    for setting, bad, good in (("maxmemory", 1, 0), ("min-replicas-to-write", 1, 0)):
        work.wait_written(work.written + 2000)
        with short_pipeline.dr.client() as client:
            client.config_set(setting, bad)
            before = short_pipeline.applier.metric("rwal_applier_errors_total")
            wait_until(lambda b=before: short_pipeline.applier.metric("rwal_applier_errors_total") > b + 2, 20,
                       "the target to refuse some batches")
            client.config_set(setting, good)
    work.stop()
    short_pipeline.wait_equal()


def transaction(client: Any, *commands: tuple[Any, ...]) -> None:
    """By hand: a client's own pipeline does not send SELECT."""
    connection = client.connection_pool.get_connection("MULTI")
    for command in (("MULTI",), *commands, ("EXEC",)):
        connection.send_command(*command)
        connection.read_response()
    connection.send_command("SELECT", 0)
    connection.read_response()
    client.connection_pool.release(connection)


def test_position_in_another_database(short_pipeline: Pipeline) -> None:
    """Everything that moves databases goes through the one that holds the position."""
    seed = new_seed()
    short_pipeline.settings["applier"] = {"target": {"position_db": 3}, "batch": {"commands": 7}}
    short_pipeline.start()
    key = position_key(short_pipeline)
    with short_pipeline.dc.client() as client:
        for number in range(40):
            transaction(client, ("SELECT", 3), ("INCR", "three"), ("SWAPDB", 3, 5), ("SELECT", 5), ("INCR", "five"))
            transaction(client, ("SWAPDB", 5, 3), ("SWAPDB", 3, 6), ("SET", f"x:{number}", 1),
                        ("MOVE", f"x:{number}", 3))
            transaction(client, ("SET", "c", number), ("COPY", "c", f"c:{number}", "DB", 3), ("SWAPDB", 3, 3))
            if number % 10 == 5:
                transaction(client, ("SELECT", 3), ("INCR", "gone"), ("FLUSHALL",), ("SWAPDB", 0, 3), ("INCR", "kept"))
    Workload(short_pipeline.dc, 3000, seed=seed).run()
    short_pipeline.wait_equal()
    homes = [db for db in range(16) if short_pipeline.dr.client(db).exists(key)]
    assert homes == [3], "the position has no copy elsewhere"


class Pair:
    """Two appliers on one target."""

    def __init__(self, pipeline: Pipeline, workdir: Path, config: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.both = [
            Applier(workdir, pipeline.dr_kafka, pipeline.topic, config.pop("redis", pipeline.dr), pipeline.source,
                    name=f"applier-{n}", config={"ttl_guard": f"{pipeline.ttl_guard_ms}ms", **config})
            for n in "ab"
        ]

    def use(self, number: int) -> None:
        """The one whose status the pipeline asks for."""
        self.pipeline.__dict__["applier"] = self.both[number]

    def fenced(self, number: int) -> float:
        return self.both[number].metric("rwal_applier_fenced_total")


def test_paused_applier_goes_on_after_another_took_over(short_pipeline: Pipeline, workdir: Path) -> None:
    """Stopped in the middle of batches, twice; what it still sends must not be applied."""
    seed = new_seed()
    pair = Pair(short_pipeline, workdir, {"standby": {"takeover_after": "6s"}, "batch": {"commands": 50}})
    short_pipeline.journal.start()
    pair.both[0].start()
    work = Workload(short_pipeline.dc, None, seed=seed, rate=4000).start()
    work.wait_written(2000)
    pair.both[1].start(ready=False)
    wait_until(lambda: sum(pair.fenced(n) for n in (0, 1)) > 0, 20, "one of them to stand by",
               tolerate=(requests.RequestException,))
    for _ in range(2):
        active = 0 if pair.both[0].ready() else 1
        other = 1 - active
        wait_until(lambda o=other: pair.both[o].status()["state"] == "standby", 20, "the other one to stand by")
        before = pair.fenced(active)
        pair.both[active].sigstop()
        wait_until(lambda o=other: pair.both[o].ready(), 20, "the other one to take over")
        work.wait_written(work.written + 2000)
        pair.both[active].sigcont()
        wait_until(lambda a=active, b=before: pair.fenced(a) > b, 20, "the first one to be fenced")
    work.stop()
    pair.use(0 if pair.both[0].ready() else 1)
    short_pipeline.wait_equal()
    assert short_pipeline.applier.metric("rwal_applier_fenced_total") <= 2, "they do not throw each other out"


def test_long_sweep_shows_that_the_applier_lives(short_pipeline: Pipeline, line: Proxy) -> None:
    """Nothing has to be removed, and SCAN takes longer than another applier waits: the position must move."""
    with short_pipeline.dc.client() as client:
        client.mset({f"k:{i}": i for i in range(25_000)})
    short_pipeline.settings["applier"]["batch"] = {"commands": 30_000, "bytes": "16MiB"}
    line.delay(150)
    short_pipeline.journal.start()
    short_pipeline.applier.start(ready=False)
    seen: list[float] = []
    with short_pipeline.dr.client() as client:

        def done() -> bool:
            at = client.hget(position_key(short_pipeline), "applied_at")
            state = short_pipeline.applier.status()["state"]
            if state == "sweep" and at is not None:
                seen.append(time.time() - int(at) / 1000)
            return state == "stream"

        wait_until(done, 40, "the sweep to end", tolerate=(requests.RequestException,))
    assert len(seen) > 20
    assert max(seen) < 5, "another applier would have taken over"
    line.resume()
    short_pipeline.wait_equal()
