"""A task takes little Python, in a worker and in a thread: the one measure of speed that is exact."""

from __future__ import annotations

import sys
import threading
from contextvars import Context
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import anyio

import unified_exec
from tests.this_python import needs_usual_references
from unified_exec import ProcessPool, TaskScope, ThreadPool

CALLS_MAX = 13
THREAD_CALLS_MAX = 49
_OF_SIGNALS = ("alarm", "setitimer", "getitimer", "pthread_sigmask", "sigpending", "set_wakeup_fd")
LOOKS = frozenset(
    ("umask", "fchdir", "getcwd", "geteuid", "getegid", "get_blocking", "getrlimit", "stat", *_OF_SIGNALS)
)
"""What asks the system whether a task has changed its process."""

_calls: list[str] = []
_looks: list[int] = []


def count_calls() -> None:
    import faulthandler  # noqa: F401
    import resource  # noqa: F401
    import signal  # noqa: F401

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            _calls.append(frame.f_code.co_name)
        elif event == "c_call" and arg.__name__ in LOOKS:
            _looks.append(len(_calls))

    sys.setprofile(profile)


def quick(n: int) -> int:
    return n


def calls() -> tuple[list[str], list[int]]:
    sys.setprofile(None)
    return _calls, _looks


@needs_usual_references
def test_a_worker_makes_few_calls_from_task_to_task_and_does_not_ask_the_system_what_has_changed() -> None:
    async def main() -> Any:
        # What a task sets is undone after it; what the initializer sets stays.
        async with ProcessPool(1, initializer=count_calls) as pool, TaskScope() as scope:
            for n in range(500):
                scope.spawn(quick, n, on=pool)
            return await scope.spawn(calls, on=pool)

    found, looks = Context().run(anyio.run, main)  # other tests have set variables: they would travel
    tasks = [at for at, name in enumerate(found) if name == quick.__name__]
    assert len(tasks) == 500
    # The fewest: where the parent is slow the worker looks for the next task again and again.
    assert min(later - at for at, later in pairwise(tasks)) <= CALLS_MAX, found
    # Every few milliseconds it looks: not after each task.
    assert any(not any(at < look <= later for look in looks) for at, later in pairwise(tasks))
    assert looks


def test_a_thread_call_takes_few_python_calls_of_this_package() -> None:
    ours = str(Path(unified_exec.__file__).parent)
    made = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal made
        made += event == "call" and frame.f_code.co_filename.startswith(ours)

    async def main() -> None:
        async with ThreadPool(1) as pool, TaskScope() as scope:
            threading.setprofile(profile)  # for the thread of the pool, which starts now
            try:
                await scope.spawn(quick, 0, on=pool)
            finally:
                threading.setprofile(None)
            sys.setprofile(profile)
            try:
                for n in range(200):
                    await scope.spawn(quick, n, on=pool)
            finally:
                sys.setprofile(None)

    Context().run(anyio.run, main)
    assert made / 200 < THREAD_CALLS_MAX
