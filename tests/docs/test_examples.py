"""Every example in README.md, docs/ and the docstrings, and every program in examples/, runs as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import codeblocks

ROOT = Path(__file__).parents[2]
EXAMPLES = codeblocks.everywhere(ROOT)
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))

# What the last lines of each program in examples/ say.
LAST_LINES = {
    "batch": "below 5000 -> 3711\nbelow 2000 -> 1161\n",
    "cancel_everywhere": "process on process: cancelled True\ncleaned up: coroutine process thread\n",
    "cluster": "worked on a node: True\npi is about 3.14, as it is here: True\n",
    "crawler": "60 pages, 177179 words; the longest is /59\n",
    "crawler_talks": "40 pages, 78079 words, 80 links\n",
    "philosophers": "a ring of 5; acquire locks in one order\n4 meals\n15 meals\n",
    "mirrors": "good won: the file, byte for byte\nhung up on: slow\n",
    "model_server": '503 {"error":"the model has crashed"}\n200 {"score":-1.0}\n',
    "notebook": "pi is about 3.1\n[False, True]\nseed 3\n",
    "web_app": "/report no answer\nits work has ended: True\n",
}


PYTHON = [sys.executable, "-W", "error"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}  # lines of program and workers in their order, as on a terminal


def run(*script: str, stdin: str | None = None, folder: Path) -> str:
    """Run a script with every warning an error; what it printed."""
    done = subprocess.run(
        [*PYTHON, *script],
        cwd=folder,
        env=environment(),
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return what_it_printed(done.returncode, done.stdout, done.stderr)


def what_it_printed(code: int, out: str, err: str) -> str:
    # asyncio's debug mode, which `-X dev` turns on, reports each turn of the loop that took 0.1 s: the machine is busy.
    errors = "".join(line for line in err.splitlines(keepends=True) if not line.startswith(("Executing <", "Close <")))
    assert code == 0, f"it ended with {code}:\n{err}"
    assert errors == "", f"it wrote to stderr:\n{errors}"
    return out


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    """An interpreter that runs scripts in forks of itself."""
    program = [*PYTHON, str(Path(__file__).with_name("forks.py"))]
    with subprocess.Popen(
        program, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def run_in_fork(forks: subprocess.Popen[str], script: Path, out: Path, err: Path) -> str:
    assert forks.stdin is not None
    assert forks.stdout is not None
    out.touch()
    err.touch()
    forks.stdin.write(f"{script}\t{out}\t{err}\n")
    forks.stdin.flush()
    return what_it_printed(int(forks.stdout.readline()), out.read_text(), err.read_text())


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.place for example in EXAMPLES])
def test_the_example_runs_as_it_is_printed(
    example: codeblocks.Example, forks: subprocess.Popen[str], tmp_path: Path
) -> None:
    if "Interpreter" in example.code and sys.version_info < (3, 14):
        pytest.skip("interpreters need CPython 3.14")
    script = tmp_path / "folder" / "example.py"
    script.parent.mkdir()
    script.write_text(example.code, encoding="utf-8")

    printed = run_in_fork(forks, script, tmp_path / "out", tmp_path / "err")

    if example.prints is not None:
        assert printed == example.prints


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.stem for program in PROGRAMS])
def test_the_program_runs_and_says_what_it_should(program: Path, tmp_path: Path) -> None:
    if program.stem == "cluster":
        pytest.importorskip("distributed", reason="the example starts a Dask cluster: pip install distributed")
    assert run(str(program), folder=tmp_path).endswith(LAST_LINES[program.stem])


README = [example for example in EXAMPLES if example.place.startswith("README")]


@pytest.mark.parametrize("example", README, ids=[example.place for example in README])
def test_the_readme_examples_run_piped_into_python(example: codeblocks.Example, tmp_path: Path) -> None:
    assert run("-", stdin=example.code, folder=tmp_path) == example.prints


@pytest.mark.parametrize("example", README, ids=[example.place for example in README])
def test_the_readme_examples_run_as_python_dash_c(example: codeblocks.Example, tmp_path: Path) -> None:
    assert run("-c", example.code, folder=tmp_path) == example.prints
