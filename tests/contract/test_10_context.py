"""Clause 10: a task sees its spawner's context variables as they were at `spawn`, and leaves none to the next one."""

from __future__ import annotations

import contextvars
import decimal
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from types import FrameType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.contract import late_variable
from tests.contract.conftest import Place
from tests.faults import programs
from unified_exec import Pipeline, ProcessPool, Retry, SyncTaskScope, TaskScope, call, share
from unified_exec.executor import ProcessExecutor, ThreadExecutor

request: ContextVar[str] = ContextVar("request")
settings: ContextVar[dict[str, Any]] = ContextVar("settings")
fallback: ContextVar[str] = ContextVar("fallback", default="the default")


class Holder:
    inside: ContextVar[str] = ContextVar("inside")


class Opaque:
    """What cannot travel, and can be weakly referenced."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def see(*_: object) -> str:
    return request.get("none")


async def a_see(*_: object) -> str:
    await anyio.lowlevel.checkpoint()
    return request.get("none")


def generate() -> Iterator[str]:
    yield request.get("none")
    yield request.get("none")


async def a_generate() -> AsyncIterator[str]:
    yield request.get("none")
    await anyio.lowlevel.checkpoint()
    yield request.get("none")


def fails_twice(folder: Any) -> str:
    tries = len(list(folder.iterdir()))
    (folder / str(tries)).touch()
    if tries < 2:
        raise OSError
    return request.get("none")


@pytest.mark.every_loop
async def test_every_way_of_running_shows_the_variables_of_its_spawner(tmp_path: Any) -> None:
    request.set("mine")
    seen: dict[str, Any] = {}
    async with TaskScope() as scope:
        for on in ("thread", "process"):
            folder = tmp_path / on
            folder.mkdir()
            seen[f"spawn, {on}"] = [await scope.spawn(see, on=on)]
            seen[f"retry, {on}"] = [await scope.spawn(fails_twice, folder, on=on, retry=Retry(3, backoff=0))]
            seen[f"map, {on}"] = [found async for found in scope.map(see, range(20), on=on)]
            seen[f"stream, {on}"] = [found async for found in scope.stream(generate, on=on)]
            seen[f"pipeline, {on}"] = await Pipeline(range(3)).map(see, on=on).collect()
        for on in ("loop", "process"):
            seen[f"coroutine, {on}"] = [await scope.spawn(a_see, on=on)]
            seen[f"map of coroutines, {on}"] = [found async for found in scope.map(a_see, range(5), on=on)]
            seen[f"async stream, {on}"] = [found async for found in scope.stream(a_generate, on=on)]
        seen["auto"] = [await scope.spawn(see, on="auto")]
    assert {way: set(found) for way, found in seen.items()} == {way: {"mine"} for way in seen}


def test_code_that_is_not_async_hands_its_variables_over_too() -> None:
    seen: dict[str, list[str]] = {}

    def main() -> None:
        request.set("outside")
        with SyncTaskScope() as scope:
            request.set("mine")
            for on in ("thread", "process"):
                seen[f"spawn, {on}"] = [scope.spawn(see, on=on).result()]
                seen[f"map, {on}"] = list(scope.map(see, range(3), on=on))
                seen[f"stream, {on}"] = list(scope.stream(generate, on=on))
        for kind in (ThreadExecutor, ProcessExecutor):
            with kind(1) as executor:
                seen[kind.__name__] = [executor.submit(see).result(), *executor.map(see, range(3))]

    copy_context().run(main)
    assert {way: set(found) for way, found in seen.items()} == {way: {"mine"} for way in seen}


def set_all() -> None:
    request.set("left behind")
    settings.set({"left": "behind"})
    Holder.inside.set("left behind")
    decimal.setcontext(decimal.Context(prec=3))


def see_all() -> tuple[Any, ...]:
    return request.get("none"), settings.get({}), Holder.inside.get("none"), decimal.getcontext().prec


@pytest.mark.every_loop
async def test_what_a_task_sets_stays_in_it(place: Place) -> None:
    async def nothing_set() -> tuple[Any, ...]:
        await place.call(set_all)
        return (await place.call(see_all))[:3]  # type: ignore[no-any-return]

    async with TaskScope() as scope:
        assert await scope.spawn(nothing_set) == ("none", {}, "none")
    request.set("mine")
    settings.set({"a": 1})
    Holder.inside.set("mine too")
    with decimal.localcontext() as numbers:
        numbers.prec = 11
        for _ in range(3):
            assert await place.call(see_all) == ("mine", {"a": 1}, "mine too", 11)
            if place.on == "process":
                await place.call(set_all)


def set_by_initializer() -> None:
    request.set("of the initializer")
    decimal.getcontext().prec = 40


def change_prec() -> int:
    before = decimal.getcontext().prec
    decimal.getcontext().prec = 7
    return before


@pytest.mark.fresh_pool
@pytest.mark.one_loop
async def test_what_the_initializer_sets_is_seen_by_every_task_unless_its_spawner_has_set_it() -> None:
    async with ProcessPool(1, initializer=set_by_initializer) as pool:
        assert [await call(see, on=pool), await call(a_see, on=pool)] == ["of the initializer"] * 2
        assert [await call(change_prec, on=pool) for _ in range(2)] == [40, 40]
        request.set("mine")
        assert await call(see, on=pool) == "mine"


def change(key: str) -> dict[str, Any]:
    found = settings.get()
    before = dict(found)
    found[key] = "changed"
    return before


async def test_a_mutable_value_is_the_one_of_the_spawn_and_each_task_has_its_own(process_place: Place) -> None:
    value = {"a": 1}
    settings.set(value)
    assert await process_place.call(change, "b") == {"a": 1}
    assert await process_place.call(change, "c") == {"a": 1}
    value["a"] = 2
    assert await process_place.call(change, "d") == {"a": 2}


@pytest.mark.one_loop
async def test_requests_at_the_same_time_do_not_mix() -> None:
    """Tasks of several contexts alternate on the same workers, and what was sent ahead is taken back and sent anew."""

    async def one(me: str, on: Any) -> set[str]:
        request.set(me)
        async with TaskScope() as scope:
            handles = [scope.spawn(see, n, on=on) for n in range(60)]
            handles += [scope.spawn(a_see, n, on=on) for n in range(30)]
            seen = {found async for found in scope.map(see, range(40), on=on, chunk=1)}
            return seen | {await handle for handle in handles}

    async with ProcessPool(2) as pool, TaskScope() as scope:
        requests = {f"request {n}": scope.spawn(one, f"request {n}", pool) for n in range(4)}
    assert {me: handle.result() for me, handle in requests.items()} == {me: {me} for me in requests}


def hold(folder: str, name: str) -> str:
    from pathlib import Path

    from tests.waiting import until

    (Path(folder) / f"{name}.started").touch()
    assert until((Path(folder) / f"{name}.go").exists, 60)
    return request.get("none")


async def test_a_context_that_was_taken_back_with_its_task_is_sent_again(tmp_path: Any) -> None:
    from tests.waiting import until_async

    async def spawned_as(me: str, scope: TaskScope, pool: ProcessPool, *args: Any) -> Any:
        request.set(me)
        return scope.spawn(hold, str(tmp_path), *args, on=pool) if args else scope.spawn(see, on=pool)

    async with ProcessPool(1) as pool, TaskScope() as scope:

        async def do(me: str, *args: Any) -> Any:
            async with TaskScope() as inner:
                return await inner.spawn(spawned_as, me, scope, pool, *args)

        assert await (await do("a")) == "a"  # the worker knows how long it takes: what follows is sent ahead
        held = await do("a", "held")
        assert await until_async((tmp_path / "held.started").exists, 60)
        ahead = [await do(me) for me in ("b", "a", "b", "a")]
        ahead[0].cancel()
        ahead[1].cancel()
        more = [await do(me) for me in ("a", "b", "a")]
        (tmp_path / "held.go").touch()
        assert await held == "a"
        assert [await handle for handle in ahead[2:]] == ["b", "a"]
        assert [await handle for handle in more] == ["a", "b", "a"]


def touch_opaque(*_: object) -> str:
    return settings.get()  # type: ignore[return-value]


async def test_a_value_that_cannot_travel_is_absent_and_the_lookup_error_says_why(process_place: Place) -> None:
    opaque: Any = Opaque()
    settings.set(opaque)
    fallback.set(opaque)
    request.set("this one travels")
    with pytest.raises(LookupError) as caught:
        await process_place.call(touch_opaque)
    (note,) = caught.value.__notes__
    assert "'settings' was set where the task was spawned" in note
    assert "cannot pickle '_thread.lock' object" in note
    assert await process_place.call(fallback.get) == "the default" if not process_place.coroutine else True
    assert await process_place.call(see) == "this one travels"
    async with TaskScope() as scope:
        for on_item in [r async for r in scope.map(touch_opaque, range(2), on="process", return_exceptions=True)]:
            assert "'settings' was set where" in on_item.__notes__[0]  # type: ignore[attr-defined]


def import_late() -> tuple[str, list[int]]:
    from tests.contract import late_variable

    return late_variable.late.get(), late_variable.late_list.get()


@pytest.mark.fresh_pool
async def test_a_variable_of_a_module_that_the_task_itself_imports_has_its_value(process_place: Place) -> None:
    late_variable.late.set("in time")
    late_variable.late_list.set([1, 2])
    for _ in range(2):
        assert await process_place.call(import_late) == ("in time", [1, 2])


async def nested_see() -> list[str]:
    request.set(request.get() + ", in the task")
    async with ProcessPool(1) as pool, TaskScope() as scope:
        return [await scope.spawn(see, on=pool), await scope.spawn(see, on="thread")]


def run_nested() -> list[str]:
    return anyio.run(nested_see)


async def test_tasks_of_a_task_see_what_it_has_set() -> None:
    request.set("mine")
    assert await call(run_nested, on="process") == ["mine, in the task"] * 2


PROGRAM = """
import contextvars, sys
import anyio
from unified_exec import ProcessPool, TaskScope

