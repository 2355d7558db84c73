"""Fixtures: a folder a test, clusters shared by the session, and the checks that every test ends with.

A test fails when a process of it crashed, when a daemon's log has a sanitizer report, and when it has a line of level
error that the test did not announce with @pytest.mark.allow_errors("pattern") or the allow_errors fixture.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import proc  # noqa: E402
from harness.checks import complaints  # noqa: E402
from harness.kafka import KafkaCluster  # noqa: E402
from harness.pipeline import Pipeline  # noqa: E402
from harness.redis import RedisServer  # noqa: E402

TAIL_LINES = 40


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "allow_errors(*patterns): lines of level error that the test expects")
    config.addinivalue_line("markers", "slow: takes more than a minute")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Shows the ends of all logs of a test that failed, those of the shared clusters too."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        first = item.stash.get(_FIRST, 0)
        uses_kafka = any("kafka" in fixture for fixture in getattr(item, "fixturenames", ()))
        shared = [p for p in proc.registry[:first] if p.alive and uses_kafka]
        for process in shared:
            report.sections.append((f"log of shared '{process.name}' ({process.directory})", process.tail(10)))
        for process in proc.registry[first:]:
            report.sections.append((f"log of '{process.name}' ({process.directory})", process.tail(TAIL_LINES)))


_FIRST = pytest.StashKey[int]()
_ALLOWED = pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def _checked(request: pytest.FixtureRequest, _sessions_first: None) -> Iterator[None]:
    """The frame of every test: afterwards its processes end, and what they did is judged."""
    item = request.node
    first = item.stash[_FIRST] = len(proc.registry)
    allowed = item.stash.setdefault(_ALLOWED, [])
    for marker in item.iter_markers("allow_errors"):
        allowed.extend(marker.args)
    yield
    mine = proc.registry[first:]
    problems: list[str] = []
    for process in [p for p in mine if p.is_daemon]:
        # An orderly end, since leaks are reported only then.
        try:
            process.stop(timeout=30)
        except AssertionError as error:
            problems.append(str(error))
    problems += complaints(mine, allowed)
    for process in mine:
        process.finish()
    if problems:
        pytest.fail("\n".join(problems[:20]), pytrace=False)


@pytest.fixture
def _sessions_first(request: pytest.FixtureRequest) -> None:
    """Has the shared clusters of a test made before its own processes are counted."""
    for name in ("_kafka_dc", "_kafka_dr", "_kafka_three"):
        if name in request.fixturenames:
            request.getfixturevalue(name)


@pytest.fixture
def allow_errors(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """allow_errors(pattern): from now on, for errors that only show which they are while the test runs."""
    return request.node.stash.setdefault(_ALLOWED, []).append


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Unique to this run of this test, for topics and sources on shared clusters."""
    plain = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{plain[:40]}-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def topic(name: str) -> str:
    return f"t-{name}"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The folder of this test: configurations, logs and data of all its processes."""
    return tmp_path


def _cluster(factory: pytest.TempPathFactory, name: str, brokers: int) -> Iterator[KafkaCluster]:
    cluster = KafkaCluster(factory.mktemp(name), brokers, name).start()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def _kafka_dc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    yield from _cluster(tmp_path_factory, "kafka-dc", 1)


@pytest.fixture(scope="session")
def _kafka_dr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    yield from _cluster(tmp_path_factory, "kafka-dr", 1)


@pytest.fixture(scope="session")
def _kafka_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    yield from _cluster(tmp_path_factory, "kafka-three", 3)


@pytest.fixture
def kafka(_kafka_dc: KafkaCluster) -> KafkaCluster:
    """One broker, shared by the session: use `topic` and `name`. Stop and kill it as you like."""
    _kafka_dc.ensure_up()
    return _kafka_dc


@pytest.fixture
def kafka3(_kafka_three: KafkaCluster) -> KafkaCluster:
    """Three brokers, shared by the session."""
    _kafka_three.ensure_up()
    return _kafka_three


@pytest.fixture
def two_kafkas(kafka: KafkaCluster, _kafka_dr: KafkaCluster) -> tuple[KafkaCluster, KafkaCluster]:
    """DC's and DR's cluster, one broker each."""
    _kafka_dr.ensure_up()
    return kafka, _kafka_dr


@pytest.fixture
def redis_dc(workdir: Path) -> RedisServer:
    return RedisServer(workdir, "dc").start()


@pytest.fixture
def redis_pair(workdir: Path, redis_dc: RedisServer) -> tuple[RedisServer, RedisServer]:
    """Two masters that know nothing of each other: DC and DR."""
    return redis_dc, RedisServer(workdir, "dr").start()


@pytest.fixture
def pipeline(workdir: Path, two_kafkas: tuple[KafkaCluster, KafkaCluster], name: str) -> Pipeline:
    """Everything from DC's Redis to DR's; nothing of it runs before it is asked for (pipeline.start())."""
    return Pipeline(workdir, *two_kafkas, name)


@pytest.fixture
def short_pipeline(workdir: Path, kafka: KafkaCluster, name: str) -> Pipeline:
    """Without the mirror: the applier reads the journal's own topic."""
    return Pipeline(workdir, kafka, None, name)
