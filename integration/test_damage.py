"""redis-applier on damaged or odd copies of the log: it applies what is whole, and stops before the first loss.

One log is made by the journal on a real Redis and copied for every test, changed, into a topic of its own.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from harness import logcopy, oracle
from harness.checks import complaints
from harness.daemon import Applier, Journal
from harness.kafka import KafkaCluster
from harness.logcopy import Item, Reach, offsets, reach, write
from harness.oracle import Rules
from harness.redis import RedisServer
from harness.wait import wait_until
from harness.workload import Workload

PARTITIONS = 4
GUARD_MS = 3_600_000
HALT_KEY, HALT_VALUE = "private-key", "private-value"
DAMAGED = 5
SEED = os.environ.get("RWAL_SEED")

pytestmark = pytest.mark.allow_errors("msg=stopping")


def new_rng() -> random.Random:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed} (RWAL_SEED={seed} plays it again)")
    return random.Random(seed)


@dataclass
class Log:
    """What the journal wrote, and the Redis that it wrote it of, which is at rest."""

    dc: RedisServer
    source: str
    items: list[Item]

    @functools.cached_property
    def reach(self) -> Reach:
        return reach(self.items)

    @functools.cached_property
    def epochs(self) -> list[int]:
        return [start.epoch for start in logcopy.starts(self.items)]

    def of_epochs(self, chosen: Iterable[int]) -> list[Item]:
        wanted = set(chosen)
        return [item for item in self.items if item.frame.epoch in wanted]

    def without(self, *dropped: Item) -> list[Item]:
        return [item for item in self.items if all(item is not one for one in dropped)]


def write_mixed(dc: RedisServer, seed: int, numbers: Iterator[int]) -> None:
    """The mixed workload, and among it keys that are written once, in a known order."""
    work = Workload(dc, 1200, seed=seed).start()
    client = dc.client()
    while work.written < 1200:
        client.set(f"seq:{next(numbers):05}", "x")
    work.join()
    client.set("large", random.Random(seed).randbytes(200_000))


def calm(dc: RedisServer) -> None:
    """No key of DC ends before the tests do, so that every copy can be compared with it."""
    for db in range(4):
        client = dc.client(db)
        for key in client.scan_iter(count=1000):
            if client.pttl(key) >= 0:
                client.pexpire(key, 2 * GUARD_MS)


@pytest.fixture(scope="module")
def log(_kafka_dc: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """Three epochs: a snapshot, and two takeovers after a SIGKILL; values in fragments, in both phases."""
    directory = tmp_path_factory.mktemp("damage")
    source = f"damage-{uuid.uuid4().hex[:6]}"
    topic = f"log-{source}"
    dc = RedisServer(directory, "dc").start()
    # Small frames, so that there are many of them and values in fragments.
    _kafka_dc.create_topic(topic, PARTITIONS, config={"max.message.bytes": "60000"})
    journal = Journal(directory, dc, _kafka_dc, topic, source, PARTITIONS)
    numbers = iter(range(100_000))
    client = dc.client()
    write_mixed(dc, 1, numbers)
    client.function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    client.rpush(HALT_KEY, HALT_VALUE)
    journal.start()
    write_mixed(dc, 2, numbers)
    for seed in (3, 4):
        journal.kill9()
        journal.start(ready=False)
        write_mixed(dc, seed, numbers)
        journal.wait_ready()
        write_mixed(dc, seed + 10, numbers)
        if seed == 3:
            # The last one of its epoch, so that it shares a batch with the next.
            client.rpush(HALT_KEY, HALT_VALUE)
            wait_until(lambda: client.wait(1, 1000) == 1, 30, "the log to have it")
    calm(dc)
    wait_until(lambda: client.wait(1, 1000) == 1, 30, "the log to have all")
    end = dc.repl_offset()
    journal.stop()
    assert complaints([journal.process]) == []
    made = Log(dc, source, logcopy.decode(_kafka_dc.records(topic)))
    assert len(made.epochs) == 3 and made.reach.last_change[2] <= end
    yield made
    dc.close()


class Site:
    """The copy, the applier that reads it, and the Redis that it writes to."""

    def __init__(self, directory: Path, kafka: KafkaCluster, log: Log, topic: str, memory: str | None = None) -> None:
        self.log, self.kafka, self.topic = log, kafka, topic
        kafka.create_topic(topic, PARTITIONS)
        self.dr = RedisServer(directory, "dr").start()
        config: dict[str, Any] = {"ttl_guard": f"{GUARD_MS}ms"}
        if memory:
            config["memory"] = memory
        self.applier = Applier(directory, kafka, topic, self.dr, log.source, config=config)

    def write(self, items: Iterable[Item]) -> None:
        write(self.kafka, self.topic, items)

    # --- what DR has ---

    def position_fields(self) -> dict[str, str]:
        fields = self.dr.client().hgetall(f"redis-wal:position:{self.log.source}")
        return {name.decode(): value.decode() for name, value in fields.items()}

    def position(self) -> tuple[int, int, int]:
        """In the order of the log; the smallest where DR has none."""
        fields = self.position_fields()
        if not fields:
            return 0, 0, 0
        return int(fields["epoch"]), logcopy.PHASES.index(fields["phase"]), int(fields["lsn"])

    def digest(self) -> str:
        """Of all data, the position left out."""
        total = hashlib.sha1()
        for db in range(16):
            client = self.dr.client(db)
            keys = sorted(key for key in client.scan_iter(count=1000) if not key.startswith(oracle.RESERVED))
            if keys:
                total.update(repr((db, keys, client.execute_command("DEBUG", "DIGEST-VALUE", *keys))).encode())
        return total.hexdigest()

    def status(self) -> dict[str, Any]:
        """Empty while it starts."""
        try:
            return self.applier.status()
        except requests.RequestException:
            return {}

    # --- what is expected of it ---

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 30) -> None:
        def check() -> bool:
            assert self.applier.alive, f"the applier ended:\n{self.applier.process.tail(5)}"
            return condition()

        wait_until(check, timeout, lambda: f"{what}: {self.position()} {self.status()}")

    def wait_frames(self, count: int) -> None:
        """Until it has seen so many records; those that it looks at twice count twice."""
        self.wait(lambda: self.status().get("counters", {}).get("frames", 0) >= count, f"{count} frames read")

    def wait_position(self, expected: Reach) -> None:
        self.wait(lambda: self.position() >= expected.last_change, f"position {expected.last_change}")

    def assert_stands_at(self, expected: Reach) -> None:
        """All changes before the hole are there, and nothing behind it."""
        assert expected.last_change <= self.position() <= max(expected.position, (0, 0, 0))
        assert self.markers() == markers(expected)

    def markers(self) -> set[bytes]:
        return {key[4:] for key in self.dr.client().scan_iter("seq:*", count=1000)}

    def assert_equal(self) -> None:
        """DR is DC."""
        self.wait_position(self.log.reach)
        self.assert_stands_at(self.log.reach)
        oracle.assert_equal(self.log.dc, self.dr, Rules(ttl_guard_ms=GUARD_MS))

    def run_to_stop(self) -> str:
        """Starts it, and waits until it stops for damage; the message."""
        mark = self.applier.log_mark()
        self.applier.start(ready=False)
        assert self.applier.process.wait(30) == DAMAGED, self.applier.process.tail()
        lines = re.findall(r'level=error .*msg=stopping error="(.*)"$', self.applier.process.log_text(mark), re.MULTILINE)
        assert len(lines) == 1, self.applier.process.tail()
        return lines[0]

    def assert_stops(self, expected: Reach, pattern: str) -> re.Match[str]:
        """Stops with such a message before `expected`, and again in the same way without applying anything more."""
        found = re.search(pattern, self.run_to_stop())
        assert found is not None, self.applier.process.tail(5)
        self.assert_stands_at(expected)
        before = self.digest(), self.position()
        again = re.search(pattern, self.run_to_stop())
        assert again is not None, self.applier.process.tail(5)
        assert (self.digest(), self.position()) == before
        return found


def markers(expected: Reach) -> set[bytes]:
    return {number for _, _, data in expected.entries for number in re.findall(rb"seq:(\d{5})", data)}


@pytest.fixture
def site(workdir: Path, kafka: KafkaCluster, log: Log, topic: str) -> Site:
    return Site(workdir, kafka, log, topic)


def frames_of(log: Log, phase: str, epochs: Iterable[int]) -> list[Item]:
    return [item for item in log.of_epochs(epochs) if item.is_data and item.frame.phase == phase]


# --- harmless ---


def test_everything_twice_and_all_again_at_the_end(site: Site, log: Log) -> None:
    site.write(item for item in log.items for _ in range(2))
    site.write(log.items)
    site.applier.start()
    site.assert_equal()
    site.wait_frames(3 * len(log.items))
    site.applier.restart()
    site.write(log.items)
    site.wait_frames(len(log.items))
    site.assert_equal()


def test_older_epochs_appended_again(site: Site, log: Log) -> None:
    """As by a mirror that begins anew; before and after the applier has read all."""
    for epoch in log.epochs[:2]:
        site.write(log.items if epoch == log.epochs[0] else [])
        site.write(log.of_epochs([epoch]))
    site.applier.start()
    site.assert_equal()
    site.write(log.of_epochs(log.epochs[:2]))
    site.wait_frames(len(log.items) + 2 * len(log.of_epochs(log.epochs[:2])))
    site.assert_equal()


@pytest.mark.parametrize("memory", [None, "1MiB"])
def test_partitions_far_behind_each_other(workdir: Path, kafka: KafkaCluster, log: Log, topic: str, memory: str) -> None:
    """Each comes whole before the next begins; while the last one is withheld nothing is applied past its first hole."""
    rng = new_rng()
    withheld, *others = rng.sample(range(PARTITIONS), PARTITIONS)
    print(f"order {others}, then {withheld}")
    site = Site(workdir, kafka, log, topic, memory)
    site.applier.start(ready=False)
    there: list[Item] = []
    for partition in others:
        part = [item for item in log.items if item.partition == partition]
        there += part
        site.write(part)
        site.wait_frames(len(there))
        site.wait_position(reach(there))
        site.assert_stands_at(reach(there))
    site.write(item for item in log.items if item.partition == withheld)
    site.assert_equal()


@pytest.mark.parametrize("withheld", range(PARTITIONS))
def test_one_partition_comes_last(site: Site, log: Log, withheld: int) -> None:
    site.applier.start(ready=False)
    there = [item for item in log.items if item.partition != withheld]
    site.write(there)
    site.wait_frames(len(there))
    site.wait_position(reach(there))
    site.assert_stands_at(reach(there))
    site.write(item for item in log.items if item.partition == withheld)
    site.assert_equal()


# --- damaged ---


def choose(log: Log, where: str, rng: random.Random) -> Item:
    """A data frame whose loss the log itself proves: something behind it shows that it was there."""
    if where == "snapshot":
        return rng.choice(frames_of(log, "snapshot", log.epochs))
    if where == "stream":
        return rng.choice(frames_of(log, "stream", log.epochs[:-1]))
    ends = {start.prev_epoch: start.prev_end for start in logcopy.starts(log.items)[1:]}
    return rng.choice(
        [i for i in frames_of(log, "stream", ends) if any(e.end == ends[i.frame.epoch] for e in i.frame.entries)]
    )


@pytest.mark.parametrize("where", ["snapshot", "stream", "stream again", "end of an epoch"])
def test_one_frame_is_missing(site: Site, log: Log, where: str) -> None:
    gone = choose(log, where.removesuffix(" again"), new_rng())
    print(f"without partition {gone.partition} offset {gone.record.offset}: {gone.frame.phase} {gone.frame.base}")
    copy = log.without(gone)
    expected = reach(copy)
    assert (expected.epoch, expected.phase) == (gone.frame.epoch, gone.frame.phase)
    site.write(copy)
    unit = "LSN" if gone.frame.phase == "stream" else "snapshot byte"
    found = site.assert_stops(
        expected,
        rf"lost: epoch {gone.frame.epoch} {unit} \[(\d+), (\d+)\)( at least)?; .*\(partition:offset ([\d: ]+)\)",
    )
    assert int(found[1]) == expected.hole
    if found[3]:  # so much was proven when it had not read all
        assert expected.hole < int(found[2]) < (expected.hole_end or 0)
    else:
        assert int(found[2]) == expected.hole_end
    assert_offsets_around(found[4], copy, expected)


def assert_offsets_around(text: str, copy: list[Item], expected: Reach) -> None:
    """Of each partition the message names the place where a reader that stands before the hole goes on."""
    named = {int(p): int(offset) for p, offset in (one.split(":") for one in text.split())}
    assert set(named) == set(range(PARTITIONS))
    used = offsets(copy, lambda item: item.is_data and item.end <= expected.position)
    needed = offsets(copy, lambda item: item.is_data and item.end > expected.position)
    for partition, offset in named.items():
        assert offset > used.get(partition, [(-1, None)])[-1][0], f"partition {partition}: applied already"
        assert offset <= needed.get(partition, [(1 << 62, None)])[0][0], f"partition {partition}: past what is needed"


def test_the_start_of_a_later_epoch_is_missing(site: Site, log: Log) -> None:
    at = new_rng().randrange(1, len(log.epochs))
    copy = [item for item in log.items if not (item.is_start and item.frame.epoch == log.epochs[at])]
    site.write(copy)
    found = site.assert_stops(
        reach(log.of_epochs(log.epochs[:at])),
        rf"partition 0 offset (\d+): the frame is of epoch {log.epochs[at]}, whose START was not in partition 0; "
        rf"the last one is of epoch {log.epochs[at - 1]}",
    )
    first = offsets(copy, lambda item: item.frame.epoch == log.epochs[at])[0][0]
    assert int(found[1]) == first[0]


def test_a_partition_is_empty(site: Site, log: Log) -> None:
    """That alone may be lag. Its next heartbeat says that there was something."""
    empty = new_rng().randrange(1, PARTITIONS)
    print(f"partition {empty}")
    copy = [item for item in log.items if item.partition != empty]
    site.applier.start(ready=False)
    site.write(copy)
    site.wait_frames(len(copy))
    site.wait_position(reach(copy))
    site.assert_stands_at(reach(copy))
    site.applier.stop()
    last = [item for item in log.items if item.partition == empty][-1]
    site.write([last])
    expected = reach([*copy, last])
    found = site.assert_stops(expected, rf"lost: epoch {expected.epoch} [a-zA-Z ]+ \[?(\d+)(,| to) .*\b{empty}:\d+")
    assert int(found[1]) == expected.hole


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_byte_is_flipped(site: Site, log: Log, part: str) -> None:
    rng = new_rng()
    item = rng.choice([i for i in log.items if i.is_data and i.frame.epoch != log.epochs[-1]])
    value = bytearray(item.record.value or b"")
    at = rng.randrange(0, 132) if part == "header" else rng.randrange(132, len(value))
    value[at] ^= 1 << rng.randrange(8)
    broken = item.with_value(bytes(value))
    print(f"partition {item.partition} offset {item.record.offset} byte {at}")
    copy = [broken if one is item else one for one in log.items]
    site.write(copy)
    offset = offsets(copy, lambda one: one is broken)[item.partition][0][0]
    seen = [
        one for one in log.items
        if one.partition != item.partition or one.record.offset < item.record.offset
    ]
    site.assert_stops(reach(seen), rf"partition {item.partition} offset {offset}: ")


def test_offsets_that_kafka_no_longer_has(site: Site, log: Log) -> None:
    """Retention was shorter than the time that the applier was down."""
    site.write(log.of_epochs(log.epochs[:1]))
    site.applier.start()
    site.wait_position(reach(log.of_epochs(log.epochs[:1])))
    site.applier.stop()
    later = log.of_epochs(log.epochs[1:])
    site.write(later)
    wanted = [int(offset) for offset in site.position_fields()["offsets"].split(",")]
    partition = new_rng().randrange(PARTITIONS)
    begin = wanted[partition] + 3
    site.kafka.delete_records(site.topic, {partition: begin})
    copy = [*log.of_epochs(log.epochs[:1]), *later]
    expected = reach([*log.of_epochs(log.epochs[:1]), *(item for item in later if item.partition != partition)])
    end = len(offsets(copy, lambda _: True)[partition])
    site.assert_stops(
        expected,
        rf"partition {partition} offset {wanted[partition]} is needed next, but Kafka has only \[{begin}, {end}\) ",
    )


def test_the_topic_was_made_anew(site: Site, log: Log) -> None:
    """Empty, while the position is beyond its end."""
    first = log.of_epochs(log.epochs[:1])
    site.write(first)
    site.applier.start()
    site.wait_position(reach(first))
    site.applier.stop()
    site.kafka.delete_topic(site.topic)
    site.kafka.create_topic(site.topic, PARTITIONS)
    site.assert_stops(reach(first), r"partition \d+ offset \d+ is needed next, but topic '.*' ends at 0: ")


# --- divergence ---


def test_a_refused_command_halts_until_a_person_has_looked(site: Site, log: Log) -> None:
    site.write(log.of_epochs(log.epochs[:1]))
    site.applier.start()
    site.wait_position(reach(log.of_epochs(log.epochs[:1])))
    site.applier.stop()
    assert site.dr.client().lrange(HALT_KEY, 0, -1) == [HALT_VALUE.encode()]
    site.dr.client().set(HALT_KEY, "changed by hand")
    site.write(log.of_epochs(log.epochs[1:]))
    message = site.run_to_stop()
    (end, entry) = next(
        (end, entry) for end, entry, data in log.reach.entries if end[0] == log.epochs[1] and HALT_VALUE.encode() in data
    )
    halted = site.position_fields()["halted"]
    assert halted in message.replace('\\"', '"')
    assert "RPUSH was refused: WRONGTYPE" in halted
    assert f"epoch {end[0]} [{entry.start}, {entry.end})" in halted
    before = site.digest(), site.position()
    assert halted in site.run_to_stop().replace('\\"', '"')
    assert (site.digest(), site.position()) == before
    assert HALT_KEY not in site.applier.process.log_text() and HALT_VALUE not in site.applier.process.log_text()
    assert HALT_KEY not in halted and HALT_VALUE not in halted

    config = ("--config", str(site.applier.config_path))
    cleared = site.applier.run("clear-halt", *config)
    assert (cleared.returncode, cleared.stdout) == (0, f"halted: {halted}\ncleared\n")
    assert site.applier.run("clear-halt", *config).stdout == "not halted\n"
    site.dr.client().restore(HALT_KEY, 0, log.dc.client().dump(HALT_KEY), replace=True)
    site.applier.start()
    site.assert_equal()
