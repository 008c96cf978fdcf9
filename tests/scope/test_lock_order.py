"""`TaskScope(debug=...)` reports lock orders that could deadlock, and waits for locks that take long."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waiting import until_async
from unified_exec import Lock, RLock, Semaphore, Stall, TaskScope
from unified_exec._sync.deadlocks import order
from unified_exec.observe import watchdog

PATIENCE = 30


async def a_take(*locks: Any) -> None:
    if locks:
        async with locks[0]:
            await a_take(*locks[1:])


def take(*locks: Any) -> None:
    if locks:
        with locks[0]:
            take(*locks[1:])


def orders(found: list[Stall]) -> list[Stall]:
    return [stall for stall in found if stall.kind == "order"]


@pytest.mark.parametrize("fn", [a_take, take])
@pytest.mark.parametrize("kind", [Lock, RLock])
async def test_two_orders_of_two_locks_are_reported_once_with_both_lines(kind: Any, fn: Any) -> None:
    found: list[Stall] = []
    before = kind(name="before")
    async with TaskScope(debug=found.append) as scope:
        other = kind(name="other")
        await scope.spawn(fn, before, other, name="forwards")
        assert not orders(found)
        for _ in range(2):
            await scope.spawn(fn, other, before, name="backwards")
    (stall,) = orders(found)
    assert stall.task is not None
    text = str(stall)
    lines = text.splitlines()
    assert lines[0] == "locks are acquired in orders that could deadlock; acquire them in one order:"
    assert f"holds {kind.__name__}(name='other') acquired at {__file__}:" in lines[1]
    assert f"asks for {kind.__name__}(name='before') at {__file__}:" in lines[1]
    assert f"holds {kind.__name__}(name='before') acquired at {__file__}:" in lines[2]
    assert "task 'backwards'" in lines[1]
    assert "task 'forwards'" in lines[2]


async def test_a_ring_of_three_orders_is_reported() -> None:
    found: list[Stall] = []
    async with TaskScope(debug=found.append) as scope:
        locks = [Lock(name=str(number)) for number in range(3)]
        for number in range(3):
            await scope.spawn(a_take, locks[number], locks[(number + 1) % 3])
    (stall,) = orders(found)
    assert stall.stack.count("asks for") == 3


async def give_up(first: Lock, second: Lock) -> None:
    async with first:
        await second.acquire(timeout=PATIENCE)
        second.release()


async def test_one_order_a_timeout_or_a_semaphore_of_two_is_no_report() -> None:
    found: list[Stall] = []
    async with TaskScope(debug=found.append) as scope:
        one, two, seats = Lock(), Lock(), Semaphore(2)
        for _ in range(2):
            await scope.spawn(a_take, one, two)
        await scope.spawn(give_up, two, one)
        await scope.spawn(a_take, one, seats)
        await scope.spawn(a_take, seats, one)
    assert not orders(found)


async def test_nothing_is_watched_after_the_last_such_scope() -> None:
    async with TaskScope(debug=True), TaskScope(debug=True):
        assert order.orders is not None
    assert order.orders is None


async def test_a_long_wait_for_a_lock_is_reported_once_with_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LONG_WAIT", 0.0)
    monkeypatch.setattr(watchdog, "LOOK", 0.0)
    found: list[Stall] = []
    looks = 0

    def looked() -> None:
        nonlocal looks
        original()
        looks += 1

    original = watchdog.report_long_waits
    monkeypatch.setattr(watchdog, "report_long_waits", looked)
    async with TaskScope(debug=found.append) as scope:
        lock = Lock(name="slow")
        async with lock:
            scope.spawn(take, lock, name="waiter")
            assert await until_async(lambda: any(stall.kind == "wait" for stall in found), PATIENCE)
            seen = looks
            assert await until_async(lambda: looks > seen + 2, PATIENCE)
    (stall,) = [stall for stall in found if stall.kind == "wait"]
    assert stall.task == "task 'waiter'"
    assert f"task 'waiter' has waited for {stall.seconds:.1f} s at {__file__}:" in str(stall)
    assert "holds it since" in stall.stack
