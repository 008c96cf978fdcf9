"""The shared objects that were met while a call was pickled: the worker must have them before the call."""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

__all__ = ["pickled_here"]

_thread = _local()


def pickled_here() -> list[Any]:
    """Return the list of shared objects pickled in this thread since the list was last cleared."""
    try:
        found: list[Any] = _thread.found
    except AttributeError:
        found = _thread.found = []
    return found
