"""A run as one Markdown page."""

from __future__ import annotations

from collections.abc import Sequence

from .results import Results
from .sections import Section, describe_machine, describe_run, sections

COMMAND = "unified-exec bench"


def page(results: Results) -> str:
    """The whole page."""
    options = " --quick" if results["settings"]["quick"] else ""
    parts = [
        "# Measurements",
        f"Written by `{COMMAND}{options} --markdown FILE` on {results['created'][:10]}. [What is measured, and how]"
        "(bench.md). Another machine gives other figures.",
        "\n".join(f"- {line}" for line in describe_machine(results["machine"])),
        describe_run(results),
        *(_section(section) for section in sections(results)),
        _left_out(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> str:
    head = "| " + " | ".join(section.columns) + " |"
    rule = "| --- |" + " ---: |" * (len(section.columns) - 1)
    if section.columns[1:2] == ("best for",):
        rule = "| " + " | ".join(["---"] * len(section.columns)) + " |"
    rows = [_row(row) for row in section.rows]
    star = "\\* scaled up from a part of the tasks." if any("*" in cell for row in section.rows for cell in row) else ""
    about = "\n\n".join(part for part in (section.about, star) if part)
    return "\n\n".join(part for part in (f"## {section.title}", "\n".join([head, rule, *rows]), about) if part)


def _row(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) + " |"


def _left_out(results: Results) -> str:
    if not results["left_out"]:
        return ""
    lines = [f"- {entry['what']}: {entry['why']}" for entry in results["left_out"]]
    return "## Left out\n\n" + "\n".join(lines)
