"""Design §1, clause 4: the error of a task arrives as it was raised, wherever that was."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import selectors
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import Place
from unified_exec import Cancelled, Collect, ProcessPool, RemoteError, SerializationError, TaskScope, ThreadPool


class Rejected(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


async def error_of(place: Place, fn: Callable[[], object]) -> BaseException:
    """Run a failing task; see that what ran it goes on, and that awaiting it raises what its handle has."""
    async with (
        ProcessPool(1) as processes,
        ThreadPool(1) as threads,
        TaskScope(policy=Collect(), processes=processes, threads=threads) as scope,
    ):
        handle = place.spawn(scope, fn)
        with pytest.raises(Exception) as caught:
            await handle
        assert caught.value is handle.exception()
        after = place.spawn(scope, os.getpid)
        await after
        assert after.worker == handle.worker
    return caught.value


async def test_an_exception_arrives_with_its_type_arguments_and_attributes(place: Place) -> None:
    def task() -> None:
        error = Rejected(5, reason="because")
        error.code = 6
        raise error

    error = await error_of(place, task)
    assert type(error) is Rejected
    assert (error.code, error.reason, error.args) == (6, "because", ("5: because",))


async def test_cause_context_and_notes_arrive(place: Place) -> None:
    def task() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise ValueError("second") from first
        except ValueError as second:
            second.add_note("while it was raining")
            raise OSError("third")  # noqa: B904

    error = await error_of(place, task)
    assert type(error) is OSError
    second = error.__context__
    assert type(second) is ValueError
    assert second.__notes__ == ["while it was raining"]
    assert repr(second.__cause__) == "KeyError('first')"


async def test_an_exception_group_arrives_with_its_members(place: Place) -> None:
    def task() -> None:
        raise ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [KeyError("k"), OSError(2, "gone")])])

    error = await error_of(place, task)
    assert type(error) is ExceptionGroup
    assert repr(error.exceptions[0]) == "ValueError(1)"
    inner = error.exceptions[1]
    assert isinstance(inner, ExceptionGroup)
    assert [type(member) for member in inner.exceptions] == [KeyError, FileNotFoundError]
    assert isinstance(inner.exceptions[1], OSError)
    assert inner.exceptions[1].errno == 2


async def test_the_traceback_shows_the_frames_of_the_task_with_their_source(place: Place) -> None:
    def inner() -> None:
        raise ValueError("deep")  # the very line

    def outer() -> None:
        inner()

    text = "".join(traceback.format_exception(await error_of(place, outer)))
    assert "in outer" in text
    assert 'raise ValueError("deep")  # the very line' in text
    assert "unified_exec/_worker" not in text


async def test_an_exception_of_a_class_in_a_function_body_is_caught_by_that_class(place: Place) -> None:
    class Local(Exception):
        seen = 0

    def task() -> None:
        error = Local("mine")
        if os.getpid() != home:
            Local.seen = 5
        raise error

    home = os.getpid()
    error = await error_of(place, task)
    assert type(error) is Local
    assert error.args == ("mine",)
    assert Local.seen == 0  # the parent's class is not overwritten by what comes back


@pytest.mark.loops_in_turn
@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, Cancelled], ids=lambda k: k.__name__
)
async def test_what_would_end_a_program_arrives_as_a_remote_error(
    remote_place: Place, kind: type[BaseException]
) -> None:
    def task() -> None:
        raise kind("by hand")

    error = await error_of(remote_place, task)
    assert isinstance(error, RemoteError)
    assert error.type_name.endswith(kind.__name__)
    assert type(error.__cause__) is kind
    assert error.__cause__.args == ("by hand",)


THINGS: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "selector": selectors.DefaultSelector,
    "generator": lambda: (n for n in ()),
    "file": lambda: open(__file__),
    "stream": lambda: io.TextIOWrapper(io.BytesIO()),
}


@pytest.mark.parametrize("make", THINGS.values(), ids=list(THINGS))
async def test_an_argument_that_cannot_travel_is_an_error_of_spawn_before_a_worker_is_touched(
    process_place: Place, make: Callable[[], Any]
) -> None:
    with contextlib.closing(make()) if make is not threading.Lock else contextlib.nullcontext(make()) as thing:
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
            with pytest.raises(SerializationError, match=r"argument 2.*\[1\]"):
                process_place.spawn(scope, max, 1, [0, thing])
            assert not pool._registry.workers
            assert await process_place.spawn(scope, abs, -1) == 1


async def test_what_a_thread_gets_need_not_travel() -> None:
    lock = threading.Lock()
    async with TaskScope() as scope:
        assert await scope.spawn(lambda thing: thing, lock, on="thread") is lock
