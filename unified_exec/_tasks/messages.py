"""What a running task sends to its handle. Each message is a class of its own; receivers choose by type.

Workers import this module and pickle one of its classes with each message: each pickles to a name and a tuple.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


class Report:
    """How far a task is; see `report`.

    Attributes:
        done: units of work done so far.
        total: units in all, ``None`` if unknown.
        text: what is being done, or ``None``.
    """

    __slots__ = ("done", "text", "total")

    def __init__(self, done: float, total: float | None = None, text: str | None = None) -> None:
        self.done = done
        self.total = total
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return Report, (self.done, self.total, self.text)


class Batch:
    """Items of a generator that runs in a worker.

    Attributes:
        number: 0 for the first batch of the generator, then one more for each; they may arrive out of order.
        items: the items, in order.
        error: why the item after them, which was sent, could not be rebuilt; ``None`` if all of them could.
    """

    __slots__ = ("error", "items", "number")

    def __init__(self, number: int, items: list[Any]) -> None:
        self.number = number
        self.items = items
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Batch, (self.number, self.items)


class Measurement:
    """What a measured call took.

    Attributes:
        figures: what `_auto.profile_call` measured.
    """

    __slots__ = ("figures",)

    def __init__(self, figures: tuple[Any, ...]) -> None:
        self.figures = figures

    def __reduce__(self) -> tuple[Any, ...]:
        return Measurement, (self.figures,)


class Waited:
    """A task has waited for a lock or a channel, or does so; see `_sync.waits`.

    Attributes:
        on: what kind of thing it is.
        name: which one.
        place: the number of the task in the queue, 0 if that is not known.
        held_by: who can end the wait, in words.
        began, ended: instants of `time.monotonic`; `ended` is ``None`` while it waits.
    """

    __slots__ = ("began", "ended", "held_by", "name", "on", "place")

    def __init__(self, on: str, name: str, place: int, held_by: str, began: float, ended: float | None) -> None:
        self.on = on
        self.name = name
        self.place = place
        self.held_by = held_by
        self.began = began
        self.ended = ended

    def __reduce__(self) -> tuple[Any, ...]:
        return Waited, (self.on, self.name, self.place, self.held_by, self.began, self.ended)
