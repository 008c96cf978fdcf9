"""A figure: what was measured in each round, its median and how far its rounds lie apart."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

MANY_OTHERS = 0.25
"""Cores other processes may keep busy, on average, before a figure is called disturbed."""
WIDE_SPREAD = 0.30
"""Distance between the quartiles, as a share of the median, above which a figure is called noisy."""

_STEPS = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")), "bytes": ((1 << 20, "MiB"), (1 << 10, "KiB"))}


@dataclass
class Samples:
    """One value for each round."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Distance between the quartiles, as a share of the median."""
        if len(self.samples) < 2 or not self.median:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / abs(self.median)


def shown(value: float, unit: str) -> str:
    """A figure with three digits and a fitting unit (``"s"`` and ``"bytes"`` are scaled)."""
    for size, name in _STEPS.get(unit, ()):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} {'B' if unit == 'bytes' else unit}".strip()


def times(ratio: float) -> str:
    """How many times as much, in three digits."""
    return f"{ratio:,.0f} ×" if ratio >= 100 else f"{ratio:.3g} ×"
