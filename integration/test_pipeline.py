"""The whole pipeline under the mixed workload: DR becomes DC, with the snapshot, with the stream, and after kills."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition

from harness.oracle import compare, key_count, recheck
from harness.pipeline import Pipeline
from harness.wait import wait_until
from harness.workload import Workload


def test_workload_without_the_mirror(short_pipeline: Pipeline) -> None:
    short_pipeline.start()
    Workload(short_pipeline.dc, 60_000).run()
    short_pipeline.wait_equal()
    assert key_count(short_pipeline.dr) > 2000


def test_snapshot_and_stream_through_the_mirror(pipeline: Pipeline) -> None:
    Workload(pipeline.dc, 20_000).run()
    pipeline.start()
    Workload(pipeline.dc, 60_000).run()
    pipeline.wait_equal()
    assert key_count(pipeline.dr) > 2000
    # The comparison itself must see what is not there.
    with pipeline.dr.client() as client:
        client.incr("cnt:not-from-dc")
    found = compare(pipeline.dc, pipeline.dr, pipeline.rules)
    pipeline.wait_caught_up()  # keys that expired during the comparison: their DELs are there now
    found = recheck(pipeline.dc, pipeline.dr, found, pipeline.rules)
    assert [one.key for one in found] == [b"cnt:not-from-dc"]


def test_every_program_is_killed_under_load(pipeline: Pipeline) -> None:
    pipeline.start()
    work = Workload(pipeline.dc, None, rate=5_000).start()
    for _ in range(2):
        for part in (pipeline.journal, pipeline.mirror, pipeline.applier):
            work.wait_written(work.written + 3_000)
            part.kill9()
            part.start()
    work.stop()
    pipeline.wait_equal()
    assert key_count(pipeline.dr) > 2000


@pytest.mark.allow_errors("target is the source")
def test_applier_refuses_the_source_as_its_target(short_pipeline: Pipeline) -> None:
    """An empty source would take it, and the position would come back through the log."""
    short_pipeline.__dict__["dr"] = short_pipeline.dc
    short_pipeline.journal.start()
    applier = short_pipeline.applier
    applier.process.ok_codes = (2,)
    applier.start(ready=False)
    assert applier.process.wait(60) == 2
    assert applier.process.log_contains("the target is the source of this log")
    assert short_pipeline.dc.client().dbsize() == 0


def test_offsets_are_committed_for_lag_tools_and_never_read_back(short_pipeline: Pipeline) -> None:
    """The group shows the place in each partition; an applier starts from its position whatever the group says."""
    pipeline = short_pipeline
    pipeline.start()
    Workload(pipeline.dc, 5_000).run()
    pipeline.wait_equal()
    ends = pipeline.dr_kafka.log_ends(pipeline.topic)
    everywhere = [TopicPartition(pipeline.topic, p) for p in ends]
    group = pipeline.dr_kafka.consumer(**{"group.id": "redis-applier"})

    def committed() -> list[int]:
        return [found.offset for found in group.committed(everywhere, timeout=10)]

    wait_until(lambda: all(at > 0 for at in committed()), 60, lambda: f"a committed offset everywhere: {committed()}")
    pipeline.applier.kill9()
    group.commit(offsets=[TopicPartition(pipeline.topic, p, 0) for p in ends], asynchronous=False)
    before = pipeline.dr.client().get("cnt:1")
    pipeline.applier.start()
    pipeline.dc.client().incr("after")
    pipeline.wait_equal()
    assert pipeline.dr.client().get("cnt:1") == before
    assert pipeline.dr.client().get("after") == b"1"
    group.close()
