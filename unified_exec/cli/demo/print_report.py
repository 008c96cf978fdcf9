"""The report as text, ASCII only, which every terminal and every pipe can carry."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from ..measuring.terminal import say
from .demo_report import Report
from .pipeline_runs import HybridRun, SequentialRun
from .store import Totals


def print_report(console: Console, report: Report) -> None:
    if report.hybrid.cancelled or report.hybrid.lost:
        _law(console, report)
    else:
        _ranking(console, report)
        _backends(console, report.hybrid)
        _runs(console, report)
    left = report.left_over
    say(console, f"Left over: {left.tasks} tasks, {left.processes} processes, {left.threads} threads.")
    for problem in report.broken:
        say(console, f"BROKEN PROMISE: {problem}", style="bold red")


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def interrupted(run: HybridRun | None, sequential: SequentialRun | None) -> str:
    """Return the one line that is printed after Ctrl-C."""
    if run is None or not run.started:
        return "Interrupted before the first file."
    if sequential is not None:
        return f"Interrupted in the sequential run: {sequential.done} of {len(sequential.paths)} files processed."
    stopped = [f"{stage.stats.cancelled} {stage.doing}" for stage in run.stages if stage.stats.cancelled]
    queued = sum(stage.stats.pending for stage in run.stages)
    return (
        f"Interrupted after {run.seconds:.1f} s: {run.storing.stats.finished} of {len(run.job.paths)} files stored; "
        f"cancelled: {', '.join(stopped) or 'nothing'}; never started: {queued} tasks, "
        f"{len(run.job.paths) - run.fetching.stats.received} files."
    )


def _ranking(console: Console, report: Report) -> None:
    table = _table("complexity", "lines", "<function", "<file")
    for function in report.most_complex:
        table.add_row(str(function.complexity), str(function.length), function.name, f"{function.path}:{function.line}")
    _headline(console, "The ten most complex functions")
    console.print(table)
    say(console)
    say(console, _summary(report.totals))
    if report.longest:
        longest = report.longest
        say(console, f"The longest function: {longest.name}, {longest.length} lines ({longest.path}:{longest.line}).")


def _summary(totals: Totals) -> str:
    line = (
        f"{totals.files:,} files, {totals.lines:,} lines, {totals.functions:,} functions, {totals.branches:,} branches"
    )
    if totals.unparsable:
        line += f"; {totals.unparsable} files are not valid Python (on purpose: they are test data)"
    return line + "."


def _backends(console: Console, run: HybridRun) -> None:
    table = _table("<backend", "<files", "tasks", "workers", "busy seconds", "busy")
    for stage in run.stages:
        table.add_row(
            stage.backend,
            stage.verb,
            str(stage.stats.finished),
            str(stage.workers),
            f"{stage.stats.busy_seconds:.2f}",
            f"{stage.busy_share(run.seconds):.0%}",
        )
    _headline(console, "Utilization of each backend (busy seconds of its tasks / seconds of the run x workers)")
    console.print(table)
    say(console)
    say(
        console,
        f"At most {run.most_in_flight} files were in flight at once: the pipeline bounds them, whatever the total.",
    )


def _runs(console: Console, report: Report) -> None:
    table = _table("<run", "seconds", "files/s", "MB/s")
    for name, seconds in _timed(report):
        files, size = report.totals.files, report.totals.bytes
        table.add_row(name, f"{seconds:.2f}", f"{files / seconds:.0f}", f"{size / 1e6 / seconds:.2f}")
    _headline(console, "How long it took")
    console.print(table)
    say(console)
    if report.sequential is None or report.speedup is None:
        return
    one = report.sequential
    say(
        console,
        f"Sequentially: {one.fetch_seconds:.2f} s fetching, {one.parse_seconds:.2f} s parsing, "
        f"{one.store_seconds:.2f} s storing.",
    )
    same = "both runs stored the same results" if report.same_results else "the runs stored DIFFERENT results"
    if report.machine.was_busy:
        busy = f"load average {report.machine.load_before:.1f} at the start"
        say(console, f"Other programs were busy on this machine ({busy}), so the times are longer than usual.")
    say(console, f"Speed-up: {report.speedup:.2f} x on {report.machine.cores} cores; {same}.", style="bold")


def _timed(report: Report) -> Iterator[tuple[str, float]]:
    yield "one pipeline", report.hybrid.seconds
    if report.sequential is not None:
        yield "sequential", report.sequential.seconds


def _law(console: Console, report: Report) -> None:
    run = report.hybrid
    if run.cancelled:
        _headline(console, f"Cancelled after {run.seconds:.2f} s")
    else:
        _headline(console, f"A worker was killed; the run finished after {run.seconds:.2f} s")
    table = _table("<backend", "<files", "finished", "failed", "cancelled", "never started")
    for stage in run.stages:
        stats = stage.stats
        counts = (stats.finished, stats.failed, stats.cancelled, stats.pending)
        table.add_row(stage.backend, stage.verb, *map(str, counts))
    console.print(table)
    say(console)
    for loss in run.lost:
        say(console, f"Lost: {loss.path}")
        say(console, f"  {type(loss.error).__name__}: {loss.error}")
        after = run.storing.stats.finished - loss.stored_before
        say(console, f"The pool continued: {loss.stored_before} files were stored before the crash, {after} after it.")
    stored, begun, all_of_them = report.totals.files, run.fetching.stats.received, len(run.job.paths)
    say(console, f"{stored} of {all_of_them} files are stored; {all_of_them - begun} were never started.")


def _headline(console: Console, text: str) -> None:
    say(console)
    say(console, text, style="bold")


def _table(*headers: str) -> Table:
    """Return a table without lines; a header that starts with ``<`` is for text, the others are for numbers."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for header in headers:
        table.add_column(header.removeprefix("<"), justify="left" if header.startswith("<") else "right", no_wrap=True)
    return table
