"""Process tasks of a module that this very thread is importing: they could never start."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from .._rules.dispatch import call_name, place_of, unwrap
from ..abc import Backend


def check_not_importing(fn: Any, options: Mapping[str, Any]) -> None:
    """Check that `fn` may go to a process now.

    Pickling it in the loop's thread would wait for the import of its module to end, and that waits for the caller. The
    worker would import the module once more, too.

    Args:
        fn: the function or class.
        options: of the call; ``on=`` counts.

    Raises:
        RuntimeError: this thread imports the module of `fn`, and the call would go to a process.
    """
    module = sys.modules.get(getattr(unwrap(fn), "__module__", None) or "")
    if module is None or not getattr(getattr(module, "__spec__", None), "_initializing", False):
        return
    on = options.get("on")
    if on is None:
        on = place_of(fn)
    if on in ("loop", "thread") or (isinstance(on, Backend) and not on.capabilities.copies):
        return
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is vars(module) and frame.f_code.co_name == "<module>":
            raise RuntimeError(
                f"module {module.__name__!r} starts {call_name(fn)}() in a process while it is imported, and a worker "
                "would have to import it too, without an end; move that code into a function, or put it under "
                "`if __name__ == '__main__':`"
            )
        frame = frame.f_back  # type: ignore[assignment]
