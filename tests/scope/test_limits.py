"""`Limit` and `Rate`: shared by coroutines, threads, processes, scopes and loops; fair, safe to cancel, no deadlock."""

from __future__ import annotations

import pickle
import threading
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.scope import many
from tests.scope.many import PLACES, Place
from tests.waiting import until, until_async
from unified_exec import Cancelled, Collect, Limit, ProcessPool, Rate, Retry, SyncTaskScope, TaskScope, TaskState
from unified_exec._core import limits as module


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


def going(folder: Path) -> int:
    ended = len(list(folder.glob("*.ended")))
    return len(list(folder.glob("*.started"))) - ended


# --- a limit of tasks


async def test_a_limit_bounds_what_runs_at_once_wherever_it_runs(tmp_path: Path) -> None:
    limit = Limit(2)
    async with ProcessPool(4) as processes, TaskScope(processes=processes) as scope:
        handles = {
            f"{name}-{n}": scope.spawn(place.fn(many.hold), tmp_path, f"{name}-{n}", on=place.on, limit=limit)
            for n in range(2)
            for name, place in PLACES.items()
        }
        for left in range(len(handles), 0, -1):
            assert await until_async(lambda left=left: going(tmp_path) == min(2, left), 60)  # type: ignore[misc]
            assert [each.state for each in handles.values()].count(TaskState.RUNNING) <= 2
            assert limit.free == max(0, 2 - left)
            started = {path.stem for path in tmp_path.glob("*.started")}
            name = min(name for name in started if not handles[name].done())
            (tmp_path / f"{name}.go").touch()
            assert await handles[name] == name
    assert limit.free == 2


async def test_who_comes_first_is_let_in_first(place: Place, tmp_path: Path) -> None:
    limit = Limit(1)
    async with ProcessPool(2) as processes, TaskScope(processes=processes) as scope:
        handles = []
        for n in range(5):
            handles.append(scope.spawn(place.fn(many.hold), tmp_path, str(n), on=place.on, limit=limit))
            await anyio.wait_all_tasks_blocked()  # a coroutine asks when it begins; trio begins them in any order
        for n, handle in enumerate(handles):
            assert await until_async((tmp_path / f"{n}.started").exists, 60)
            assert not (tmp_path / f"{n + 1}.started").exists()
            (tmp_path / f"{n}.go").touch()
            await handle.wait()


