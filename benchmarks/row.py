"""What is measured: rows, their contenders, and the bars between them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from unified_exec.cli.measuring.machine import missing

OURS = "unified_exec"
BEST_PEER = "best peer"


@dataclass(frozen=True)
class Settings:
    """How a run measures.

    Attributes:
        loop: ``"asyncio"``, ``"uvloop"`` or ``"trio"``: the event loop for everything that runs on any of them.
        quick: fewer calls per round; the figures are rougher.
    """

    loop: str = "asyncio"
    quick: bool = False

    def calls(self, many: int, least: int = 1) -> int:
        """Return the number of calls of a turn: `many`, or a fifth of them (at least `least`) in a quick run."""
        return max(least, many // 5) if self.quick else many


Measure = Callable[[Settings], "float | Mapping[str, float]"]


@dataclass(frozen=True)
class Contender:
    """One way of doing a row's work.

    Attributes:
        name: the library's name in the report and in the JSON file.
        measure: does the work once, from opening the workers to closing them, and returns one figure or several.
        needs: modules that must be importable.
        peer: counts for `BEST_PEER`.
        loops: the event loops that it can run on.
        python: the first version of CPython that has it.
    """

    name: str
    measure: Measure
    needs: tuple[str, ...] = ()
    peer: bool = True
    loops: tuple[str, ...] = ("asyncio", "uvloop", "trio")
    python: tuple[int, int] = (3, 11)

    def absent(self, loop: str) -> str | None:
        """Return the reason why it cannot take part, or ``None``."""
        if sys.version_info < self.python:
            return "needs CPython {}.{} or later".format(*self.python)
        lacking = missing(self.needs)
        if lacking:
            return f"not installed: {', '.join(lacking)}"
        return None if loop in self.loops else f"does not run on {loop}"


@dataclass(frozen=True)
class Bar:
    """A promise about a row.

    Attributes:
        limit: the figure must not exceed it (must reach it, if `at_least`).
        against: the figure to divide by, `BEST_PEER`, or ``None`` for a bar on the figure itself.
        figure: the figure that must meet the bar.
        at_least: the inverse of the ratio (how many times as fast) must reach the limit.
    """

    limit: float
    against: str | None = None
    figure: str = OURS
    at_least: bool = False


@dataclass(frozen=True)
class Row:
    """One kind of work, done by several contenders in turn.

    Attributes:
        name: its name for ``--only``.
        unit: of the figures: ``"s"``, ``"bytes"`` or ``""`` for plain numbers.
        about: how it is measured, in a sentence or two.
        units: units of single figures that differ.
        rounds_most: limit of the rounds, for a row that takes long.
    """

    name: str
    title: str
    unit: str
    about: str
    contenders: tuple[Contender, ...]
    bars: tuple[Bar, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    rounds_most: int = 1000

    def unit_of(self, figure: str) -> str:
        return self.units.get(figure, self.unit)
