"""The log records and warnings of workers: their pipes are read, and the loggers of this process handle what comes."""

from __future__ import annotations

import logging
import sys
import time
import traceback
import warnings
from collections import Counter
from contextvars import Context
from typing import Any, Protocol, cast

from ..._loops.adapter import LoopAdapter, Timer
from ..._tasks.task import Task
from ..._wire.errors.decode import decode_error
from ..._wire.log_frames import CUT, FIELDS, RATE, RECORD, WARNING
from ..._wire.pickling import codec
from ..._wire.pickling.c_pickle import loads
from .inbox import LogPipeEnd
from .worker import Worker

READ_MOST = 1024 * 1024
"""Bytes read from one pipe before an answer: more than a pipe holds, so all that was written before the answer."""
CUT_EVERY = 1.0
"""Seconds between two lines that tell how many records were dropped."""

_log = logging.getLogger("unified_exec")
_sample = logging.makeLogRecord({})
_started = _sample.created - _sample.relativeCreated / 1000
_new_record = logging.LogRecord.__new__


class LogSource(Protocol):
    """The worker that records come from."""

    @property
    def pid(self) -> int: ...

    @property
    def tasks(self) -> dict[int, Task]: ...


class LogReader:
    """Handles what the workers of one group send.

    A handler or a `showwarning` that raises harms nobody else.
    """

    __slots__ = ("_adapter", "_cut", "_said_at", "_timer")

    def __init__(self, adapter: LoopAdapter) -> None:
        self._adapter = adapter
        self._cut: Counter[tuple[int, str, int]] = Counter()
        self._said_at = -CUT_EVERY
        self._timer: Timer | None = None

    def open(self, fd: int) -> LogPipeEnd:
        """Return our end of a worker's pipe."""
        return LogPipeEnd(fd, _rebuilt)

    def read(self, worker: Worker, most: int) -> bool:
        """Handle what is in the worker's pipe; ``False`` at its end."""
        end = worker.inbox.logs
        if end is None:
            return False
        more = end.read(most)
        while (items := end.take()) is not None:
            self.handle(worker, items)
        return more

    def handle(self, worker: LogSource, items: Any) -> None:
        """Handle one tuple of `log_frames`."""
        try:
            self._handle(worker, items)
        except Exception:
            _print_error()

    def _handle(self, worker: LogSource, items: tuple[Any, ...]) -> None:
        kind = items[0]
        if kind == RECORD:
            record = _record(*items[2:])
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                record.task_id = items[1] or None
                _in_context_of(worker, items[1], logger.handle, record)
        elif kind == WARNING:
            message, category = cast("tuple[Warning, type[Warning]]", codec.decode(items[2]))
            _in_context_of(worker, items[1], warnings.showwarning, message, category, items[3], items[4])
        elif kind == CUT:
            for (name, level), count in items[1]:
                self._cut[worker.pid, name, level] += count
            if time.monotonic() - self._said_at >= CUT_EVERY:
                self.say_cut()
            elif self._timer is None:
                self._timer = self._adapter.call_later(CUT_EVERY, self.say_cut)

    def say_cut(self) -> None:
        """Log how many records were dropped since the last time."""
        self._timer = None
        if self._cut:
            cut, self._cut = self._cut, Counter()
            self._said_at = time.monotonic()
            workers = ", ".join(sorted({str(pid) for pid, _, _ in cut}))
            parts: Counter[str] = Counter()
            for (_, name, level), count in cut.items():
                parts[f"{name} ({logging.getLevelName(level)})"] += count
            what = ", ".join(f"{n} of {each}" for each, n in parts.most_common(5))
            text = "%d log records were dropped: a worker sends at most %d a second (%s; process %s)"
            try:
                _log.warning(text, sum(cut.values()), RATE, what, workers)
            except Exception:
                _print_error()


def _rebuilt(data: bytes) -> Any:
    try:
        return loads(data)
    except Exception:  # code of the task has put something strange into a field of a record
        _print_error()
        return None


def _print_error() -> None:
    """Tell what a handler, a filter or a `showwarning` of the user's has raised."""
    if logging.raiseExceptions and sys.stderr:
        traceback.print_exc()


def _record(values: tuple[Any, ...], error: bytes | None, extra: dict[str, bytes] | None) -> logging.LogRecord:
    """Rebuild a record, by the program's own factory if it has set one."""
    factory = logging.getLogRecordFactory()
    record: logging.LogRecord
    if factory is logging.LogRecord:
        record = _new_record(logging.LogRecord)
    else:
        f = dict(zip(FIELDS, values, strict=True))
        record = factory(f["name"], f["levelno"], f["pathname"], f["lineno"], f["msg"], (), None, f["funcName"], None)
    known = record.__dict__
    known.update(zip(FIELDS, values, strict=True))
    level = logging.getLevelName(record.levelno)
    if not level.startswith("Level "):
        record.levelname = level
    record.args = ()
    record.relativeCreated = (record.created - _started) * 1000
    exc = None if error is None else decode_error(error)
    record.exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    if extra is not None:
        known.update((name, _value(data)) for name, data in extra.items())
    return record


def _value(data: bytes) -> object:
    try:
        return codec.decode(data)
    except Exception as error:
        return error


def _in_context_of(worker: LogSource, id: int, fn: Any, *args: Any) -> None:
    """Call `fn` in the context of the task's spawner: a filter or a format may read a request's variables there."""
    task = worker.tasks.get(id)
    context: Context | None = None if task is None else task.backend_data.context
    if context is None:
        fn(*args)
    else:
        context.copy().run(fn, *args)
