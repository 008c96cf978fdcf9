"""`unified-exec advise` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.this_python import HAS_GIL
from tests.waiting import until
from unified_exec.cli.advise.facts import Advice, Facts, Machine, Measured, Transfer, Warned
from unified_exec.cli.advise.print_advice import print_advice, print_panel
from unified_exec.cli.advise.run_plan import Step, in_words, plan
from unified_exec.cli.advise.target_function import BadTarget, find, load

ROOT = Path(__file__).parents[3]
MODULE = "tests.cli.advise.functions"


def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unified_exec", "advise", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=ROOT)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_json_report_is_complete_and_alone_on_stdout() -> None:
    done = run(f"{MODULE}:prints", "--kwargs", "level=3", "--json", "--runs", "7")
    report = json.loads(done.stdout)
    assert list(report) == [
        "schema",
        "function",
        "kind",
        "machine",
        "runs",
        "advice",
        "call",
        "measured",
        "travel",
        "interpreter",
        "state",
        "memory",
        "libraries",
        "warnings",
    ]
    assert report["schema"] == 1
    assert report["runs"]["asked"] == 7
    assert report["advice"]["backend"] in ("direct", "thread")  # as fast as the terminal takes it
    assert done.stderr.count("from the function") == report["runs"]["made"]


def test_it_says_first_what_it_will_run_and_then_what_it_found() -> None:
    done = run(f"{MODULE}:primes", "--args", "20_000", "--runs", "3")
    assert done.stderr == f"{MODULE}:primes is called at most 3 times, with all its effects: 3 alone in a thread\n"
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{MODULE}:primes: ")
    assert lines[1].startswith("  because it " if HAS_GIL else "  because this interpreter has no GIL")
    assert "warning" in done.stdout
    assert done.stdout.isprintable() is False  # for its newlines alone
    assert done.stdout.replace("\n", "").isprintable()


def test_arguments_come_from_a_setup_function_too() -> None:
    run(f"{MODULE}:prints", "--setup", f"{MODULE}:with_words", "--runs", "1")
    run(f"{MODULE}:prints", "--setup", f"{MODULE}:no_tuple", "--runs", "1", code=2)


def test_a_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("class Total:\n    def __call__(self, x):\n        return x\ntotal = Total()\n")
    done = run(f"{tmp_path / 'shop.py'}:total", "--args", "[1, 2]", "--json")
    assert json.loads(done.stdout)["travel"]["possible"]


@pytest.mark.parametrize(("name", "place"), [("fails", "thread"), ("fails_on_the_loop", "coroutine")])
def test_a_function_that_raises_ends_it_with_its_own_traceback(name: str, place: str) -> None:
    done = run(f"{MODULE}:{name}", "--args", "'no'", code=1)
    assert "raise ValueError(message)" in done.stderr
    assert f"raised ValueError in run 1, in a {place}: no; no advice" in done.stderr
    assert "run_measured" not in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")
def test_ctrl_c_ends_it_without_a_traceback() -> None:
    command = [sys.executable, "-m", "unified_exec", "advise", f"{MODULE}:naps_after_a_word"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert "is called" in process.stderr.readline()
        assert process.stderr.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest == "unified_exec advise: interrupted; no advice\n"
    until(lambda: process.poll() is not None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["primes"], "does not name a function: write MODULE:FUNCTION"),
        (["nowhere_at_all:f"], "there is no module 'nowhere_at_all'"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        ([f"{MODULE}:prime"], "did you mean 'primes'?"),
        ([f"{MODULE}:not_a_function"], "is an object of type int and cannot be called"),
        ([f"{MODULE}:generates"], "is a generator function: calling it runs nothing"),
        ([f"{MODULE}:primes", "--args", "x"], "'x' is neither a Python literal nor JSON"),
        ([f"{MODULE}:primes", "--kwargs", "3"], "is not of the form NAME=VALUE"),
        ([f"{MODULE}:primes"], "missing a required argument: 'limit'"),
        ([f"{MODULE}:primes", "--args", "1", "2"], "too many positional arguments"),
        ([f"{MODULE}:primes", "--setup", f"{MODULE}:naps_on_the_loop"], "is async"),
        ([f"{MODULE}:primes", "--args", "1", "--setup", f"{MODULE}:no_tuple"], "leave --args and --kwargs out"),
    ],
)
def test_bad_input_is_told_what_to_write(words: list[str], message: str) -> None:
    options: dict[str, Any] = {"--args": [], "--kwargs": [], "--setup": []}
    name, rest = words[0], iter(words[1:])
    option = ""
    for word in rest:
        if word in options:
            option = word
        else:
            options[option].append(word)
    with pytest.raises(BadTarget, match=None) as raised:
        load(name, options["--args"], options["--kwargs"], next(iter(options["--setup"]), None))
    assert message in str(raised.value)


@pytest.mark.parametrize("words", [["--runs", "0"], ["--runs", "x"], ["--longest", "0"], ["--longest", "nan"]])
def test_nonsense_numbers_are_refused(words: list[str]) -> None:
    assert "is not a" in run(f"{MODULE}:add", *words, code=2).stderr


def test_values_are_python_literals_or_json() -> None:
    call = load(f"{MODULE}:fills", ["[true, null]", "100_000"], [], None)
    assert call.fresh()[1] == ([True, None], 100_000)
    assert find(f"{MODULE}:Shop.total")([1, 2]) == 3


@pytest.mark.parametrize(
    ("is_async", "runs", "cores", "steps"),
    [
        (False, 1, 2, [("thread", 1, 1)]),
        (False, 4, 2, [("thread", 1, 3)]),
        (False, 7, 2, [("thread", 1, 3), ("thread", 2, 2), ("process", 2, 2)]),
        (False, 50, 2, [("thread", 1, 3), ("thread", 2, 2), ("process", 2, 2), ("process", 2, 2)]),
        (False, 50, 1, [("thread", 1, 3), ("process", 1, 1), ("process", 1, 1)]),
        (True, 4, 2, [("loop", 1, 3)]),
        (True, 50, 2, [("loop", 1, 3), ("loop", 5, 5)]),
    ],
)
def test_what_decides_most_is_run_first(
    is_async: bool, runs: int, cores: int, steps: list[tuple[str, int, int]]
) -> None:
    assert plan(is_async, runs, cores) == steps
    assert sum(step.runs for step in plan(is_async, runs, cores)) <= runs


@pytest.mark.parametrize(("runs", "last"), [(9, "process"), (10, "interpreter")])
def test_one_call_that_is_left_goes_to_an_interpreter(runs: int, last: str) -> None:
    steps = plan(False, runs, 2, interpreters=True)
    assert steps[-1].place == last
    assert sum(step.runs for step in steps) == runs


def test_the_runs_are_said_in_words() -> None:
    assert in_words("f", [Step("thread", 1, 1)]) == "f is called once, with all its effects: 1 alone in a thread"
    assert "2 in threads (2 at once), 4 in processes (2 at once)" in in_words("f", plan(False, 9, 2))


FACTS = Facts(
    "shop:total",
    Machine("3.13.0", True, 2),
    False,
    10,
    9,
    0.02,
    0.0,
    0.02,
    measured=[Measured("thread", 1, 3, 0.02, 0.02, 0.06, 1.0, 0.005)],
    transfer=Transfer(True, "", 10, 2000, 0.0001),
    weighed=True,
    growth=4096,
)
ADVICE = Advice("process", 2, 1, "it computes", "scope.spawn(total)", (Warned("state", "it reads [bold]x"),))


def test_a_terminal_gets_a_panel_and_anything_else_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_advice(FACTS, ADVICE)
    plain = capsys.readouterr().out
    assert plain.startswith("shop:total: processes, 2 at the same time\n  because it computes\n")
    assert "\x1b" not in plain
    print_panel(FACTS, ADVICE)
    rich = capsys.readouterr().out
    assert rich.startswith("╭─ shop:total: processes, 2 at the same time")
    for text in ("because it computes", "it reads [bold]x", "1.95 KiB returned", "4 KiB"):
        assert text in plain
        assert text in rich
