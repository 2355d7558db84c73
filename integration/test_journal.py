"""redis-journal on a real Redis and a real Kafka: the log is the stream, byte for byte, whoever is killed when."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis as redis_py

from harness.daemon import Journal
from harness.kafka import KafkaCluster
from harness.logview import LogView
from harness.proxy import Proxy
from harness.redis import RedisServer
from harness.replica import FakeReplica
from harness.wait import wait_until


@pytest.fixture
def journal(workdir: Path, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, name: str) -> Journal:
    return Journal(workdir, redis_dc, kafka, topic, name, 12)


def wait_durable(journal: Journal, redis: RedisServer, timeout: float = 60) -> int:
    """Until the log has what the Redis has by now."""
    target, replid = redis.repl_offset(), redis.replid()

    def reached() -> bool:
        status = journal.status()
        durable = status["durable"]
        return status["replid"] == replid and durable["phase"] == "stream" and durable["position"] >= target

    wait_until(reached, timeout, lambda: f"LSN {target} of {replid} durable; {journal.status()}")
    return target


def write_some(client: redis_py.Redis, rng: random.Random, count: int) -> None:
    """A mix with every kind of entry: commands, transactions, several databases, large and binary values."""
    pipe = client.pipeline(transaction=False)
    for i in range(count):
        choice = rng.random()
        key = f"k{rng.randrange(200)}"
        if choice < 0.5:
            pipe.set(key, rng.randbytes(rng.choice((0, 1, 30, 300))))
        elif choice < 0.8:
            pipe.incr("counter")
        elif choice < 0.9:
            pipe.execute_command("SELECT", rng.randrange(4))
        elif choice < 0.95:
            pipe.execute_command("MULTI")
            for n in range(rng.randrange(1, 6)):
                pipe.execute_command("RPUSH", f"list{n}", f"{i}\r\n\0")
            pipe.execute_command("EXEC")
        else:
            pipe.set("big", rng.randbytes(20_000))
    pipe.execute(raise_on_error=False)


@contextmanager
def writers(server: RedisServer, seed: int, clients: int = 2) -> Iterator[None]:
    """Writes all the while; a lost connection is made anew."""
    stop = threading.Event()

    def run(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        while not stop.is_set():
            try:
                write_some(server.client(), rng, 200)
            except redis_py.RedisError:
                stop.wait(0.05)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def assert_same_stream(view: LogView, replica: FakeReplica) -> int:
    """Every byte of the log's stream that the recorder has too is the same; returns how many were compared."""
    compared = 0
    for replid, base, data in view.stream():
        if replid != replica.replid:
            continue
        low = max(base, replica.base)
        high = min(base + len(data), replica.base + len(replica.stream))
        if low < high:
            assert data[low - base : high - base] == replica.stream[low - replica.base : high - replica.base]
            compared += high - low
    return compared


def assert_chained(view: LogView) -> None:
    """Each epoch ends where the next says, and goes on there."""
    for before, after in zip(view.epochs, view.epochs[1:]):
        assert after.start.prev_epoch == before.start.epoch
        if after.start.prev_end is not None:
            assert before.end == after.start.prev_end
        else:
            assert not before.snapshot_complete
        if after.start.kind == "stream":
            assert after.start.base == after.start.prev_end


def test_log_is_the_stream_and_the_rdb_byte_for_byte(
    workdir: Path, kafka: KafkaCluster, topic: str, name: str
) -> None:
    """W1. Both replicas wait for the same diskless transfer, so they get the same RDB."""
    server = RedisServer(workdir, "dc", config={"repl-diskless-sync-delay": "3"}).start()
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    write_some(server.client(), rng, 3000)
    server.client(3).set("other-db", "x")
    server.client().function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    journal = Journal(workdir, server, kafka, topic, name, 12)
    replica = FakeReplica(server)
    journal.start(ready=False)
    replica.start()
    journal.wait_ready(60)
    for _ in range(10):
        write_some(server.client(), rng, 500)
        server.client().wait(1, 1000)
    target = wait_durable(journal, server)
    replica.wait_offset(target)
    view = LogView(kafka.records(topic))
    assert len(view.epochs) == 1 and view.epochs[0].snapshot_complete
    assert view.epochs[0].snapshot == replica.rdb
    assert view.epochs[0].end >= target
    assert assert_same_stream(view, replica) >= target - replica.base
    assert view.duplicates == 0


def test_killed_again_and_again_nothing_is_missing_or_doubled(
    journal: Journal, redis_dc: RedisServer, kafka: KafkaCluster, topic: str
) -> None:
    """Kill -9 at random moments, its own takeovers included; the backlog is large enough to go on."""
    redis_dc.client().config_set("repl-backlog-size", "256mb")
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    replica = FakeReplica(redis_dc).start()
    journal.start()
    with writers(redis_dc, seed):
        for _ in range(12):
            time.sleep(rng.uniform(0, 1.2))  # the random moment is the test's subject, not a wait
            journal.kill9()
            journal.start(ready=rng.random() < 0.5)
    journal.wait_ready(60)
    target = wait_durable(journal, redis_dc)
    replica.wait_offset(target)
    view = LogView(kafka.records(topic))
    assert_chained(view)
    snapshots = [e for e in view.epochs if e.start.kind == "snapshot" and e.snapshot_complete]
    assert len(snapshots) == 1, "a full resync happened although the backlog sufficed"
    low = snapshots[0].base
    assert view.epochs[-1].end >= target
    assert assert_same_stream(view, replica) >= target - max(low, replica.base)
    # Nothing twice: the epochs' pieces join without overlap.
    at = low
    for epoch in view.epochs[view.epochs.index(snapshots[0]) :]:
        assert epoch.base == at
        at = epoch.end
    assert at >= target
