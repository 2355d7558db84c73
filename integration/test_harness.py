"""The harness itself: servers come up, faults are what they say, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from harness import checks, proc
from harness.kafka import KafkaCluster
from harness.ports import free_port
from harness.proc import Process, wait_gone
from harness.proxy import Proxy
from harness.redis import RedisServer, Sentinel
from harness.wait import WaitTimeout, wait_until

HERE = Path(__file__).resolve().parent


def test_wait_until_tells_what_it_saw() -> None:
    with pytest.raises(WaitTimeout, match="three apples.*last seen: 0"):
        wait_until(lambda: 0, 0.02, "three apples")


def test_ports_are_unique_between_processes() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from harness.ports import free_port\n"
        "print(*[free_port() for _ in range(40)], flush=True); sys.stdin.read()"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(HERE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    ports: list[int] = [free_port() for _ in range(40)]
    for other in others:
        assert other.stdout is not None
        ports += [int(text) for text in other.stdout.readline().split()]
    for other in others:
        other.communicate()
    assert len(ports) == 160 == len(set(ports))


def test_process_stop_kill_and_log(workdir: Path) -> None:
    process = Process("sh", ["sh", "-c", "echo up >&2; exec sleep 1000"], workdir)
    process.start()
    process.wait_log("^up$")
    process.sigstop()
    process.sigcont()
    assert process.stop() == -signal.SIGTERM
    process.start()
    process.kill9()
    assert process.returncode == -signal.SIGKILL and not process.alive
    assert process.log_text().count("up") >= 1


def test_process_that_ignores_sigterm_is_an_error(workdir: Path) -> None:
    process = Process("deaf", ["sh", "-c", "trap '' TERM; echo up >&2; while :; do sleep 1; done"], workdir)
    process.start()
    process.wait_log("up")
    with pytest.raises(AssertionError, match="did not end"):
        process.stop(timeout=0.2)
    assert not process.alive


def test_an_end_that_nobody_saw_is_an_error_and_one_that_was_awaited_is_none(workdir: Path) -> None:
    process = Process("short", ["sh", "-c", "exit 3"], workdir)
    process.start()
    assert process.wait() == 3
    assert process.stop() == 3
    process.start()
    wait_until(lambda: not process.alive, 10)
    with pytest.raises(AssertionError, match="ended with code 3"):
        process.stop()


def test_children_die_with_the_tests(workdir: Path) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from harness.proc import Process\n"
        "p = Process('child', ['sleep', '1000'], pathlib.Path(sys.argv[2]))\n"
        "p.start(); print(p.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(HERE), str(workdir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    parent.communicate()
    wait_gone(child)


def test_a_child_outlives_the_thread_that_started_it(workdir: Path) -> None:
    import threading

    process = Process("child", ["sleep", "1000"], workdir)
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    assert process.alive


def test_checks_find_crashes_errors_and_sanitizer_reports(workdir: Path) -> None:
    class Daemon(Process):
        is_daemon = True

    script = (
        "echo 'ts=1 level=error event=bad' >&2; echo 'ts=2 level=error event=expected' >&2;"
        "echo '==1==ERROR: AddressSanitizer: heap-use-after-free' >&2; kill -SEGV $$"
    )
    process = Daemon("daemon", ["sh", "-c", script], workdir)
    process.start()
    wait_until(lambda: not process.alive, 10)
    found = checks.complaints([process], ["event=expected"])
    assert [any(word in text for text in found) for word in ("signal 11", "event=bad", "AddressS")] == [True] * 3
    assert not any("expected" in text for text in found)
    # What was seen is judged here; the frame of this test need not judge it again.
    proc.registry.remove(process)


def test_redis_keeps_its_port_and_its_data_over_a_restart(redis_dc: RedisServer) -> None:
    with redis_dc.client() as client:
        client.set("k", "v")
        client.save()
    port = redis_dc.port
    redis_dc.kill9()
    with pytest.raises(redis.exceptions.ConnectionError):
        redis_dc.client().ping()
    redis_dc.restart()
    assert redis_dc.port == port
    with redis_dc.client() as client:
        assert client.get("k") == b"v"
        assert client.config_get("repl-diskless-sync-delay")["repl-diskless-sync-delay"] == "0"


def test_sentinel_fails_over(workdir: Path, redis_pair: tuple[RedisServer, RedisServer]) -> None:
    master, replica = redis_pair
    replica.replicaof(master)
    replica.wait_replica_of(master)
    sentinel = Sentinel(workdir, master).start()
    assert sentinel.master_address() == (master.host, master.port)
    sentinel.wait_replicas(1)
    master.kill9()
    wait_until(lambda: sentinel.master_address()[1] == replica.port, 30, "failover")
    wait_until(lambda: replica.info("replication")["role"] == "master", 10, "promotion")


def test_kafka_topic_and_records(kafka: KafkaCluster, topic: str) -> None:
    kafka.create_topic(topic, 3, config={"retention.ms": "600000"})
    kafka.produce(topic, [(i % 3, b"k%d" % i, b"v%d" % i) for i in range(300)])
    assert kafka.log_ends(topic) == {0: 100, 1: 100, 2: 100}
    records = kafka.records(topic)
    assert [(r.partition, r.offset) for r in records] == [(p, o) for p in range(3) for o in range(100)]
    assert records[0].key == b"k0" and records[0].value == b"v0" and records[0].timestamp > 1_600_000_000_000
    kafka.delete_records(topic, {0: 10})
    assert kafka.log_bounds(topic)[0] == (10, 100)
    assert len(kafka.records(topic)) == 290
    kafka.alter_topic(topic, retention_ms="5000")
    assert kafka.topic_config(topic)["retention.ms"] == "5000"
    kafka.delete_topic(topic)
    assert topic not in kafka.topics()


def test_kafka_open_and_ended_transactions_are_read(kafka: KafkaCluster, topic: str) -> None:
    kafka.create_topic(topic)
    producer = kafka.producer(transactional_id=topic)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"1")
    producer.commit_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"2")
    producer.flush(10)
    assert [r.value for r in kafka.records(topic)] == [b"1", b"2"]
    producer.abort_transaction(30)
    assert [r.value for r in kafka.records(topic)] == [b"1", b"2"]
    assert kafka.log_ends(topic) == {0: 4}


def test_kafka_broker_killed_and_restarted(kafka: KafkaCluster, topic: str) -> None:
    kafka.create_topic(topic)
    kafka.produce(topic, [(0, None, b"1")])
    kafka.kill9()
    assert not kafka.brokers[1].process.alive
    kafka.restart()
    kafka.produce(topic, [(0, None, b"2")])
    assert [r.value for r in kafka.records(topic)] == [b"1", b"2"]


def test_three_brokers_survive_the_loss_of_one(kafka3: KafkaCluster, topic: str) -> None:
    kafka3.create_topic(topic, 3, config={"min.insync.replicas": "2"})
    kafka3.produce(topic, [(p, None, b"1") for p in range(3)])
    victim = kafka3.leader(topic, 0)
    kafka3.kill9(victim)
    wait_until(lambda: kafka3.leader(topic, 0) not in (victim, -1), 30, "a new leader")
    kafka3.produce(topic, [(p, None, b"2") for p in range(3)])
    kafka3.restart(victim)
    kafka3.produce(topic, [(p, None, b"3") for p in range(3)])
    assert [r.value for r in kafka3.records(topic)] == [b"1", b"2", b"3"] * 3


def test_kafka_behind_proxies(workdir: Path) -> None:
    cluster = KafkaCluster(workdir, 1, "proxied", proxied=True)
    try:
        cluster.start()
        cluster.create_topic("t")
        cluster.produce("t", [(0, None, b"1")])
        proxy = cluster.brokers[1].proxy
        assert proxy is not None and proxy.accepted > 0
        proxy.refuse()
        producer = cluster.producer(message_timeout_ms=300)
        failed: list[object] = []
        producer.produce("t", b"2", on_delivery=lambda error, _: failed.append(error))
        producer.flush(10)
        assert failed[0] is not None
        proxy.resume()
        cluster.produce("t", [(0, None, b"3")])
        assert [r.value for r in cluster.records("t")] == [b"1", b"3"]
    finally:
        cluster.close()


@pytest.fixture
def proxied(redis_dc: RedisServer) -> tuple[RedisServer, Proxy, redis.Redis]:
    proxy = Proxy((redis_dc.host, redis_dc.port)).start()
    client = redis.Redis(port=proxy.port, socket_timeout=0.3)
    assert client.ping()
    yield redis_dc, proxy, client
    proxy.stop()


def test_proxy_cut_and_refuse(proxied: tuple[RedisServer, Proxy, redis.Redis]) -> None:
    _server, proxy, client = proxied
    raw = socket.create_connection(("127.0.0.1", proxy.port))
    wait_until(lambda: proxy.connections == 2, 5)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        raw.recv(1)
    assert client.ping()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    proxy.resume()
    assert wait_until(client.ping, 5, tolerate=(redis.exceptions.ConnectionError,))


def test_proxy_hold_each_way(proxied: tuple[RedisServer, Proxy, redis.Redis]) -> None:
    server, proxy, client = proxied
    proxy.hold("down")
    with pytest.raises(redis.exceptions.TimeoutError):
        client.set("answer", "lost")
    assert server.client().get("answer") == b"lost"
    proxy.resume()
    assert client.get("answer") == b"lost"
    proxy.hold("up")
    with pytest.raises(redis.exceptions.TimeoutError):
        client.set("request", "late")
    assert server.client().get("request") is None
    proxy.resume()


def test_proxy_delay(proxied: tuple[RedisServer, Proxy, redis.Redis]) -> None:
    _server, proxy, client = proxied
    proxy.delay(50)
    begin = time.monotonic()
    assert client.ping()
    assert 0.1 <= time.monotonic() - begin < 0.3
    proxy.resume()
    begin = time.monotonic()
    assert client.ping()
    assert time.monotonic() - begin < 0.1


def test_proxy_corrupt_and_cut_after(proxied: tuple[RedisServer, Proxy, redis.Redis]) -> None:
    server, proxy, client = proxied
    server.client().set("k", "abcdef")
    proxy.corrupt("down", after=4)
    assert client.get("k") == b"qbcdef"
    assert client.get("k") == b"abcdef"
    proxy.cut_after(6, "down")
    raw = socket.create_connection(("127.0.0.1", proxy.port))
    raw.sendall(b"GET k\r\n")
    got = b""
    with pytest.raises(ConnectionResetError):
        while True:
            got += raw.recv(100)
    assert got == b"$6\r\nab" or got == b""


def test_proxy_carries_much_data_both_ways(proxied: tuple[RedisServer, Proxy, redis.Redis]) -> None:
    _server, proxy, client = proxied
    client.connection_pool.connection_kwargs["socket_timeout"] = 20
    client.connection_pool.disconnect()
    value = os.urandom(30 << 20)
    client.set("big", value)
    assert client.get("big") == value
