"""What a model is: a recipe that opens its workers and does a function for each of many items."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..machine import missing

Perform = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Do the function for each item, all given out at once; the results in the order of the items."""
Recipe = Callable[[int], Iterator[Perform]]
"""Opens so many workers, yields `Perform`, closes the workers."""
PerformAsync = Callable[[Callable[[Any], Any], Sequence[Any]], Coroutine[Any, Any, list[Any]]]
AsyncRecipe = Callable[[int], AsyncIterator[PerformAsync]]


class Kind(StrEnum):
    """Where a model runs the function; what fits a workload is decided by it."""

    SEQUENTIAL = "sequential"
    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"
    INTERPRETER = "interpreter"
    HYBRID = "hybrid"

    @property
    def is_alone(self) -> bool:
        """One thing at a time in one thread."""
        return self in (Kind.SEQUENTIAL, Kind.LOOP)

    @property
    def is_apart(self) -> bool:
        """The function does not see this interpreter's memory."""
        return self in (Kind.PROCESS, Kind.INTERPRETER)


@dataclass(frozen=True)
class Model:
    """One way of running a function for many items.

    Attributes:
        key: what ``--models`` takes, and its name in the JSON file.
        title: its name in tables.
        recipe: a generator function, or an async one: the user's code.
        needs: modules that must be importable.
        python: the least version it is in.
        takes_coroutines: the function has to be a coroutine function.
    """

    key: str
    title: str
    kind: Kind
    recipe: Recipe | AsyncRecipe
    needs: tuple[str, ...] = ()
    python: tuple[int, int] = (3, 11)
    is_peer: bool = False
    takes_coroutines: bool = False

    @property
    def is_own(self) -> bool:
        return self.key.startswith("scope")

    def absent(self) -> str | None:
        """Why it cannot take part here, or ``None``."""
        if sys.version_info < self.python:
            return f"needs Python {'.'.join(map(str, self.python))}"
        lacking = missing(self.needs)
        return f"not installed: {', '.join(lacking)}" if lacking else None

    @property
    def lines(self) -> int:
        """Lines of user code, counted in the recipe's own source: without imports, signature and docstring."""
        return lines_of_code(self.recipe)


def lines_of_code(function: Callable[..., Any]) -> int:
    """Count the lines of a function's body that hold code, imports and its docstring left out."""
    source = textwrap.dedent(inspect.getsource(function))
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    lines: set[int] = set()
    for statement in tree.body[ast.get_docstring(tree) is not None :]:
        for node in ast.walk(statement):
            if isinstance(node, ast.expr | ast.stmt | ast.ExceptHandler | ast.arg) and not _is_import(node):
                lines.add(node.lineno)
    return len(lines)


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


@dataclass(frozen=True)
class Opened:
    """A model with its workers up.

    Attributes:
        perform: all items at once.
        each: one item after another; gives the seconds of each call.
    """

    perform: Perform
    each: Callable[[Callable[[Any], Any], Sequence[Any]], list[float]]


@contextmanager
def opened(model: Model, workers: int) -> Generator[Opened]:
    """Open a model's workers for as long as the block lasts."""
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
    from time import perf_counter

    seconds = []
    for item in items:
        began = perf_counter()
        perform(fn, (item,))
        seconds.append(perf_counter() - began)
    return seconds


async def _each_async(do: PerformAsync, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[float]:
    from time import perf_counter

    seconds = []
    for item in items:
        began = perf_counter()
        await do(fn, (item,))
        seconds.append(perf_counter() - began)
    return seconds


async def _enter(entry: AbstractAsyncContextManager[PerformAsync]) -> PerformAsync:
    return await entry.__aenter__()


async def _leave(entry: AbstractAsyncContextManager[PerformAsync]) -> None:
    await entry.__aexit__(None, None, None)
