"""What is shown of a run: tables, Markdown, the comparison, and the HTML report in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.bench import samples
from tests.cli.bench.browser import dom
from tests.profiles import examples
from unified_exec.cli.bench.comparison import comparison
from unified_exec.cli.bench.html_report import document
from unified_exec.cli.bench.overview_table import overview
from unified_exec.cli.bench.plots import plots
from unified_exec.cli.bench.result_file import UnreadableResults, read
from unified_exec.cli.bench.result_tables import result_tables
from unified_exec.cli.bench.text_reports import markdown_page

FOUND = samples.results()


# --- the overview table -------------------------------------------------------------------------------------------


def test_the_overview_has_a_measured_figure_in_each_cell() -> None:
    rows = {row[0]: row[1:] for row in overview(FOUND).rows}
    best_for, *others = rows["TaskScope, processes"]
    assert best_for.startswith("primes 1.9 ×")
    assert others == [
        "Python 1.00, C 1.00",
        "none: 1.90 × with 2",
        "10 µs a task, 100 µs a call",
        "1 MiB a worker, 488 KiB 1,000 tasks",
    ]
    assert rows["ThreadPoolExecutor"][2] == "full: 1.00 × with 2"
    assert rows["asyncio.gather"][2] == "one thread"


def test_a_noisy_cell_says_so_instead_of_giving_a_figure() -> None:
    (times,) = [table for table in result_tables(FOUND) if table.title == "Time: computing in Python"]
    (row,) = [row for row in times.rows if row[0] == "asyncio.gather"]
    assert row[1] == "too noisy"
    (cell,) = [cell for cell in FOUND["cells"] if (cell["workload"], cell["model"]) == ("primes", "asyncio")]
    assert cell["seconds"]["median"] is None
    assert "1 of the 2 rounds needed were calm" in cell["seconds"]["noise"]


def test_a_model_that_failed_at_a_workload_is_shown_with_the_reason() -> None:
    (times,) = [table for table in result_tables(FOUND) if table.title == "Time: waiting for I/O"]
    assert "failed: OSError: no more" in {row[0]: row[1] for row in times.rows}["ThreadPoolExecutor"]


# --- Markdown -----------------------------------------------------------------------------------------------------


def test_the_markdown_page_has_every_table_with_as_many_cells_as_columns() -> None:
    text = markdown_page(FOUND)
    for table in result_tables(FOUND):
        assert f"## {table.title}\n" in text
        lines = text.split(f"## {table.title}\n\n")[1].split("\n\n")[0].splitlines()
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 1}
    assert "- HTTP, 10,000 connections: too large for a quick run" in text


# --- the comparison -----------------------------------------------------------------------------------------------


def test_a_run_compared_with_itself_changed_nothing() -> None:
    assert comparison(FOUND, FOUND).rows == []


def test_the_comparison_shows_what_changed_beyond_noise_and_only_that() -> None:
    rows = comparison(FOUND, samples.slower(FOUND, "process-pool", 1.5)).rows
    assert rows
    assert {row[1] for row in rows} == {"ProcessPoolExecutor"}
    assert {row[-1] for row in rows} == {"+50%"}
    assert comparison(FOUND, samples.slower(FOUND, "process-pool", 1.03)).rows == []


def test_runs_of_other_sizes_are_not_compared_cell_by_cell_and_it_is_said() -> None:
    other = samples.slower(FOUND, "process-pool", 1.5)
    other["settings"]["quick"] = False
    found = comparison(FOUND, other)
    assert found.rows == []
    assert "Different: quick was True, now False." in found.about


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99, "cells": []}', "{}"])
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(UnreadableResults, match=r"old\.json"):
        read(path)


# --- HTML ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(document(FOUND, samples.slower(FOUND, "process-pool", 2.0)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("asked", "dark"), examples([("", True)], nightly=[("", True), ("light", False)]))
def test_a_real_browser_of_a_dark_system_draws_every_plot_in_the_colours_asked_for_or_the_systems(
    report: Path, asked: str, dark: bool
) -> None:
    text = dom(report, asked, ["--blink-settings=preferredColorScheme=0"])
    drawn = plots(FOUND)
    assert len(drawn) > 8
    assert f'data-drawn="{len(drawn)}"' in text
    bodies = dict(re.findall(r'<div class="plot[^"]*" id="([^"]+)"(.*?)</figure>', text, re.DOTALL))
    for plot in drawn:
        body = bodies[plot["id"]]
        assert 'class="main-svg"' in body, plot["id"]
        values = sum(len(trace["x"]) for trace in plot["traces"] if trace["type"] == "bar")
        # A bar is a path of its own; a line is one path for all its points, and another in the legend.
        shapes = len(re.findall(r'<g class="point"><path d="M[^"]+Z"', body))
        lines = sum(trace["type"] == "scatter" and trace["mode"] != "text" for trace in plot["traces"])
        assert shapes >= values, plot["id"]
        assert body.count('class="js-line"') == 2 * lines, plot["id"]
    assert ("data-dark" in text.split(">")[1]) is dark


def test_the_report_loads_nothing_from_anywhere(report: Path) -> None:
    own = report.read_text(encoding="utf-8")
    assert "default-src 'none'" in own
    assert not re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"(?!data:)[^\"]+", own)


def test_text_from_the_run_cannot_break_out_of_the_page(report: Path) -> None:
    own = report.read_text(encoding="utf-8")
    assert "A &lt;/script&gt; &amp; processor" in own
    data = own.split('id="data">')[1].split("</script>")[0]
    assert len(json.loads(data)) == len(plots(FOUND))


def test_the_report_tells_what_changed(report: Path) -> None:
    assert "Changed since the earlier run" in report.read_text(encoding="utf-8")
