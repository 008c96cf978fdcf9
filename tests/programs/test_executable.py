"""An executable that is not Python, a frozen application: a clear error, never a program that starts itself again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.programs import run, run_script
from unified_exec import ProcessPool, TaskScope, WorkerStartError, freeze_support
from unified_exec._pools.process import worker_watcher

CALL = """
import sys
sys.executable = sys.argv[1]
import anyio
from unified_exec import call
async def main():
    try:
        print(await call(pow, 2, 3, on="process"))
    except Exception as error:
        print(type(error).__name__, error)
anyio.run(main)
"""


def script_of_shell(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def until_refused(pool: ProcessPool) -> WorkerStartError:
    async with pool:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskScope(processes=pool) as scope:
                scope.spawn(abs, -1, on="process")
    error = caught.value.exceptions[0]
    assert isinstance(error, WorkerStartError), error
    return error


@pytest.mark.fresh_pool
@pytest.mark.one_loop
async def test_a_program_that_starts_and_stays_is_killed_after_the_start_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computes all the time, so that only its time tells."""
    host = script_of_shell(tmp_path / "host", f"echo $$ >> {tmp_path}/pids; while true; do :; done")
    monkeypatch.setattr(sys, "executable", host)
    error = await until_refused(ProcessPool(2, start_timeout=0.5))
    assert "did not become a worker within 0.5 s" in str(error)
    for pid in (tmp_path / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.mark.fresh_pool
async def test_a_program_that_waits_for_something_else_is_known_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_watcher, "LOOK_AT_START", 0.3)
    monkeypatch.setattr(sys, "executable", script_of_shell(tmp_path / "host", "exec sleep 60"))
    began = time.monotonic()
    assert "is it Python" in str(await until_refused(ProcessPool(1)))
    assert time.monotonic() - began < 20


@pytest.mark.fresh_pool
@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset, which puts two processes on one core")
@pytest.mark.one_loop
async def test_what_a_worker_waits_for_a_processor_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = f"taskset -c {min(os.sched_getaffinity(0))}"
    with subprocess.Popen([*core.split(), sys.executable, "-c", "while True: pass"]) as busy:
        try:
            host = script_of_shell(tmp_path / "host", f'exec nice -n 10 {core} {sys.executable} "$@"')
            monkeypatch.setattr(sys, "executable", host)
            async with ProcessPool(1, start_timeout=0.4) as pool, TaskScope(processes=pool) as scope:
                assert await scope.spawn(abs, -1, on="process") == 1
        finally:
            busy.kill()


@pytest.mark.fresh_pool
async def test_the_time_of_an_initializer_does_not_count() -> None:
    async with ProcessPool(1, start_timeout=2, initializer=time.sleep, initargs=(2.5,)) as pool:
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(abs, -1, on="process") == 1


@pytest.mark.fresh_pool
@pytest.mark.one_loop
async def test_without_dev_null_the_error_names_it_and_not_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "devnull", str(tmp_path / "null"))
    error = await until_refused(ProcessPool(1))
    assert f"{tmp_path / 'null'}, the stdin of a worker, could not be opened" in str(error)
    assert sys.executable not in str(error)


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_a_start_timeout_is_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="start_timeout"):
        ProcessPool(1, start_timeout=seconds)


@pytest.mark.parametrize("frozen", [True, False], ids=["known as frozen", "not known"])
def test_an_application_whose_executable_is_itself_never_starts_itself_again_and_again(
    frozen: bool, tmp_path: Path
) -> None:
    """If it is known as frozen it is not started at all, otherwise those that it starts stop at their first pool."""
    runs = tmp_path / "runs"
    app = tmp_path / "app.py"
    host = script_of_shell(tmp_path / "host", f"exec {sys.executable} {app} {tmp_path}/host")
    app.write_text(
        f"import sys\nopen({str(runs)!r}, 'a').write('x')\n" + (f"sys.frozen = {frozen}\n" if frozen else "") + CALL
    )
    out = run(str(app), host).check().out
    assert len(runs.read_text()) == 1 if frozen else len(runs.read_text()) <= 5
    assert "WorkerStartError" in out
    assert "freeze_support" in out


def test_a_program_that_a_task_starts_has_pools_as_any_other(tmp_path: Path) -> None:
    code = """
import subprocess, sys
from unified_exec import SyncTaskScope
def inner():
    with SyncTaskScope() as scope:
        return scope.spawn(abs, -2, on="process").result()
def outer():
    return subprocess.run([sys.executable, __file__, "inner"], capture_output=True, text=True).stdout
with SyncTaskScope() as scope:
    print(inner() if "inner" in sys.argv else scope.spawn(outer, on="process").result().strip())
"""
    code = code.replace("__file__", repr(str(tmp_path / "script.py")))
    assert run_script(tmp_path, code).check().out == "2\n"


def test_freeze_support_does_nothing_where_python_is_the_executable() -> None:
    freeze_support()


def test_an_application_that_calls_freeze_support_has_workers(tmp_path: Path) -> None:
    """The application is played: its executable runs its main file with the arguments it is given."""
    app = tmp_path / "app.py"
    host = script_of_shell(tmp_path / "host", f'exec {sys.executable} {app} "$@"')
    app.write_text(f"""
import sys
sys.frozen, sys.executable = True, {host!r}
import unified_exec
unified_exec.freeze_support()
import anyio, os, time
from unified_exec import TaskScope, WorkerCrashed, call, prestart
def square(n): return n * n, sys.argv[1:]
def spin():
    while True: time.sleep(0.01)
async def twice(n):
    await anyio.sleep(0)
    return 2 * n
async def main():
    print(await call(square, 7, on="process"), await call(twice, 5, on="process"))
    async with TaskScope() as scope:
        handle = scope.spawn(spin, on="process")
        await anyio.sleep(0.1)  # it runs by then, or is cancelled before: both are right
        handle.cancel()
    print(handle.state.name)
    try:
        await call(os._exit, 3, on="process")
    except WorkerCrashed as error:
        print("crashed", error.exitcode)
    print(await call(square, 8, on="process"))
if "ahead" in sys.argv:
    prestart()
anyio.run(main)
""")
    for arguments in ([], ["ahead"]):
        lines = run(str(app), *arguments).check().lines
        assert lines == [f"(49, {arguments}) 10", "DONE", "crashed 3", f"(64, {arguments})"]
