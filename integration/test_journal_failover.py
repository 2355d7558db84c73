"""No failover ever makes the journal a master: it announces no port and never acknowledges the last byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis as redis_py

from harness.daemon import Journal
from harness.kafka import KafkaCluster
from harness.redis import RedisServer, Sentinel
from harness.wait import wait_until


@pytest.fixture
def journal(workdir: Path, redis_dc: RedisServer, kafka: KafkaCluster, topic: str, name: str) -> Journal:
    return Journal(workdir, redis_dc, kafka, topic, name, 12)


def test_failover_never_chooses_the_journal(redis_dc: RedisServer, journal: Journal) -> None:
    """Alone it is no replica to fail over to: FAILOVER ends at its time-out and DC stays a master."""
    journal.start()
    client = redis_dc.client()
    for _ in range(2):  # with nothing written, and with something
        assert redis_dc.info("replication")["slave0"]["port"] == 0
        client.execute_command("FAILOVER", "TIMEOUT", "1500")
        states = set()

        def ended() -> bool:
            info = redis_dc.info("replication")
            states.add(info["master_failover_state"])
            assert info["role"] == "master"
            return info["master_failover_state"] == "no-failover"

        wait_until(ended, 30, lambda: f"the end of FAILOVER, saw {states}")
        assert states <= {"waiting-for-sync", "no-failover"}
        client.set("k", "v")
        assert client.wait(1, 5000) == 1


def test_failover_chooses_a_real_replica(workdir: Path, redis_dc: RedisServer, journal: Journal) -> None:
    """Beside a real replica FAILOVER works, and the journal follows the new timeline at the new master."""
    journal.start()
    replica = RedisServer(workdir, "replica").start()
    replica.replicaof(redis_dc)
    replica.wait_replica_of(redis_dc)
    redis_dc.client().set("k", "v")
    redis_dc.client().execute_command("FAILOVER", "TIMEOUT", "20000")
    wait_until(lambda: replica.info("replication")["role"] == "master", 30, "the replica as the master")
    assert redis_dc.info("replication")["master_port"] == replica.port


def test_sentinel_never_promotes_the_journal(workdir: Path, redis_dc: RedisServer, journal: Journal) -> None:
    """A Sentinel that lost its master has the journal alone as a replica: it finds nobody to promote."""
    journal.start()
    redis_dc.client().set("k", "v")
    sentinel = Sentinel(workdir, redis_dc).start()
    sentinel.wait_replicas(1)
    with pytest.raises(redis_py.ResponseError, match="NOGOODSLAVE"):
        sentinel.failover()
    assert sentinel.master_address()[1] == redis_dc.port
