"""What is asked of the machine and of the interpreter beside the clock."""

from __future__ import annotations

import dis
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from ..._auto.captured_state import functions_in


def peak_memory() -> int | None:
    """The most memory this process has had, in bytes; ``None`` where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def library_threads() -> dict[str, int]:
    """Threads of the numerical libraries that are loaded, if ``threadpoolctl`` is there to ask them."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return {}
    from threadpoolctl import threadpool_info  # type: ignore[import-not-found, unused-ignore]

    return {str(pool["internal_api"]): int(pool["num_threads"]) for pool in threadpool_info()}


def rebound_names(fn: Callable[..., Any]) -> list[str]:
    """The globals and captured variables that a function assigns to, functions inside it included."""
    names: dict[str, None] = {}
    for function in functions_in(fn):
        _walk(function.__code__, names, frozenset(function.__code__.co_freevars))
    return list(names)


def _walk(code: Any, names: dict[str, None], captured: frozenset[str]) -> None:
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") or (
            step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in captured
        ):
            names[step.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            _walk(constant, names, captured & frozenset(constant.co_freevars))
