"""A worker that is an interpreter of this process (CPython 3.14 on): the same worker, without a process of its own."""

from __future__ import annotations

import _socket
import atexit
import os
import sys
from _thread import _count, allocate_lock, get_ident, start_new_thread
from contextvars import Context
from time import monotonic, sleep
from types import FrameType

from .._stacks import safe_points
from .._wire import frames
from .._wire.pickling import module_names
from .._wire.related_errors import with_related
from ..errors import SerializationError
from . import send_result
from .connection import PARK, PARKED, WorkerConnection
from .context import WorkerTask
from .interpreter_signal import InterpreterSignal
from .main import apply, connect, read_settings, serve, tell_failure
from .process_state import ProcessState
from .run_calls import CallRunner
from .settings import Settings

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_SWITCH = 0.0002
"""Seconds after which the thread of the tasks lets the second one run. It is set for this interpreter alone."""
_LEAVE_SECONDS = 1.0
"""What the second thread may take to end; it takes microseconds."""
_PARK_SECONDS = 0.3
"""Seconds after which a thread that has run no line is in a call into C, which does no harm at the program's end."""
_REFUSED = "does not support loading in subinterpreters"
_NOTE = "This extension module does not load in an interpreter of its own: use on='process'."


class InterpreterRunner(CallRunner):
    """Runs the tasks of an interpreter."""

    signal_type = InterpreterSignal
    signal: InterpreterSignal

    def _answer(
        self,
        task: WorkerTask,
        context: Context,
        value: Any,
        error: BaseException | None,
        started: float,
        finished: float,
    ) -> bool:
        if error is not None:
            error = _told(error)
        try:
            return super()._answer(task, context, value, error, started, finished)
        finally:
            del error, value


def _told(error: BaseException) -> BaseException:
    """Return what a task fails with: the refusal of an extension module says what to use instead."""
    for exc in with_related(error):
        if isinstance(exc, ImportError) and _REFUSED in str(exc):
            told = exc if isinstance(error, SerializationError) else error  # the module of its function was imported
            told.add_note(_NOTE)
            return told
    return error


class Bell:
    """The second thread of the worker: it waits for the parent, and has the first one stop what it does.

    Args:
        fd: our end of the bell, a socket.
        signal: reads the mailbox.
    """

    def __init__(self, fd: int, signal: InterpreterSignal) -> None:
        self._socket = _socket.socket(fileno=fd)
        self._signal = signal
        self._thread = get_ident()
        self._decided = allocate_lock()  # held by the thread that ends the worker, or stops it for good
        safe_points.available()  # takes its tool now: a task cannot have it
        start_new_thread(self._listen, ())

    def end(self) -> None:
        """End the second thread: one that is left in an interpreter, in its last line even, stays when that is closed.

        It would keep 2 MB, and our sockets.
        """
        self._decided.acquire()  # for ever if this interpreter is parked
        until = monotonic() + _LEAVE_SECONDS
        running = _count()
        self._socket.shutdown(_socket.SHUT_RDWR)
        while _count() >= running and monotonic() < until:
            sleep(0.0001)
        self._socket.close()

    def _listen(self) -> None:
        try:
            while rung := self._socket.recv(4096):
                if PARK in rung:
                    self._park()
                    break  # the worker is ending by itself
                self._signal.wake()
        except OSError:
            pass  # a task has closed it

    def _park(self) -> None:
        """Stop every thread of this interpreter for good: CPython crashes if one runs Python code while it ends.

        Return if the worker is ending by itself: the parent waits for that.
        """
        if not self._decided.acquire(False):
            return
        never, self._never = os.pipe()
        others = set(sys._current_frames()) - {get_ident()}
        parked: set[int] = set()

        def hold(frame: FrameType) -> None:
            parked.add(get_ident())
            while True:
                os.read(never, 1)

        if safe_points.available():
            for ident in others:
                safe_points.call_soon(ident, hold)
            until = monotonic() + _PARK_SECONDS
            while not parked.issuperset(others) and monotonic() < until:
                sleep(0.001)
            _leave_nothing_to_wait_for()
            if sys.version_info < (3, 15) or not _left_threads():  # 3.15 would wait for them for ever
                self._socket.send(PARKED)
        while True:
            os.read(never, 1)


def _leave_nothing_to_wait_for() -> None:
    """Keep the end of the interpreter from joining threads that are parked, and from calling what needs their locks."""
    atexit._clear()
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown = int


def main(tasks: int, control: int, bell: int, status: int) -> None:
    """Run a worker in this interpreter until its parent lets it go.

    Args:
        tasks, control, bell, status: its descriptors.
    """
    module_names.in_worker = True
    connection = WorkerConnection(tasks, control, status)
    settings = read_settings(connection, None)
    if settings is None:
        os.close(bell)
        return
    runner = InterpreterRunner(connection, settings)
    runner.context.backend = "interpreter"
    runner.functions.in_process = False
    second = Bell(bell, runner.signal)
    try:
        _run(runner, connection, settings)
    finally:
        send_result.flush()
        _join_threads()
        second.end()


def _run(runner: InterpreterRunner, connection: WorkerConnection, settings: Settings) -> None:
    forwarding = connect(runner, connection, settings)
    try:
        apply(settings)
    except BaseException as exc:
        tell_failure(connection, exc)
        return
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH))
    try:
        serve(runner, connection, forwarding, InterpreterState(runner.signal))
    except (OSError, frames.ProtocolError):
        pass  # a task closed our sockets, or the pool is gone
    finally:
        connection.log_flags()


def _join_threads() -> None:
    """Wait for the threads that tasks have left behind, as the interpreter's end would, while they can be parked."""
    for thread in _left_threads():
        thread.join()


def _left_threads() -> list[Any]:
    threading: Any = sys.modules.get("threading")
    if threading is None:
        return []
    others = (threading._MainThread, threading._DummyThread)  # the program's main thread; this one and the second
    return [thread for thread in threading.enumerate() if not isinstance(thread, others)]


class InterpreterState(ProcessState):
    """What a task must not leave to the next one in its interpreter.

    What it changes in the process, it changes for all.
    """

    def __init__(self, signal: InterpreterSignal) -> None:
        self._signal = signal
        super().__init__()

    def take(self) -> None:
        self._no_alarm = False  # alarms are the process's
        self._take_interpreter()
        self._look_at = 0.0

    def take_surroundings(self) -> None:
        self._take_path()

    def quieten(self) -> None:
        self._signal.end_shot()
        super().quieten()

    def _restore(self) -> bool:
        self._restore_interpreter()
        return self._restore_process()

    def _restore_process(self) -> bool:
        self._restore_settings()
        return True
