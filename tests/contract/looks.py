"""Waiting until waiters have looked for deadlocks, and acting then."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.waiting import until, until_async
from unified_exec import Channel, DeadlockError
from unified_exec._sync.deadlocks import patrol
from unified_exec._sync.shared import board

PATIENCE = 30
LOOKS, BEATS = 12, 5


async def until_looked(monkeypatch: pytest.MonkeyPatch, looks: int = 6, within: float = 30) -> None:
    """Return after the waiters have looked for deadlocks some times."""
    count = 0

    def counted() -> bool:
        nonlocal count
        count += 1
        return original()

    original = board.known
    monkeypatch.setattr(board, "known", counted)  # called after the threads were looked at: this frame is in none
    assert await until_async(lambda: count >= looks, within)


def act_later(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], telling: int = 0) -> None:
    """Call `act` in a thread when workers have told what they wait for several times, or could have.

    Args:
        monkeypatch: counts.
        act: the function.
        telling: as many processes must have told.
    """
    looks, first, told = 0, dict[int, int](), dict[int, int]()

    def counted(content: list[Any]) -> dict[int, Any]:
        nonlocal looks
        found = exchange(content)
        looks += 1
        told.update({pid: beat - first.setdefault(pid, beat) for pid, (beat, _) in found.items()})
        return found

    def is_time() -> bool:
        beats = sum(each >= (2 * BEATS if telling else BEATS) for each in told.copy().values())
        return (looks >= LOOKS and not telling) or (looks >= 6 and beats >= max(telling, 1))

    def wait() -> None:
        assert until(is_time, PATIENCE)
        act()

    exchange = board.exchange
    monkeypatch.setattr(patrol, "_PAUSE_MAX", 1)
    monkeypatch.setattr(board, "exchange", counted)
    threading.Thread(target=wait).start()


def send_by_id(channel: Channel[int]) -> Callable[[], None]:
    """What sends into a channel and has no reference to it."""
    return partial(_send_by_id, id(channel))


def _send_by_id(number: int) -> None:
    ctypes.cast(number, ctypes.py_object).value.send_nowait(1)


def the_ones(error: BaseException) -> list[DeadlockError]:
    """The errors in any number of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [each for inner in error.exceptions for each in the_ones(inner)]
    assert isinstance(error, DeadlockError), error
    return [error]
