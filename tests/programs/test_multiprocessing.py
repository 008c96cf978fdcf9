"""Objects of multiprocessing as arguments: what can travel does, anything else is refused with what to use instead."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from pathlib import Path
from typing import Any

import pytest

from tests.faults.programs import run_script
from unified_exec import SerializationError, call


def give_back(value: object) -> object:
    return value


def make_connection() -> object:
    return multiprocessing.Pipe()[0]


WRAPS = {"bare": lambda it: it, "nested": lambda it: {"in": [it]}, "captured": lambda it: lambda: it}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
async def test_a_connection_is_refused_and_not_taken_for_another_file(wrap: Any) -> None:
    here, there = multiprocessing.Pipe()
    with here, there:
        with pytest.raises(SerializationError, match=r"Connection of multiprocessing.*Manager"):
            await call(give_back, wrap(there), on="process")


async def test_a_connection_is_refused_as_a_result() -> None:
    with pytest.raises(SerializationError, match="Connection of multiprocessing"):
        await call(make_connection, on="process")


async def test_a_text_that_names_the_module_of_connections_travels() -> None:
    assert await call(give_back, ["multiprocessing.connection"], on="process") == ["multiprocessing.connection"]


def test_what_can_only_be_inherited_is_refused_with_what_to_use_instead(tmp_path: Path) -> None:
    """A whole program: multiprocessing starts a process of its own for each of these."""
    code = """
import multiprocessing
from unified_exec import SerializationError, SyncTaskScope
with SyncTaskScope() as scope:
    for make in "Queue", "Lock", "Semaphore", "Event", "SimpleQueue":
        try:
            scope.spawn(id, getattr(multiprocessing.get_context("spawn"), make)(), on="process")
        except SerializationError as error:
            assert "multiprocessing.Manager()" in str(error), error
            print(make)
"""
    assert run_script(tmp_path, code).out.split() == ["Queue", "Lock", "Semaphore", "Event", "SimpleQueue"]


def test_proxies_of_a_manager_work_in_workers_that_were_warm_before_it_was_imported(tmp_path: Path) -> None:
    code = """
from unified_exec import SyncTaskScope
def use(shared, queue, lock):
    with lock:
        shared["n"] = shared.get("n", 0) + 1
    queue.put(shared["n"])
    return True
def nested(*proxies):
    with SyncTaskScope() as scope:
        return scope.spawn(use, *proxies, on="process").result()
if __name__ == "__main__":
    with SyncTaskScope() as scope:
        print(scope.spawn(abs, -1, on="process").result())
        import multiprocessing
        with multiprocessing.Manager() as manager:
            proxies = manager.dict(), manager.Queue(), manager.Lock()
            handles = [scope.spawn(fn, *proxies, on="process") for fn in (use, nested, use)]
            print([handle.result() for handle in handles], proxies[0]["n"])
"""
    assert run_script(tmp_path, code).check().lines == ["1", "[True, True, True] 3"]
