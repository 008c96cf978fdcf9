"""`python -m unified_exec demo`, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.this_python import HAS_GIL
from tests.waiting import until
from unified_exec.cli.main import USAGE, main

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "unified_exec", "demo"]
CPU = "processes" if HAS_GIL else "threads"
posix = pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demonstration puts its files; nothing of them may be left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("FORCE_COLOR", "1")  # what is no terminal gets no control characters even so
    monkeypatch.setenv("PYTHON_COLORS", "0")  # but for the help: that is argparse's, and obeys
    monkeypatch.chdir(ROOT)
    yield folder
    assert list(folder.iterdir()) == []


def demo(*options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    run = subprocess.run([*DEMO, *options], capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert all(character == "\n" or character.isprintable() for character in run.stdout + run.stderr)
    return run


def report(*options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(demo("--json", *options).stdout)
    return found


@contextmanager
def started(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demonstration and wait until it is in the middle of its work."""
    command = [*DEMO, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert any("parsed" in line for line in process.stdout)
            yield process
        finally:
            process.kill()


# --- the run ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("temporary")
def test_it_runs_and_tells_in_plain_lines() -> None:
    run = demo("--limit", "12")
    lines = [line.rstrip() for line in run.stdout.splitlines()]
    assert lines[0].startswith("12 files (")
    assert "fetched 12 (0/8 busy), parsed 12 (0/" in run.stdout
    start = lines.index("The ten most complex functions") + 2
    ranking = [line.split() for line in lines[start : start + 10]]
    complexities = [int(row[0]) for row in ranking]
    assert complexities == sorted(complexities, reverse=True)
    assert all(".py:" in row[-1] for row in ranking)
    assert [line.split()[0] for line in lines if line.endswith("%")] == ["coroutines", CPU, "threads"]
    assert any(line.startswith("Speed-up: ") and line.endswith("both runs stored the same results.") for line in lines)
    assert run.stderr == ""


@pytest.mark.usefixtures("temporary")
def test_its_report_as_json_is_complete_and_adds_up() -> None:
    found = report("--limit", "14", "--workers", "2", "--backend", "trio")
    assert found["event_loop"] == "trio"
    assert found["corpus"]["files"] == found["totals"]["files"] == found["hybrid"]["files"] == 14
    assert found["corpus"]["bytes"] == found["totals"]["bytes"] == found["hybrid"]["bytes"]
    assert found["hybrid"]["ended"] == "done"
    assert found["hybrid"]["lost"] == []
    assert [stage["stage"] for stage in found["hybrid"]["stages"]] == ["fetched", "parsed", "stored"]
    for stage in found["hybrid"]["stages"]:
        assert (stage["finished"], stage["failed"], stage["cancelled"], stage["never_started"]) == (14, 0, 0, 0)
        assert 0 < stage["busy_share"] <= 1
        assert stage["busy_seconds"] <= stage["workers"] * found["hybrid"]["seconds"]
    parts = sum(found["sequential"][f"{part}_seconds"] for part in ("fetch", "parse", "store"))
    assert 0 < parts <= found["sequential"]["seconds"]
    assert found["speedup"] == pytest.approx(found["sequential"]["seconds"] / found["hybrid"]["seconds"])
    assert found["same_results"] is True
    assert found["left_over"] == {"tasks": 0, "processes": 0, "threads": 0}
    assert found["broken_promises"] == []
    assert len(found["most_complex"]) == 10
    assert set(found["longest"]) == {"path", "name", "line", "length", "complexity"}


@pytest.mark.usefixtures("temporary")
def test_the_comparison_can_be_left_out_and_the_results_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    found = report("--limit", "5", "--no-sequential", "--cancel-after", "60", "--db", str(path))
    assert found["event_loop"] == "asyncio"
    assert (found["sequential"], found["speedup"], found["same_results"]) == (None, None, None)
    assert found["hybrid"]["ended"] == "done"  # it was done before it could be cancelled
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM files").fetchone() == (5,)
    connection.close()
    assert "exists already" in demo("--db", str(path), code=2).stderr


@pytest.mark.usefixtures("temporary")
def test_on_a_terminal_it_draws_a_bar_per_backend() -> None:
    pty = pytest.importorskip("pty")
    parent_end, child_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen([*DEMO, "--limit", "12"], stdout=child_end, stdin=child_end, env=environment) as process:
        os.close(child_end)
        drawn = b""
        while block := _read(parent_end):
            drawn += block
        os.close(parent_end)
    assert process.returncode == 0
    assert b"\x1b[" in drawn
    assert all(word in drawn for word in (b"fetched", b"processes", b"12/12", b"files/s", b"sequential"))
    assert drawn.count(b"\x1b[?25l") == drawn.count(b"\x1b[?25h")  # the cursor is back


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""


# --- the law ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("temporary")
def test_a_killed_worker_costs_one_file() -> None:
    found = report("--limit", "12", "--crash", "--no-sequential")
    (lost,) = found["hybrid"]["lost"]
    assert lost["error"] == "WorkerCrashed"
    assert lost["path"] in lost["message"]
    assert lost["exitcode"] == -9
    assert [stage["finished"] for stage in found["hybrid"]["stages"]] == [12, 11, 11]
    assert found["hybrid"]["stages"][1]["failed"] == 1
    assert found["totals"]["files"] == 11
    assert found["broken_promises"] == []


@pytest.mark.usefixtures("temporary")
def test_a_killed_worker_is_told_by_the_name_of_its_file() -> None:
    text = demo("--limit", "12", "--crash", "--no-sequential").stdout
    assert "WorkerCrashed: " in text
    assert "died by signal SIGKILL" in text
    assert "The pool continued" in text
    assert "11 of 12 files are stored" in text
    assert "Left over: 0 tasks, 0 processes, 0 threads." in text


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(("seconds", "backend"), [("0", "asyncio"), ("0.4", "trio")])
def test_cancelling_leaves_nothing_and_is_told_in_numbers(backend: str, seconds: str) -> None:
    found = report("--with-tests", "--cancel-after", seconds, "--backend", backend)
    hybrid = found["hybrid"]
    assert hybrid["ended"] == "cancelled"
    assert float(seconds) <= hybrid["seconds"] < float(seconds) + 60
    assert hybrid["files"] < found["corpus"]["files"]
    assert found["left_over"] == {"tasks": 0, "processes": 0, "threads": 0}
    begun = found["corpus"]["files"] - hybrid["files_never_begun"]
    for stage in hybrid["stages"]:
        told = stage["finished"] + stage["cancelled"] + stage["never_started"]
        assert told <= begun
        assert stage["failed"] == 0
        begun = stage["finished"]  # only what one stage has finished comes to the next
    assert found["sequential"] is None


@posix
@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    ("number", "code", "backend"),
    [(signal.SIGINT, 130, "trio"), (signal.SIGTERM, 143, "asyncio")],
)
def test_ctrl_c_and_its_like_end_it_with_one_line(number: int, code: int, backend: str) -> None:
    with started("--with-tests", "--backend", backend) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == ""
    assert out.splitlines()[-1].startswith("Interrupted after ")