async def test_cancelling_one_that_waits_lets_the_next_in(place: Place, tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope(policy=Collect()) as scope:
        one = scope.spawn(place.fn(many.hold), tmp_path, "a", on=place.on, limit=limit)
        assert await until_async((tmp_path / "a.started").exists, 60)
        two, three = (scope.spawn(place.fn(many.hold), tmp_path, name, on=place.on, limit=limit) for name in "bc")
        two.cancel()
        await two.wait()
        assert two.cancelled()
        one.cancel()
        assert await until_async((tmp_path / "c.started").exists, 60)
        (tmp_path / "c.go").touch()
        assert await three == "c"
    assert not (tmp_path / "b.started").exists()
    assert limit.free == 1


async def test_leaving_the_scope_by_force_gives_every_place_back(place: Place, tmp_path: Path) -> None:
    limit = Limit(2)
    async with TaskScope() as scope:
        for n in range(6):
            scope.spawn(place.fn(many.hold), tmp_path, str(n), on=place.on, limit=limit)
        assert await until_async(lambda: going(tmp_path) == 2, 60)
        scope.cancel()
    assert limit.free == 2


async def test_a_number_counts_the_calls_of_one_function_in_one_scope(tmp_path: Path) -> None:
    async with TaskScope() as scope:
        for n in range(4):
            scope.spawn(partial(many.hold, tmp_path), str(n), limit=2)
        other = scope.spawn(many.double, 1, limit=2)
        assert await other == 2
        assert await until_async(lambda: going(tmp_path) == 2, 60)
        for n in range(4):
            (tmp_path / f"{n}.go").touch()


async def test_arguments_are_pickled_at_once_though_the_call_waits(tmp_path: Path) -> None:
    limit = Limit(1)
    items = [1]
    async with TaskScope() as scope:
        async with limit:
            async with TaskScope() as beside:  # in a task of its own it would be nested work
                pass
            held = scope.spawn(many.hold, tmp_path, "held", on="process", limit=limit)
            waits = scope.spawn(sum, items, on="process", limit=limit)
            items.append(2)
        del beside
        (tmp_path / "held.go").touch()
        assert await waits == 1
        assert await held == "held"


async def test_a_failure_and_a_crash_give_the_place_back(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope(policy=Collect()) as scope:
        scope.spawn(many.fail_odd, 1, limit=limit)
        scope.spawn(many.a_fail_odd, 1, limit=limit)
        scope.spawn(many.crash_first, tmp_path, "x", on="process", limit=limit)
        assert await scope.spawn(many.double, 2, on="process", limit=limit) == 4
    assert limit.free == 1


async def test_each_try_waits_for_the_limit(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope() as scope:
        for place in PLACES.values():
            handle = scope.spawn(
                place.fn(many.needs), tmp_path, str(place), 3, on=place.on, retry=Retry(2), limit=limit
            )
            assert await handle == str(place)
    assert limit.free == 1


# --- in code


async def test_coroutines_wait_in_turn() -> None:
    limit = Limit(1)
    asked: list[int] = []
    order: list[int] = []

    async def work(n: int) -> None:
        asked.append(n)
        async with limit:
            order.append(n)
            await anyio.lowlevel.checkpoint()
            assert limit.free == 0

    async with TaskScope() as scope:
        for n in range(20):
            scope.spawn(work, n)
    assert order == asked
    assert limit.free == 1


async def test_a_cancelled_waiter_takes_nothing_along() -> None:
    limit = Limit(1)
    async with TaskScope() as scope:
        async with limit:
            with anyio.move_on_after(0):
                async with anyio.create_task_group():
                    await _enter_elsewhere(limit)
        del scope
    assert limit.free == 1


async def _enter_elsewhere(limit: Limit) -> None:
    import contextvars

    async def enter() -> None:
        async with limit:
            raise AssertionError("unreachable")

    done = anyio.Event()

    async def run() -> None:
        try:
            await enter()
        finally:
            done.set()

    async with anyio.create_task_group() as group:
        contextvars.Context().run(group.start_soon, run)
        await done.wait()


async def test_threads_and_coroutines_share_it() -> None:
    limit = Limit(1)
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with limit:
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    async def a_work() -> None:
        for _ in range(20):
            async with limit:
                inside.append(1)
                await anyio.lowlevel.checkpoint()
                assert len(inside) == 1
                inside.pop()

    async with TaskScope() as scope:
        for _ in range(4):
            scope.spawn(work)
            scope.spawn(a_work)
    assert limit.free == 1


async def test_a_waiting_thread_task_can_be_cancelled() -> None:
    limit = Limit(1)
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        with limit:
            raise AssertionError("unreachable")

    async with TaskScope(policy=Collect()) as outer:
        async with limit:
            async with TaskScope(policy=Collect()) as scope:
                import contextvars

                handle = contextvars.Context().run(scope.spawn, wait)
                assert await until_async(waiting.is_set, 60)
                handle.cancel()
                await handle.wait()
                assert handle.cancelled()
        del outer
    assert limit.free == 1


def test_plain_threads_wait_in_turn() -> None:
    limit = Limit(3)
    peak, inside, lock = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(30):
            with limit:
                with lock:
                    inside[0] += 1
                    peak[0] = max(peak[0], inside[0])
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak[0] <= 3
    assert limit.free == 3


def test_event_loops_of_several_threads_share_it() -> None:
    limit = Limit(1)
    order: list[int] = []

    async def work() -> None:
        async with limit:
            order.append(1)
            await anyio.lowlevel.checkpoint()
            assert len(order) == 1
            order.pop()

    async def many_of_them() -> None:
        async with TaskScope() as scope:
            for _ in range(30):
                scope.spawn(work)

    threads = [threading.Thread(target=anyio.run, args=(many_of_them,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit.free == 1


async def test_with_would_block_the_loop_and_is_refused() -> None:
    with pytest.raises(RuntimeError, match="async with Limit"):
        Limit(1).__enter__()


def test_it_stays_in_its_process() -> None:
    for gate in (Limit(1), Rate(1)):
        with pytest.raises(TypeError, match="limit=limit"):
            pickle.dumps(gate)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Limit(0), ValueError),
        (lambda: Limit(1.5), TypeError),  # type: ignore[arg-type]
        (lambda: Rate(0), ValueError),
        (lambda: Rate(1, per=0), ValueError),
        (lambda: Rate("1"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


async def test_what_is_no_limit_is_refused_by_spawn() -> None:
    async with TaskScope() as scope:
        for wrong, error in ((0, ValueError), ("3", TypeError), (anyio.CapacityLimiter(1), TypeError)):
            with pytest.raises(error):
                scope.spawn(many.double, 1, limit=wrong)  # type: ignore[call-overload]


# --- nested work


async def test_nested_work_never_waits_for_its_own_holder() -> None:
    limit = Limit(1)

    async def nest(depth: int) -> int:
        if not depth:
            return 0
        async with TaskScope() as scope:
            inner = [scope.spawn(nest, depth - 1, limit=limit) for _ in range(2)]
            return 1 + max(await scope.gather(*inner))

    async with TaskScope() as scope:
        assert await scope.spawn(nest, 3, limit=limit) == 3
    assert limit.free == 1


async def test_nested_work_of_a_thread_neither() -> None:
    limit = Limit(1)
    async with TaskScope() as scope:

        def outer() -> int:
            with limit:
                return anyio.from_thread.run(inner)

        async def inner() -> int:
            return await scope.spawn(many.double, 21, on="process", limit=limit)

        assert await scope.spawn(outer) == 42
        assert await scope.spawn(outer, limit=limit) == 42
    assert limit.free == 1


async def test_nested_maps_neither() -> None:
    limit = Limit(2)

    async def outer(x: int) -> int:
        async with TaskScope() as scope:
            return sum([y async for y in scope.map(many.double, range(x), limit=limit)])

    async with TaskScope() as scope:
        assert [y async for y in scope.map(outer, range(6), limit=limit)] == [0, 0, 2, 6, 12, 20]
    assert limit.free == 2


async def test_one_nested_task_at_a_time_uses_the_place_of_its_holder(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope() as scope:
        async with limit:
            for name in "abc":
                scope.spawn(many.hold, tmp_path, name, limit=limit)
            assert await until_async((tmp_path / "a.started").exists, 60)
            (tmp_path / "a.go").touch()
            assert await until_async((tmp_path / "b.started").exists, 60)
            assert not (tmp_path / "c.started").exists()
        assert limit.free == 0  # the place is b's now
        assert not (tmp_path / "c.started").exists()
        (tmp_path / "b.go").touch()
        assert await until_async((tmp_path / "c.started").exists, 60)
        (tmp_path / "c.go").touch()
    assert limit.free == 1


async def test_what_outlives_its_holder_waits_like_everybody(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope() as scope:

        async def late() -> str:
            await over.wait()
            return await scope.spawn(many.a_hold, tmp_path, "late", limit=limit)

        over = anyio.Event()
        async with limit:
            handle = scope.spawn(late)
        import contextvars

        first = contextvars.Context().run(scope.spawn, many.a_hold, tmp_path, "first", limit=limit)
        assert await until_async((tmp_path / "first.started").exists, 60)
        over.set()
        await anyio.wait_all_tasks_blocked()
        assert not (tmp_path / "late.started").exists()
        for name in ("first", "late"):
            (tmp_path / f"{name}.go").touch()
        assert await scope.gather(first, handle) == ["first", "late"]


# --- rates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(rate: Rate) -> Any:
    from unified_exec._core.tickets import ThreadTicket

    ticket = ThreadTicket()
    rate.ask(ticket)
    return ticket


def test_a_rate_allows_so_many_starts_in_any_window() -> None:
    rate = Rate(2, per=10.0)
    clock = rate._clock = Clock()
    tickets = [asked(rate) for _ in range(5)]
    assert [each.granted for each in tickets] == [True, True, False, False, False]
    clock.now = 9.99
    rate._look()
    assert not tickets[2].granted
    clock.now = 10.0
    rate._look()
    assert [each.granted for each in tickets] == [True, True, True, True, False]
    rate.withdraw(tickets[4])
    clock.now = 15.0
    late = asked(rate)
    assert not late.granted
    clock.now = 20.0
    rate._look()
    assert late.granted


async def test_starts_are_spread_in_time_wherever_they_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Rate(3, per=0.05)
    starts: list[float] = []
    clock = rate._clock

    class Starts(module.deque):  # type: ignore[type-arg, name-defined]
        def append(self, instant: float) -> None:
            starts.append(instant)
            super().append(instant)

    rate._starts = Starts(maxlen=3)

    def in_thread() -> None:
        with rate:
            pass

    async with TaskScope() as scope:
        for _ in range(3):
            scope.spawn(in_thread)
            scope.spawn(many.double, 1, on="process", limit=rate)
            scope.spawn(many.a_double, 1, limit=rate)
        async with rate:
            pass
        assert [x async for x in scope.map(many.double, range(3), limit=rate)] == [0, 2, 4]
    assert len(starts) == 13
    assert all(later - earlier >= 0.05 for earlier, later in zip(starts, starts[3:], strict=False))
    assert clock() >= starts[-1]


async def test_cancelling_those_that_wait_for_a_rate_leaves_it_whole() -> None:
    rate = Rate(1, per=0.05)
    async with TaskScope() as scope:
        for _ in range(50):
            scope.spawn(many.a_double, 1, limit=rate)
        scope.cancel()
    async with rate, rate:
        pass


def test_a_rate_without_a_loop() -> None:
    with SyncTaskScope() as scope:
        assert list(scope.map(many.double, range(4), limit=Rate(2, per=0.01))) == [0, 2, 4, 6]


def test_the_waiting_thread_is_interrupted_by_nothing_but_its_turn() -> None:
    limit = Limit(1)
    done = threading.Event()

    def wait() -> None:
        with limit:
            done.set()

    with limit:
        thread = threading.Thread(target=wait)
        thread.start()
        assert until(lambda: len(limit._queue) == 1)
        assert not done.is_set()
    thread.join()
    assert done.is_set()


def test_cancelled_is_what_a_waiting_thread_task_gets() -> None:
    assert issubclass(Cancelled, BaseException)
