"""The pages are complete and true: every public name is in the reference, every link leads somewhere, figures agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import unified_exec
from tests import codeblocks
from unified_exec import executor, from_task

ROOT = Path(__file__).parents[2]
WIDTH = 88  # columns of code that fit the text's width in the HTML pages
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("module", [unified_exec, executor, from_task], ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module: object) -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", text, re.MULTILINE))
    public: set[str] = set(module.__all__)  # type: ignore[attr-defined]
    assert public - documented - {"__version__"} == set()


def test_every_public_name_has_a_docstring_of_its_own() -> None:
    names = [name for name in unified_exec.__all__ if name != "__version__"]
    assert [name for name in names if not (getattr(unified_exec, name).__doc__ or "").strip()] == []


def test_every_link_to_a_file_leads_to_one() -> None:
    broken = [
        f"{page.name} links to {target}"
        for page in PAGES
        for target in re.findall(
            r"\]\(([^)#\s]+\.(?:md|svg|html|yml)|LICENSE)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")
        )
        if not target.startswith(("http", "../../actions/")) and not (page.parent / target).is_file()
    ]
    assert broken == []


def anchor(heading: str) -> str:
    """The anchor that GitHub and MyST give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_link_to_a_heading_leads_to_one() -> None:
    broken = []
    for page in PAGES:
        for target, wanted in re.findall(r"\]\(([^)#\s]*\.md)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            headings = re.findall(r"^#+ (.*)$", (page.parent / target).read_text(encoding="utf-8"), re.MULTILINE)
            if wanted not in map(anchor, headings):
                broken.append(f"{page.name} links to {target}#{wanted}")
    assert broken == []


def test_the_lines_of_an_example_fit_the_page() -> None:
    wide = [
        f"{example.place}: {line}"
        for example in codeblocks.everywhere(ROOT)
        for line in example.code.splitlines()
        if len(line) > WIDTH
    ]
    assert wide == [], f"longer than {WIDTH} columns"


def test_the_ratios_in_the_readme_are_those_of_the_measurements() -> None:
    measured = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    claims = re.findall(r"([\d.]+) × the time of .*?\(([\d.]+) ms : ([\d.]+) ms\)", readme)
    assert len(claims) >= 3
    for ratio, ours, theirs in claims:
        assert float(ratio) == round(float(ours) / float(theirs), 2)
        for figure in (ours, theirs):
            assert f"| {figure} ms" in measured, f"no measurement says {figure} ms"


def test_the_two_commands_stand_first_in_the_readme() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1]
    assert [line.split("#")[0].strip() for line in first.splitlines()[1:]] == ["make demo", "make test"]
