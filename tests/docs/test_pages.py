"""The pages are complete: every public name is in the reference, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import unified_exec
from unified_exec import executor
from unified_exec._blocking import scope
from unified_exec._pipeline import pipeline

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("module", [unified_exec, pipeline, scope, executor], ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module: object) -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", text, re.MULTILINE))
    public: set[str] = set(module.__all__)  # type: ignore[attr-defined]
    assert public - documented - {"__version__"} == set()


@pytest.mark.parametrize("name", [name for name in unified_exec.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    assert (getattr(unified_exec, name).__doc__ or "").strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+\.md)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), f"{page.name} links to {target}, which is not there"
