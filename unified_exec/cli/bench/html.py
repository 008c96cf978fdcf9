"""A run as one HTML file: its tables and plots, with all they need inside; it loads nothing."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template

from plotly.offline import get_plotlyjs

from .comparison import comparison
from .plots import Plot, plots
from .results import Results
from .sections import NOISY, Section, describe_machine, describe_run, sections


def document(results: Results, old: Results | None = None) -> str:
    """The whole file; with `old`, what changed since then stands first."""
    drawn = plots(results)
    changes = [comparison(old, results)] if old is not None else []
    tables = sections(results)
    return Template(_asset("page.html")).substitute(
        style=_asset("style.css"),
        script=_asset("report.js"),
        plotly=get_plotlyjs(),
        created=escape(results["created"].replace("T", " ").replace("+00:00", " UTC")),
        machine="".join(f"<li>{escape(line)}</li>" for line in describe_machine(results["machine"])),
        run=escape(describe_run(results)),
        first="".join(_table(section) for section in (*changes, *tables[:1])),
        plots=_parts(drawn),
        tables="".join(_folded(section) for section in tables[1:]),
        left_out=_left_out(results),
        # "</script>" in a title must not end the element.
        data=json.dumps(drawn, ensure_ascii=False).replace("</", "<\\/"),
    )


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _parts(drawn: list[Plot]) -> str:
    """Plots under the heading of their part, each part once."""
    parts: dict[str, list[Plot]] = {}
    for plot in drawn:
        parts.setdefault(plot["part"], []).append(plot)
    return "".join(
        f'<section><h2>{escape(part)}</h2><div class="plots">{"".join(map(_figure, inside))}</div></section>'
        for part, inside in parts.items()
    )


def _figure(plot: Plot) -> str:
    wide = "" if plot["layout"].get("bar") else ' class="wide"'
    return (
        f"<figure{wide}><figcaption><h3>{escape(plot['title'])}</h3><p>{escape(plot['about'])}</p></figcaption>"
        f'<div class="plot" id="{escape(plot["id"])}" style="height:{plot["layout"]["height"]}px"></div></figure>'
    )


def _table(section: Section) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in section.columns)
    is_wordy = section.columns[1] == "best for"
    rows = "".join(
        "<tr>" + "".join(_cell(number, cell, is_wordy) for number, cell in enumerate(row)) + "</tr>"
        for row in section.rows
    )
    wordy = ' class="wordy"' if is_wordy else ""
    table = f'<div class="scroll"><table{wordy}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    about = f'<p class="about">{escape(section.about)}</p>' if section.about else ""
    return f"<section><h2>{escape(section.title)}</h2>{table if section.rows else ''}{about}</section>"


def _cell(number: int, text: str, is_wordy: bool) -> str:
    if number == 0:
        return f'<th scope="row">{escape(text)}</th>'
    mark = ' class="noisy"' if NOISY in text or text.startswith("failed") else ""
    shown = escape(text).replace(", ", "<br>") if is_wordy and number > 1 else escape(text)
    return f"<td{mark}>{shown}</td>"


def _folded(section: Section) -> str:
    return f"<details><summary>{escape(section.title)}</summary>{_table(section)}</details>"


def _left_out(results: Results) -> str:
    if not results["left_out"]:
        return ""
    lines = "".join(f"<li>{escape(entry['what'])}: {escape(entry['why'])}</li>" for entry in results["left_out"])
    return f"<section><h2>Left out</h2><ul>{lines}</ul></section>"
