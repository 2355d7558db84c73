"""What a process must never do, looked up in its log: the fixtures fail a test for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .proc import Process

SANITIZER = re.compile(r"ERROR: (?:Address|Leak|Memory|Thread)Sanitizer|runtime error:|WARNING: ThreadSanitizer")
ERROR_LINE = re.compile(r'(?:^|\s)level=error\b|"level":\s*"error"')


def complaints(processes: Iterable[Process], allowed: Iterable[str] = ()) -> list[str]:
    """One text a problem: a crash of any process; of the daemons also sanitizer reports and lines of level error.

    `allowed` are patterns of error lines that the test expects. They never excuse a sanitizer report.
    """
    patterns = [re.compile(pattern) for pattern in allowed]
    found: list[str] = []
    for process in processes:
        process._note_end()
        if process.crashed is not None:
            found.append(f"'{process.name}' was ended by signal {-process.crashed}")
        if not process.is_daemon:
            continue
        for line in process.log_text().splitlines():
            if SANITIZER.search(line):
                found.append(f"'{process.name}': {line}")
            elif ERROR_LINE.search(line) and not any(p.search(line) for p in patterns):
                found.append(f"'{process.name}': {line}")
    return found
