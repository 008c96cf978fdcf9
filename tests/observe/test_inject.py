"""Looking at a program that has no socket: code is run in it, only when asked, and only where Python can do that."""

from __future__ import annotations

import os
import sys

import pytest

from tests.observe.programs import program
from unified_exec.cli.main import main as command
from unified_exec.observe.live import inject
from unified_exec.observe.live.client import CannotLook, find

CODE = """if True:
    import anyio
    from unified_exec import TaskScope

    before = set(globals())

    async def ticks():
        while True:
            await anyio.sleep(0.02)

    async def main():
        async with TaskScope(name="hidden") as scope:
            scope.spawn(ticks)
            print("ready", flush=True)
            await anyio.sleep(0.5)
            await anyio.to_thread.run_sync(input)
            print(sorted(set(globals()) - before - {"before", "main", "ticks"}))
            scope.cancel()

    anyio.run(main)
"""
needs_remote_exec = pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="sys.remote_exec came with CPython 3.14")


@needs_remote_exec
def test_a_program_without_a_socket_is_looked_at_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with program("-c", CODE, UNIFIED_EXEC_OBSERVE="0") as process:
        assert command(["tree", str(process.pid)]) == 1
        assert "has no socket to look through" in capsys.readouterr().err
        code = command(["tree", str(process.pid), "--inject"])
        told = capsys.readouterr()
        if "that needs the rights of a debugger" in told.err:
            pytest.skip(told.err)
        assert code == 0, told.err
        assert "scope 1 hidden" in told.out
        assert "ticks (loop, " in told.out
        output, errors = process.communicate("\n", timeout=60)
        assert (output, errors) == ("[]\n", "")  # no name is left in its namespace


@needs_remote_exec
def test_a_process_that_forbids_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with program("-c", CODE, UNIFIED_EXEC_OBSERVE="0", PYTHON_DISABLE_REMOTE_DEBUG="1") as process:
        assert command(["tree", str(process.pid), "--inject"]) == 1
    assert f"code can be run in process {process.pid}" in capsys.readouterr().err


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="this Python can do it")
def test_an_older_python_says_that_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    with program("-c", CODE, UNIFIED_EXEC_OBSERVE="0") as process:
        assert command(["tree", str(process.pid), "--inject"]) == 1
        assert process.poll() is None
    assert "--inject needs CPython 3.14 or later" in capsys.readouterr().err


def test_a_program_that_has_a_socket_runs_no_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inject, "run_in", None)
    with program("-c", CODE) as process:
        assert command(["tree", str(process.pid), "--inject"]) == 0
    assert "scope 1 hidden" in capsys.readouterr().out


@pytest.mark.skipif(not os.path.exists("/proc/self/root"), reason="needs /proc")
def test_a_process_that_does_not_see_the_script_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sys, "remote_exec", lambda pid, script: asked.append(pid), raising=False)
    with pytest.raises(CannotLook, match="a file system of its own"):
        inject.run_in(os.getpid(), "/there/is/no/such/script.py")
    assert asked == []


def test_what_does_not_run_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CannotLook, match="there is no process"):
        find(1 << 22)
    assert command(["tree", str(1 << 22), "--inject"]) == 1
    assert "there is no process" in capsys.readouterr().err
