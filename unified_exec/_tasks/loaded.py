"""What this process is and has: modules that are loaded already, without importing any, and the global lock."""

from __future__ import annotations

import sys

_HAS_SWITCH = "free-threading build" in sys.version  # said there from CPython 3.13 on
TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


def loaded(name: str) -> Any:
    """Return a module if it is loaded and complete, ``None`` otherwise.

    In `sys.modules` there are also those that another thread is just importing, which lack some of their names. Nothing
    of such a module runs yet.
    """
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module


def in_worker() -> bool:
    """Tell whether this process or interpreter is a worker; a program that has none does not load what tells it."""
    context = loaded("unified_exec._worker.context")
    return context is not None and context.worker is not None


def in_interpreter() -> bool:
    """Tell whether this is a worker that is an interpreter: what it has open, the process keeps after its end."""
    return "unified_exec._worker.in_interpreter" in sys.modules


def gil_is_off() -> bool:
    """Tell whether threads of this interpreter run Python code in parallel; an extension module may end that."""
    return _HAS_SWITCH and not sys._is_gil_enabled()  # type: ignore[attr-defined, unused-ignore]
