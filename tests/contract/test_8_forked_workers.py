"""Law 1.8: where a pool has many workers, most are forked of a template. Nobody can tell, and it may die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import process_tree
from tests.faults import programs, tasks
from tests.waiting import until, until_async
from unified_exec import Collect, DeadlockError, Lock, ProcessPool, TaskHandle, TaskScope, WorkerCrashed
from unified_exec._pools.process import template, templates
from unified_exec._sync.deadlocks import look

pytestmark = [
    pytest.mark.one_loop,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfd: no worker is forked"),
]

MANY = 6
FORKED = MANY - templates.SEVERAL


@pytest.fixture(autouse=True)
def a_template_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    for name in ("UP_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(template, name, 60.0)


class Many:
    """A pool of many workers.

    Attributes:
        template: the process id of its template, once there was one.
        forked: the process ids of its workers, in the last round.
    """

    def __init__(self, pool: ProcessPool, folder: Path) -> None:
        self.pool = pool
        self._folder = folder
        self._rounds = 0
        self.template = 0
        self.forked: set[int] = set()

    async def at_once(self, fn: Callable[..., Any], *args: Any) -> list[TaskHandle[Any]]:
        """Call `fn` in each worker: the calls begin when all workers are up."""
        self._rounds += 1
        log, gate = (str(self._folder / f"{name}-{self._rounds}") for name in ("log", "gate"))

        def call(number: int) -> Any:
            tasks.note_and_wait(log, number, gate)
            return fn(*args)

        async with TaskScope(policy=Collect(), processes=self.pool) as scope:
            handles = [scope.spawn(call, number, on="process") for number in range(MANY)]
            assert await until_async(lambda: len(tasks.noted(log)) == MANY)
            self.template = self.template or next((pid for pid in _children(os.getpid()) if _children(pid)), 0)
            self.forked = set(_children(self.template)) if self.template else set()
            Path(gate).touch()
        return handles


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


@asynccontextmanager
async def many(folder: Path, **options: Any) -> AsyncIterator[Many]:
    async with ProcessPool(MANY, **options) as pool:
        yield Many(pool, folder)


def seen() -> dict[str, Any]:
    """All that a function may see of its process."""
    import faulthandler
    import gc
    import resource
    import signal
    import stat
    import threading
    import tracemalloc

    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    kept = ("Umask", "Uid", "Gid", "Groups", "Threads", "NoNewPrivs", "Seccomp", "Cpus_allowed", "NSpid")
    masks = ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "CapEff")
    descriptors = {}
    for fd in range(64):
        try:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
        except OSError:
            continue
        descriptors[fd] = kind, os.get_inheritable(fd), os.get_blocking(fd)
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return {
        "flags": str(sys.flags),
        "options": (sys._xoptions, sys.warnoptions, sys.orig_argv, sys.executable, sys.prefix),
        "path": (sys.path, sys.argv, len(sys.meta_path), len(sys.path_hooks)),
        "environment": dict(os.environ),
        "command": Path("/proc/self/cmdline").read_bytes(),
        "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in range(1, 32)],
        "status": [status.get(name) for name in (*kept[:-1], *masks)],
        "descriptors": descriptors,
        "modules": sorted(name for name in sys.modules if name not in ("unified_exec._worker.template",)),
        "limits": [resource.getrlimit(number) for number in range(10)],
        "folder": os.getcwd(),
        "group": (os.getpgrp() == os.getpid(), os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0)),
        "cores": os.sched_getaffinity(0),
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
        "threads": (threading.active_count(), threading.current_thread().native_id == os.getpid()),
        "traced": (faulthandler.is_enabled(), tracemalloc.is_tracing(), sys.gettrace(), sys.getprofile()),
        "streams": [(s.encoding, s.errors, s.line_buffering, s.fileno(), s.name) for s in streams],
        "timers": (signal.getitimer(signal.ITIMER_REAL), time.process_time() < 10),
    }


def random_values() -> tuple[Any, ...]:
    import random
    import secrets
    import tempfile
    import uuid

    names = next(tempfile._get_candidate_names())  # type: ignore[attr-defined]
    return random.random(), secrets.token_hex(), uuid.uuid4(), uuid.uuid1(), os.urandom(8), names


async def test_a_forked_worker_sees_what_a_started_one_sees(tmp_path: Path) -> None:
    async with many(tmp_path) as pool:
        handles = await pool.at_once(seen)
        forked = [handle.result() for handle in handles if handle.worker in pool.forked]
        started = [handle.result() for handle in handles if handle.worker not in pool.forked]
        assert (len(forked), len(started)) == (FORKED, templates.SEVERAL)
        for one in forked:
            for what, value in one.items():
                assert value == started[0][what], what


async def test_each_forked_worker_draws_random_numbers_of_its_own(tmp_path: Path) -> None:
    async with many(tmp_path) as pool:
        drawn = [handle.result() for handle in await pool.at_once(random_values)]
    assert [len(set(values)) for values in zip(*drawn, strict=True)] == [MANY] * len(drawn[0])


def die_if_forked(program: int, how: str) -> None:
    if os.getppid() != program:
        tasks.die(how)


@pytest.mark.parametrize(("how", "code"), [("exit", 7), ("kill", -9)])
async def test_the_death_of_a_forked_worker_fails_its_task_and_says_how(how: str, code: int, tmp_path: Path) -> None:
    async with many(tmp_path) as pool:
        handles = await pool.at_once(die_if_forked, os.getpid(), how)
        errors = [handle.exception() for handle in handles if handle.exception()]
        assert [(type(error), getattr(error, "exitcode", None)) for error in errors] == [(WorkerCrashed, code)] * FORKED
        await pool.at_once(int)
        assert len(pool.forked) == FORKED  # they are replaced by forks


async def test_a_forked_worker_that_is_killed_to_stop_its_task_takes_its_children_along(tmp_path: Path) -> None:
    log = str(tmp_path / "children")
    async with ProcessPool(MANY, grace=0.05) as pool, TaskScope(processes=pool) as scope:
        for _ in range(MANY):
            scope.spawn(family, log, on="process")
        assert await until_async(lambda: len(tasks.noted(log)) == MANY)
        scope.cancel()
    assert until(lambda: not any(map(tasks.exists, map(int, tasks.noted(log)))))


def family(log: str) -> None:
    tasks.note(log, subprocess.Popen(["/bin/sleep", "1000"]).pid)
    tasks.hang_whatever_is_asked()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_template_that_is_killed_or_stopped_costs_no_task(
    end: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with many(tmp_path) as pool:
        await pool.at_once(int)
        assert pool.template
        monkeypatch.setattr(template, "ANSWER_SECONDS", 0.05)
        os.kill(pool.template, end)
        assert [handle.result() for handle in await pool.at_once(abs, -1)] == [1] * MANY
        await pool.at_once(die_if_forked, os.getpid(), "exit")
        assert [handle.result() for handle in await pool.at_once(abs, -1)] == [1] * MANY
        assert not tasks.exists(pool.template)


@pytest.mark.parametrize("cannot_start", [False, True])
async def test_a_template_that_does_not_come_up_costs_no_task(
    cannot_start: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cannot_start:  # no descriptor is left to load what starts it
        monkeypatch.setitem(sys.modules, template.__name__, None)
    else:
        monkeypatch.setattr(template, "UP_SECONDS", 0.0)
    async with ProcessPool(MANY) as pool:
        assert [handle.result() for handle in await Many(pool, tmp_path).at_once(os.getppid)] == [os.getpid()] * MANY


async def test_a_template_ends_with_the_last_worker_of_its_pool(tmp_path: Path) -> None:
    async with many(tmp_path, idle_timeout=0.1) as pool:
        await pool.at_once(int)
        assert await until_async(lambda: not tasks.exists(pool.template))
        assert not [process for process in process_tree.processes().values() if process.ppid() == os.getpid()]


async def test_a_forked_worker_has_what_a_worker_would_have_that_is_started_now(tmp_path: Path) -> None:
    def limits() -> Any:
        import resource

        return resource.getrlimit(resource.RLIMIT_CORE)

    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    async with many(tmp_path) as pool:
        assert {handle.result() for handle in await pool.at_once(limits)} == {before}
        resource.setrlimit(resource.RLIMIT_CORE, (12345, before[1]))
        try:
            await pool.at_once(die_if_forked, os.getpid(), "exit")
            found = [handle.result() for handle in await pool.at_once(limits)]
            assert found.count((12345, before[1])) == FORKED
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)


async def test_deadlocks_of_the_program_and_forked_workers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "AFTER", 0.0)

    async def hold(scope: TaskScope, lock: Lock) -> None:
        async with lock:
            await scope.spawn(take, lock, on="process")

    async with ProcessPool(MANY) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handles = [scope.spawn(hold, scope, Lock()) for _ in range(MANY)]
    assert [type(handle.exception()) for handle in handles] == [DeadlockError] * MANY


def take(lock: Lock) -> None:
    look.AFTER = 0.0
    with lock:
        pass


PROGRAM = """
    import os, sys, time, warnings
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    import anyio
    from pathlib import Path
    from unified_exec import Collect, ProcessPool, TaskScope

    MANY = 6

    def hold(program, round, text):
        if not hasattr(sys, "is_old"):
            print(text, end="", flush=True)
            sys.is_old = True
        Path(f"{round}-{os.getpid()}").touch()
        while not Path(round).exists():
            time.sleep(0.002)
        if round.startswith("death") and os.getppid() != program:
            os._exit(3)
        return os.getppid()

    async def at_once(pool, round, text=""):
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            handles = [scope.spawn(hold, os.getpid(), round, text, on="process") for _ in range(MANY)]
            while len(list(Path().glob(f"{round}-*"))) < MANY:
                await anyio.sleep(0.002)
            Path(round).touch()
        return {handle.result() for handle in handles if not handle.exception()}

    def write_to(path, flags):
        fd = os.open(path, os.O_WRONLY | flags)
        os.dup2(fd, 1)
        os.close(fd)
