"""What was read in each turn, and what may be said of it: a figure, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .figures import MANY_OTHERS, WIDE_SPREAD, Samples

CLOCK_TICKS = 0.03
"""Seconds by which the kernel's account of busy cores may be wrong (it counts in hundredths)."""


@dataclass
class Turn:
    """One turn of one model.

    Attributes:
        values: what was measured, by measure.
        others: cores other processes kept busy meanwhile.
        seconds: how long it took.
    """

    values: dict[str, Any]
    others: float
    seconds: float

    @property
    def calm(self) -> bool:
        return (self.others - MANY_OTHERS) * self.seconds <= CLOCK_TICKS


@dataclass
class Cell:
    """All turns of one model at one thing.

    Attributes:
        error: why it was given up; what it had read is then dropped.
    """

    workload: str | None
    model: str
    workers: int
    turns: list[Turn] = field(default_factory=list)
    error: str | None = None

    def calm_turns(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.calm]

    def figure(self, measure: str, least: int) -> dict[str, Any] | None:
        """The figure of a measure as the JSON file has it; ``None`` if it was never read.

        Args:
            least: rounds that were not disturbed by others, below which there is no figure.
        """
        pairs = [(turn, float(turn.values[measure])) for turn in self.turns if turn.values.get(measure) is not None]
        if not pairs:
            return None
        calm = [value for turn, value in pairs if turn.calm]
        others = sum(turn.others for turn, _ in pairs) / len(pairs)
        return figure(calm, [value for _, value in pairs], others, least)

    def newest(self, measure: str) -> Any:
        return self.turns[-1].values.get(measure) if self.turns else None


def figure(calm: Sequence[float], samples: Sequence[float], others: float, least: int) -> dict[str, Any]:
    """Median and spread of the calm rounds, or why there is no figure."""
    kept = Samples(list(calm))
    noise = None
    if len(calm) < least:
        busy = len(samples) - len(calm)
        noise = f"{len(calm)} of the {least} rounds needed were calm"
        noise += f" (others kept {others:.1f} cores busy)" if busy else ""
    elif kept.spread > WIDE_SPREAD:
        noise = f"the quartiles lie {kept.spread:.0%} of the median apart"
    return {
        "median": None if noise else kept.median,
        "spread": kept.spread if calm else None,
        "low": min(calm, default=None),
        "high": max(calm, default=None),
        "samples": list(samples),
        "others": others,
        "noise": noise,
    }


def ratio(above: dict[str, Any] | None, below: dict[str, Any] | None) -> float | None:
    """Of two figures; ``None`` where one has none."""
    if above is None or below is None or above["median"] is None or not below["median"]:
        return None
    return float(above["median"] / below["median"])


def middle(rows: Sequence[Sequence[float]]) -> list[float]:
    """The median of each column."""
    return [Samples(list(column)).median for column in zip(*rows, strict=True)] if rows else []


def beyond_noise(old: dict[str, Any], new: dict[str, Any], least: float = 0.05) -> bool:
    """Whether two figures differ by more than their spreads, and than `least`, as a share of the old one.

    The spreads of independent figures add up as the root of their squares.
    """
    if not old["median"] or new["median"] is None:
        return False
    noise = max(least, math.hypot(old["spread"], new["spread"]))
    return abs(float(new["median"]) / float(old["median"]) - 1) > noise
