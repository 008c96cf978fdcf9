"""The signal that means "read your mailbox", and the raise between two bytecodes.

The signal's default action is to be ignored, so one that comes too early or too late does no harm.
"""

from __future__ import annotations

import _signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType

from .._platform.posix import CANCEL_SIGNAL
from .._platform.shared_memory import close_all
from .._tasks.current import CurrentTask, consists_of
from .._wire import frames
from .._wire.frames import ProtocolError
from .._wire.worker_protocol import WorkerConnectionState
from ..errors import Cancelled
from .connection import WorkerConnection

try:
    from _opcode_metadata import opmap  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # before CPython 3.13
    from opcode import opmap

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

NOT_REQUESTED: Any = object()
_LOOK_AGAIN = 100
"""Milliseconds between two looks for what another thread may have read."""
_BACK_JUMPS = frozenset(code for name, code in opmap.items() if "JUMP_BACKWARD" in name)

Handler = Callable[[bytes, list[int]], object]


class CancelSignal:
    """Reads the mailbox and delivers cancellations to the task that runs in the main thread.

    Attributes:
        handlers: what is called with a message of the mailbox and the descriptors it brought, by the message's kind. A
            handler runs in the main thread between any two bytecodes.
        state: the cancellations that have not been delivered.
        running: id of the task that may be interrupted now; 0 between tasks.
        task: the running task as its own code sees it.
        trace: the trace function that raises at the next opcode, if one is set.
        stop: the parent wants the worker to exit.
        by_signal: `on_signal` is called by the signal, and not in some other way.
    """

    by_signal = True

    def __init__(self, connection: WorkerConnection) -> None:
        self._connection = connection
        self._buffer = bytearray(frames.MESSAGE_MAX)
        self._busy = False
        self._again = False
        self.handler = self.on_signal  # one object, to be recognized
        self.handlers: dict[int, Handler] = {frames.STOP: self._on_stop, frames.CANCEL: self._on_cancel}
        self.state = WorkerConnectionState()
        self.running = 0
        self.task: CurrentTask | None = None
        self.trace: Any = None
        self.stop = False

    def install(self) -> None:
        """Install the signal handler (again: a task may have installed one of its own)."""
        if CANCEL_SIGNAL is not None and _signal.getsignal(CANCEL_SIGNAL) is not self.handler:
            _signal.signal(CANCEL_SIGNAL, self.handler)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler: reads the mailbox, and delivers to the task that runs in `frame`.

        Signals nest. One that interrupts this only has it look again: a handler in a handler for each of many signals
        would use up the stack, and two readers would share the buffer.
        """
        if self._busy:
            self._again = True
            return
        while True:
            self._busy, self._again = True, False
            try:
                self._read_mailbox(self._buffer)
                self.deliver(frame)
            except BaseException:  # the raise in the task, or what a signal handler of the task's own raised in here
                self._busy = False
                if self._again:
                    self.on_signal(signum, frame)
                raise
            self._busy = False
            if not self._again:
                return

    def poll(self) -> None:
        """Read what the parent has sent, outside of the signal handler."""
        self.on_signal(0, None)

    def read(self) -> None:
        """Read what the parent has sent, and deliver no cancellation: the parent will repeat its signal.

        May be called by what the signal handler calls, which waits for an answer of the parent.
        """
        self._read_mailbox(bytearray(frames.MESSAGE_MAX))

    def read_until(self, done: Callable[[], bool], frame: FrameType) -> None:
        """Wait at the mailbox until `done()`, and deliver what comes to the task that runs in `frame`.

        The signal handler leaves the mailbox alone meanwhile: what it read would not wake this.
        """
        import select

        mailbox = select.poll()
        mailbox.register(self._connection.control, select.POLLIN)
        while not done():
            self._busy = True
            try:
                if not done():
                    mailbox.poll(_LOOK_AGAIN)  # another thread may have read what this waits for
            finally:
                self._busy = False
            self.on_signal(0, frame)

    def _read_mailbox(self, buffer: bytearray) -> None:
        for message, fds in self._connection.control_messages(buffer):
            handler = self.handlers.get(message[0])
            if handler is not None:
                try:
                    handler(message, fds)
                except ProtocolError:
                    pass
            else:
                close_all(fds)

    def _on_stop(self, message: bytes, fds: list[int]) -> None:
        self.stop = True

    def _on_cancel(self, message: bytes, fds: list[int]) -> None:
        id, reason = frames.unpack_id(memoryview(message))
        self.state.cancelled(id, reason)

    def deliver(self, frame: FrameType | None) -> None:
        """Stop the task that runs in `frame` if it was requested to stop, in the way of this kind of worker.

        Raises:
            Cancelled: in the task, right now.
        """
        raise NotImplementedError

    def coroutines(self) -> dict[int, Any]:
        """The coroutines of the running tasks by task id, if the tasks are coroutines."""
        return {}

    def raise_in(self, frame: FrameType | None, reason: str | None) -> None:
        """Raise `Cancelled` in the code that `frame` runs.

        Raises:
            Cancelled: now, or a moment later where a raise now could escape a `try` of the task.
        """
        if frame is not None and sys.gettrace() is None and at_back_jump(frame):
            self.raise_at_next_opcode(frame, Cancelled(reason))
            return
        raise Cancelled(reason)

    def raise_after_import(self, frame: FrameType, reason: str | None, delivered: Callable[[], object]) -> None:
        """Raise `Cancelled` in `frame` as soon as the import that it has begun returns or fails.

        If a tracer (a debugger, a coverage tool) is set, nothing happens: the parent repeats the signal, and the one
        that finds no import on the stack raises.

        Args:
            frame: what called the outermost import.
            reason: why the task is cancelled.
            delivered: called right before the raise. Until then the request stays: a module that sets a tracer of its
                own removes this one, and the next signal tries again.
        """
        if sys.gettrace() is not None:
            return

        def trace(traced: FrameType, event: str, arg: object) -> Any:
            if traced is not frame:
                return None  # inside the import
            frame.f_trace = None
            frame.f_trace_opcodes = False
            sys.settrace(None)
            delivered()
            raise Cancelled(reason)

        self.trace = trace
        frame.f_trace = trace
        frame.f_trace_opcodes = True
        sys.settrace(trace)

    def raise_at_next_opcode(self, frame: FrameType, error: Cancelled) -> None:
        """Raise `error` in `frame` at the next opcode, or in the next function that it calls but for this handler."""

        def trace(traced: FrameType, event: str, arg: object) -> Any:
            if event == "call" and (traced.f_back is not frame or traced.f_code is CancelSignal.on_signal.__code__):
                return None
            if event == "opcode" or event == "call":
                frame.f_trace = None
                frame.f_trace_opcodes = False
                sys.settrace(None)
                raise error
            return trace

        self.trace = trace
        frame.f_trace = trace
        frame.f_trace_opcodes = True
        sys.settrace(trace)

    def was_cancelled(self, task: CurrentTask, error: BaseException | None, *own: type[BaseException]) -> bool:
        """Tell whether a task ended as it did because it was requested to stop.

        Args:
            task: the task.
            error: what it raised.
            own: the cancellations of the event loop that ran it.
        """
        if not task.cancel_requested:
            return False
        return consists_of(error, (Cancelled, *own))

    def watch_swallowed(self) -> None:
        """Have `on_swallowed` called with everything that a ``__del__`` swallows."""
        previous = sys.unraisablehook

        def hook(unraisable: Any) -> None:
            # A signal that comes while an event loop of the task closes finds the other end of that loop's pipe closed.
            of_a_closing_loop = "signal wakeup fd" in (unraisable.err_msg or "")
            if not of_a_closing_loop and not self.on_swallowed(unraisable):
                previous(unraisable)

        sys.unraisablehook = hook

    def on_swallowed(self, unraisable: Any) -> bool:
        """Stop the task all the same if a finalizer swallowed its `Cancelled`; ``False`` if none did."""
        raise NotImplementedError


def importer(frame: FrameType | None, end: CodeType) -> FrameType | None:
    """Return the frame, on the stack from `frame` out to `end`, that called the outermost import; ``None`` if no import
    is going on. A raise inside an import would leave a module half initialised."""
    found: FrameType | None = None
    while frame is not None and frame.f_code is not end:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            found = frame.f_back
        frame = frame.f_back
    return found


def takes_module_lock(frame: FrameType | None) -> bool:
    """Tell whether an import by a signal handler that has interrupted `frame` would break the one that goes on there:
    before 3.12 the interpreter notes of each thread only one lock of a module that it waits for, and forgets it."""
    while frame is not None and sys.version_info < (3, 12):
        code = frame.f_code
        if code.co_qualname == "_ModuleLock.acquire" and code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def at_back_jump(frame: FrameType) -> bool:
    """Tell whether a raise here could escape the `try` around a loop (cpython#130279)."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return 0 <= at < len(code) and code[at] in _BACK_JUMPS
