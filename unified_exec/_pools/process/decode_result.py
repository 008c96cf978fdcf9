"""From the bytes of an answer to the outcome of its task; large values are rebuilt off the loop."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..._loops.adapter import LoopAdapter
from ..._tasks.task import Task
from ..._tasks.types import CANCELLED, Outcome
from ..._wire import frames
from ..._wire.errors.decode import decode_error
from ..._wire.errors.nodes import as_outcome_error
from ..._wire.pickling import codec
from ..._wire.pickling.c_pickle import loads
from ...errors import SerializationError, WorkerStartError

OFF_LOOP_MIN = 1024 * 1024
"""A pickle above this many bytes is rebuilt in a thread of its own: it would keep the loop busy too long."""


class _Ending:
    """The place of a task whose end is decided and about to be told: it can no longer be stopped."""

    def is_running(self, task: Task) -> bool:
        return True


ENDING = _Ending()


def decode(adapter: LoopAdapter, task: Task, kind: int, data: frames.Bytes, buffers: list[memoryview]) -> None:
    """Settle `task` with an answer out of shared memory, now or, for a large one, as soon as it is rebuilt."""
    if kind == frames.VALUE and len(data) > OFF_LOOP_MIN:
        task.location = ENDING

        def work() -> None:
            outcome = outcome_of(task.name, frames.VALUE, data, buffers)
            adapter.call_threadsafe(task.settle, outcome)

        threading.Thread(target=work, name="unified_exec decode", daemon=True).start()
        return
    task.settle(outcome_of(task.name, kind, data, buffers))


def outcome_of(name: str, kind: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> Outcome[object]:
    """Rebuild an outcome. Never raises: what cannot be rebuilt is an error of the task."""
    if kind == frames.VALUE:
        try:
            return Outcome(loads(data, buffers=buffers) if buffers else loads(data))
        except Exception as exc:
            error = SerializationError(
                f"the result of {name}()",
                f"rebuilding it here raised {type(exc).__name__}: {exc}",
                "check its __reduce__ or __setstate__",
                sent=True,
            )
            error.__cause__ = exc
            return Outcome(error=error)
        except BaseException as exc:
            return Outcome(error=as_outcome_error(exc))
    if kind == frames.ERROR:
        return Outcome(error=as_outcome_error(decode_error(bytes(data))))
    return CANCELLED


def decode_start_error(data: frames.Bytes) -> BaseException:
    """The reason why a worker could not start."""
    error = decode_error(bytes(data))
    if isinstance(error, WorkerStartError):
        return error
    wrapped = WorkerStartError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def message_of(data: frames.Bytes, buffers: list[memoryview]) -> object:
    """What a running task says; an exception if it cannot be rebuilt here."""
    try:
        return codec.decode(data, buffers, "a message of the task")
    except Exception as exc:
        return exc
