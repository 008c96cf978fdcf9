"""How fast work goes and how long the rest will take. Pure arithmetic on instants that are passed in."""

from __future__ import annotations

from collections import deque

WINDOW = 30.0
"""Seconds that the rate looks back: what was long ago says little about what comes."""
MARKS = 60
"""Points kept of that window."""
SOONEST = 0.3
"""Seconds before there is a rate at all: the first items prove little."""


class RateEstimator:
    """Units done over the last seconds.

    Args:
        now: the instant of the start, in seconds.
        done: units that were done before it.
    """

    __slots__ = ("_done", "_marks")

    def __init__(self, now: float, done: float = 0.0) -> None:
        self._marks: deque[tuple[float, float]] = deque([(now, done)])
        self._done = done

    def note(self, now: float, done: float) -> None:
        """Learn how much is done at `now`."""
        self._done = done
        marks = self._marks
        if now - marks[-1][0] >= WINDOW / MARKS:
            marks.append((now, done))
        while len(marks) > 2 and now - marks[1][0] >= WINDOW:
            marks.popleft()

    def rate(self, now: float) -> float | None:
        """Units a second, ``None`` if it is too early to say. It sinks while nothing is done."""
        since, before = self._marks[0]
        if now - since < SOONEST or self._done <= before:
            return None
        return (self._done - before) / (now - since)

    def left(self, now: float, total: float | None) -> float | None:
        """Seconds that the rest will take at this rate, ``None`` if that cannot be said."""
        rate = self.rate(now)
        if rate is None or total is None:
            return None
        return max(0.0, total - self._done) / rate


def short(number: float) -> str:
    """A number in few characters: ``0.25``, ``12``, ``3.4k``, ``1.2M``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{number:.0f}" if abs(number) >= 10 or number == int(number) else f"{number:.2g}"


def span(seconds: float | None) -> str:
    """A time in words: ``0:42``, ``1:02:03``, ``-:--`` for an unknown one."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
