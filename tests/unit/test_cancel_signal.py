"""The cancel signal's handler, when signals come faster than it can answer them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from unified_exec import Cancelled
from unified_exec._worker.cancel_signal import CancelSignal

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")


class Connection:
    """Counts how often its mailbox is looked into."""

    reads = 0

    def control_messages(self, buffer: bytearray) -> Iterator[Any]:
        self.reads += 1
        return iter(())


class Interrupted(CancelSignal):
    """Each delivery is interrupted by one more signal, `signals` times; then `error` is raised."""

    def __init__(self, signals: int, error: BaseException | None = None) -> None:
        self.mailbox = Connection()
        super().__init__(self.mailbox)  # type: ignore[arg-type]
        self.signals = signals
        self.error = error

    def deliver(self, frame: FrameType | None) -> None:
        if self.signals:
            self.signals -= 1
            signal.raise_signal(signal.SIGUSR1)
            error, self.error = self.error, None
            if error is not None:
                raise error


@pytest.fixture
def install() -> Iterator[Any]:
    previous = signal.getsignal(signal.SIGUSR1)

    def install(handler: CancelSignal) -> CancelSignal:
        signal.signal(signal.SIGUSR1, handler.on_signal)
        return handler

    yield install
    signal.signal(signal.SIGUSR1, previous)


def test_signals_that_interrupt_the_handler_do_not_use_up_the_stack(install: Any) -> None:
    handler = install(Interrupted(5000))
    signal.raise_signal(signal.SIGUSR1)
    assert handler.signals == 0
    assert handler.mailbox.reads == 5001  # each may have announced a message


def test_a_signal_that_comes_before_the_raise_is_answered_too(install: Any) -> None:
    handler = install(Interrupted(1, Cancelled("now")))
    with pytest.raises(Cancelled, match="now"):
        signal.raise_signal(signal.SIGUSR1)
    assert handler.mailbox.reads == 2
    signal.raise_signal(signal.SIGUSR1)
    assert handler.mailbox.reads == 3
