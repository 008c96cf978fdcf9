"""Ending politely when somebody else says so: Ctrl-C, a signal, a reader that has gone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Ending:
    """What ended the program: `exit_code` is what a shell reports for that signal."""

    def __init__(self) -> None:
        self.signal = signal.SIGINT

    @property
    def exit_code(self) -> int:
        return 128 + self.signal


@contextmanager
def ending_like_ctrl_c() -> Iterator[Ending]:
    """Let SIGTERM, and SIGHUP where there is one, do what Ctrl-C does: cancel, clean up, end."""
    ending = Ending()

    def interrupt(number: int, frame: FrameType | None) -> None:
        ending.signal = signal.Signals(number)
        signal.raise_signal(signal.SIGINT)  # the event loop knows how to take that one

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tells_of(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether `error` is of this kind or a group that holds one; on trio even Ctrl-C may arrive in a group."""
    if isinstance(error, BaseExceptionGroup):
        return any(tells_of(inner, kind) for inner in error.exceptions)
    return isinstance(error, kind)
