"""The steps of the pipeline, as they are shown."""

from __future__ import annotations

from unified_exec import StageStats


class Stage:
    """One step of the pipeline.

    Args:
        verb: what it does to a file, e.g. ``"fetched"``.
        doing: the same while it goes on, e.g. ``"fetching"``.
        backend: what runs it, for the reader.
        workers: how many of its tasks can run at once.

    Attributes:
        stats: what it has done, from the moment the pipeline runs.
    """

    def __init__(self, verb: str, doing: str, backend: str, workers: int) -> None:
        self.verb = verb
        self.doing = doing
        self.backend = backend
        self.workers = workers
        self.stats = StageStats(doing, backend)

    def busy_share(self, seconds: float) -> float:
        """How much of its workers' time in a run of so many seconds its tasks took: 0 to 1."""
        return self.stats.busy_seconds / (seconds * self.workers) if seconds else 0.0
