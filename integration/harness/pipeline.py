"""The whole pipeline on one machine: DC Redis, journal, DC Kafka, mirror, DR Kafka, applier, DR Redis."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from .daemon import Applier, Journal, Mirror
from .kafka import KafkaCluster
from .redis import RedisServer
from .wait import wait_until


class Pipeline:
    """Its parts are made when they are first asked for, so a test may change their settings before.

    `pipeline.settings["applier"] = {...}` is laid over the applier's configuration; the Redis' own settings are
    `settings["dc"]` and `settings["dr"]`. Without a DR cluster the applier reads DC's Kafka, and there is no mirror.
    """

    def __init__(self, directory: Path, dc_kafka: KafkaCluster, dr_kafka: KafkaCluster | None, name: str) -> None:
        self.directory = Path(directory)
        self.dc_kafka = dc_kafka
        self.dr_kafka = dr_kafka or dc_kafka
        self.mirrored = dr_kafka is not None
        self.source = name
        self.topic = f"redis-writes-{name}"
        self.partitions = 12
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
        return Applier(
            self.directory, self.dr_kafka, self.topic, self.dr, self.source, config=self.settings.get("applier")
        )

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
        except requests.RequestException:
            return None
        if log["replid"] != self.dc.replid() or found.get("epoch") != log["epoch"]:
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

    def close(self) -> None:
        for part in ("applier", "mirror", "journal", "dr", "dc"):
            if part in self.__dict__:
                self.__dict__[part].process.finish()
