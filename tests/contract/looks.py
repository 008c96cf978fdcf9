"""Waiting until the waiters of locks have looked for deadlocks."""

from __future__ import annotations

import pytest

from tests.waiting import until_async
from unified_exec._sync.shared import board


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
