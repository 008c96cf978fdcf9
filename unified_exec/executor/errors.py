"""The package's errors for code written for `concurrent.futures`: each is also an error of the standard library.

Imported when the first one is needed, as `concurrent.futures.process` is slow to import.
"""

from __future__ import annotations

import sys
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from pickle import PicklingError, UnpicklingError

from ..errors import RemoteError, SerializationError, UnifiedExecError, WorkerCrashed, WorkerStartError


class ProcessCrashed(WorkerCrashed, BrokenProcessPool):
    """A `WorkerCrashed` of a `ProcessExecutor`. The pool is not broken: one future failed."""


class ProcessNotStarted(WorkerStartError, BrokenProcessPool):
    """A `WorkerStartError` of a `ProcessExecutor`. The next `submit` tries again."""


NOT_STARTED: dict[str, type[WorkerStartError]] = {"process": ProcessNotStarted}
"""What a failed start of a worker is, by the kind of the pool."""

if sys.version_info >= (3, 14):
    from concurrent.futures.interpreter import BrokenInterpreterPool

    class InterpreterNotStarted(WorkerStartError, BrokenInterpreterPool):
        """A `WorkerStartError` of an `InterpreterExecutor`. The next `submit` tries again."""

    NOT_STARTED["interpreter"] = InterpreterNotStarted


class ThreadNotStarted(WorkerStartError, BrokenThreadPool):
    """A `WorkerStartError` of a `ThreadExecutor`. The next `submit` tries again."""


class NotPickled(SerializationError, PicklingError):
    """A `SerializationError` of an argument or a result that cannot be pickled."""


class NotUnpickled(SerializationError, UnpicklingError, BrokenProcessPool):
    """A `SerializationError` of a value that was pickled and cannot be rebuilt.

    It breaks a pool of the standard library.
    """


def translate(error: BaseException, backend: str) -> BaseException:
    """Return the error of a worker's task as its executor raises it.

    Args:
        error: as a scope would raise it.
        backend: the kind of the pool.

    What is not an `Exception` (`SystemExit`, ...) is returned as itself, as from the standard library.
    """
    kind = type(error)
    if kind is RemoteError:
        original = error.__cause__
        return error if original is None or isinstance(original, Exception) else original
    if kind is WorkerCrashed:
        return _as(ProcessCrashed, error)
    if kind is WorkerStartError:
        return _as(NOT_STARTED[backend], error)
    if isinstance(error, SerializationError) and kind is SerializationError:
        return _as(NotUnpickled if error.sent else NotPickled, error)
    return error


def _as(kind: type[UnifiedExecError], error: BaseException) -> UnifiedExecError:
    made = kind(*error.args)
    made.__cause__ = error.__cause__
    made.__context__ = error.__context__
    made.__suppress_context__ = error.__suppress_context__
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made.with_traceback(error.__traceback__)


def thread_not_started(error: BaseException) -> ThreadNotStarted:
    """Make the error for the tasks of a thread whose initializer failed."""
    made = ThreadNotStarted(f"its initializer raised {type(error).__name__}: {error}")
    made.__cause__ = error
    return made
