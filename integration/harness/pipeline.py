"""The whole pipeline on one machine: DC Redis, journal, DC Kafka, mirror, DR Kafka, applier, DR Redis."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from . import oracle
from .daemon import Applier, Journal, Mirror, merged
from .kafka import KafkaCluster
from .oracle import Rules
from .redis import NOT_YET, RedisServer
from .wait import wait_until


class Pipeline:
    """Its parts are made when they are first asked for, so a test may change their settings before.

    `pipeline.settings["applier"] = {...}` is laid over the applier's configuration; the Redis' own settings are
    `settings["dc"]` and `settings["dr"]`. Without a DR cluster the applier reads DC's Kafka, and there is no mirror.
    `ttl_guard_ms` is given to the applier and expected of every expiry on DR.
    """

    def __init__(self, directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster | None, name: str) -> None:
        self.directory = Path(directory)
        self.dc_kafka = dc_kafka
        self.dr_kafka = dr_kafka or dc_kafka
        self.mirrored = dr_kafka is not None
        self.source = name
        self.topic = f"redis-writes-{name}"
        self.partitions = 12
        self.ttl_guard_ms = 3_600_000
        self.settings: dict[str, Mapping[str, Any]] = {}

    @functools.cached_property
    def dc(self) -> RedisServer:
        return RedisServer(self.directory, "dc", config=self.settings.get("dc")).start()

    @functools.cached_property
    def dr(self) -> RedisServer:
        return RedisServer(self.directory, "dr", config=self.settings.get("dr")).start()

    @functools.cached_property
    def journal(self) -> Journal:
        return Journal(
            self.directory, self.dc, self.dc_kafka, self.topic, self.source, self.partitions,
            config=self.settings.get("journal"),
        )

    @functools.cached_property
    def mirror(self) -> Mirror:
        return Mirror(
            self.directory, self.dc_kafka, self.dr_kafka, [self.topic], config=self.settings.get("mirror")
        )

    @functools.cached_property
    def applier(self) -> Applier:
        config = merged({"ttl_guard": f"{self.ttl_guard_ms}ms"}, self.settings.get("applier") or {})
        return Applier(self.directory, self.dr_kafka, self.topic, self.dr, self.source, config=config)

    def start(self) -> Pipeline:
        """Everything, in the order of the data; the journal makes the topic that the others need."""
        self.journal.start()
        if self.mirrored:
            self.mirror.start()
        self.applier.start()
        return self

    def position(self) -> int | None:
        """The LSN up to which DR has DC's present timeline; None while that is not known.

        An LSN means something within its epoch only: the journal's epoch must be the applier's, and of the
        replication id that DC has now.
        """
        try:
            found = self.applier.status().get("position") or {}
            log = self.journal.status()
            replid = self.dc.replid()
        except (requests.RequestException, *NOT_YET):
            return None
        if log["replid"] != replid or found.get("epoch") != log["epoch"]:
            return None
        return int(found["lsn"]) if found.get("phase") == "stream" else None

    def wait_caught_up(self, timeout: float = 60.0) -> int:
        """Until DR has what DC has written by now; returns that LSN."""
        target = self.dc.repl_offset()

        def reached() -> bool:
            if not self.applier.alive:
                raise AssertionError(f"the applier ended:\n{self.applier.process.tail()}")
            at = self.position()
            return at is not None and at >= target

        wait_until(reached, timeout, lambda: f"DR at LSN {target}, is at {self.position()}")
        return target

    @property
    def rules(self) -> Rules:
        """What DR may differ in: its expiries are later by the guard."""
        return Rules(ttl_guard_ms=self.ttl_guard_ms)

    def wait_equal(self, timeout: float = 60.0) -> None:
        """Waits until DR has all of DC, then compares every key of both; DC must be at rest."""
        oracle.wait_equal(self.dc, self.dr, self.position, timeout, self.rules)

    def close(self) -> None:
        for part in ("applier", "mirror", "journal", "dr", "dc"):
            if part in self.__dict__:
                self.__dict__[part].process.finish()
