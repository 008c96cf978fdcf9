"""The tools in the hands of somebody new: wrong arguments, no terminal, an output that has gone."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import unified_exec
from tests.observe.patience import until_async
from tests.observe.programs import ROOT
from unified_exec import Collect, ProcessPool, TaskScope, observe
from unified_exec.cli.main import main
from unified_exec.cli.options import WAITS, seconds

pytestmark = pytest.mark.anyio
wrong: Any = observe  # mypy would refuse what these tests are about


def test_an_unknown_kind_of_wait_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tree", str(os.getpid()), "--why", "limits"])
    assert "choose from 'behind', 'channel'" in capsys.readouterr().err.replace(
        "behind, channel", "'behind', 'channel'"
    )


def test_every_kind_of_wait_of_the_tree_can_be_asked_for() -> None:
    sources = Path(unified_exec.__file__).parent.joinpath("observe", "live").glob("*.py")
    told = {kind for source in sources for kind in re.findall(r'wait\(\s*"(\w+)"', source.read_text(encoding="utf-8"))}
    assert len(told) > 10
    assert told <= set(WAITS)


@pytest.mark.parametrize("text", ["-1", "nan", "0", "soon"])
def test_watching_every_so_often_needs_a_time(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tree", str(os.getpid()), "--watch", text])
    assert "is not a number of seconds" in capsys.readouterr().err


def test_a_time_without_an_end_can_be_slept_for() -> None:
    assert seconds("1e300") <= threading.TIMEOUT_MAX


async def test_a_name_that_does_not_fit_the_encoding_of_the_output_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    async with TaskScope("gr\xf6\xdfe"):
        assert await anyio.to_thread.run_sync(main, ["tree", str(os.getpid())]) == 0
    assert rb"gr\xf6\xdfe" in written.getvalue()


async def test_top_without_a_terminal_says_what_to_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("textual", reason="the extra observe is not installed")
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "__stdin__", nothing)
        async with TaskScope():  # opens the socket
            assert await anyio.to_thread.run_sync(main, ["top", str(os.getpid())]) == 1
    assert "--json" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_an_output_that_cannot_be_written_is_told_in_a_line() -> None:
    command = [sys.executable, "-m", "unified_exec", "ps", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.stderr.splitlines() == ["unified_exec: No space left on device"]
    assert done.returncode == 1


def test_a_closed_output_is_no_error() -> None:
    command = [sys.executable, "-m", "unified_exec", "tree", "99999999"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.stderr.splitlines() == ["unified-exec tree: there is no process 99999999"]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: wrong.report(1).__enter__(), TypeError, "PathLike"),
        (lambda: wrong.trace(1).__enter__(), TypeError, "PathLike"),
        (lambda: wrong.watch(print, kinds="task.settled"), TypeError, "{'task.settled'}"),
        (lambda: wrong.watch(print, kinds=3), TypeError, "{'task.settled'}"),
        (lambda: wrong.look(stacks="some"), ValueError, "'none', 'mine', 'all'"),
        (lambda: wrong.show(3), TypeError, "takes a scope"),
        (lambda: wrong.dump_on("SIGUSR1"), TypeError, "signal.SIGUSR1"),
    ],
)
def test_a_wrong_argument_is_told_with_a_right_one(
    call: Callable[[], object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        call()


def test_a_signal_that_cannot_be_handled_leaves_no_thread() -> None:
    def writers() -> int:
        return [thread.name for thread in threading.enumerate()].count("unified_exec dump")

    before = writers()
    with pytest.raises(OSError, match="Invalid argument"):
        observe.dump_on(signal.SIGKILL)
    assert writers() == before


def test_a_trace_that_was_there_stays_if_the_program_cannot_be_looked_at(tmp_path: Path) -> None:
    (file := tmp_path / "run.pftrace").write_bytes(b"the last one")
    assert main(["trace", "0", "-o", str(file)]) == 1
    assert file.read_bytes() == b"the last one"


async def test_a_task_waits_for_a_worker_of_its_own_pool() -> None:
    async with ProcessPool(1) as one, ProcessPool(1) as two, TaskScope(policy=Collect()) as scope:
        for pool in (one, one, one, two):
            scope.spawn(time.sleep, 1e6, on=pool)
        await until_async(lambda: "waits for a worker: 1 of 1 busy, 2 queued" in observe.dump())
        assert "3 queued" not in observe.dump()
        scope.cancel()
