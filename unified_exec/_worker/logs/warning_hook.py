"""Sends the warnings that a worker's filters let through to the parent, whose `warnings.showwarning` shows them.

Loaded once a task imports `warnings`. A `showwarning` of the task's own, and `catch_warnings`, take its place as usual.
"""

from __future__ import annotations

import warnings

from ..._wire.log_frames import WARNING
from ..._wire.pickling import codec
from .. import context, forked
from .pipe import LogPipe

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_LEVEL = 30


def install(pipe: LogPipe) -> None:
    """Put the function that sends into the place of `warnings.showwarning`."""
    show_here = warnings.showwarning

    def showwarning(
        message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
    ) -> None:
        if file is not None or forked.happened:
            show_here(message, category, filename, lineno, file, line)
        elif pipe.may_send("py.warnings", _LEVEL):
            task = context.running_task()
            pipe.send((WARNING, task.id if task is not None else 0, _packed(message, category), filename, lineno))

    warnings.showwarning = showwarning


def _packed(message: Any, category: type[Warning]) -> bytes:
    """Pickle the warning and its category; one that cannot travel becomes one of the nearest builtin category."""
    try:
        return codec.encode_value((message, category)).data
    except Exception:
        known = next((base for base in category.__mro__ if base.__module__ == "builtins"), Warning)
        return codec.encode_value((known(f"{category.__name__}: {message}"), known)).data
