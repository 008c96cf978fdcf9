"""What is measured: rows, their contenders, the bars between them, and what a run found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from unified_exec.cli.bench.figures import Samples

OURS = "unified_exec"
BEST_PEER = "best peer"


@dataclass(frozen=True)
class Settings:
    """How a run measures.

    Attributes:
        loop: ``"asyncio"``, ``"uvloop"`` or ``"trio"``: the loop of everything that runs on any of them.
        quick: fewer calls a round; the figures are rougher.
    """

    loop: str = "asyncio"
    quick: bool = False

    def calls(self, many: int, least: int = 1) -> int:
        """The number of calls in one turn: `many`, or a fifth of them in a quick run."""
        return max(least, many // 5) if self.quick else many


Measure = Callable[[Settings], "float | Mapping[str, float]"]


@dataclass(frozen=True)
class Contender:
    """One way of doing a row's work.

    Attributes:
        name: the library's name, as in the report and in the JSON file.
        measure: does the work once (one turn), on its own from start to end, and returns one figure or several.
        needs: modules that must be importable, by import name.
        peer: counts for `BEST_PEER`.
        loops: the loops it can run on.
    """

    name: str
    measure: Measure
    needs: tuple[str, ...] = ()
    peer: bool = True
    loops: tuple[str, ...] = ("asyncio", "uvloop", "trio")


@dataclass(frozen=True)
class Bar:
    """A promise about a row.

    Attributes:
        limit: the figure may be at most so much (at least, if `at_least`).
        against: the figure to divide by, `BEST_PEER`, or ``None`` for a bar on the figure itself.
        figure: what is held against the bar.
        at_least: the ratio is turned over (how many times as fast) and must reach the limit.
    """

    limit: float
    against: str | None = None
    figure: str = OURS
    at_least: bool = False


@dataclass(frozen=True)
class Row:
    """One kind of work, done by several contenders in turn.

    Attributes:
        name: what ``--only`` takes.
        unit: of the figures: ``"s"``, ``"bytes"`` or ``""`` for plain numbers.
        about: how it is measured, in a sentence or two.
        units: units of single figures that differ.
        rounds_most: a row that takes long has fewer rounds.
        in_turn: a round takes the contenders' figures close together in time, so that their ratio stands a busy
            machine; where it is false the figures do not depend on time.
    """

    name: str
    title: str
    unit: str
    about: str
    contenders: tuple[Contender, ...]
    bars: tuple[Bar, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    rounds_most: int = 1000
    in_turn: bool = True

    def unit_of(self, figure: str) -> str:
        return self.units.get(figure, self.unit)


@dataclass
class Figure(Samples):
    """What one contender reached in each round."""

    name: str = ""
    peer: bool = True


@dataclass
class Verdict:
    """One bar and what was reached.

    Attributes:
        against: the figure it was divided by; the best peer by its name.
        value: the ratio of the medians (or the median), ``None`` if it could not be measured.
        low, high: least and greatest of the rounds, each by itself.
        calm: the ratio of each side's least figure: what a disturbed run says about an undisturbed one. No bar is held
            against it.
    """

    bar: Bar
    against: str | None
    value: float | None
    low: float = 0.0
    high: float = 0.0
    calm: float | None = None

    @property
    def passed(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.bar.limit if self.bar.at_least else self.value <= self.bar.limit


@dataclass
class Result:
    """What a run found for one row.

    Attributes:
        missing: contenders that did not take part, and why.
        others: cores that other processes kept busy, for each turn.
    """

    row: Row
    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def verdicts(self) -> list[Verdict]:
        return [self._verdict(bar) for bar in self.row.bars]

    def _verdict(self, bar: Bar) -> Verdict:
        ours = self.figures.get(bar.figure)
        if bar.against is None:
            if ours is None:
                return Verdict(bar, None, None)
            return Verdict(bar, None, ours.median, min(ours.samples), max(ours.samples))
        other = self._best_peer() if bar.against == BEST_PEER else self.figures.get(bar.against)
        if ours is None or other is None:
            return Verdict(bar, bar.against, None)
        above, below = (other, ours) if bar.at_least else (ours, other)
        rounds = [a / b for a, b in zip(above.samples, below.samples, strict=False) if b]
        value = above.median / below.median if below.median else None
        calm = min(above.samples) / min(below.samples) if min(below.samples) else None
        return Verdict(bar, other.name, value, min(rounds, default=0.0), max(rounds, default=0.0), calm)

    def _best_peer(self) -> Figure | None:
        return min((figure for figure in self.figures.values() if figure.peer), key=lambda f: f.median, default=None)
