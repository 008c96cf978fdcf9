"""Forwarding begins when a task imports `logging` or `warnings`; until then it costs nothing."""

from __future__ import annotations

import sys

from ..._tasks.on_import import when_imported
from ..._wire import log_levels
from ..connection import WorkerConnection
from .pipe import LogPipe

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


class LogForwarding:
    """Installs the handler and the hook in their time, and sets the levels of the parent's loggers.

    Args:
        connection: gets the pipe.
        levels: those of the parent's loggers when this worker was started, see `log_levels`.
    """

    __slots__ = ("_applied", "_levels", "_pipe")

    def __init__(self, connection: WorkerConnection, levels: dict[str, Any] | None) -> None:
        self._pipe = LogPipe(connection)
        self._levels = levels
        self._applied: dict[str, Any] | None = None
        when_imported("logging", self._on_logging)
        when_imported("warnings", self._on_warnings)

    def set_levels(self, levels: dict[str, Any] | None) -> None:
        """Take over levels that have changed in the parent."""
        self._levels = levels
        if "logging" in sys.modules and levels is not None and levels != self._applied:
            log_levels.apply(levels, self._applied)
            self._applied = levels

    def _on_logging(self) -> None:
        from . import handler

        handler.install(self._pipe)
        self.set_levels(self._levels)

    def _on_warnings(self) -> None:
        from . import warning_hook

        warning_hook.install(self._pipe)
