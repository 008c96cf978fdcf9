"""Start of a worker process: set up quickly, then serve. Only what every task needs is imported."""

from __future__ import annotations

import _signal
import atexit
import os
import sys
from _functools import partial  # type: ignore[import-not-found, unused-ignore]

from .._platform import posix
from .._platform.shared_memory import read_block
from .._wire import frames
from .._wire.errors.encode import encode_error
from .._wire.errors.nodes import text_of
from .._wire.pickling import codec, homes, module_names, shared_refs, taken_over
from ..errors import SerializationError, WorkerStartError
from . import context, forked, interpreter, look_up, passing, received, send_result
from .cancel_signal import CancelSignal, Handler, takes_module_lock
from .connection import HAS_SETTINGS, WorkerConnection, receive_all
from .logs.forward import LogForwarding
from .noted_calls import note_calls_of_interpreter
from .process_state import ProcessState
from .run_calls import CallRunner
from .settings import CONTROL_FD, COROUTINES, LIFELINE_FD, STATUS_FD, TASKS_FD, TEMPLATE, WORKER_MARK, Settings

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .run_coroutines import CoroutineRunner
    from .where import Whereabouts

_DESCRIPTORS_MAX = 65536
_EXIT_SECONDS = 1.0
FOR_INITIALIZER = {frames.CHANNEL: received.on_channel, frames.SHARE: received.on_share}
"""What may come before the settings, for the initializer's arguments."""


def main() -> None:
    """Run a worker until its parent lets it go."""
    mark = os.environ.pop(WORKER_MARK, None)
    os.closerange(STATUS_FD + 1, min(posix.descriptors_max(), _DESCRIPTORS_MAX))
    hold_descriptors()
    # The parent decides what Ctrl-C means for the workers. Unlike SIG_IGN, a handler does not survive an exec.
    _signal.signal(_signal.SIGINT, lambda signum, frame: None)
    # The worker's group is a background one to the terminal: what it and its children write would stop them, what they
    # read would, too. Ignored, the first succeeds and the second fails with EIO.
    for signum in (_signal.SIGTTOU, _signal.SIGTTIN):
        _signal.signal(signum, _signal.SIG_IGN)
    note_calls_of_interpreter()
    module_names.in_worker = True
    if mark == TEMPLATE:
        from . import template

        template.serve()  # returns in each worker
        hold_descriptors()
    connection = WorkerConnection()
    idle_seconds = None
    if len(sys.argv) > 1:
        idle_seconds = float(sys.argv.pop(1))
    settings = read_settings(connection, idle_seconds)
    if settings is None:
        leave(0)
    runner = make_runner(connection, settings)
    forwarding = connect(runner, connection, settings)
    forked.watch(connection, runner.in_forked_child)
    try:
        apply(settings)
        if forked.happened:
            forked.end(None)
    except BaseException as exc:
        if forked.happened:
            forked.end(exc)
        tell_failure(connection, exc)
        leave(0)
    runner.signal.install()
    try:
        serve(runner, connection, forwarding, ProcessState(settings.kind.concurrent))
    except (OSError, frames.ProtocolError):
        leave(1)  # a task closed our sockets, or the parent is gone
    except BaseException as exc:
        forked.end(exc)  # at once: the end of an interpreter would wait for threads that tasks have left
    leave(0)


def hold_descriptors() -> None:
    """Keep our sockets from the programs that a task starts, and die with the parent."""
    for fd in (TASKS_FD, CONTROL_FD):
        os.set_inheritable(fd, False)
    posix.die_with_parent(LIFELINE_FD)


def connect(runner: CallRunner | CoroutineRunner, connection: WorkerConnection, settings: Settings) -> LogForwarding:
    """Have what the parent sends, and what is logged, handled from now on."""
    connection.status[HAS_SETTINGS] = 1
    context.worker = runner.context
    passing.connect(runner.context, settings.relayed)
    look_up.connect(runner.context, settings.main is not None)
    signal = runner.signal
    shared_refs.read_mailbox = signal.poll
    signal.handlers[frames.SHARE] = received.on_share
    signal.handlers[frames.CHANNEL] = received.on_channel
    signal.handlers[frames.DROP] = received.on_drop
    signal.handlers[frames.RECALL] = received.on_recall
    signal.handlers[frames.TELL] = received.on_tell
    signal.handlers[frames.NO_END] = received.on_no_end
    signal.handlers[frames.FOUND] = passing.on_found
    signal.handlers[frames.WHERE] = on_where(connection, signal)
    signal.watch_swallowed()
    return LogForwarding(connection, settings.levels)


def tell_failure(connection: WorkerConnection, exc: BaseException) -> None:
    """Tell the parent why this worker could not start."""
    failed = _short_enough(encode_error(exc), exc)
    connection.answer(frames.pack_payload(frames.FAILED, failed, connection.log_flags()))


