"""Failovers of DC's Redis and troubles of DC's Kafka under load, with the journal killed in the middle of its own
takeovers: DR becomes what the new master is."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.kafka import KafkaCluster
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


class Site:
    """A master with one replica behind an address that follows the master, as a VIP or a Sentinel's client would.

    The replica's link and the address are proxies, so that either the replica or the journal can be made to lag.
    """

    def __init__(self, directory: Path, pipeline: Pipeline) -> None:
        self.directory = directory
        self.pipeline = pipeline
        self.number = 0
        self.master = self._server()
        self.vip = Proxy(("127.0.0.1", self.master.port)).start()
        self.feed: Proxy | None = None
        self.replica: RedisServer | None = None
        pipeline.__dict__["dc"] = self.master
        pipeline.settings["journal"] = {"source": {"redis": self.vip.address}}

    def _server(self) -> RedisServer:
        self.number += 1
        return RedisServer(self.directory, f"redis{self.number}", config={"repl-backlog-size": "256mb"}).start()

    def add_replica(self) -> None:
        self.feed = Proxy(("127.0.0.1", self.master.port)).start()
        self.replica = self._server()
        self.replica.replicaof(("127.0.0.1", self.feed.port))
        wait_until(lambda: self.replica.info("replication")["master_link_status"] == "up", 60, "the replica's link")

    def promote(self) -> None:
        """The master dies, the replica becomes the master, and the address follows."""
        assert self.replica is not None and self.feed is not None
        self.master.kill9()
        self.feed.stop()
        self.replica.replicaof(None)
        self.master, self.replica = self.replica, None
        self.pipeline.__dict__["dc"] = self.master
        self.vip.target = ("127.0.0.1", self.master.port)
        self.vip.resume()
        self.vip.cut()

    def close(self) -> None:
        self.vip.stop()
        if self.feed is not None:
            self.feed.stop()


@pytest.fixture
def site(workdir: Path, short_pipeline: Pipeline) -> Iterator[Site]:
    site = Site(workdir, short_pipeline)
    yield site
    site.close()


def kill_takeovers(pipeline: Pipeline, rng: random.Random, count: int) -> None:
    """Each journal is killed at a random moment of its own takeover: before and after fencing, START, first frames."""
    for _ in range(count):
        pipeline.journal.kill9()
        pipeline.journal.start(ready=False)
        time.sleep(rng.uniform(0, 1.5))  # the random moment is what the test is about


def write(site: Site, seed: int, count: int = 5000) -> None:
    Workload(site.master, count, seed=seed).run()


def test_takeovers_killed_with_failovers_in_between(site: Site) -> None:
    """To a replica that is behind the log (full resync, ghost writes undone) and to one ahead of it (it goes on)."""
    seed = new_seed()
    rng = random.Random(seed)
    pipeline = site.pipeline
    pipeline.start()
    write(site, seed)
    site.add_replica()
    kill_takeovers(pipeline, rng, 4)

    # Behind: what the master took after the hold never reaches the replica, but it does reach the log.
    pipeline.journal.wait_ready(60)
    site.feed.hold()
    site.master.client().set("ghost", "written to the old master only")
    write(site, seed + 1)
    pipeline.wait_caught_up()
    assert pipeline.dr.client().get("ghost") is not None
    site.promote()
    kill_takeovers(pipeline, rng, 4)
    write(site, seed + 2)
    pipeline.wait_equal(120)
    assert pipeline.dr.client().get("ghost") is None, "the new master never had it"

    # Ahead: the journal gets nothing of the master's last writes, the replica has them all.
    site.add_replica()
    site.vip.hold("down")
    write(site, seed + 3)
    site.master.client().set("last", "only the replica has it")
    wait_until(lambda: site.replica.client().get("last") is not None, 60, "the replica to have the last write")
    pipeline.journal.kill9()
    pipeline.journal.start(ready=False)
    site.promote()
    kill_takeovers(pipeline, rng, 4)
    write(site, seed + 4)
    pipeline.wait_equal(120)
    assert pipeline.dr.client().get("last") is not None
    assert pipeline.journal.status()["full_resyncs"] == 0, "the new master's backlog had all of it"
    assert key_count(pipeline.dr) > 1000


def test_running_journal_follows_a_failover_in_its_own_epoch(site: Site) -> None:
    """The owner lives on: +CONTINUE with a new replication id opens an epoch at the same LSN."""
    pipeline = site.pipeline
    pipeline.start()
    write(site, 1)
    site.add_replica()
    write(site, 2, 2000)
    wait_until(lambda: site.replica.repl_offset() == site.master.repl_offset(), 60, "the replica to catch up")
    pipeline.wait_caught_up()
    before = pipeline.journal.status()
    site.promote()
    write(site, 3, 2000)
    pipeline.wait_equal(120)
    after = pipeline.journal.status()
    assert after["takeovers"] == before["takeovers"]
    assert after["full_resyncs"] == before["full_resyncs"]
    assert after["replid"] != before["replid"]
    assert after["epoch"] > before["epoch"]


def test_frames_held_beyond_their_timeout_end_the_epoch(workdir: Path, name: str) -> None:
    """A broker that does not answer in time: no later frame counts, a new epoch follows, DR equals DC."""
    cluster = KafkaCluster(workdir / "kafka", name="kafka-held", proxied=True).start()
    try:
        pipeline = Pipeline(workdir, cluster, None, name)
        pipeline.settings["dc"] = {"repl-backlog-size": "256mb"}
        pipeline.settings["journal"] = {"kafka": {"message.timeout.ms": 3000, "transaction.timeout.ms": 20000}}
        pipeline.start()
        work = Workload(pipeline.dc, None, rate=2000).start()
        for direction in ("up", "down"):
            failures = pipeline.journal.status()["failures"]
            work.wait_written(work.written + 2000)
            cluster.brokers[1].proxy.hold(direction)
            wait_until(lambda: pipeline.journal.status()["failures"] > failures, 60, "the epoch to end")
            cluster.brokers[1].proxy.resume()
            pipeline.journal.wait_ready(90)
        work.stop()
        pipeline.wait_equal(120)
        pipeline.close()
    finally:
        cluster.close()


@pytest.mark.timeout(600)
def test_three_brokers_leader_changes_and_restarts_under_load(kafka3: KafkaCluster, workdir: Path, name: str) -> None:
    """Replication factor 3, commits included: a broker stops in order, one is killed, all leaders move."""
    pipeline = Pipeline(workdir, kafka3, None, name)
    pipeline.settings["dc"] = {"repl-backlog-size": "256mb"}
    pipeline.settings["journal"] = {"limits": {"commit_interval": "1s"}}
    pipeline.start()
    assert kafka3.topic_config(pipeline.topic)["min.insync.replicas"] == "2"
    assert kafka3.topic_config(pipeline.topic)["cleanup.policy"] == "delete"
    work = Workload(pipeline.dc, None, rate=2000).start()
    for node, crash in ((1, False), (2, True), (3, False)):
        work.wait_written(work.written + 2000)
        if crash:
            kafka3.kill9(node)
        else:
            kafka3.stop_broker(node)
        work.wait_written(work.written + 4000)
        kafka3.restart(node)
    work.stop()
    pipeline.wait_equal(180)
    status = pipeline.journal.metrics()
    assert status["rwal_journal_commits_total"] >= 3
    pipeline.close()
