"""A run as one HTML file with its tables and plots; it loads nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template

from plotly.offline import get_plotlyjs

from ..measuring.tables import Table, as_html, describe_machine
from .comparison import comparison
from .plots import Plot, plots
from .result_file import Results
from .result_tables import describe_run, result_tables


def document(results: Results, old: Results | None = None) -> str:
    """Return the whole file; with `old`, what changed since then comes first."""
    drawn = plots(results)
    changes = [comparison(old, results)] if old is not None else []
    tables = result_tables(results)
    return Template(_asset("page.html")).substitute(
        style=_asset("style.css"),
        script=_asset("report.js"),
        plotly=get_plotlyjs(),
        created=escape(results["created"].replace("T", " ").replace("+00:00", " UTC")),
        machine="".join(f"<li>{escape(line)}</li>" for line in describe_machine(results["machine"])),
        run=escape(describe_run(results)),
        first="".join(map(as_html, (*changes, *tables[:1]))),
        plots=_parts(drawn),
        tables="".join(map(_folded, tables[1:])),
        left_out=_left_out(results),
        # "</script>" in a title must not end the element.
        data=json.dumps(drawn, ensure_ascii=False).replace("</", "<\\/"),
    )


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _parts(drawn: list[Plot]) -> str:
    """Return the plots, grouped under the heading of their part."""
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


def _folded(table: Table) -> str:
    return f"<details><summary>{escape(table.title)}</summary>{as_html(table)}</details>"


def _left_out(results: Results) -> str:
    if not results["left_out"]:
        return ""
    lines = "".join(f"<li>{escape(entry['what'])}: {escape(entry['why'])}</li>" for entry in results["left_out"])
    return f"<section><h2>Left out</h2><ul>{lines}</ul></section>"
