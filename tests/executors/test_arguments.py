"""The arguments of the executors, and a manager of multiprocessing."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import pytest

from unified_exec import (
    cpu_count,
)
from unified_exec.executor import ProcessExecutor, ThreadExecutor


def test_the_arguments_are_those_of_the_standard_library(kind: Any) -> None:
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            kind(number)
    with pytest.raises(TypeError, match="initializer"):
        kind(1, initializer=1)
    assert kind(3)._max_workers == 3
    assert ThreadExecutor()._max_workers == min(32, cpu_count() + 4)


def test_the_arguments_of_processes() -> None:
    import multiprocessing

    ProcessExecutor(1, multiprocessing.get_context("spawn")).shutdown()
    with pytest.raises(ValueError, match="fork"):
        ProcessExecutor(1, mp_context=multiprocessing.get_context("fork"))
    for wrong, error in ((0, ValueError), ("3", TypeError)):
        with pytest.raises(error):
            ProcessExecutor(1, max_tasks_per_child=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two names"):
        ProcessExecutor(1, max_tasks_per_child=1, max_tasks_per_worker=2)
    with ProcessExecutor(1, max_tasks_per_child=2) as executor:
        pids = [executor.submit(os.getpid).result() for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]


def test_threads_have_the_prefix_in_their_names() -> None:
    with ThreadExecutor(1, thread_name_prefix="reader") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result() == "reader_0"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_manager_of_multiprocessing_can_be_handed_over() -> None:
    from multiprocessing.managers import SyncManager

    # Forked: what the other ways start lives until the end of the program.
    manager = SyncManager(ctx=multiprocessing.get_context("fork"))
    manager.start()
    try:
        with ProcessExecutor(1) as executor:
            shared = manager.list()
            executor.submit(shared.append, 5).result()
            assert list(shared) == [5]
    finally:
        manager.shutdown()
