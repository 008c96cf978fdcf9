"""How many items travel in one chunk. Pure arithmetic on measured durations."""

from __future__ import annotations

TARGET = 0.008
"""Seconds of work in one chunk: long enough to make the parent's part small (some 0.2 ms where workers keep every core
busy), short enough that the first result comes soon."""
LEAST = 0.001
"""Seconds of work below which a chunk is not made smaller to let the workers finish together."""
LONGEST = 0.03
"""Seconds after which a chunk returns the items it has not begun: they are slower than the measured ones, and other
workers may be idle."""
ITEMS_MAX = 2000
GROW = 64
"""A chunk is at most this many times larger than the last one: one quick item proves little."""
FORGET = 0.3
"""Weight of a new measurement in the running estimate."""


class Chunking:
    """Sizes the chunks of one map.

    Args:
        fixed: the size of all chunks; ``None`` to size them by measured durations.
        most: maximum number of items in a chunk.
    """

    __slots__ = ("_fixed", "_most", "_seconds", "size")

    def __init__(self, fixed: int | None, most: int) -> None:
        self._fixed = fixed
        self._most = max(1, min(most, ITEMS_MAX))
        self._seconds: float | None = None  # for each item
        self.size = min(fixed, self._most) if fixed is not None else 1

    def next_size(self, left: int | None, workers: int) -> int:
        """Return the number of items in the next chunk: fewer towards the end, so that the workers finish together
        (guided self-scheduling: Polychronopoulos and Kuck, IEEE Trans. Computers C-36, 1987).

        Args:
            left: items that are still to be read, ``None`` if unknown.
            workers: how many chunks run at once.
        """
        if left is None or self._seconds is None:
            return self.size
        fair = -(-left // (2 * workers))
        return min(self.size, max(1, fair, int(LEAST / max(self._seconds, 1e-9))))

    def measured(self, items: int, seconds: float) -> None:
        """Update the estimate: a chunk of `items` took `seconds`."""
        if self._fixed is not None:
            return
        each = seconds / items
        if self._seconds is None or each > 2 * self._seconds:
            self._seconds = each
        else:
            self._seconds += FORGET * (each - self._seconds)
        wanted = int(TARGET / max(self._seconds, 1e-9))
        self.size = max(1, min(wanted, self._most, GROW * max(self.size, items)))
