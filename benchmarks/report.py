"""The table: every figure, its ratio to ours, the bar beside it, and a word where it is not to be relied on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from unified_exec.cli.bench.figures import MANY_OTHERS, WIDE_SPREAD, shown

from .model import BEST_PEER, Result, Row, Verdict
from .runner import noise


class Progress:
    """One line that is written over, on a terminal only."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def turn(self, row: Row, round: int, rounds: int, contender: str) -> None:
        if self.console.is_terminal:
            line = f"{row.name}: round {round} of {rounds}: {contender}"
            self.console.print(f"{line:<78}", end="\r", style="dim", highlight=False)


def print_machine(console: Console, machine: dict[str, Any]) -> None:
    load = machine["load_average_at_start"]
    console.print(
        f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"
        f" ({machine['affinity']} by affinity, {machine['usable_cores']} usable)\n"
        f"{machine['python']}, GIL {'on' if machine['gil'] else 'off'}, revision {machine['revision']}\n"
        + ", ".join(f"{name} {version or 'not installed'}" for name, version in machine["versions"].items())
        + (f"\nload average at start {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}" if load else ""),
        highlight=False,
    )


def print_result(console: Console, result: Result) -> None:
    """One row: its contenders and its bars."""
    row = result.row
    rounds = max((len(figure.samples) for figure in result.figures.values()), default=0)
    console.print(
        f"[bold]{row.title}[/]  [dim]({row.name}, {rounds} round{'s' * (rounds != 1)}, {result.seconds:.0f} s)[/]",
        highlight=False,
    )
    table = Table()
    table.add_column("", min_width=34)
    for heading in ("median", "spread", "least", "most"):
        table.add_column(heading, justify="right")
    for figure in result.figures.values():
        unit = row.unit_of(figure.name)
        wide = " [yellow]wide[/]" if figure.spread > WIDE_SPREAD else ""
        table.add_row(
            figure.name,
            shown(figure.median, unit),
            f"{figure.spread:.0%}{wide}",
            shown(min(figure.samples), unit),
            shown(max(figure.samples), unit),
        )
    for name, why in result.missing.items():
        table.add_row(name, "[yellow]—[/]", why)
    console.print(table)
    reasons = noise(result)
    for verdict in result.verdicts():
        console.print("  " + describe(row, verdict) + ("  [yellow](disturbed)[/]" if reasons else ""), highlight=False)
    if reasons:
        console.print(f"  [yellow]disturbed:[/] {'; '.join(reasons)}", highlight=False)
    console.print()


def describe(row: Row, verdict: Verdict) -> str:
    """A bar and what was reached, in a line."""
    bar, passed = verdict.bar, verdict.passed
    mark = {True: "[green]pass[/]", False: "[red]miss[/]", None: "[yellow]unknown[/]"}[passed]
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
        f"  [dim](single rounds {verdict.low:.3g} to {verdict.high:.3g}; best to best {verdict.calm or 0:.3g})[/dim]"
    )


def print_summary(console: Console, results: Sequence[Result]) -> None:
    """All bars in one table."""
    table = Table(title="All bars")
    table.title_justify = "left"
    for heading in ("row", "figure", "against", "reached", "bar", "", "others' cores"):
        table.add_column(heading, justify="right" if heading in ("reached", "bar") else "left")
    for result in results:
        others = sum(result.others) / len(result.others) if result.others else 0.0
        reasons = noise(result)
        for verdict in result.verdicts():
            bar, row = verdict.bar, result.row
            unit = row.unit_of(bar.figure) if bar.against is None else "×"
            value = "—" if verdict.value is None else shown(verdict.value, unit)
            mark = {True: "[green]pass[/]", False: "[red]miss[/]", None: "[yellow]unknown[/]"}[verdict.passed]
            table.add_row(
                row.name,
                bar.figure,
                verdict.against or "",
                value,
                f"{'≥' if bar.at_least else '≤'} {shown(bar.limit, unit)}",
                mark + (" [yellow]disturbed[/]" if reasons else ""),
                f"{others:.1f}",
            )
    console.print(table)
    console.print(
        f"disturbed: other processes kept more than {MANY_OTHERS:g} cores busy, or the quartiles of a figure of the "
        f"bar lie more than {WIDE_SPREAD:.0%} of its median apart.",
        style="dim",
        highlight=False,
    )
