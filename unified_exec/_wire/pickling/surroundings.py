"""What a warm worker takes over from the program when it changes: import path, current folder, environment, levels of
loggers, and the key of the managers of `multiprocessing`.

All of it has one version number, which the parent compares before it sends a task: the number of the last state that
the worker has confirmed by an answer. Another field needs a line in `snapshot`, in `changes_since` and in `taken_over`.
"""

from __future__ import annotations

import os
import sys
from itertools import count

from .. import log_levels

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple
else:
    from ..._tasks.light_typing import NamedTuple

_environment: Any = getattr(os.environ, "_data", os.environ)
"""The dict behind `os.environ`: comparing it costs no decoding."""


class Snapshot(NamedTuple):
    """The surroundings at one moment.

    Attributes:
        number: grows with each change that was noticed.
        path: ``sys.path``.
        folder: the current folder; "" if it was removed.
        environment: the environment variables, as the system has them.
        authkey: the key of the managers of `multiprocessing`, without which their proxies cannot be unpickled;
            ``None`` if they were not imported.
        levels: those of the loggers, see `log_levels`.
    """

    number: int
    path: list[str]
    folder: str
    environment: dict[Any, Any]
    authkey: bytes | None
    levels: dict[str, Any] | None

    def changes_since(self, start: Snapshot, touched: set[Any], fixed: frozenset[Any]) -> dict[str, Any]:
        """Return what a worker must take over.

        Args:
            start: what the program looked like when the worker started.
            touched: the environment variables that the worker was told of since, in any message; extended. What was
                set and is deleted again is a change too, and no message is certain to have arrived.
            fixed: those that the pool sets in its workers; they stay.
        """
        old, new = start.environment, self.environment
        touched.update(name for name in {**old, **new} if old.get(name) != new.get(name) and name not in fixed)
        return {
            "path": import_path(self.path, self.folder),
            "folder": self.folder,
            "authkey": None if self.authkey is None else bytes(self.authkey),
            "levels": self.levels,
            "environment": {os.fsdecode(name): _decoded(new.get(name)) for name in touched},
        }


def import_path(entries: Iterable[object], folder: str) -> list[str]:
    """Return the entries of ``sys.path`` as plain strings, the current folder in place of ""; imports ignore others."""
    path = [str.__str__(entry) or folder for entry in entries if isinstance(entry, str)]
    return [entry for entry in path if entry]


def _decoded(value: Any) -> str | None:
    return None if value is None else os.fsdecode(value)


def authkey_now() -> bytes | None:
    """Return the key of the managers of `multiprocessing`; ``None`` if they were not imported."""
    if "multiprocessing.managers" not in sys.modules:
        return None
    process = sys.modules["multiprocessing.process"]
    return process.current_process().authkey  # type: ignore[no-any-return]


_numbers = count(1)  # not the latest one's plus 1: loops in several threads may see different things at once
_latest = Snapshot(0, [], "", {}, None, None)
_log_cache: dict[Any, Any] | None = None


def snapshot() -> Snapshot:
    """Return the surroundings as they are now; the same object as long as nothing has changed."""
    global _latest, _log_cache
    if _log_cache is None:
        _log_cache = log_levels.watched_cache()
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""
    latest = _latest
    authkey = authkey_now() if "multiprocessing.managers" in sys.modules else None
    if (
        sys.path != latest.path
        or folder != latest.folder
        or _environment != latest.environment
        or authkey is not latest.authkey
        or (_log_cache is not None and log_levels.UNCHANGED not in _log_cache)
    ):
        levels = log_levels.levels_now()
        latest = _latest = Snapshot(next(_numbers), list(sys.path), folder, dict(_environment), authkey, levels)
    return latest


def current_levels() -> dict[str, Any] | None:
    """Return `Snapshot.levels` as they are now, without a look at the rest."""
    if _log_cache is not None and log_levels.UNCHANGED in _log_cache:
        return _latest.levels
    return snapshot().levels


def variables(names: Iterable[str]) -> frozenset[Any]:
    """Return the names of environment variables as `Snapshot.environment` has them."""
    return frozenset(name if _environment is os.environ else os.fsencode(name) for name in names)
