"""A module that starts processes while it is imported: each worker would import it, and start more, without an end."""

from __future__ import annotations

import sys
import threading

from ...errors import WorkerStartError

_DECODERS = "unified_exec._wire.pickling."
_IMPORT_SYSTEM = ("importlib.", "_frozen_importlib", "unified_exec._tasks.on_import")


def check_not_imported_for_a_task() -> None:
    """Check that this worker is not just importing a module in which it looks for the function of a task.

    Raises:
        WorkerStartError: it is, and the module starts a worker at its top level.
    """
    if "unified_exec._worker.main" not in sys.modules:
        return
    module = _module_being_loaded()
    if module is not None:
        raise WorkerStartError(
            f"module {module!r} starts processes while it is imported, and a worker imports it to find the function of "
            "a task: each worker would start more workers, without an end; move that code into a function, or put it "
            "under `if __name__ == '__main__':`"
        )


def _module_being_loaded() -> str | None:
    """The module that is imported because a call is decoded; ``None`` if there is none, or a task itself imports it."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    module = None
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if frame.f_code.co_name == "<module>":
            module = name
        elif module is not None and name.startswith(_DECODERS):
            return module
        elif not name.startswith(_IMPORT_SYSTEM):
            module = None
        frame = frame.f_back
    return None