def serve(
    runner: CallRunner | CoroutineRunner, connection: WorkerConnection, forwarding: LogForwarding, state: ProcessState
) -> None:
    """Tell the parent that the worker is up, and run its tasks until it lets the worker go.

    Raises:
        OSError, ProtocolError: the sockets are gone.
    """
    runner.variables.take()
    runner.process = state
    runner.functions.on_move = partial(on_move, runner, forwarding)
    connection.answer(frames.pack_payload(frames.READY, b"", connection.log_flags()))
    runner.signal.poll()
    runner.serve()


def on_where(connection: WorkerConnection, signal: CancelSignal) -> Handler:
    """Return what answers the parent's question what this worker is doing. Loaded when it is asked first."""
    whereabouts: Whereabouts | None = None

    def answer(message: bytes, fds: list[int]) -> None:
        nonlocal whereabouts
        if takes_module_lock(sys._getframe()):  # it may have to load something; there will be other questions
            return
        if whereabouts is None:
            try:
                from .where import Whereabouts
            except Exception:  # in the midst of the import of a module that it needs
                return
            whereabouts = Whereabouts(connection, signal)
        whereabouts.answer(message, fds)

    return answer


def on_move(runner: CallRunner | CoroutineRunner, forwarding: LogForwarding) -> None:
    """The worker has taken over what has changed in the program."""
    runner.process.take_surroundings()
    forwarding.set_levels(taken_over.levels)


def make_runner(connection: WorkerConnection, settings: Settings) -> CallRunner | CoroutineRunner:
    """Make what runs the tasks of this kind of worker."""
    if settings.kind is COROUTINES:
        from .run_coroutines import CoroutineRunner

        return CoroutineRunner(connection, settings)
    return CallRunner(connection, settings)


def leave(code: int) -> NoReturn:
    """Exit without the interpreter's own clean-up, which would wait for threads of a task.

    Functions registered with `atexit` still run, for a limited time: then the kernel kills the process.
    """
    if code == 0:
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGALRM})
        _signal.setitimer(_signal.ITIMER_REAL, _EXIT_SECONDS)
        atexit._run_exitfuncs()
    send_result.flush()
    if context.worker is not None:
        context.worker.connection.log_flags()
    os._exit(code)


def read_settings(connection: WorkerConnection, idle_seconds: float | None) -> Settings | None:
    """Wait for the settings; ``None`` if the parent exits before, or no pool takes this process for `idle_seconds`."""
    if idle_seconds is not None:
        from select import select

        if not select([connection.control], (), (), idle_seconds)[0]:
            return None
    buffer = bytearray(frames.MESSAGE_MAX)
    while True:
        size, fds = receive_all(connection.control, buffer)
        if not size:
            return None
        if buffer[0] == frames.SETUP:
            break
        if buffer[0] in FOR_INITIALIZER:
            FOR_INITIALIZER[buffer[0]](bytes(buffer[:size]), fds)
    flags, payload = frames.unpack_payload(memoryview(buffer)[:size])
    data: Any = payload
    if flags & frames.IN_SHARED:
        data, _ = read_block(fds[0], payload)
    settings = codec.decode(data, ())
    return Settings(**settings)  # type: ignore[arg-type]


def apply(settings: Settings) -> None:
    """Make the process look like the parent to the code that will run in it, and run the initializer."""
    if settings.prefix is not None:
        sys.prefix, sys.exec_prefix = settings.prefix
    if settings.path is not None:
        if settings.site:
            sys.path[:] = settings.path
            import site

            site.main()
        sys.path[:] = settings.path
    if settings.argv is not None:
        sys.argv[:] = settings.argv
    if settings.interpreter is not None:
        interpreter.apply(settings.interpreter)
    _add_site_builtins()
    if settings.main is not None:
        from . import main_file

        main_file.load(*settings.main)
    if settings.authkey is not None:  # or a manager's proxy could not be unpickled here
        from multiprocessing import process

        process.current_process().authkey = settings.authkey
    if settings.initializer is not None:
        call: Any = _decode_initializer(settings.initializer)
        try:
            call[0](*call[1])
        except BaseException as exc:
            raise WorkerStartError(f"its initializer raised {type(exc).__name__}: {text_of(exc)}") from exc
        homes.forget_unused()


def _decode_initializer(data: bytes) -> Any:
    try:
        return codec.decode_alone(data)
    except SerializationError:
        raise
    except Exception as error:
        from .._wire.pickling import pickle_errors

        raise pickle_errors.not_rebuilt("the initializer", error) from error


def _add_site_builtins() -> None:
    import builtins

    if not hasattr(builtins, "exit"):
        import _sitebuiltins

        for name in ("exit", "quit"):
            setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def _short_enough(data: bytes, exc: BaseException) -> bytes:
    if len(data) <= frames.INLINE_MAX:
        return data
    cause = exc.__cause__ or exc
    return encode_error(WorkerStartError(f"its start raised {type(cause).__name__}"))
