"""Rebuilding the outcome of a task from the bytes of its answer; large values are rebuilt off the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..._loops.adapter import LoopAdapter
from ..._tasks.messages import Batch
from ..._tasks.task import Task
from ..._tasks.types import CANCELLED, Outcome
from ..._wire import frames
from ..._wire.errors.decode import decode_error
from ..._wire.errors.nodes import as_outcome_error, text_of
from ..._wire.pickling import codec
from ..._wire.pickling.c_pickle import loads
from ...errors import SerializationError, WorkerStartError
from .worker_logs import LogReader

OFF_LOOP_MIN = 1024 * 1024
"""A pickle above this many bytes is rebuilt in a thread of its own: it would block the loop for too long."""


class _Ending:
    """The location of a task whose outcome is decided but not yet set: it can no longer be cancelled."""

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

        try:
            threading.Thread(target=work, name="unified_exec decode", daemon=True).start()
            return
        except (RuntimeError, MemoryError):
            pass  # the system has no room for another thread, or the program ends
    task.settle(outcome_of(task.name, kind, data, buffers))


def outcome_of(name: str, kind: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> Outcome[object]:
    """Rebuild an outcome. Never raises: what cannot be rebuilt is an error of the task."""
    if kind == frames.VALUE:
        try:
            return Outcome(loads(data, buffers=buffers) if buffers else loads(data))
        except Exception as exc:
            results = _each_result(name, bytes(data), buffers)
            return Outcome(error=_not_rebuilt(name, exc)) if results is None else Outcome(results)
        except BaseException as exc:
            return Outcome(error=as_outcome_error(exc))
    if kind == frames.ERROR:
        return Outcome(error=as_outcome_error(decode_error(bytes(data))))
    return CANCELLED


def _not_rebuilt(name: str, raised: Exception) -> SerializationError:
    why = f"rebuilding it here raised {type(raised).__name__}: {text_of(raised)}"
    error = SerializationError(f"the result of {name}()", why, "check its __reduce__ or __setstate__", sent=True)
    error.__cause__ = raised
    return error


def _each_result(name: str, data: bytes, buffers: Sequence[memoryview]) -> object | None:
    """Rebuild those results of a chunk that can be rebuilt; ``None`` if the answer is not that of a chunk."""
    from ..._worker.run_chunk import ChunkResults, ItemFailure, PartOfResults

    if ChunkResults.__module__.encode() not in data[:100]:  # a pickle begins with what it calls last
        return None
    from ..._wire.pickling import partly

    chunk = partly.rebuild(data, buffers, ChunkResults, "results")
    if chunk is None:
        return None
    lost = partly.Lost
    return PartOfResults(
        [ItemFailure(_not_rebuilt(name, each.error)) if type(each) is lost else each for each in chunk.results]
    )


def decode_start_error(data: frames.Bytes) -> BaseException:
    """Rebuild the error that tells why a worker could not start."""
    error = decode_error(bytes(data))
    if isinstance(error, WorkerStartError):
        return error
    wrapped = WorkerStartError(f"{type(error).__name__}: {text_of(error)}")
    wrapped.__cause__ = error
    return wrapped


def message_of(data: frames.Bytes, buffers: list[memoryview]) -> object:
    """Rebuild a message of a running task; returns the exception if that fails."""
    try:
        return codec.decode(data, buffers, "what the task sent")
    except Exception as exc:
        return _begin_of_batch(bytes(data), buffers) or exc


def _begin_of_batch(data: bytes, buffers: Sequence[memoryview]) -> Batch | None:
    """Rebuild the items of a batch that come before the first that cannot be rebuilt."""
    if Batch.__module__.encode() not in data[:100]:
        return None
    from ..._wire.pickling import partly, pickle_errors

    batch: Batch | None = partly.rebuild(data, buffers, Batch, "items")
    for place, item in enumerate(() if batch is None else batch.items):
        if type(item) is partly.Lost:
            assert batch is not None
            batch.error = pickle_errors.not_rebuilt("an item of the generator", item.error)
            batch.error.__cause__ = item.error
            del batch.items[place:]
            return batch
    return None


class Decoding(NamedTuple):
    """How what workers send is read: rebuilt, or kept as it is for somebody else to rebuild.

    Attributes:
        outcome_of: makes an outcome of a task's name, a kind, a pickle and its buffers.
        settle: settles a task with an answer out of shared memory.
        message_of: makes a message of a pickle and its buffers.
        unread: requests of tasks are passed on as they came, and objects that share memory are refused.
        log_reader: makes what reads the log records of the workers of one event loop.
    """

    outcome_of: Callable[[str, int, frames.Bytes, Sequence[memoryview]], Outcome[object]]
    settle: Callable[[LoopAdapter, Task, int, frames.Bytes, list[memoryview]], object]
    message_of: Callable[[frames.Bytes, list[memoryview]], object]
    unread: bool = False
    log_reader: Callable[[LoopAdapter], LogReader] = LogReader


HERE = Decoding(outcome_of, decode, message_of)
"""Everything is rebuilt in this process."""
