"""The examples of the documentation, found so that they can be run.

In README.md and docs/*.md each fence marked `python` is a whole script. A comment on the line above may say otherwise:

    <!-- continues -->            the block goes on where the last one of its file ended
    <!-- prints -->               above a `text` fence: exactly what the script before it prints
    <!-- not run: the reason -->  the block is only shown

In a docstring of the package, an example is the indented block after a line `Example::`.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FENCE = re.compile(
    r"^(?:<!--[ ]*(?P<note>.*?)[ ]*-->\n)?"
    r"(?P<ticks>`{3,})(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=ticks)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Example:
    """A script to run; `place` is the file and line it stands at."""

    place: str
    code: str
    prints: str | None = None


class ExampleError(ValueError):
    """A comment above a block that means nothing where it stands."""


def in_markdown(text: str, file: str) -> list[Example]:
    """All scripts of a Markdown page."""
    found: list[Example] = []
    for fence in _FENCE.finditer(text):
        place = f"{file}:{text.count(chr(10), 0, fence.start('ticks')) + 1}"
        _take(found, fence["language"], fence["body"], fence["note"], place)
    return found


def _take(found: list[Example], language: str, body: str, note: str | None, place: str) -> None:
    match language, note:
        case "python", None:
            found.append(Example(place, body))
        case "python", "continues" if found:
            found.append(Example(place, found[-1].code + body))
        case "text", "prints" if found:
            found[-1].prints = body
        case "python", str() if re.fullmatch(r"not run: .+", note):
            pass
        case "python", _:
            raise ExampleError(f"{place}: <!-- {note} --> is none of: continues, prints, not run: the reason")
        case _, "continues" | "prints":
            raise ExampleError(f"{place}: <!-- {note} --> stands above no block it could mean")


def in_docstrings(source: str, file: str) -> Iterator[Example]:
    """All examples in the docstrings of a module."""
    if "Example::" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            name = getattr(node, "name", "")
            for block in re.finditer(r"^Example::\n\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE):
                yield Example(f"{file}:{name}", textwrap.dedent(block[1]).rstrip() + "\n")


@cache
def everywhere(root: Path) -> list[Example]:
    """The examples of the README, of docs/ and of the package, in this order."""
    found: list[Example] = []
    for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        found += in_markdown(page.read_text(encoding="utf-8"), page.relative_to(root).as_posix())
    for module in sorted((root / "unified_exec").rglob("*.py")):
        found += in_docstrings(module.read_text(encoding="utf-8"), module.relative_to(root).as_posix())
    return found
