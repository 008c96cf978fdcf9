"""How fast work proceeds and how long the rest will take. Pure arithmetic on instants that are passed in."""

from __future__ import annotations

from collections import deque

WINDOW = 30.0
"""Seconds over which the rate is taken: older data says little about what comes next."""
POINTS = 60
"""Points kept in that window."""
EARLIEST = 0.3
"""Seconds before a rate is given at all: the first items prove little."""


class RateEstimator:
    """The rate over the last `WINDOW` seconds.

    Args:
        now: the instant of the start, in seconds.
        done: units that were done before the start.
    """

    __slots__ = ("_done", "_points")

    def __init__(self, now: float, done: float = 0.0) -> None:
        self._points: deque[tuple[float, float]] = deque([(now, done)])
        self._done = done

    def note(self, now: float, done: float) -> None:
        """Record that `done` units are done at `now`."""
        self._done = done
        points = self._points
        if now - points[-1][0] >= WINDOW / POINTS:
            points.append((now, done))
        while len(points) > 2 and now - points[1][0] >= WINDOW:
            points.popleft()

    def rate(self, now: float) -> float | None:
        """Units per second, ``None`` if it is too early to tell. It falls while nothing is done."""
        since, before = self._points[0]
        if now - since < EARLIEST or self._done <= before:
            return None
        return (self._done - before) / (now - since)

    def left(self, now: float, total: float | None) -> float | None:
        """Estimated seconds for the rest at this rate, ``None`` if unknown."""
        rate = self.rate(now)
        if rate is None or total is None:
            return None
        return max(0.0, total - self._done) / rate


def format_number(number: float) -> str:
    """Format a number in few characters: ``0.25``, ``12``, ``3.4k``, ``1.2M``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{number:.0f}" if abs(number) >= 10 or number == int(number) else f"{number:.2g}"


def format_seconds(seconds: float | None) -> str:
    """Format a duration: ``0:42``, ``1:02:03``, ``-:--`` if unknown."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
