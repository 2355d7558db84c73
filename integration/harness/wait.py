"""Waiting for a condition instead of for a time.

A fixed sleep is either too short on a busy machine or wasted on an idle one, so nothing in the tests sleeps:
they poll with a short back-off and fail with a message that says what was expected and what was seen last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.1


class WaitTimeout(AssertionError):
    """The condition did not come true in time."""


def wait_until(
    condition: Callable[[], T],
    timeout: float = 10.0,
    message: str | Callable[[], str] = "",
    tolerate: tuple[type[BaseException], ...] = (),
) -> T:
    """Polls until `condition` is true and returns its value.

    `tolerate` names exceptions that mean 'not yet' (a connection refused while a server starts); the last one
    is shown when time runs out. `message` may be a function, so that it can tell the state at that moment.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE_S
    never = threading.Event()
    seen: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
            seen = value
        except tolerate as error:
            seen = error
        left = deadline - time.monotonic()
        if left <= 0:
            text = message() if callable(message) else message
            raise WaitTimeout(f"not within {timeout:g} s: {text or 'condition'} (last seen: {seen!r})")
        never.wait(min(pause, left))
        pause = min(pause * 1.6, LONGEST_PAUSE_S)
