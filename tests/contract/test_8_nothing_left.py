"""Law 8: a task leaves nothing to the next one, and the child of a fork in a task leaves the answer to its worker."""

from __future__ import annotations

import ctypes
import gc
import io
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Place
from tests.faults import programs
from unified_exec import Collect, ProcessPool, TaskScope

pytestmark = [pytest.mark.one_loop, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
STREAMS = ("stdin", "stdout", "stderr")


def state() -> dict[str, object]:
    """All of its process that a task must find as the initializer left it."""
    tools: Any = getattr(sys, "monitoring", None)
    return {
        "timers": [
            signal.getitimer(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
        ],
        "handlers": [repr(signal.getsignal(number)) for number in signal.valid_signals()],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "pending": signal.sigpending(),
        "folder": os.getcwd(),
        "umask": (mask := os.umask(0o077), os.umask(mask))[0],
        "streams": [(getattr(sys, name).fileno(), getattr(sys, name).closed) for name in STREAMS],
        "tracing": (sys.gettrace(), sys.getprofile()),
        "tools": [tools.get_tool(number) for number in range(6)] if tools is not None else [],
        "recursion": sys.getrecursionlimit(),
        "collects": gc.isenabled(),
        "path": list(dict.fromkeys(entry for entry in sys.path if entry != "/added")),
        "finders": [len(sys.meta_path), len(sys.path_hooks)],
        "hooks": (sys.excepthook.__name__, sys.unraisablehook.__name__),
    }


def look_seldom() -> None:
    """Have the worker look at its process after a task that called a function that changes it, and at no other time."""
    from unified_exec._worker import process_state

    process_state.LOOK_EVERY = 1e9


def leave_timers() -> None:
    signal.setitimer(signal.ITIMER_REAL, 60)
    signal.setitimer(signal.ITIMER_VIRTUAL, 60)
    signal.setitimer(signal.ITIMER_PROF, 60, 60)


def leave_handlers() -> None:
    for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGURG):
        signal.signal(number, lambda *_: sys.exit(9))


def leave_a_blocked_signal() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGUSR2})
    for number in (signal.SIGALRM, signal.SIGUSR2):
        signal.pthread_kill(threading.get_ident(), number)


def leave_folder() -> None:
    os.mkdir(folder := f"/tmp/unified_exec-test-{os.getpid()}")
    os.chdir(folder)
    os.rmdir(folder)
    os.umask(0)


def leave_streams() -> None:
    sys.stdout.close()
    sys.stdin = sys.stdout = io.StringIO()
    sys.stderr = io.StringIO()


def leave_tracing() -> None:
    import cProfile

    cProfile.Profile().enable()
    sys.setrecursionlimit(500)
    sys.unraisablehook = lambda _: None
    sys.settrace(lambda *_: None)


def leave_the_collector_off() -> None:
    gc.disable()


def leave_closed_output() -> None:
    sys.stdout.close()


def leave_closed_errors() -> None:
    sys.stderr.close()


def leave_a_closed_input() -> None:
    sys.stdin.close()


def leave_no_names() -> None:
    del sys.stdout, sys.excepthook


def leave_less_to_import() -> None:
    sys.path.clear()
    sys.path.append("/added")
    sys.meta_path[:] = sys.meta_path[1:]
    sys.path_hooks.clear()


LEFT = [
    leave_timers,
    leave_handlers,
    leave_a_blocked_signal,
    leave_folder,
    leave_streams,
    leave_tracing,
    leave_the_collector_off,
    leave_closed_output,
    leave_closed_errors,
    leave_a_closed_input,
    leave_no_names,
    leave_less_to_import,
]


async def test_a_task_leaves_nothing_to_the_next_one(process_place: Place) -> None:
    async with ProcessPool(1, initializer=look_seldom) as pool, TaskScope(processes=pool) as scope:
        first, worker = await process_place.spawn(scope, state), await process_place.spawn(scope, os.getpid)
        for leave in LEFT:
            await process_place.spawn(scope, leave)
            found = await process_place.spawn(scope, state)
            changed = {what: (first[what], found[what]) for what in first if found[what] != first[what]}
            assert (leave, changed) == (leave, {})
        assert await process_place.spawn(scope, os.getpid) == worker


def change_by_c_code() -> None:
    libc: Any = ctypes.CDLL(None)
    libc.umask(0)
    libc.chdir(b"/proc")
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass


async def test_what_c_code_changes_is_found_after_a_task_of_some_milliseconds(process_place: Place) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        first = await process_place.spawn(scope, state)
        await process_place.spawn(scope, change_by_c_code)
        assert await process_place.spawn(scope, state) == first


