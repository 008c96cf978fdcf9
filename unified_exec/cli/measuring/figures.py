"""Figures: the median of what was measured in several rounds, its spread, and whether it can be relied on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MANY_OTHERS = 0.25
"""Cores that other processes may keep busy, on average, before a turn counts as disturbed."""
WIDE_SPREAD = 0.30
"""Interquartile range, as a share of the median, above which a figure is called noisy."""

_STEPS = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")), "bytes": ((1 << 20, "MiB"), (1 << 10, "KiB"))}


@dataclass
class Samples:
    """One value per round."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        if len(self.samples) < 2 or not self.median:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / abs(self.median)


def figure(calm: Sequence[float], samples: Sequence[float], others: float, least: int) -> dict[str, Any]:
    """Return the median and the spread of the calm rounds, or the reason why there is no figure.

    Args:
        calm: values of the rounds that were not disturbed.
        samples: values of all rounds.
        others: cores that other processes kept busy, on average.
        least: number of calm rounds below which no figure is given.
    """
    kept = Samples(list(calm))
    noise = None
    if len(calm) < least:
        noise = f"{len(calm)} of the {least} rounds needed were calm"
        noise += f" (other processes kept {others:.1f} cores busy)" if len(calm) < len(samples) else ""
    elif kept.spread > WIDE_SPREAD:
        noise = f"the interquartile range is {kept.spread:.0%} of the median"
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
    """Divide two figures; ``None`` if either has no median."""
    if above is None or below is None or above["median"] is None or not below["median"]:
        return None
    return float(above["median"] / below["median"])


def beyond_noise(old: dict[str, Any], new: dict[str, Any], least: float = 0.05) -> bool:
    """Whether two figures differ by more than their combined spread and by more than `least`, a share of the old one.

    The spreads of independent figures combine as the root of the sum of their squares.
    """
    if not old["median"] or new["median"] is None:
        return False
    noise = max(least, math.hypot(old["spread"], new["spread"]))
    return abs(float(new["median"]) / float(old["median"]) - 1) > noise


def column_medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)] if rows else []


def shown(value: float, unit: str) -> str:
    """Format a figure with three digits and a fitting unit (``"s"`` and ``"bytes"`` are scaled)."""
    for size, name in _STEPS.get(unit, ()):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} {'B' if unit == 'bytes' else unit}".strip()


def times(ratio: float) -> str:
    """Format a ratio with three digits, such as ``1.99 ×``."""
    return f"{ratio:,.0f} ×" if ratio >= 100 else f"{ratio:.3g} ×"
