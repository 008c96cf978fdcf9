"""Tables of plain text cells, made once and shown on the terminal, in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .figures import shown

NONE = "—"
NOISY = "too noisy"
SCALED = "* scaled up from some of the tasks"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        about: how to read it.
        wordy: the cells hold text rather than numbers.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str = ""
    wordy: bool = False

    @property
    def has_scaled_cells(self) -> bool:
        """Whether a cell bears the star of `SCALED`."""
        return any(cell.endswith("*") or "*," in cell for row in self.rows for cell in row)


def of_figure(figure: dict[str, Any] | None, unit: str) -> str:
    """Format a figure; a dash or `NOISY` if there is none."""
    if figure is None:
        return NONE
    return NOISY if figure["median"] is None else shown(figure["median"], unit)


def is_warning(cell: str) -> bool:
    """Whether a cell tells why there is no figure."""
    return NOISY in cell or cell.startswith("failed")


def as_markdown(table: Table) -> str:
    """Return the table under its heading."""
    head = "| " + " | ".join(table.columns) + " |"
    rule = "| --- |" + (" --- |" if table.wordy else " ---: |") * (len(table.columns) - 1)
    rows = ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows]
    star = f"\\{SCALED}." if table.has_scaled_cells else ""
    parts = (f"## {table.title}", "\n".join([head, rule, *rows]), table.about, star)
    return "\n\n".join(part for part in parts if part)


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def as_html(table: Table) -> str:
    """Return the table as a section with its heading."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(_html_cell(number, cell, table.wordy) for number, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    wordy = ' class="wordy"' if table.wordy else ""
    inner = f'<div class="scroll"><table{wordy}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    notes = [table.about, f"{SCALED}." if table.has_scaled_cells else ""]
    about = "".join(f'<p class="about">{escape(note)}</p>' for note in notes if note)
    return f"<section><h2>{escape(table.title)}</h2>{inner if table.rows else ''}{about}</section>"


def _html_cell(number: int, text: str, wordy: bool) -> str:
    if number == 0:
        return f'<th scope="row">{escape(text)}</th>'
    mark = ' class="noisy"' if is_warning(text) else ""
    lines = escape(text).replace(", ", "<br>") if wordy and number > 1 else escape(text)
    return f"<td{mark}>{lines}</td>"


def describe_machine(machine: dict[str, Any]) -> list[str]:
    """Describe the machine in three lines."""
    versions = [f"{name} {version}" for name, version in machine["versions"].items() if version]
    return [
        f"{machine['processor']}, {machine['cores']} cores ({machine['affinity']} by affinity, "
        f"{machine['usable_cores']} usable), {machine['system']}",
        f"{machine['python']}, GIL {'on' if machine['gil'] else 'off'}",
        ", ".join(versions),
    ]
