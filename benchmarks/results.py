"""What a run found for each row: figures, verdicts on the bars, and the JSON file.

The form of the file; while ``schema`` stays 1, only new keys are added::

    {"schema": 1,
     "machine": {"system", "processor", "cores", "affinity", "usable_cores", "python", "gil",
                 "load_average_at_start", "revision", "versions": {package: version or null}},
     "settings": {"loop", "quick", "rounds"},
     "thresholds": {"others": cores, "spread": share of the median},
     "rows": [{"name", "title", "about", "seconds",
               "figures": [{"name", "unit": "s" | "bytes" | "", "peer": counts as a peer,
                            "median", "spread": interquartile range / median, "samples": [one per round]}],
               "bars": [{"figure", "against": name or null (a bar on the figure itself), "at_least",
                         "limit", "value": ratio or figure or null, "low", "high": of single rounds,
                         "calm": ratio of the minima or null,
                         "passed": true | false | null (not measured)}],
               "missing": {contender: reason},
               "others": cores that other processes kept busy, on average,
               "disturbed": [reasons why the figures are unreliable]}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unified_exec.cli.measuring.figures import MANY_OTHERS, WIDE_SPREAD, Samples
from unified_exec.cli.measuring.rounds import Series

from .row import BEST_PEER, Bar, Contender, Row, Settings


@dataclass
class Figure(Samples):
    """One figure of a contender, with a sample per round."""

    name: str = ""
    peer: bool = True


@dataclass
class Verdict:
    """A bar and the value that was reached.

    Attributes:
        against: the figure it was divided by; for `BEST_PEER` that peer's name.
        value: the ratio of the medians (or the median), ``None`` if it could not be measured.
        low, high: minimum and maximum of the single rounds.
        calm: the ratio of the minima: an estimate of an undisturbed run. No bar applies to it.
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
class RowResult:
    """What a run found for one row.

    Attributes:
        missing: contenders that did not take part, and why.
        busy: cores that other processes kept busy, for each turn.
    """

    row: Row
    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def others(self) -> float:
        """Cores that other processes kept busy, on average."""
        return sum(self.busy) / len(self.busy) if self.busy else 0.0

    def add(self, contender: Contender, series: Series) -> None:
        """Add all turns of a contender; one that failed is only named."""
        if series.error:
            self.missing[contender.name] = f"failed: {series.error}"
        for turn in series.turns:
            self.busy.append(turn.others)
            for key, value in turn.values.items():
                name = f"{contender.name}: {key}" if key else contender.name
                self.figures.setdefault(name, Figure(name=name, peer=contender.peer)).samples.append(value)

    def verdicts(self) -> list[Verdict]:
        return [self._verdict(bar) for bar in self.row.bars]

    def disturbances(self) -> list[str]:
        """Return the reasons why the figures are unreliable; empty if they are not."""
        reasons = []
        if self.others > MANY_OTHERS:
            reasons.append(f"other processes kept {self.others:.1f} cores busy")
        barred = {bar.figure for bar in self.row.bars} | {bar.against for bar in self.row.bars}
        wide = [f for f in self.figures.values() if f.name in barred and f.spread > WIDE_SPREAD]
        if wide:
            widest = max(wide, key=lambda figure: figure.spread)
            reasons.append(f"spread of {widest.name} {widest.spread:.0%}")
        return reasons

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


def as_json(machine: dict[str, Any], settings: Settings, rounds: int, results: Sequence[RowResult]) -> dict[str, Any]:
    """Return all of a run, ready for `json.dump`."""
    return {
        "schema": 1,
        "machine": machine,
        "settings": {"loop": settings.loop, "quick": settings.quick, "rounds": rounds},
        "thresholds": {"others": MANY_OTHERS, "spread": WIDE_SPREAD},
        "rows": [_row(result) for result in results],
    }


def _row(result: RowResult) -> dict[str, Any]:
    row = result.row
    return {
        "name": row.name,
        "title": row.title,
        "about": row.about,
        "seconds": result.seconds,
        "figures": [
            {
                "name": figure.name,
                "unit": row.unit_of(figure.name),
                "peer": figure.peer,
                "median": figure.median,
                "spread": figure.spread,
                "samples": figure.samples,
            }
            for figure in result.figures.values()
        ],
        "bars": [_bar(verdict) for verdict in result.verdicts()],
        "missing": result.missing,
        "others": result.others,
        "disturbed": result.disturbances(),
    }


def _bar(verdict: Verdict) -> dict[str, Any]:
    bar = verdict.bar
    return {
        "figure": bar.figure,
        "against": verdict.against,
        "at_least": bar.at_least,
        "limit": bar.limit,
        "value": verdict.value,
        "low": verdict.low,
        "high": verdict.high,
        "calm": verdict.calm,
        "passed": verdict.passed,
    }
