"""Phrases that give a translation away stand in no page and no docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.py"))]
PACKAGE = sorted((ROOT / "unified_exec").rglob("*.py"))

# Phrase -> what to write instead.
BANNED = {
    r"behind (?:the|its|it|all|that|them|this)\b": "after",
    r"\bbeside\b": "next to, besides, compared with",
    r"\bshall\b": "should, must, will",
    r"\bso many\b": "n, that many",
    r"(?<!there )(?<!that )\b(?:is|are|was) no (?!longer\b|more than\b|less than\b)": "is not a",
    r"\bwhoever\b": "the code, task or caller that",
    r"\bthe affair of\b|'s affair\b": "is handled by",
    r"\bof one's own\b": "custom, separate",
    r"\bthere and back\b": "a round trip",
    r"\bLet it pass\b": "Do not suppress it",
}


ANY = re.compile("|".join(BANNED), re.I)


def offences(text: str) -> list[str]:
    if not ANY.search(text):
        return []
    return [
        f"{found[0]!r}: write {better}"
        for phrase, better in BANNED.items()
        for found in re.finditer(phrase, text, re.I)
    ]


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def test_no_page_has_a_phrase_that_gives_a_translation_away() -> None:
    found = [f"{page.name}: {offence}" for page in PAGES for offence in offences(page.read_text(encoding="utf-8"))]
    assert found == []


def test_no_docstring_has_a_phrase_that_gives_a_translation_away() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {offence}"
        for file in PACKAGE
        if ANY.search(source := file.read_text(encoding="utf-8"))
        for text in docstrings(source)
        for offence in offences(text)
    ]
    assert found == []


def test_the_phrases_are_found_and_plain_english_is_not() -> None:
    translated = "A handle is no coroutine and shall wait behind the others, beside so many."
    plain = "There is no handle that is no longer waited for; it should wait after the others, next to one contract."
    assert len(offences(translated)) == 5
    assert offences(plain) == []
