"""Forwarding begins when a task imports `logging` or `warnings`; until then it costs nothing."""

from __future__ import annotations

import sys
from _thread import allocate_lock

from ..._tasks.on_import import when_imported
from ..connection import WorkerConnection

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

    from .pipe import LogPipe


class LogForwarding:
    """Installs the handler and the hook in their time, and sets the levels of the parent's loggers.

    Args:
        connection: gets the pipe.
        levels: those of the parent's loggers when this worker was started, see `log_levels`.
    """

    __slots__ = ("_applied", "_connection", "_levels", "_lock", "_shared_pipe")

    def __init__(self, connection: WorkerConnection, levels: dict[str, Any] | None) -> None:
        self._connection = connection
        self._lock = allocate_lock()  # for threads of a task that import both at the same time
        self._shared_pipe: LogPipe | None = None
        self._levels = levels
        self._applied: dict[str, Any] | None = None
        when_imported("logging", self._on_logging)
        when_imported("warnings", self._on_warnings)

    def set_levels(self, levels: dict[str, Any] | None) -> None:
        """Take over levels that have changed in the parent."""
        self._levels = levels
        if "logging" in sys.modules and levels is not None and levels != self._applied:
            from ..._wire import log_levels

            log_levels.apply(levels, self._applied)
            self._applied = levels

    def _pipe(self) -> LogPipe:
        from .pipe import LogPipe

        with self._lock:
            if self._shared_pipe is None:
                self._shared_pipe = LogPipe(self._connection)
            return self._shared_pipe

    def _on_logging(self) -> None:
        from . import handler

        handler.install(self._pipe())
        self.set_levels(self._levels)

    def _on_warnings(self) -> None:
        from . import warning_hook

        warning_hook.install(self._pipe())
