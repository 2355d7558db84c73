"""redis-journal on a real Redis and a real Kafka: the log is the stream, byte for byte, whoever is killed when."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
import requests
from confluent_kafka.admin import NewPartitions

from harness.daemon import Journal
from harness.kafka import KafkaCluster
from harness.logview import LogView
from harness.redis import RedisServer
from harness.replica import FakeReplica
from harness.wait import wait_until


@pytest.fixture
def journal(workdir: Path, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, name: str) -> Journal:
    return Journal(workdir, redis_dc, kafka, topic, name, 12)


def status(journal: Journal) -> dict[str, Any]:
    """Empty while it starts."""
    try:
        return journal.status() if journal.alive else {}
    except requests.RequestException:
        return {}


def wait_state(journal: Journal, key: str, value: object, timeout: float = 90) -> None:
    wait_until(lambda: status(journal).get(key) == value, timeout, lambda: f"{key} {value}: {status(journal)}")


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
            pipe.set("big", rng.randbytes(2_000))
    pipe.execute(raise_on_error=False)


@contextmanager
def writers(server: RedisServer, seed: int, clients: int = 2) -> Iterator[None]:
    """Writes all the while; a lost connection is made anew."""
    stop = threading.Event()

    def run(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        while not stop.wait(0.02):  # a steady load, not a flood that outruns the backlog
            try:
                write_some(server.client(), rng, 100)
            except redis_py.RedisError:
                continue

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


def test_two_journals_at_once_one_owns(
    workdir: Path, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, name: str
) -> None:
    """One owns and the other stands by; when the owner dies the other takes over within its time."""
    redis_dc.client().config_set("repl-backlog-size", "256mb")
    replica = FakeReplica(redis_dc).start()
    pair = [
        Journal(workdir / n, redis_dc, kafka, topic, name, 12, config={"instance": n, "limits": {"takeover_after": "2s"}})
        for n in ("a", "b")
    ]
    for journal in pair:
        journal.start(ready=False)

    def settled() -> bool:
        """Of two first starts at once each may own the log for a moment, until the other fences it."""
        states = sorted((bool(status(j).get("streaming")), status(j).get("state", "")) for j in pair)
        return states == [(False, "standby"), (True, "owner")]

    with writers(redis_dc, 1):
        wait_until(settled, 90, lambda: f"one owner and one standby: {[status(j) for j in pair]}")
        owner = next(j for j in pair if status(j).get("streaming"))
        other = pair[1 - pair.index(owner)]
        owner.kill9()
        wait_state(other, "streaming", True)
        owner.start(ready=False)
        wait_state(owner, "state", "standby")
    target = wait_durable(other, redis_dc)
    replica.wait_offset(target)
    view = LogView(kafka.records(topic))
    assert_chained(view)
    assert view.epochs[-1].end >= target
    assert assert_same_stream(view, replica) > 0


def test_paused_journal_is_fenced_and_appends_nothing_when_it_goes_on(
    workdir: Path, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, name: str
) -> None:
    """SIGSTOP, another takes over, SIGCONT: the log's ends stay what the new owner makes them."""
    redis_dc.client().config_set("repl-backlog-size", "256mb")
    settings = {"limits": {"takeover_after": "2s"}}
    first = Journal(workdir / "a", redis_dc, kafka, topic, name, 12, config={"instance": "a", **settings}).start()
    second = Journal(workdir / "b", redis_dc, kafka, topic, name, 12, config={"instance": "b", **settings})
    replica = FakeReplica(redis_dc).start()
    write_some(redis_dc.client(), random.Random(1), 2000)
    wait_durable(first, redis_dc)
    first.sigstop()
    second.start(ready=False)
    wait_state(second, "streaming", True)
    fenced_from = {r.partition: r.offset for r in kafka.records(topic)}
    mark = first.process.log_mark()
    first.sigcont()
    with writers(redis_dc, 2):
        wait_state(first, "state", "standby")
    target = wait_durable(second, redis_dc)
    replica.wait_offset(target)
    view = LogView(kafka.records(topic))
    first_run = {f.owner_run for _, _, f in view.frames if f.epoch == view.epochs[0].start.epoch and f.type == "data"}
    assert len(first_run) == 1, "the first epoch has one owner"
    late = [(p, o) for p, o, f in view.frames if f.owner_run in first_run and o > fenced_from.get(p, -1)]
    assert late == [], "the old owner appended after it was fenced"
    assert first.process.log_contains("ownership of the log is over", mark)
    assert_chained(view)
    assert view.epochs[-1].end >= target
    assert assert_same_stream(view, replica) > 0


