"""Waiting for what must come: a busy machine may take long."""

from __future__ import annotations

from collections.abc import Callable

from tests import waiting

PATIENCE = 60.0


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    assert waiting.until(condition, PATIENCE)


async def until_async(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds, while the event loop runs on."""
    assert await waiting.until_async(condition, PATIENCE)
