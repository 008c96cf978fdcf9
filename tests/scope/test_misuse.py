"""Misuse gets an error that shows the corrected call."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from anyio.lowlevel import checkpoint

from unified_exec import (
    Collect,
    FailFast,
    ProcessPool,
    Race,
    SyncTaskScope,
    TaskHandle,
    TaskScope,
    ThreadPool,
    cpu_bound,
)


async def fetch(url: str) -> str:
    await checkpoint()
    return url


def parse(text: str, strict: bool = False) -> str:
    return text


async def refused(*args: Any, **options: Any) -> str:
    """What `spawn` says to it."""
    async with TaskScope() as scope:
        with pytest.raises((TypeError, ValueError)) as caught:
            scope.spawn(*args, **options)
    return f"{type(caught.value).__name__}: {caught.value}"


async def test_a_coroutine_object_instead_of_its_function() -> None:
    assert await refused(fetch("x")) == (
        "TypeError: spawn() takes the function, not a coroutine object: write spawn(fetch, ...) instead of "
        "spawn(fetch(...))"
    )
    assert "spawn(fetch, ...)" in await refused(fetch("x"), on="process")
    assert "spawn(fetch, ...)" in await refused(fetch("x"), retries=3)


async def test_a_result_instead_of_a_function() -> None:
    assert await refused(parse("x")) == (
        "TypeError: spawn() takes a function and its arguments, got 'x' of type str: write spawn(f, x) instead of "
        "spawn(f(x))"
    )
    assert "got None of type NoneType" in await refused(None)


async def test_an_awaitable_instead_of_a_function() -> None:
    class Later:
        def __await__(self) -> Iterator[None]:
            yield

    assert "takes a function, not an awaitable (Later)" in await refused(Later())


async def test_keywords_meant_for_the_function() -> None:
    assert await refused(parse, "x", strict=True) == (
        "TypeError: spawn() has no option 'strict'; keyword arguments of parse() are bound with functools: "
        "spawn(functools.partial(parse, strict=True))"
    )


async def test_a_place_that_is_none() -> None:
    assert await refused(parse, on="proces") == (
        "ValueError: on='proces' is not a valid target; did you mean on='process'? "
        "Choose 'loop', 'thread', 'process', 'interpreter', 'cpu', 'auto', or a pool object."
    )
    assert "on=3 is not a valid target" in await refused(parse, on=3)
    assert "write on=ThreadPool(...)" in await refused(parse, on=ThreadPool)


@pytest.mark.parametrize("on", ["thread", "cpu"])
async def test_an_async_function_in_a_thread(on: str) -> None:
    for fn in (fetch, functools.partial(fetch, "x")):
        assert await refused(fn, "x", on=on) == (
            f"TypeError: fetch() is async and cannot run with on={on!r}; "
            "use on='loop' (the default for async functions) or on='process'"
        )
    async with ThreadPool(1) as pool:
        assert "cannot run with on='thread'" in await refused(fetch, "x", on=pool)


async def test_a_plain_function_on_the_loop() -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(parse, "x", on="loop")
    assert str(handle.exception()).startswith(
        "parse() ran on the event loop, where it holds up everything else, and returned str, which cannot be awaited; "
        "use on='thread' (the default for plain functions)"
    )


async def test_an_async_function_in_disguise_may_be_sent_to_the_loop() -> None:
    async with TaskScope(policy=Collect()) as scope:
        sent = scope.spawn(lambda: fetch("x"), on="loop")
        unsent = scope.spawn(lambda: fetch("x"))
    assert sent.result() == "x"
    assert "spawn it with on='loop'" in str(unsent.exception())


async def test_options_that_do_not_fit() -> None:
    assert "interrupt=True is for thread tasks, and fetch() runs with on='loop'" in await refused(
        fetch, "x", interrupt=True
    )
    assert "abandon=True is for thread tasks, and parse() runs with on='process'" in await refused(
        parse, "x", on="process", abandon=True
    )


@pytest.mark.parametrize(
    ("timeout", "message"),
    [
        ("5", "TypeError: timeout must be a number of seconds or None, got '5'"),
        (True, "TypeError: timeout must be a number of seconds or None, got True"),
        (-1, "ValueError: timeout must not be negative, got -1; use None for no limit"),
        (float("nan"), "ValueError: timeout must be a number of seconds, got nan; use None for no limit"),
    ],
)
async def test_timeouts_that_are_none(timeout: Any, message: str) -> None:
    assert await refused(parse, "x", timeout=timeout) == message
    with pytest.raises((TypeError, ValueError)) as caught:
        TaskScope(timeout=timeout)
    assert f"{type(caught.value).__name__}: {caught.value}" == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": FailFast}, "policy=FailFast is not a policy: write policy=FailFast()"),
        ({"policy": "collect"}, "policy='collect' is not a policy: write policy=FailFast(), Collect() or Race(n)"),
        ({"processes": 4}, "processes must be a ProcessPool, got 4: write processes=ProcessPool(max_workers=...)"),
        (
            {"threads": ThreadPool},
            "threads must be a ThreadPool, got <class 'unified_exec.",
        ),
    ],
)
def test_arguments_of_the_scope(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        TaskScope(**options)
    assert str(caught.value).startswith(message)


def test_pools_in_each_others_place() -> None:
    with ThreadPool(1) as threads, ProcessPool(1) as processes:
        with pytest.raises(TypeError, match="write processes=ProcessPool"):
            TaskScope(processes=threads)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="write threads=ThreadPool"):
            TaskScope(threads=processes)  # type: ignore[arg-type]


def test_races_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"Race\(n\) must be at least 1, got 0"):
        Race(0)
    with pytest.raises(TypeError, match=r"Race\(n\) must be a whole number, got 1\.5"):
        Race(1.5)  # type: ignore[arg-type]


async def test_the_other_kind_of_with() -> None:
    with pytest.raises(TypeError, match="write `async with TaskScope"):
        with TaskScope():  # type: ignore[attr-defined]
            pass
    with pytest.raises(TypeError, match="write `async with TaskScope"):
        async with SyncTaskScope():  # type: ignore[attr-defined]
            pass


async def test_what_is_no_handle_is_not_waited_for() -> None:
    async with TaskScope() as scope:
        handles = [scope.spawn(parse, "x", on="thread")]
        with pytest.raises(
            TypeError, match=r"write scope.gather\(\*handles\) with what spawn\(\) returned, got \[<Task"
        ):
            await scope.gather(handles)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"write scope.as_completed\(handles\) .* got 1"):
            async for _ in scope.as_completed([handles[0], 1]):  # type: ignore[list-item]
                pass


def test_what_is_no_handle_is_not_waited_for_in_code_that_is_not_async() -> None:
    with SyncTaskScope() as scope:
        with pytest.raises(TypeError, match=r"write scope.gather\(\*handles\)"):
            scope.gather(parse)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"write scope.as_completed\(handles\)"):
            next(scope.as_completed([1]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    "options", [{"max_workers": "2"}, {"max_workers": 2.0}, {"max_tasks_per_worker": True}, {"idle_timeout": "1"}]
)
def test_numbers_of_a_pool_that_are_none(options: dict[str, Any]) -> None:
    (name, value) = next(iter(options.items()))
    with pytest.raises(TypeError, match=f"{name} must be a .*number.* or None, got {value!r}"):
        ProcessPool(**options)


async def test_spawning_in_a_closed_scope() -> None:
    async with TaskScope() as scope:
        pass
    with pytest.raises(RuntimeError, match=r"this scope is closed, parse\(\) cannot be spawned in it: spawn inside"):
        scope.spawn(parse, "x")
    with pytest.raises(RuntimeError, match="is closed"):
        scope.spawn(fetch("x"))  # type: ignore[call-overload]


async def test_spawning_in_a_scope_that_was_never_entered() -> None:
    with pytest.raises(
        RuntimeError, match=re.escape("write `async with TaskScope() as scope: scope.spawn(parse, ...)`")
    ):
        TaskScope().spawn(parse, "x")


async def test_entering_a_scope_twice() -> None:
    scope = TaskScope()
    async with scope:
        with pytest.raises(RuntimeError, match="more than once"):
            await scope.__aenter__()


async def test_using_a_scope_from_another_thread() -> None:
    def wrong() -> list[str]:
        said = []
        for misuse in (lambda: scope.spawn(parse, "x"), held.cancel):
            with pytest.raises(RuntimeError) as caught:
                misuse()
            said.append(str(caught.value))
        return said

    def right() -> Any:
        anyio.from_thread.run_sync(held.cancel)
        return anyio.from_thread.run_sync(scope.spawn, parse, "x")  # type: ignore[arg-type]

    async with TaskScope() as scope:
        held = scope.spawn(anyio.sleep_forever)
        first, second = await scope.spawn(wrong)
        assert "from a thread task write anyio.from_thread.run_sync(scope.spawn, parse, ...)" in first
        assert "elsewhere write anyio.from_thread.run_sync(handle.cancel)" in second
        handle = await scope.spawn(right)
        assert await handle == "x"
    assert held.cancelled()


def test_marking_what_cannot_be_marked() -> None:
    with pytest.raises(TypeError, match=re.escape("spawn(sum, ..., on='cpu')")):
        cpu_bound(sum)


def test_a_scope_outside_of_an_event_loop() -> None:
    async def enter() -> None:
        async with TaskScope():
            pass

    coroutine = enter()
    with pytest.raises(RuntimeError, match=r"no event loop is running: call this from inside anyio.run"):
        coroutine.send(None)
    coroutine.close()


@pytest.mark.asyncio
async def test_misuse_leaves_the_scope_as_it_was() -> None:
    async with TaskScope() as scope:
        with pytest.raises(TypeError):
            scope.spawn(fetch("x"))  # type: ignore[call-overload]
        assert await scope.spawn(fetch, "x") == "x"
    assert len(asyncio.all_tasks()) == 1


# --- a scope is left in another task than it was entered in ---


async def open_scope(
    generator: AsyncGenerator[TaskScope, None], inside: Callable[[TaskScope], Awaitable[object]], left: anyio.Event
) -> None:
    """Run a generator up to its yield inside of a scope, and keep the task that did so alive until `left` is set."""
    await inside(await anext(generator))
    await left.wait()


async def yields_inside_of_a_scope() -> AsyncGenerator[TaskScope, None]:
    async with TaskScope() as scope:
        yield scope


@pytest.mark.asyncio
@pytest.mark.parametrize("gone", [False, True], ids=["left", "closed"])
@pytest.mark.parametrize("ended", [False, True], ids=["host lives", "host ended"])
async def test_a_scope_left_in_another_task_ends_its_tasks_and_says_what_to_do(gone: bool, ended: bool) -> None:
    generator, left, ready = yields_inside_of_a_scope(), anyio.Event(), anyio.Event()
    handles: list[TaskHandle[Any]] = []

    async def inside(scope: TaskScope) -> None:
        handles.append(scope.spawn(anyio.sleep_forever) if gone else scope.spawn(anyio.sleep, 0.01))
        handles.append(scope.spawn(abs, -1))
        await handles[1]
        ready.set()

    host = asyncio.create_task(open_scope(generator, inside, left))
    await ready.wait()
    if ended:
        left.set()
        await host
    remedy = r"scope\.stream" if gone else "open the scope in the test itself"
    with pytest.raises(RuntimeError, match=f"entered in one task and is left in another.*{remedy}"):
        await (generator.aclose() if gone else anext(generator))
    assert handles[0].done()
    assert handles[0].cancelled() == gone
    left.set()
    await host  # what entered the scope was not cancelled


def test_a_scope_left_in_another_task_of_trio_says_what_to_do() -> None:
    seen: list[object] = []

    async def inside(scope: TaskScope) -> None:
        seen.append(scope.spawn(anyio.sleep_forever))

    async def main() -> None:
        generator, left = yields_inside_of_a_scope(), anyio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_scope, generator, inside, left)
            await trio.testing.wait_all_tasks_blocked()
            try:
                await generator.aclose()
            except RuntimeError as error:
                seen.append(error)
            nursery.cancel_scope.cancel()

    with pytest.raises(
        (BaseExceptionGroup, RuntimeError, trio.TrioInternalError)
    ):  # trio's own, of the task that is left
        trio.run(main)
    assert isinstance(seen[0], TaskHandle)
    assert seen[0].cancelled()
    assert "entered in one task and is left in another" in str(seen[1])


async def test_a_scope_inside_of_a_generator_works_while_one_task_uses_it() -> None:
    async with aclosing(yields_inside_of_a_scope()) as generator:
        handle = (await anext(generator)).spawn(anyio.sleep_forever)
        await checkpoint()
    assert handle.cancelled()
