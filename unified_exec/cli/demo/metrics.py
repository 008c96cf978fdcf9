"""The metrics of a source file: functions, branches, cyclomatic complexity. This is the demo's CPU work.

Runs in the workers, so it imports only the standard library.
"""

from __future__ import annotations

import ast
import os
import signal
import warnings
from typing import NamedTuple


class FunctionMetrics(NamedTuple):
    """One function.

    Attributes:
        name: its qualified name in the file, e.g. ``"Parser.parse"`` or ``"outer.inner"``.
        line: the line of its ``def``, from 1.
        length: number of lines from ``def`` to its end.
        complexity: cyclomatic complexity, 1 + its branches.
    """

    name: str
    line: int
    length: int
    complexity: int


class FileMetrics(NamedTuple):
    """One file.

    Attributes:
        path: its path below the root, with slashes.
        size: number of bytes.
        lines: number of lines.
        branches: branches of the whole file, including those outside functions.
        functions: all functions and methods in source order.
        error: why the file could not be parsed, else ``None``.
    """

    path: str
    size: int
    lines: int
    branches: int
    functions: tuple[FunctionMetrics, ...]
    error: str | None = None


class Page(NamedTuple):
    """A fetched file: its path below the root and its content."""

    path: str
    source: bytes

    def __repr__(self) -> str:
        return f"{self.path} ({len(self.source):,} bytes)"


def parse(page: Page, doomed: str | None = None) -> FileMetrics:
    """Measure one file; crash on the file named `doomed`."""
    return crash(*page) if page.path == doomed else measure(*page)


def measure(path: str, source: bytes) -> FileMetrics:
    """Parse one file and count its functions and branches.

    A branch is a point where control flow may diverge: ``if``, ``elif``, ``x if c else y``, ``for``, ``while``,
    ``except``, each ``for`` and ``if`` of a comprehension, each further operand of ``and`` and ``or``, each ``case``
    that may fail to match. A function's cyclomatic complexity is 1 + its branches (McCabe, "A Complexity Measure", IEEE
    Transactions on Software Engineering SE-2, 1976); a nested function counts separately, a lambda counts for the
    function around it.
    """
    lines = source.count(b"\n") + (not source.endswith(b"\n") and bool(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. about invalid escapes in that file
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return FileMetrics(path, len(source), lines, 0, (), f"{type(error).__name__}: {error}")
    branches, functions = _count(tree)
    return FileMetrics(path, len(source), lines, branches, tuple(functions))


def crash(path: str, source: bytes) -> FileMetrics:
    """Parse the file, then kill this worker: a stand-in for a segmentation fault or the kernel's OOM killer."""
    measure(path, source)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    raise AssertionError("unreachable: the worker was killed")


def _count(tree: ast.Module) -> tuple[int, list[FunctionMetrics]]:
    """Walk the tree with an explicit stack: a deep tree must not cause a RecursionError."""
    total = 0
    found: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = []
    branches: list[int] = []
    # Each entry: a node, its dotted name prefix, the index of the function around it (-1: none).
    stack: list[tuple[ast.AST, str, int]] = [(tree, "", -1)]
    while stack:
        node, prefix, function = stack.pop()
        count = _branches(node)
        total += count
        if count and function >= 0:
            branches[function] += count
        inner, inner_function = prefix, function
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner, inner_function = f"{prefix}{node.name}.", len(found)
            found.append((prefix + node.name, node))
            branches.append(0)
        elif isinstance(node, ast.ClassDef):
            inner = f"{prefix}{node.name}."
        stack.extend((child, inner, inner_function) for child in reversed([*ast.iter_child_nodes(node)]))
    return total, [
        FunctionMetrics(name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1, 1 + count)
        for (name, node), count in zip(found, branches, strict=True)
    ]


_FORKS = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler)


def _branches(node: ast.AST) -> int:
    if isinstance(node, _FORKS):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.match_case):
        always = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None and node.guard is None
        return 0 if always else 1
    return 0
