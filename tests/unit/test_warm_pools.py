"""Worker processes of the shared pool stay for the tests of a module; nothing else of a test does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import leaks, warm_pools
from tests.faults.programs import ROOT, run
from unified_exec import ProcessPool, SyncTaskScope

WAITING = [sys.executable, "-c", "import time; time.sleep(600)"]

warm: set[int] = set()
fresh: set[int] = set()


def in_a_worker(fn: object, *args: object, **options: object) -> int:
    with SyncTaskScope(**options) as scope:  # type: ignore[arg-type]
        result: int = scope.spawn(fn, *args, on="process").result()  # type: ignore[call-overload]
        return result


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_worker_serves_the_tests_of_a_module(turn: int) -> None:
    warm.add(in_a_worker(os.getpid))
    assert len(warm) == 1


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.fresh_pool
def test_a_test_may_ask_for_workers_that_nobody_had_before(turn: int) -> None:
    pid = in_a_worker(os.getpid)
    assert pid not in fresh | warm
    fresh.add(pid)
    warm.clear()


def start_a_program() -> int:
    return subprocess.Popen(WAITING).pid


@pytest.mark.fresh_pool  # the worker has a dead child then
def test_what_a_warm_worker_has_started_is_a_leak() -> None:
    with pytest.raises(leaks.LeakError) as caught, leaks.watch(0, spared=warm_pools.holdings):
        pid = in_a_worker(start_a_program)
    assert f"child process {pid} " in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_the_workers_of_another_pool_are_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "who_holds", lambda mapped: [])  # a look through the whole heap: seconds
    pool = ProcessPool(1)
    with pytest.raises(leaks.LeakError) as caught, leaks.watch(0, spared=warm_pools.holdings):
        pid = in_a_worker(os.getpid, processes=pool)
    assert f"child process {pid} " in str(caught.value)
    pool.close()


def test_a_descriptor_is_a_leak_beside_new_workers() -> None:
    warm_pools.shut_down()
    with pytest.raises(leaks.LeakError) as caught, leaks.watch(0, spared=warm_pools.holdings):
        in_a_worker(os.getpid)
        left = os.open(os.devnull, os.O_RDONLY)
    os.close(left)
    assert str(caught.value).splitlines()[1:] == [f"  - file descriptor {left}: /dev/null"]
    warm.clear()


TWO_TESTS = """
import os
from unified_exec import SyncTaskScope

pids = []

def note():
    with SyncTaskScope() as scope:
        pids.append(scope.spawn(os.getpid, on="process").result())

def test_that_fails():
    note()
    assert False

def test_after_it():
    note()
    assert len(set(pids)) == 2
"""


def test_the_workers_of_a_test_that_fails_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(TWO_TESTS)
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    done = run("-m", "pytest", *options, f"--rootdir={tmp_path}", str(tmp_path / "test_two.py"), cwd=tmp_path)
    assert "1 failed, 1 passed" in done.out, done
