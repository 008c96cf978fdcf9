"""The report: every figure with its spread, the bars below it, and a note where the figures are unreliable."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from unified_exec.cli.measuring.figures import MANY_OTHERS, WIDE_SPREAD, shown
from unified_exec.cli.measuring.tables import NONE, Table
from unified_exec.cli.measuring.terminal import print_table, say

from .results import RowResult, Verdict
from .row import BEST_PEER, Row

_MARKS = {True: "pass", False: "miss", None: "unknown"}
_STYLES = {True: "green", False: "red", None: "yellow"}


def print_row(console: Console, result: RowResult) -> None:
    """Print one row: its contenders and its bars."""
    row = result.row
    rounds = max((len(figure.samples) for figure in result.figures.values()), default=0)
    lines = [
        [
            figure.name,
            shown(figure.median, row.unit_of(figure.name)),
            f"{figure.spread:.0%}{' wide' if figure.spread > WIDE_SPREAD else ''}",
            shown(min(figure.samples), row.unit_of(figure.name)),
            shown(max(figure.samples), row.unit_of(figure.name)),
        ]
        for figure in result.figures.values()
    ]
    title = f"{row.title} ({row.name}, {rounds} round{'s' * (rounds != 1)}, {result.seconds:.0f} s)"
    print_table(console, Table(title, ("", "median", "spread", "min", "max"), lines))
    for name, why in result.missing.items():
        say(console, f"  left out: {name}: {why}", style="yellow")
    reasons = result.disturbances()
    for verdict in result.verdicts():
        text = f"  {describe(row, verdict)}{'  (disturbed)' if reasons else ''}"
        say(console, text, style=_STYLES[verdict.passed])
    if reasons:
        say(console, f"  disturbed: {'; '.join(reasons)}", style="yellow")


def describe(row: Row, verdict: Verdict) -> str:
    """Return a bar and the value that was reached, in one line."""
    bar, mark = verdict.bar, _MARKS[verdict.passed]
    sign = "≥" if bar.at_least else "≤"
    if bar.against is None:
        unit = row.unit_of(bar.figure)
        reached = "not measured" if verdict.value is None else shown(verdict.value, unit)
        return f"{mark}  {bar.figure}: {reached}, bar {sign} {shown(bar.limit, unit)}"
    against = f"{verdict.against} (the best peer)" if bar.against == BEST_PEER else bar.against
    if verdict.value is None:
        return f"{mark}  {bar.figure} to {against}: not measured, bar {sign} {bar.limit:g} ×"
    kind = "as fast as" if bar.at_least else "the time of" if row.unit == "s" else "of"
    return (
        f"{mark}  {bar.figure}: {verdict.value:.3g} × {kind} {against}, bar {sign} {bar.limit:g}"
        f"  (single rounds {verdict.low:.3g} to {verdict.high:.3g}; minimum to minimum {verdict.calm or 0:.3g})"
    )


def print_summary(console: Console, results: Sequence[RowResult]) -> None:
    """Print all bars in one table."""
    rows = []
    for result in results:
        disturbed = " disturbed" if result.disturbances() else ""
        for verdict in result.verdicts():
            bar = verdict.bar
            unit = result.row.unit_of(bar.figure) if bar.against is None else "×"
            rows.append(
                [
                    result.row.name,
                    bar.figure,
                    verdict.against or "",
                    NONE if verdict.value is None else shown(verdict.value, unit),
                    f"{'≥' if bar.at_least else '≤'} {shown(bar.limit, unit)}",
                    _MARKS[verdict.passed] + disturbed,
                    f"{result.others:.1f}",
                ]
            )
    about = (
        f"disturbed: other processes kept more than {MANY_OTHERS:g} cores busy, or the interquartile range of a figure "
        f"of the bar exceeds {WIDE_SPREAD:.0%} of its median."
    )
    columns = ("row", "figure", "against", "reached", "bar", "result", "others' cores")
    print_table(console, Table("All bars", columns, rows, about, wordy=True))
