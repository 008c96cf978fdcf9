"""Rules of the code that no linter checks: private names, names bound at run time, sizes of files and functions."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "unified_exec"
FILES = sorted(PACKAGE.rglob("*.py"))

LINES_MAX = 350
FUNCTION_MAX = 60

FOREIGN = {
    "_getframe": "sys._getframe: there is no public name for it",
    "_current_frames": "sys._current_frames, likewise",
    "_get_running_loop": "asyncio._get_running_loop, which answers where the public one raises",
    "_exit": "os._exit, a public function despite its name",
    "_is_gil_enabled": "sys._is_gil_enabled, likewise",
    "_make": "of every NamedTuple, public despite its name",
}
"""Private names of other projects that the package reads, and why. Everything else private stays in its folder."""


@cache
def nodes(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


def private_names_of_folders() -> dict[Path, set[str]]:
    """The private attributes that the classes and modules of each folder define."""
    found: dict[Path, set[str]] = defaultdict(set)
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found[file.parent].add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found[file.parent].add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[file.parent].add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found[file.parent].add(node.value)  # slots
    return {folder: {name for name in names if is_private(name)} for folder, names in found.items()}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def reads_of_private_names(file: Path) -> Iterator[tuple[int, str]]:
    for node in nodes(file):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_name(node.value, "self", "cls"):
            yield node.lineno, node.attr


def is_name(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def test_no_private_attribute_is_read_outside_of_its_folder() -> None:
    own = private_names_of_folders()
    everywhere = set().union(*own.values())
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in FILES
        for line, name in reads_of_private_names(file)
        if name in everywhere and name not in own[file.parent] and name not in FOREIGN
    ]
    assert not wrong, "private names of another folder:\n" + "\n".join(wrong)


def test_no_function_rebinds_itself_and_no_namespace_is_updated() -> None:
    """`globals().update`, `vars(module).update` and functions that replace themselves hide what really runs."""
    wrong = []
    for file in FILES:
        module, *_ = nodes(file)
        assert isinstance(module, ast.Module)
        functions = {node.name for node in module.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        for node in nodes(file):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
                inner = node.func.value
                if isinstance(inner, ast.Call) and is_name(inner.func, "globals", "vars"):
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(inner)}.update")
            elif isinstance(node, ast.Global) and functions & set(node.names):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: rebinds the function {node.names}")
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_short() -> None:
    wrong = []
    for file in FILES:
        text = file.read_text()
        if text.count("\n") > LINES_MAX:
            wrong.append(f"{file.relative_to(ROOT)} has {text.count(chr(10))} lines: split it by meaning")
        for node in nodes(file):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and code_lines(node) > FUNCTION_MAX:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.name}() has {code_lines(node)} lines")
    assert not wrong, "\n".join(wrong)


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    docstring = ast.get_docstring(function, clean=False) is not None
    described = (first.end_lineno or 0) - first.lineno + 1 if docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - described


def test_no_tuple_is_filled_by_a_generator() -> None:
    """`tuple(generator)` fails with a SystemError if a thread that looks at all objects meets the half made tuple."""
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES
        for node in nodes(file)
        if isinstance(node, ast.Call) and is_name(node.func, "tuple")
        if node.args and isinstance(node.args[0], ast.GeneratorExp)
    ]
    assert not wrong, "write tuple([...]):\n" + "\n".join(wrong)
