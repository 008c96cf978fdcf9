"""Calls a function in an interpreter, to see whether it runs there: an extension module may refuse to be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from unified_exec import Collect, ProcessPool, TaskScope

from ..._tasks import loaded
from .facts import Facts, InInterpreter
from .target_function import Call
from .verdict import IN_INTERPRETER


def has_interpreters() -> bool:
    """Whether this Python can have interpreters, and a GIL that makes them worth it."""
    return sys.version_info >= (3, 14) and not loaded.gil_is_off()


async def call_in_interpreter(call: Call, facts: Facts) -> None:
    """Call the function once in an interpreter of a worker process, where a crash does no harm, if that can pay."""
    if not facts.transfer.possible or facts.gil < IN_INTERPRETER:
        return
    facts.made += 1
    async with ProcessPool(1, name="advise") as pool, TaskScope("advise", policy=Collect()) as scope:
        handle = scope.spawn(_call, *call.fresh(), on=pool)
        await handle.wait()
        error = handle.exception()
    if isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    facts.interpreter = InInterpreter(error is None, f"{type(error).__name__}: {error}" if error else "")


async def _call(fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    async with TaskScope("advise") as scope:
        scope.spawn(partial(_drop_result, fn), *args, on="interpreter")


def _drop_result(fn: Callable[..., Any], *args: Any) -> None:
    fn(*args)
