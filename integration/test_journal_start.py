"""A journal that starts again is at work at once: nothing in it waits for a timer of librdkafka's."""

from __future__ import annotations

import pytest

from harness.pipeline import Pipeline


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_start_is_not_held_back(short_pipeline: Pipeline, end: str) -> None:
    """librdkafka looks once a second for topics that it met in a produce alone: a START would wait for that look."""
    pipeline = short_pipeline
    pipeline.settings["journal"] = {"kafka": {"debug": "metadata"}}
    journal = pipeline.journal
    journal.start()
    getattr(journal, end)()
    mark = journal.log_mark()
    journal.start()
    journal.wait_log(r'msg="epoch begins" kind=stream', since=mark)
    late = [
        line
        for line in journal.process.log_text(mark).splitlines()
        if "client=redis-wal-journal#producer" in line and "refresh unavailable topics" in line
    ]
    assert not late
    assert journal.log_contains(r"client=redis-wal-journal#producer.*Received metadata", mark)