@posix
@pytest.mark.usefixtures("temporary")
def test_ctrl_c_in_the_comparison_ends_it_too() -> None:
    with started("--limit", "100") as process:
        assert any("sequential:" in line for line in process.stdout or ())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("Interrupted in the sequential run")


@posix
def test_a_reader_that_has_gone_is_no_drama(temporary: Path) -> None:
    with started("--with-tests") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141
    assert until(lambda: not list(temporary.iterdir()))


# --- the command line ---------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_in_one_line() -> None:
    command = [sys.executable, "-S", *DEMO[1:]]  # without installed packages
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 2
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert "needs httpx and rich" in line
    assert line.endswith("-m pip install httpx rich")


@pytest.mark.parametrize(
    "options",
    [
        ["--limit", "0"],
        ["--limit", "x"],
        ["--workers", "-1"],
        ["--cancel-after", "nan"],
        ["--cancel-after", "soon"],
        ["--backend", "twisted"],
        ["--crash", "--cancel-after", "1"],
    ],
)
def test_wrong_usage_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *options])
    assert ended.value.code == USAGE
    assert "usage:" in capsys.readouterr().err


@pytest.mark.usefixtures("temporary")
def test_help_names_every_option() -> None:
    text = demo("--help").stdout
    assert "--cancel-after S" in text
    assert "--json" in text
