"""The oracle and the workload prove each other: a native replica of the master that the workload writes to is equal.

The fake replica is proved by Redis itself: a server that replicates from nothing but the recorded snapshot and stream
becomes equal to the master too.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from harness.oracle import assert_equal, compare, key_count, wait_equal
from harness.ports import free_port
from harness.proxy import Proxy
from harness.redis import RedisServer
from harness.replica import FakeReplica
from harness.wait import wait_until
from harness.workload import Workload
from harness.workload_ops import Operations

Pair = tuple[RedisServer, RedisServer]


def replica_position(replica: RedisServer) -> int | None:
    info = replica.info("replication")
    return int(info["slave_repl_offset"]) if info.get("master_link_status") == "up" else None


@pytest.fixture
def native(redis_pair: Pair) -> Pair:
    master, replica = redis_pair
    replica.replicaof(master)
    replica.wait_replica_of(master)
    return master, replica


def test_native_replica_is_equal_after_the_workload(native: Pair) -> None:
    master, replica = native
    work = Workload(master, 60_000).run()
    wait_equal(master, replica, lambda: replica_position(replica))
    assert key_count(master) > 2000
    assert not [text for text in work.errors if "WRONGTYPE" in text or "unknown" in text or "syntax" in text]
    assert work.written / work.elapsed > 15_000, "too slow to be a load"


def test_workload_uses_what_it_promises(native: Pair) -> None:
    master, _replica = native
    work = Workload(master, 60_000, seed=1).run()
    stats = {name.removeprefix("cmdstat_"): row["calls"] for name, row in master.info("commandstats").items()}
    promised = {
        "set", "incr", "lpush", "multi", "exec", "select", "eval", "fcall", "function|load", "function|delete", "blpop", "blmove",
        "bzpopmin", "blmpop", "xadd", "xreadgroup", "xack", "xclaim", "xautoclaim", "xgroup|create", "persist", "getex",
        "expireat", "pexpireat", "flushdb", "swapdb", "rename", "copy", "move", "sunionstore", "zunionstore", "zrangestore",
        "geosearchstore", "sort", "bitop", "setrange", "pfadd", "pfmerge", "geoadd", "publish", "restore", "spop", "getdel",
    }
    assert promised <= set(stats), promised - set(stats)
    assert master.info("stats")["expired_keys"] > 100
    assert len(master.info("keyspace")) == 4
    assert work.written >= 60_000


def test_workload_is_the_same_for_the_same_seed() -> None:
    def units(seed: int) -> list[tuple[object, ...]]:
        ops = Operations(seed, 1)
        names = [command for _ in range(3000) for command in ops.unit()]
        # What has the time of day in it can't be the same.
        return [command for command in names if not any(str(part).startswith("1") and len(str(part)) >= 10 for part in command)]

    assert units(5) == units(5)
    assert units(5) != units(6)


def test_oracle_notices_one_lost_increment(native: Pair) -> None:
    master, replica = native
    Workload(master, 5_000).run()
    replica.wait_replica_of(master)
    replica.replicaof(None)
    with replica.client() as client:
        client.decr("cnt:probe")
    with master.client() as client:
        client.incr("cnt:probe")
    assert [one.key for one in compare(master, replica) if one.key == b"cnt:probe"] == [b"cnt:probe"]


def test_workload_survives_cuts_and_a_restart_when_told_to(native: Pair) -> None:
    master, replica = native
    proxy = Proxy((master.host, master.port)).start()
    try:
        work = Workload(
            master, None, tolerate_disconnects=True, rate=20_000, address=lambda: ("127.0.0.1", proxy.port)
        ).start()
        work.wait_written(3_000)
        proxy.cut()
        work.wait_written(work.written + 3_000)
        master.kill9()
        master.restart()
        work.wait_written(work.written + 3_000)
        work.stop()
    finally:
        proxy.stop()
    assert work.disconnects >= 8
    wait_equal(master, replica, lambda: replica_position(replica))
    assert key_count(master) > 100


def test_workload_fails_on_a_lost_connection_otherwise(redis_dc: RedisServer) -> None:
    work = Workload(redis_dc, None, rate=5_000).start()
    work.wait_written(500)
    redis_dc.kill9()
    with pytest.raises(AssertionError, match="failed"):
        work.stop()


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_fake_replica_records_snapshot_and_stream(workdir: Path, diskless: str) -> None:
    master = RedisServer(workdir, "master", config={"repl-diskless-sync": diskless}).start()
    Workload(master, 5_000).run()
    witness = FakeReplica(master).start()
    assert witness.full and witness.replid == master.replid()
    assert witness.rdb.startswith(b"REDIS") and witness.rdb[-9] == 0xFF
    Workload(master, 20_000).run()
    target = master.repl_offset()
    witness.wait_offset(target)
    # A second one, from the middle, sees the same bytes.
    middle = (witness.base + target) // 2
    second = FakeReplica(master, witness.replid, middle + 1).start()
    second.wait_offset(target)
    assert not second.full and second.base == middle
    assert second.between(middle, target) == witness.between(middle, target)
    second.stop()
    witness.stop()
    with replay(workdir, witness) as rebuilt:
        wait_until(lambda: (replica_position(rebuilt) or 0) >= target, 30, "the recorded stream applied")
        # The witness is gone, so no later DEL of an expired key arrives; a replica does not show such keys anyway,
        # and one that ends between the two reads is looked at again.
        assert_equal(master, rebuilt, settle=lambda: None)
        assert key_count(rebuilt) > 1000


@contextlib.contextmanager
def replay(workdir: Path, witness: FakeReplica) -> Iterator[RedisServer]:
    """A replica whose master is only what the witness has recorded. It expires nothing by its own clock."""
    listener = socket.create_server(("127.0.0.1", free_port()))
    server = RedisServer(workdir, "rebuilt").start()
    server.replicaof(("127.0.0.1", listener.getsockname()[1]))
    peer, _ = listener.accept()
    file = peer.makefile("rb")
    while True:
        words = read_command(file)
        if words[0] == b"PSYNC":
            break
        peer.sendall(b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n")
    head = f"+FULLRESYNC {witness.replid} {witness.base}\r\n${len(witness.rdb)}\r\n".encode()
    peer.sendall(head + witness.rdb + witness.stream)
    try:
        yield server
    finally:
        peer.close()
        listener.close()


def read_command(file: BinaryIO) -> list[bytes]:
    count = int(file.readline()[1:])
    return [file.read(int(file.readline()[1:]) + 2)[:-2] for _ in range(count)]


def test_oracle_is_fast(native: Pair) -> None:
    master, replica = native
    with master.client() as client, client.pipeline(transaction=False) as batch:
        for i in range(100_000):
            batch.set(f"key:{i}", i)
        batch.execute()
    replica.wait_replica_of(master)
    begin = time.monotonic()
    assert_equal(master, replica)
    assert time.monotonic() - begin < 20
