"""One box for what became of a task: a value, an error, or a cancellation."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """What really happened to a task. Exactly one of the three holds.

    Attributes:
        error: the exception the task failed with, or ``None``.
        cancelled: ``True`` if the task was stopped, or never started, because of a cancellation.
    """

    __slots__ = ("_traceback", "_value", "cancelled", "error")

    def __init__(self, value: T | None = None, error: BaseException | None = None, cancelled: bool = False) -> None:
        self._value = value
        self.error = error
        self.cancelled = cancelled
        self._traceback = None if error is None else error.__traceback__

    @property
    def is_value(self) -> bool:
        return self.error is None and not self.cancelled

    def unwrap(self) -> T:
        """Return the value or raise the error, with the traceback it had when it arrived.

        Call it for values and errors only; what a cancellation raises is the caller's choice.
        """
        if self.error is None:
            return self._value  # type: ignore[return-value]
        try:
            raise self.error.with_traceback(self._traceback)
        finally:
            del self  # no cycle from the error over its traceback to this frame

    def __repr__(self) -> str:
        if self.cancelled:
            return "Outcome(cancelled)"
        return f"Outcome(error={self.error!r})" if self.error is not None else f"Outcome(value={self._value!r})"


CANCELLED: Outcome[object] = Outcome(cancelled=True)
