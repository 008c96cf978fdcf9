"""What the demo found, as data: the figures, and whether the promises held."""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

from unified_exec import WorkerCrashed

from .corpus import Corpus
from .leftovers import LeftOver
from .pipeline_runs import HybridRun, SequentialRun, Stage
from .store import RankedFunction, Store, Totals


class Machine(NamedTuple):
    """The cores this process may use, and the load average before the demo began (``None`` if unknown)."""

    cores: int
    load_before: float | None

    @property
    def was_busy(self) -> bool:
        """Whether other programs were busy already, which makes the figures worse."""
        return self.load_before is not None and self.load_before > self.cores / 2


class Report(NamedTuple):
    """Everything that is reported at the end.

    Attributes:
        same_results: whether both runs stored the same results, or ``None`` if there was only one.
        broken: the promises that did not hold, in words.
    """

    corpus: Corpus
    event_loop: str
    machine: Machine
    hybrid: HybridRun
    sequential: SequentialRun | None
    same_results: bool | None
    left_over: LeftOver
    totals: Totals
    most_complex: list[RankedFunction]
    longest: RankedFunction | None
    broken: list[str]

    @property
    def speedup(self) -> float | None:
        return self.sequential.seconds / self.hybrid.seconds if self.sequential else None


def make_report(
    corpus: Corpus,
    event_loop: str,
    machine: Machine,
    hybrid: HybridRun,
    left_over: LeftOver,
    sequential: SequentialRun | None,
) -> Report:
    """Compare both runs while their stores are open, and check the promises."""
    store = hybrid.store
    same = None if sequential is None else store.everything() == sequential.store.everything()
    return Report(
        corpus=corpus,
        event_loop=event_loop,
        machine=machine,
        hybrid=hybrid,
        sequential=sequential,
        same_results=same,
        left_over=left_over,
        totals=store.totals(),
        most_complex=store.most_complex(),
        longest=store.longest(),
        broken=[
            *_broken(hybrid, store, left_over),
            *(["the two runs stored different results"] if same is False else []),
        ],
    )


def _broken(run: HybridRun, store: Store, left_over: LeftOver) -> list[str]:
    """Return the promises of the law that this run broke."""
    broken = [f"left over: {count} {what}" for what, count in left_over._asdict().items() if count]
    if run.cancelled:
        return broken
    expected = set(run.job.paths) - {run.job.doomed}
    missing = expected - store.paths()
    if missing:
        broken.append(f"{len(missing)} files are missing, e.g. {min(missing)}")
    if run.job.doomed:
        lost = [loss.path for loss in run.lost]
        if lost != [run.job.doomed] or run.job.doomed not in str(run.lost[0].error):
            broken.append(f"only {run.job.doomed} should have been lost; lost: {', '.join(lost) or 'none'}")
    return broken


def as_json(report: Report) -> dict[str, Any]:
    """Return the report in JSON's types; durations are in seconds, sizes in bytes, shares from 0 to 1."""
    run = report.hybrid
    return {
        "python": platform.python_version(),
        "event_loop": report.event_loop,
        **report.machine._asdict(),
        "corpus": {
            "root": str(report.corpus.root),
            "files": len(report.corpus.paths),
            "bytes": report.corpus.size,
        },
        "hybrid": {
            "ended": "cancelled" if run.cancelled else "done",
            "seconds": run.seconds,
            "files": report.totals.files,
            "bytes": report.totals.bytes,
            "files_per_second": report.totals.files / run.seconds,
            "bytes_per_second": report.totals.bytes / run.seconds,
            "files_never_begun": len(run.job.paths) - run.fetching.stats.received,
            "most_files_in_flight": run.most_in_flight,
            "stages": [_stage(stage, run.seconds) for stage in run.stages],
            "lost": [{"path": loss.path, **_crash(loss.error)} for loss in run.lost],
        },
        "sequential": None if report.sequential is None else _sequential(report.sequential),
        "speedup": report.speedup,
        "same_results": report.same_results,
        "left_over": report.left_over._asdict(),
        "totals": report.totals._asdict(),
        "most_complex": [function._asdict() for function in report.most_complex],
        "longest": report.longest and report.longest._asdict(),
        "broken_promises": report.broken,
    }


def _stage(stage: Stage, seconds: float) -> dict[str, Any]:
    return {
        "stage": stage.verb,
        "backend": stage.backend,
        "workers": stage.workers,
        "finished": stage.stats.finished,
        "failed": stage.stats.failed,
        "cancelled": stage.stats.cancelled,
        "never_started": stage.stats.pending,
        "busy_seconds": stage.stats.busy_seconds,
        "busy_share": stage.busy_share(seconds),
    }


def _sequential(run: SequentialRun) -> dict[str, Any]:
    return {
        "seconds": run.seconds,
        "files": run.done,
        "files_per_second": run.done / run.seconds,
        "fetch_seconds": run.fetch_seconds,
        "parse_seconds": run.parse_seconds,
        "store_seconds": run.store_seconds,
    }


def _crash(error: WorkerCrashed) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error), "pid": error.pid, "exitcode": error.exitcode}
