"""The handler on a worker's root logger, which sends records to the parent. Loaded once a task imports `logging`."""

from __future__ import annotations

import logging
import os
from functools import wraps

from ..._wire.errors.encode import encode_error
from ..._wire.log_frames import RECORD
from ..._wire.pickling import codec
from .. import context, forked
from .pipe import LogPipe

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

TEXT_MAX = 64 * 1024
"""Characters of a message, or of the text of a traceback, that are sent."""
_EXTRA_MAX = 64 * 1024
_NAME = f"unified_exec-{os.getpid()}"
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
_USUAL = _STANDARD | {"message", "asctime", "taskName", "task_id"}


class ForwardHandler(logging.Handler):
    """Sends each record to the parent, whose loggers handle it. Where the program gives the root logger of its worker a
    handler of its own, this one leaves."""

    def __init__(self, pipe: LogPipe) -> None:
        super().__init__()
        self._pipe = pipe
        self._text = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        if forked.happened:
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
            return
        if len(logging.root.handlers) > 1 and not self.is_alone():
            # Another list: the caller is going through the present one.
            logging.root.handlers = [other for other in logging.root.handlers if other is not self]
            return
        if not self._pipe.may_send(record.name, record.levelno):
            return
        try:
            self._pipe.send(self._fields(record))
        except Exception:
            self.handleError(record)

    def is_alone(self) -> bool:
        """Tell whether nobody else listens at the root logger."""
        return all(other is self or isinstance(other, logging.NullHandler) for other in logging.root.handlers)

    def _fields(self, record: logging.LogRecord) -> tuple[Any, ...]:
        known = record.__dict__
        nested = "task_id" in known  # a nested worker's, as it arrived here
        task = context.running_task()
        error: Any = record.exc_info[1] if record.exc_info else None
        text = record.exc_text
        if error is not None and not text:
            assert record.exc_info
            text = self._text.formatException(record.exc_info)
        return (
            RECORD,
            task.id if task is not None else 0,
            (
                record.name,
                record.getMessage()[:TEXT_MAX],
                record.levelname,
                record.levelno,
                record.pathname,
                record.filename,
                record.module,
                None if text is None else text[-TEXT_MAX:],
                record.stack_info,
                record.lineno,
                record.funcName,
                record.created,
                record.msecs,
                record.thread,
                record.threadName,
                record.process,
                record.processName if nested else _NAME,
                known["taskName"] if nested else task.name if task is not None else None,
            ),
            None if error is None else _short(encode_error(error)),
            _extra(known) if len(known) > len(_STANDARD) else None,
        )


def _short(data: bytes) -> bytes | None:
    return data if len(data) <= _EXTRA_MAX else None


def _extra(known: dict[str, Any]) -> dict[str, bytes] | None:
    """Pickle what ``extra=`` added to a record; a value that cannot travel is replaced by its text."""
    found: dict[str, bytes] = {}
    for name, value in known.items():
        if name not in _USUAL:
            try:
                packed = codec.encode_value(value)
                data = packed.data if not packed.buffers and len(packed.data) <= _EXTRA_MAX else None
            except Exception:
                data = None
            if data is None:
                data = codec.encode_value(repr(value)[:1000]).data
            found[name] = data
    return found or None


def install(pipe: LogPipe) -> None:
    """Put the handler on the root logger, unless that has one."""
    handler = ForwardHandler(pipe)
    if handler.is_alone():
        logging.root.addHandler(handler)
    configure = logging.basicConfig

    @wraps(configure)
    def basic_config(**options: Any) -> None:
        # It does nothing where the root logger has a handler: the program's own configuration is to win.
        forwards = handler in logging.root.handlers and handler.is_alone()
        if forwards:
            logging.root.removeHandler(handler)
        try:
            configure(**options)
        finally:
            if forwards and not logging.root.handlers:
                logging.root.addHandler(handler)

    logging.basicConfig = basic_config