def dump_later() -> int:
    import faulthandler

    faulthandler.dump_traceback_later(0.2, exit=True)
    return os.getpid()


async def test_the_watchdog_of_a_task_does_not_end_the_next(process_place: Place) -> None:
    async with ProcessPool(1, initializer=look_seldom) as pool, TaskScope(processes=pool) as scope:
        for _ in range(2):  # the first one imports it
            worker = await process_place.spawn(scope, dump_later)
        assert await process_place.spawn(scope, spin, 0.4) == worker


class HasThem:
    change_folder, close = os.chdir, os.close


def call_noted_functions() -> list[object]:
    with pytest.raises(TypeError):
        os.umask()  # type: ignore[call-arg]
    with pytest.raises(FileNotFoundError):
        HasThem().change_folder("/does not exist")
    reader, writer = os.pipe()
    HasThem().close(reader)
    os.close(fd=writer)
    copies = [pickle.loads(pickle.dumps(fn)) is fn for fn in (os.chdir, signal.alarm, gc.disable)]
    return [*copies, os.chdir in os.supports_fd, os.chdir]


async def test_the_functions_whose_calls_a_worker_notes_are_still_the_interpreters(process_place: Place) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        assert await process_place.spawn(scope, call_noted_functions) == [True, True, True, True, os.chdir]


def initialize(folder: str) -> None:
    os.chdir(folder)
    os.umask(0o027)
    sys.setrecursionlimit(4321)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, 50, 50)


def undo() -> None:
    os.chdir("/")
    os.umask(0)
    sys.setrecursionlimit(1000)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, 0)


def initialized() -> tuple[object, ...]:
    handler, (_, again) = signal.getsignal(signal.SIGUSR1), signal.getitimer(signal.ITIMER_PROF)
    return os.getcwd(), (mask := os.umask(0), os.umask(mask))[0], sys.getrecursionlimit(), handler, round(again)


async def test_the_measure_is_what_the_initializer_left(process_place: Place, tmp_path: Path) -> None:
    async with (
        ProcessPool(1, initializer=initialize, initargs=(str(tmp_path),)) as pool,
        TaskScope(processes=pool) as scope,
    ):
        await process_place.spawn(scope, undo)
        found = await process_place.spawn(scope, initialized)
    assert found == (str(tmp_path), 0o027, 4321, signal.SIG_IGN, 50)


def alarm(seconds: float) -> int:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return os.getpid()


