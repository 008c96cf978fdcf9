"""When things happened to a task."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """When a task was queued, started and finished, in seconds of `time.monotonic` (comparable across processes)."""

    queued: float
    started: float | None
    finished: float | None
