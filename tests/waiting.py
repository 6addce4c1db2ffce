"""Tests wait on conditions, never on a fixed sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T], timeout_s: float = 60.0, every_s: float = 0.1) -> T:
    """The first truthy value of `condition`; fails naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last value {value!r}")
        time.sleep(every_s)
    return value
