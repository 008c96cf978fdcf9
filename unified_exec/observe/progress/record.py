"""How far a task, a map or a stage is, and what can show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Progress(NamedTuple):
    """How far a task, a map or a stage is. A function given as ``progress=`` is called with it.

    Attributes:
        name: name of the task, the map or the stage.
        done: units done so far.
        total: units in all, ``None`` if unknown.
        text: what is being done, as the task reports it.
        seconds: seconds since the start.
        rate: units per second over the last half minute, ``None`` if it is too early to tell.
        left: estimated seconds for the rest at that rate, ``None`` if unknown.
        ended: this is the last report.
    """

    name: str
    done: float
    total: float | None
    text: str | None
    seconds: float
    rate: float | None
    left: float | None
    ended: bool

    def __repr__(self) -> str:
        of = "" if self.total is None else f" of {self.total:g}"
        return f"<Progress {self.name!r}: {self.done:g}{of}{', ended' if self.ended else ''}>"


Show = bool | Callable[[Progress], object] | None
"""What ``progress=`` accepts: ``True`` for a bar, or a function of one `Progress`."""


class Picture(Protocol):
    """Draws one `Progress` again and again."""

    def draw(self, progress: Progress) -> object: ...

    def close(self, progress: Progress) -> object: ...