@pytest.mark.parametrize("size", [0, 1, 20_000_000])
def test_values_of_any_size(journal: Journal, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, size: int) -> None:
    """Larger than message.max.bytes: in fragments, in snapshot and stream, and whole again."""
    value = random.Random(size).randbytes(size) if size < 100 else b"\r\n\0$" * (size // 4)
    redis_dc.client().set("before", value)
    replica = FakeReplica(redis_dc).start()
    journal.start()
    redis_dc.client().set("after", value)
    target = wait_durable(journal, redis_dc)
    replica.wait_offset(target)
    view = LogView(kafka.records(topic))
    assert view.epochs[0].snapshot_complete
    assert assert_same_stream(view, replica) > size


def test_refused_frame_ends_the_epoch(
    journal: Journal, redis_dc: RedisServer, kafka: KafkaCluster, topic: str
) -> None:
    """The topic's max.message.bytes is lowered while it runs: no later frame counts, and the log goes on whole."""
    redis_dc.client().config_set("repl-backlog-size", "256mb")
    replica = FakeReplica(redis_dc).start()
    journal.start()
    write_some(redis_dc.client(), random.Random(3), 500)
    kafka.alter_topic(topic, **{"max.message.bytes": "60000"})
    with writers(redis_dc, 3):
        redis_dc.client().set("large", b"x" * 300_000)
        wait_until(lambda: journal.status()["failures"] >= 1, 60, lambda: f"a refused frame: {journal.status()}")
    journal.wait_ready(60)
    target = wait_durable(journal, redis_dc)
    replica.wait_offset(target)
    view = LogView(kafka.records(topic))
    assert_chained(view)
    assert len(view.epochs) >= 2
    assert view.epochs[-1].end >= target
    assert assert_same_stream(view, replica) > 0


def test_wait_means_durable_in_kafka(
    workdir: Path, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, name: str
) -> None:
    """WAIT 1 counts the journal only when Kafka has acknowledged."""
    journal = Journal(workdir, redis_dc, kafka, topic, name, 12).start()
    client = redis_dc.client()
    client.set("a", 1)
    assert client.wait(1, 5000) == 1
    at = redis_dc.repl_offset()
    view = LogView(kafka.records(topic))
    assert view.epochs[-1].end >= at - 37  # the GETACK of WAIT itself may still be under way
    kafka.brokers[1].process.sigstop()
    try:
        client.set("b", 1)
        assert client.wait(1, 500) == 0
    finally:
        kafka.brokers[1].process.sigcont()
    assert client.wait(1, 30000) == 1
    assert journal.status()["failures"] == 0


@pytest.mark.allow_errors("partitions must not change")
def test_partitions_of_a_log_must_not_change(
    journal: Journal, redis_dc: RedisServer, kafka: KafkaCluster, topic: str
) -> None:
    """Readers merge by the number that START names: a journal refuses the topic instead of stopping them all."""
    journal.start()
    redis_dc.client().set("k", "v")
    wait_durable(journal, redis_dc)
    journal.stop()
    kafka.admin.create_partitions([NewPartitions(topic, 15)])[topic].result(30)
    wait_until(lambda: len(kafka.partitions(topic)) == 15, 30, "15 partitions")
    journal.process.ok_codes = (2,)
    journal.start(ready=False)
    assert journal.process.wait(60) == 2
    assert journal.process.log_contains("has 15 partitions, but its log was begun with 12")
    cat = journal.run("cat", "--config", str(journal.config_path), "--partition", "99")
    assert cat.returncode == 2
    assert "no partition 99" in cat.stderr
