"""`python -m unified_exec bench`, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.cli.bench import samples
from tests.waiting import has_ended, until
from unified_exec.cli.bench.models import MODELS
from unified_exec.cli.bench.suite import Options, Run, too_large
from unified_exec.cli.bench.workloads import WORKLOADS
from unified_exec.cli.measuring.machine import allow_descriptors

ROOT = Path(__file__).parents[3]
BENCH = [sys.executable, "-m", "unified_exec", "bench"]
SMALL = ["--quick", "--scale", "0.01", "--rounds", "1", "--workers", "2"]

# No neighbour disturbs a turn: on a busy machine all would be repeated until the time budget is used up.
ALONE = """
import sys
from unified_exec.cli.main import main
from unified_exec.cli.measuring import rounds
rounds.MANY_OTHERS = float("inf")
sys.exit(main())
"""


def bench(*options: str, code: int = 0, command: list[str] = BENCH) -> subprocess.CompletedProcess[str]:
    run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=110, check=False, cwd=ROOT)
    assert run.returncode == code, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return run


class Measured(NamedTuple):
    folder: Path
    run: subprocess.CompletedProcess[str]
    found: dict[str, Any]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """One small run with all its outputs."""
    folder = tmp_path_factory.mktemp("bench")
    outputs = [f"--{kind}={folder}/run.{kind}" for kind in ("json", "markdown", "html")]
    chosen = ["--workloads", "primes,http-10000,tiny", "--models", "thread-pool,asyncio,scope-process"]
    run = bench(*SMALL, *chosen, *outputs, command=[sys.executable, "-c", ALONE, "bench"])
    return Measured(folder, run, json.loads((folder / "run.json").read_text(encoding="utf-8")))


def test_it_measures_each_chosen_model_at_each_chosen_workload(measured: Measured) -> None:
    cells = {(cell["workload"], cell["model"]): cell for cell in measured.found["cells"]}
    models = ("sequential", "thread-pool", "asyncio", "scope-process")
    assert set(cells) == {(work, model) for work in ("primes", "tiny") for model in models}
    for cell in cells.values():
        assert cell["error"] is None
        assert len(cell["seconds"]["samples"]) == 1  # as many as rounds were asked for
    assert {cell["workers"] for cell in measured.found["scaling"] if cell["model"] == "thread-pool"} == {1, 2, 4}
    assert [profile["model"] for profile in measured.found["profiles"]] == list(models)
    for profile in measured.found["profiles"]:
        assert profile["error"] is None
        assert profile["start"]["median"] > 0
        assert profile["task"]["median"] > 0
        assert profile["call"] == sorted(profile["call"])
        alone = profile["model"] in ("sequential", "asyncio")
        assert (profile["worker_bytes"] is None) is alone
        assert profile["workers"] == (1 if alone else 2)


def test_what_was_left_out_is_said_with_the_reason(measured: Measured) -> None:
    expected = {"what": "HTTP, 10,000 connections", "why": "too large for a quick run"}
    assert measured.found["left_out"] == [expected]
    assert "left out: HTTP, 10,000 connections: too large for a quick run" in measured.run.stdout


def test_the_tables_the_page_and_the_report_tell_of_every_model(measured: Measured) -> None:
    markdown = (measured.folder / "run.markdown").read_text(encoding="utf-8")
    html = (measured.folder / "run.html").read_text(encoding="utf-8")
    for text in (measured.run.stdout, markdown, html):
        assert "Which model for what" in text
        assert all(title in text for title in ("ThreadPoolExecutor", "asyncio.gather", "TaskScope, processes"))
    assert "turns" in measured.run.stderr  # the progress


def test_the_machine_is_described_without_its_name(measured: Measured) -> None:
    machine = measured.found["machine"]
    assert {"cores", "affinity", "usable_cores", "python", "gil", "versions"} <= set(machine)
    assert os.uname().nodename not in json.dumps(measured.found) or len(os.uname().nodename) < 4


def test_a_run_compared_with_itself_changed_nothing(measured: Measured) -> None:
    own = str(measured.folder / "run.json")
    run = bench("--from", own, "--compare", own)
    assert "Nothing changed beyond noise" in run.stdout


def test_the_documented_schema_is_the_files(measured: Measured) -> None:
    text = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8").split("## The JSON file")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert list(rows) == list(measured.found)
    named = {name for row in rows.values() for name in re.findall(r"`(\w+)`", row)}
    for part in ("machine", "settings", "thresholds"):
        assert set(measured.found[part]) <= named
    for part in ("workloads", "models", "cells", "scaling", "profiles", "left_out"):
        assert set(measured.found[part][0]) <= named
    figure = set(re.findall(r"`(\w+)`", text.split("A **figure**")[1]))
    assert set(measured.found["cells"][0]["seconds"]) <= figure


def test_the_list_names_every_workload_and_model() -> None:
    run = bench("--list")
    assert all(f" {entry.key} " in run.stdout for entry in (*WORKLOADS, *MODELS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workloads", "prime"], "there is no workload prime; choose from primes, "),
        (["--models", "pool"], "there is no model pool; choose from sequential, "),
        (["--compare", "missing.json"], "there is no file 'missing.json'"),
        (["--json", "no/such/folder/run.json"], "cannot be written"),
        (["--from", "pyproject.toml"], "pyproject.toml cannot be read as JSON"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_measured(options: list[str], message: str) -> None:
    assert message in bench(*options, code=2).stderr


@pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")
def test_ctrl_c_shows_what_was_measured_until_then_and_leaves_no_process(tmp_path: Path) -> None:
    command = [*BENCH, *SMALL, "--workloads", "tiny", "--json", str(tmp_path / "run.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert "turns" in process.stderr.readline()
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in output
    assert json.loads((tmp_path / "run.json").read_text())["over"] == "interrupted"
    # The workers of a model's process are killed by the kernel a moment after it.
    assert until(lambda: all(has_ended(child) for child in below))


def test_a_size_that_needs_more_descriptors_than_granted_is_left_out_with_the_reason() -> None:
    why = allow_descriptors(10**9)
    assert why is None or "needs 1,000,000,000 descriptors" in why
    (large,) = [workload for workload in WORKLOADS if workload.key == "http-10000"]
    assert too_large(large, Options([], [large], 2, quick=True)) == "too large for a quick run"


def test_results_of_a_run_without_anything_are_still_a_page() -> None:
    from unified_exec.cli.bench.result_file import as_json
    from unified_exec.cli.bench.text_reports import markdown_page

    run = Run(Options([], [], 2), over="interrupted")
    assert "interrupted" in markdown_page(as_json(run, samples.MACHINE, "2026-01-02T03:04:05+00:00"))