rid = contextvars.ContextVar("rid", default="-")
class Of:
    cls = contextvars.ContextVar("of a class")
made = {"in_a_dict": contextvars.ContextVar("in_a_dict")}
if "import" in sys.argv:  # where each process has made its own dict, only a name tells
    in_a_dict = made["in_a_dict"]

def see():
    import __main__
    return rid.get(), Of.cls.get(), made["in_a_dict"].get(), __main__.rid.get()

async def a_see():
    return see()

def default():
    return rid.get()

def give_back():
    return rid

async def main():
    async with ProcessPool(1, main="import" if "import" in sys.argv else None) as pool, TaskScope() as scope:
        print(await scope.spawn(default, on=pool), await scope.spawn(give_back, on=pool) is rid)
        for value in ("a", "b"):
            rid.set(value); Of.cls.set("c"); made["in_a_dict"].set("d")
            print(*await scope.spawn(see, on=pool), *await scope.spawn(a_see, on=pool))
        captured = contextvars.ContextVar("captured")
        captured.set("e")
        if len(sys.argv) == 1:
            print(await scope.spawn(lambda: captured.get(), on=pool))

if __name__ == "__main__":
    anyio.run(main)
"""


@pytest.mark.parametrize("mode", ["by value", "import"])
def test_a_variable_of_the_script_is_the_same_one_in_its_tasks(tmp_path: Any, mode: str) -> None:
    ended = programs.run_script(tmp_path, PROGRAM, *(["import"] if mode == "import" else [])).check()
    assert ended.lines == ["- True", "a c d a a c d a", "b c d b b c d b", *(["e"] if mode == "by value" else [])]


async def leaves_nothing(one: Callable[[list[Any]], Awaitable[None]]) -> None:
    """Check that what `one` notes by weak references is gone after its scope."""
    refs: list[Any] = []
    async with TaskScope() as scope:
        scope.spawn(one, refs)
    del scope
    gc.collect()
    assert [ref() for ref in refs] == [None]


async def test_nothing_of_a_context_stays_alive_after_its_tasks() -> None:
    class Session:
        pass

    async def one(refs: list[Any]) -> None:
        session: Any = Session()
        refs.append(weakref.ref(session))
        settings.set(session)
        await call(see, on="process")
        async with TaskScope() as scope:
            async for _ in scope.map(see, range(3), on="process"):
                pass

    await leaves_nothing(one)


async def test_an_idle_worker_keeps_no_shared_object_of_the_last_context() -> None:
    async def one(refs: list[Any]) -> None:
        table = share([7])
        refs.append(weakref.ref(table))
        settings.set(table)
        assert await call(lambda: settings.get().value, on="process") == [7]

    await leaves_nothing(one)


def test_without_a_variable_that_is_set_a_spawn_makes_no_call_for_the_context() -> None:
    calls: list[str] = []

    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith(("carried.py", "context_vars.py")):
            calls.append(frame.f_code.co_name)

    async def main() -> None:
        async with TaskScope() as scope:
            await scope.spawn(see, on="process")
            sys.setprofile(profile)
            handles = [scope.spawn(see, n, on="process") for n in range(5)]
            sys.setprofile(None)
            assert {await handle for handle in handles} == {"none"}

    Context().run(anyio.run, main)
    assert calls == []
    assert isinstance(contextvars.copy_context(), Context)