def spin(seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return os.getpid()


async def test_the_alarm_of_a_task_does_not_hit_the_next(process_place: Place) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        assert await process_place.spawn(scope, alarm, 0.2) == await process_place.spawn(scope, spin, 0.4)


def raising_alarm(seconds: float) -> str:
    def raises(*_: object) -> None:
        raise ValueError("a handler of the task")

    signal.signal(signal.SIGALRM, raises)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return "returned"


async def test_an_alarm_that_goes_off_when_its_task_ends_leaves_the_worker_whole() -> None:
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        worker = await scope.spawn(os.getpid, on="process")
        for microseconds in range(1, 40):
            handle = scope.spawn(raising_alarm, microseconds / 1e6, on="process")
            await handle.wait()
            assert handle.exception() is None or isinstance(handle.exception(), ValueError)  # in the function itself
            assert await scope.spawn(os.getpid, on="process") == worker


def lower_a_limit() -> int:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return os.getpid()


kept: list[Any] = []


def keep_the_function_that_lowers_limits() -> None:
    import resource

    look_seldom()
    kept.append(resource.setrlimit)


def lower_a_limit_by_a_function_from_before() -> int:
    kept[0](4, (0, 0))  # RLIMIT_CORE
    return os.getpid()


def close_our_descriptor(fd: int) -> int:
    os.close(fd)
    return os.getpid()


def change_the_user() -> int:
    os.setresgid(-1, 65534, -1)
    return os.getpid()


def change_the_root() -> int:
    os.chroot("/proc")
    os.chdir("/")
    return os.getpid()


CANNOT_BE_UNDONE: list[Any] = [
    lower_a_limit,
    lower_a_limit_by_a_function_from_before,
    (close_our_descriptor, 4),
    (close_our_descriptor, 5),
    pytest.param(change_the_user, marks=AS_ROOT),
    pytest.param(change_the_root, marks=AS_ROOT),
]


@pytest.mark.parametrize("call", CANNOT_BE_UNDONE)
async def test_a_worker_that_cannot_be_restored_answers_and_retires(call: Any, process_place: Place) -> None:
    fn, *args = call if isinstance(call, tuple) else (call,)
    kept_before = fn is lower_a_limit_by_a_function_from_before
    initializer = keep_the_function_that_lowers_limits if kept_before else look_seldom
    async with ProcessPool(1, initializer=initializer) as pool, TaskScope(processes=pool) as scope:
        worker = await process_place.spawn(scope, os.getpid)
        assert await process_place.spawn(scope, os.getpid) == worker  # it has looked for changes by now
        sent = [process_place.spawn(scope, fn, *args), process_place.spawn(scope, os.getpid)]
        assert await sent[0] == worker
        await sent[1]
        assert await process_place.spawn(scope, os.getpid) != worker


# -- a fork in a task


def fork(end: Callable[[], Any]) -> str:
    """The child ends as `end` does; the worker waits for it and says with which exit code."""
    child = os.fork()
    if not child:
        return str(end())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"parent {code}"


def returns() -> str:
    return "child"


def fails() -> str:
    sys.stderr = io.StringIO()
    raise ValueError("child")


def exits() -> str:
    sys.exit(7)


def exits_with_words() -> str:
    sys.stderr = io.StringIO()
    sys.exit("words")


@pytest.mark.parametrize(("end", "code"), [(returns, 0), (fails, 1), (exits, 7), (exits_with_words, 1)])
async def test_only_the_worker_answers_a_task_that_forks(
    end: Callable[[], Any], code: int, process_place: Place
) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        worker = await process_place.spawn(scope, os.getpid)
        assert await process_place.spawn(scope, fork, end) == f"parent {code}"
        assert await process_place.spawn(scope, os.getpid) == worker


def fork_item(item: int, log: str = os.devnull) -> str:
    with open(log, "a") as file:
        file.write(f"{item}\n")
    if item != 3:
        return str(item)
    child = os.fork()
    if not child:
        return "child"
    return f"parent {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


async def test_only_the_worker_answers_a_chunk_with_a_fork(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        results = [
            result async for result in scope.map(partial(fork_item, log=str(log)), range(6), on="process", chunk=6)
        ]
    assert log.read_text().split() == ["0", "1", "2", "3", "4", "5"]
    assert results == ["0", "1", "2", "parent 0", "4", "5"]


def forking_items() -> Iterator[str]:
    for item in range(6):
        yield fork_item(item)


async def a_forking_items() -> Any:
    for item in range(6):
        yield fork_item(item)


@pytest.mark.parametrize("items", [forking_items, a_forking_items])
async def test_only_the_worker_sends_the_items_of_a_stream_with_a_fork(items: Any) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        results = [result async for result in scope.stream(items, on="process")]
    assert results == ["0", "1", "2", "parent 0", "4", "5"]


async def a_fork_that_waits() -> str:
    import asyncio

    child = os.fork()
    if not child:
        sys.stderr = io.StringIO()
        await asyncio.sleep(0)
        return "child"
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"parent {code}"


async def a_other(path: str) -> str:
    import asyncio

    with open(path, "a") as log:
        for _ in range(100):
            await asyncio.sleep(0)
            log.write(f"{os.getpid()}\n")
            log.flush()
    return "other"


async def test_a_forked_child_takes_no_part_in_its_workers_event_loop(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        worker = await scope.spawn(os.getpid, on="process")
        others = [scope.spawn(a_other, str(log), on="process") for _ in range(3)]
        assert await scope.spawn(a_fork_that_waits, on="process") == "parent 1"
        assert [await other for other in others] == ["other"] * 3
        assert worker
    assert len(set(log.read_text().split())) == 1


@pytest.mark.parametrize("kind", ["ThreadExecutor", "ProcessExecutor"])
def test_a_process_forked_in_the_call_of_an_executor_ends_well(kind: str, tmp_path: Path) -> None:
    text = f"""
        import multiprocessing, os, sys, warnings
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        from unified_exec.executor import {kind}

        def nothing():
            pass

        def fork(method="fork"):
            process = multiprocessing.get_context(method).Process(target=nothing)
            process.start()
            process.join()
            return process.exitcode

        def fork_and_use_it():
            child = os.fork()
            if not child:
                with {kind}(1) as own:
                    os._exit(own.submit(int, "5").result())
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        if __name__ == "__main__":
            with {kind}(2) as executor:
                print(executor.submit(fork).result(), executor.submit(fork_and_use_it).result())
    """
    assert programs.run_script(tmp_path, text).check().lines == ["0 5"]
