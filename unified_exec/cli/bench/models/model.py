"""The definition of a model: a recipe that opens workers and calls a function for each of many items."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ...measuring.machine import missing

Perform = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Calls the function for each item, all submitted at once; returns the results in the order of the items."""
Recipe = Callable[[int], Iterator[Perform]]
"""Opens the given number of workers, yields `Perform`, closes the workers."""
PerformAsync = Callable[[Callable[[Any], Any], Sequence[Any]], Coroutine[Any, Any, list[Any]]]
AsyncRecipe = Callable[[int], AsyncIterator[PerformAsync]]


class Kind(StrEnum):
    """Where a model runs the function; decides which workloads it does."""

    SEQUENTIAL = "sequential"
    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"
    INTERPRETER = "interpreter"
    HYBRID = "hybrid"

    @property
    def is_alone(self) -> bool:
        """Whether all Python code runs in one thread."""
        return self in (Kind.SEQUENTIAL, Kind.LOOP)

    @property
    def is_apart(self) -> bool:
        """Whether the function does not share this interpreter's memory."""
        return self in (Kind.PROCESS, Kind.INTERPRETER)


@dataclass(frozen=True)
class Model:
    """One way of running a function for many items.

    Attributes:
        key: its name for ``--models`` and in the JSON file.
        title: its name in tables.
        recipe: a generator function or an async generator function: the user's code.
        needs: modules that must be importable.
        python: the first version that has it.
        takes_coroutines: it calls coroutine functions only.
    """

    key: str
    title: str
    kind: Kind
    recipe: Recipe | AsyncRecipe
    needs: tuple[str, ...] = ()
    python: tuple[int, int] = (3, 11)
    is_peer: bool = False
    takes_coroutines: bool = False

    def absent(self) -> str | None:
        """Return the reason why it cannot take part here, or ``None``."""
        if sys.version_info < self.python:
            return f"needs Python {'.'.join(map(str, self.python))}"
        lacking = missing(self.needs)
        return f"not installed: {', '.join(lacking)}" if lacking else None

    @property
    def lines(self) -> int:
        """Lines of user code: those of the recipe without imports, signature and docstring."""
        return lines_of_code(self.recipe)


def lines_of_code(function: Callable[..., Any]) -> int:
    """Count the lines of code in a function's body, without imports and docstring."""
    source = textwrap.dedent(inspect.getsource(function))
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    lines: set[int] = set()
    for statement in tree.body[ast.get_docstring(tree) is not None :]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.expr | ast.stmt | ast.ExceptHandler | ast.arg):
                lines.add(node.lineno)
    return len(lines)


@dataclass(frozen=True)
class Opened:
    """A model whose workers are up.

    Attributes:
        perform: submits all items at once.
        each: submits one item after another and returns the seconds of each call.
    """

    perform: Perform
    each: Callable[[Callable[[Any], Any], Sequence[Any]], list[float]]


@contextmanager
def opened(model: Model, workers: int) -> Generator[Opened]:
    """Open a model's workers until the block ends."""
    if inspect.isasyncgenfunction(model.recipe):
        recipe: Callable[[int], AbstractAsyncContextManager[PerformAsync]] = asynccontextmanager(model.recipe)
        with asyncio.Runner() as runner:
            entry = recipe(workers)
            do = runner.run(_enter(entry))
            try:
                yield Opened(
                    lambda fn, items: runner.run(do(fn, items)),
                    lambda fn, items: runner.run(_each_async(do, fn, items)),
                )
            finally:
                runner.run(_leave(entry))
    else:
        plain: Callable[[int], AbstractContextManager[Perform]] = contextmanager(model.recipe)  # type: ignore[arg-type]
        with plain(workers) as perform:
            yield Opened(perform, lambda fn, items: _each(perform, fn, items))


def _each(perform: Perform, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[float]:
    seconds = []
    for item in items:
        began = time.perf_counter()
        perform(fn, (item,))
        seconds.append(time.perf_counter() - began)
    return seconds


async def _each_async(do: PerformAsync, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[float]:
    seconds = []
    for item in items:
        began = time.perf_counter()
        await do(fn, (item,))
        seconds.append(time.perf_counter() - began)
    return seconds


async def _enter(entry: AbstractAsyncContextManager[PerformAsync]) -> PerformAsync:
    return await entry.__aenter__()


async def _leave(entry: AbstractAsyncContextManager[PerformAsync]) -> None:
    await entry.__aexit__(None, None, None)
