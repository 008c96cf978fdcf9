"""Objects of multiprocessing as arguments: what can travel does, anything else is refused with what to use instead."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.programs import run_script
from tests.waiting import until_async
from unified_exec import ProcessPool, SerializationError, SyncTaskScope, TaskScope, call, share


def give_back(value: object) -> object:
    return value


def make_connection() -> object:
    return multiprocessing.Pipe()[0]


def make_socket() -> object:
    one, other = socket.socketpair()
    other.close()
    return one


def greet(conn: Any, name: str) -> str:
    if isinstance(conn, socket.socket):
        conn.sendall(name.encode())
        return conn.recv(100).decode()
    conn.send(name)
    return str(conn.recv())


def greet_nested(conn: Any) -> str:
    with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
        return scope.spawn(greet, conn, "nested", on="process").result()


def timeout_of(sock: socket.socket) -> float | None:
    with sock:
        return sock.gettimeout()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


kept: Any = None


def keep(conn: Any) -> None:
    global kept
    kept = conn


def greet_kept() -> None:
    kept.send("kept")


WRAPS = {
    "bare": lambda it: (greet, it, "bare"),
    "nested": lambda it: (lambda found: greet(found["in"][0], "nested"), {"in": [it]}),
    "captured": lambda it: (lambda: greet(it, "captured"),),
    "partial": lambda it: (partial(greet, it), "partial"),
    "in a nested pool": lambda it: (greet_nested, it),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
async def test_a_connection_and_a_socket_travel_with_the_call_and_may_be_closed_here_at_once(wrap: Any) -> None:
    for here, there in (multiprocessing.Pipe(), socket.socketpair()):
        with here:
            async with TaskScope() as scope:
                with there:
                    handle = scope.spawn(*wrap(there), on="process")
                if isinstance(here, socket.socket):
                    said = (await call(here.recv, 100, on="thread")).decode()
                    here.sendall(b"hello")
                else:
                    said = await call(here.recv, on="thread")
                    here.send("hello")
                assert await handle == "hello"
            assert said in ("bare", "nested", "captured", "partial")


@pytest.mark.asyncio
async def test_the_descriptor_of_an_argument_is_closed_with_it_on_both_sides() -> None:
    async with TaskScope() as scope:
        await scope.spawn(descriptors, on="process")
        here_before, there_before = descriptors(), await scope.spawn(descriptors, on="process")
        here, there = socket.socketpair()
        with here, there:
            for _ in range(20):
                await scope.spawn(socket.socket.close, there, on="process")
            await scope.spawn(abs, there.fileno(), on="process")
        assert await scope.spawn(descriptors, on="process") == there_before
        assert await until_async(lambda: descriptors() == here_before)


@pytest.mark.asyncio
async def test_a_socket_keeps_its_timeout() -> None:
    here, there = socket.socketpair()
    with here, there:
        for timeout in (None, 7.5, 0.0):
            there.settimeout(timeout)
            assert await call(timeout_of, there, on="process") == timeout


@pytest.mark.fresh_pool
@pytest.mark.asyncio
async def test_an_initializer_may_have_a_connection_and_a_shared_object() -> None:
    here, there = multiprocessing.Pipe()
    with here, there:
        async with ProcessPool(1, initializer=keep, initargs=(there,)) as pool, TaskScope(processes=pool) as scope:
            await scope.spawn(greet_kept, on="process")
        assert here.recv() == "kept"
    async with (
        ProcessPool(1, initializer=keep, initargs=(share("shared"),)) as pool,
        TaskScope(processes=pool) as scope,
    ):
        assert await scope.spawn(kept_value, on="process") == "shared"


def kept_value() -> object:
    return kept.value


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [make_connection, make_socket])
async def test_a_connection_and_a_socket_are_refused_where_no_descriptor_goes_along(make: Any) -> None:
    with pytest.raises(SerializationError, match=r"the result of make_\w+\(\).*(socket.socket|Connection)'"):
        await call(make, on="process")
    with make() as one:
        with pytest.raises(SerializationError, match="whose descriptors would not go along"):
            share([one])
    with pytest.raises(SerializationError, match="is closed"):
        await call(give_back, one, on="process")


@pytest.mark.parametrize("make", ["multiprocessing.Pipe()[0]", "multiprocessing.connection.Listener()"])
def test_what_listens_or_is_a_global_is_not_taken_for_another_file(make: str, tmp_path: Path) -> None:
    code = f"""
import multiprocessing.connection
from unified_exec import SerializationError, SyncTaskScope, Collect
THING = {make}
def use():
    return THING.fileno()
with SyncTaskScope(policy=Collect()) as scope:
    print(type(scope.spawn(use, on="process").exception()).__name__)
    if not hasattr(THING, "fileno"):
        try:
            scope.spawn(id, THING, on="process")
        except SerializationError as error:
            print(error)
"""
    lines = run_script(tmp_path, code).check().lines
    assert lines[0] == "NameError"
    assert len(lines) == 1 or "cannot travel" in lines[1]


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
