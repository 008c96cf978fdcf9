"""Clause 9: rings of limits alone, also through `from_task`, are found; who can go on is no deadlock."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from tests.contract.looks import until_looked
from tests.contract.test_9_waits_without_end import the_one
from tests.this_python import HAS_GIL
from unified_exec import Limit, TaskScope, from_task
from unified_exec._sync.waiters import newest_permit

pytestmark = [
    pytest.mark.skipif(not HAS_GIL, reason="references cannot be counted"),
    pytest.mark.usefixtures("looks_at_once"),
]
PATIENCE = 30


async def a_take(first: Limit, second: Limit, here: threading.Event, there: threading.Event) -> None:
    async with first:
        here.set()
        while not there.is_set():
            await anyio.sleep(0.01)
        async with second:
            pass


def take(first: Limit, second: Limit, here: threading.Event, there: threading.Event) -> None:
    with first:
        here.set()
        assert there.wait(PATIENCE)
        with second:
            pass


@pytest.mark.parametrize("fns", [(a_take, a_take), (a_take, take), (take, take)])
async def test_a_ring_of_two_limits_is_found(fns: Any) -> None:
    one, two = Limit(1), Limit(1)
    here, there = threading.Event(), threading.Event()
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(fns[0], one, two, here, there, name="forwards")
            scope.spawn(fns[1], two, one, there, here, name="backwards")
    error = the_one(caught.value)
    assert len(error.ring) == 2
    assert all("holds Limit(1), waits for Limit(1)" in words for words in error.ring)
    assert one.free == two.free == 1


async def use(limit: Limit) -> None:
    async with limit:
        pass


_limit = Limit(1)


async def use_global() -> None:
    await use(_limit)


def ask() -> None:
    from_task.run(use_global)


def ask_without_sharing(limit: Limit) -> None:
    with limit:
        from_task.run(in_new_context, limit)


async def in_new_context(limit: Limit) -> None:
    """As code that is called from a callback of the loop: it has no part in the unit of the asker."""
    newest_permit.set(None)
    await use(limit)


async def test_a_thread_that_asks_for_what_needs_its_own_limit_is_found() -> None:
    limit = Limit(1)
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(ask_without_sharing, limit, name="asker", on="thread")
    text = str(the_one(caught.value))
    assert "waits for Limit(1)" in text
    assert "task 'asker' in process" in text
    assert "which it has asked for" in text


async def test_a_process_task_that_asks_for_what_needs_the_limit_it_has_is_found() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(ask, on="process", limit=_limit, name="asker")
    assert "holds Limit(1), waits for task 'use_global', which it has asked for" in str(the_one(caught.value))


async def nothing() -> None:
    pass


async def hold_and_await(scope: TaskScope, mine: Limit, other: Limit, here: anyio.Event, there: anyio.Event) -> None:
    async with mine:
        here.set()
        await there.wait()
        await scope.spawn(nothing, limit=other)


async def test_a_ring_over_tasks_that_wait_for_a_limit_before_they_start_is_found() -> None:
    one, two = Limit(1), Limit(1)
    here, there = anyio.Event(), anyio.Event()
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(hold_and_await, scope, one, two, here, there)
            scope.spawn(hold_and_await, scope, two, one, there, here)
    errors = {id(error) for error in leaves(caught.value)}
    assert len(errors) == 1


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


async def test_a_limit_that_a_coroutine_holds_which_the_task_has_started_may_come_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its permit has the number of the task, which itself waits."""
    one, two = Limit(1), Limit(1)
    held, go = anyio.Event(), anyio.Event()

    async def hold(limit: Limit) -> None:
        async with limit:
            held.set()
            await go.wait()

    async def starts_another() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(hold, one)
            await held.wait()
            async with two:
                pass

    async def other() -> None:
        async with two:
            await held.wait()
            async with one:
                pass

    async with TaskScope() as scope:
        scope.spawn(other)
        await anyio.wait_all_tasks_blocked()
        scope.spawn(starts_another)
        await until_looked(monkeypatch, looks=4, within=PATIENCE)
        go.set()
