"""What a worker takes over from the program when it changes. The program's side is `surroundings`."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

levels: dict[str, Any] | None = None
"""Those of the program's loggers, as they came last."""


def take_over(changes: dict[str, Any], in_process: bool = True) -> None:
    """Take over what `surroundings.Snapshot.changes_since` returned.

    Args:
        changes: what that returned.
        in_process: the worker is a process. An interpreter has only a copy of the environment to itself, `os.environ`;
            the program may have changed the folder and the variables of its process again meanwhile.
    """
    global levels
    levels = changes["levels"]
    if sys.path != changes["path"]:
        sys.path[:] = changes["path"]
        sys.path_importer_cache.clear()
    folder = changes["folder"]
    if folder and in_process:
        try:
            os.chdir(folder)
        except OSError:
            pass  # it is gone; the program itself could not enter it again
    if changes["authkey"] is not None:
        from multiprocessing import process

        process.current_process().authkey = changes["authkey"]
    own: Any = getattr(os.environ, "_data", os.environ)
    for name, value in changes["environment"].items():
        if not in_process and value is None:
            own.pop(os.fsencode(name), None)
        elif not in_process:
            own[os.fsencode(name)] = os.fsencode(value)
        elif value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value
