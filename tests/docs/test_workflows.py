"""The workflows, the templates and CONTRIBUTING name only make targets and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / ".github").rglob("*.*ml")), *sorted((ROOT / ".github").glob("*.md")), ROOT / "CONTRIBUTING.md"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_make_target_it_names_exists(file: Path) -> None:
    named = set(re.findall(r"(?:run: |`|^)(?:\w+=\S+ )?make ([a-z]+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_path_it_names_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w./])((?:tests|docs|benchmarks|examples|unified_exec)/[\w./]*\w)(?![\w*])", text):
        assert (ROOT / path).exists(), f"{file.name} names {path}, which is not there"


def test_the_map_of_the_house_answers_at_least_twenty_questions() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    answers = re.findall(r"^\| .*\? \| `(unified_exec/[\w/]+\.py)` \|$", text, re.MULTILINE)
    assert len(answers) == len(set(answers)) >= 20


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/design.md", "docs/platforms.md"])
def test_every_module_it_names_exists(page: str) -> None:
    named = re.findall(r"`(?:unified_exec/)?(_\w+/[\w/]+\.py)`", (ROOT / page).read_text(encoding="utf-8"))
    assert named != []
    assert [path for path in named if not (ROOT / "unified_exec" / path).is_file()] == []
