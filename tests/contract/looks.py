"""Waiting until the waiters of locks have looked for deadlocks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waiting import until_async
from unified_exec._sync.deadlocks import look as deadlock


async def until_looked(monkeypatch: pytest.MonkeyPatch, looks: int = 6, within: float = 30) -> None:
    """Return after the waiters have looked for deadlocks some times."""
    count = 0

    def counted(*arguments: Any, **options: Any) -> bool:
        nonlocal count
        count += 1
        return original(*arguments, **options)

    original = deadlock.look
    monkeypatch.setattr(deadlock, "look", counted)
    assert await until_async(lambda: count >= looks, within)
