"""Ending on request: Ctrl-C and the signals that are treated like it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """The signal that interrupted the program; `exit_code` is what a shell reports for it."""

    def __init__(self) -> None:
        self.signal = signal.SIGINT

    @property
    def exit_code(self) -> int:
        return 128 + self.signal


@contextmanager
def signals_as_ctrl_c() -> Iterator[Interruption]:
    """Let SIGTERM, and SIGHUP where it exists, do what Ctrl-C does: cancel, clean up, exit."""
    interruption = Interruption()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interruption.signal = signal.Signals(number)
        signal.raise_signal(signal.SIGINT)  # event loops handle only this one

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def contains(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether `error` is of this kind, or a group that contains one: on trio even Ctrl-C may arrive in a group."""
    if isinstance(error, BaseExceptionGroup):
        return any(contains(inner, kind) for inner in error.exceptions)
    return isinstance(error, kind)