"""


def test_what_a_forked_worker_prints_goes_where_the_program_writes_now(tmp_path: Path) -> None:
    body = """
    async def main():
        Path("same").write_text("head ")
        write_to("same", 0)
        async with ProcessPool(MANY) as pool:
            await at_once(pool, "death-1")
            write_to("same", os.O_APPEND)  # the file that the template has, opened anew
            await at_once(pool, "life-1", "forked ")
            await at_once(pool, "death-2")
            write_to("other", os.O_CREAT)
            await at_once(pool, "life-2", "new ")

    anyio.run(main)
    """
    programs.run_script(tmp_path, PROGRAM + body).check()
    assert (tmp_path / "same").read_text() == "head " + FORKED * "forked "
    assert (tmp_path / "other").read_text() == FORKED * "new "


def test_a_forked_child_of_the_program_has_a_template_of_its_own(tmp_path: Path) -> None:
    body = """
    pool = ProcessPool(MANY)
    before = anyio.run(at_once, pool, "one")
    pid = os.fork()
    if pid == 0:
        found = anyio.run(at_once, pool, "two")
        pool.close()
        os._exit(len(found & before) + 10 * len(found))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(anyio.run(at_once, pool, "three") == before, len(before))
    pool.close()
    """
    assert programs.run_script(tmp_path, PROGRAM + body).check().lines == ["20", "True 2"]
