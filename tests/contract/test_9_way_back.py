"""Clause 9, the way back: code in a task calls functions on the event loop of its scope, with errors, cancellation and
deadlines both ways."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.waiting import until, until_async
from unified_exec import (
    Cancelled,
    Channel,
    Collect,
    ProcessPool,
    RemoteError,
    Retry,
    SerializationError,
    SyncTaskScope,
    TaskCancelled,
    TaskScope,
    TaskTimeout,
    ThreadPool,
    WorkerCrashed,
    call,
    check_cancelled,
    current_task,
    from_task,
    time_left,
)
from unified_exec._tasks.requests import RUN, Request
from unified_exec._wire.pickling.functions import stats_for
from unified_exec.executor import ProcessExecutor

WAYS = ["thread", "process", "process-coroutine"]
every_way = pytest.mark.parametrize("way", WAYS)
blocking_way = pytest.mark.parametrize("way", ["thread", "process"])


def start(scope: TaskScope, way: str, afn: Callable[..., Any], *args: Any, on: Any = None, **options: Any) -> Any:
    """Spawn a task that calls ``afn(*args)`` on the loop and returns what that returns."""
    kind = asks_async if way == "process-coroutine" else asks
    untyped: Any = scope.spawn
    return untyped(kind, afn, *args, on=on or way.partition("-")[0], **options)


def put(scope: TaskScope, way: str, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Spawn a task where `way` says."""
    untyped: Any = scope.spawn
    return untyped(fn, *args, on=way.partition("-")[0], **options)


def asks(afn: Callable[..., Any], *args: Any) -> Any:
    return from_task.run(afn, *args)


async def asks_async(afn: Callable[..., Any], *args: Any) -> Any:
    return await from_task.run_async(afn, *args)


async def where(*args: Any) -> Any:
    await anyio.lowlevel.checkpoint()
    return os.getpid(), threading.get_ident(), args


# -- values and errors


@pytest.mark.every_loop
@every_way
async def test_the_function_runs_on_the_loop_of_the_scope_and_its_value_returns(way: str) -> None:
    async with TaskScope() as scope:
        pid, thread, args = await start(scope, way, where, 1, "x")
    assert (pid, thread, args) == (os.getpid(), threading.get_ident(), (1, "x"))


@every_way
def test_a_loop_that_asyncio_itself_runs_is_asked_as_well(way: str) -> None:
    async def main() -> Any:
        async with TaskScope() as scope:
            return await start(scope, way, where)

    assert asyncio.run(main()) == (os.getpid(), threading.get_ident(), ())


@every_way
async def test_large_arguments_and_values_travel_too(way: str) -> None:
    data = bytes(range(256)) * 1024
    async with TaskScope() as scope:
        _, _, args = await start(scope, way, where, data, bytearray(data))
    assert args == (data, data)


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return Refused, (self.code,)


async def refuses() -> None:
    try:
        raise KeyError("cause")
    except KeyError as cause:
        raise Refused(7) from cause


@every_way
async def test_the_error_of_the_function_is_raised_in_the_task_and_arrives_at_its_caller(way: str) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = start(scope, way, refuses)
        with pytest.raises(Refused) as caught:
            await handle
    assert caught.value.code == 7
    assert isinstance(caught.value.__cause__, KeyError)


def catches(afn: Callable[..., Any]) -> str:
    try:
        from_task.run(afn)
    except Refused as error:
        return f"caught {error.code}"
    return "nothing"


def raises_system_exit() -> None:
    raise SystemExit(3)


def asks_sync(fn: Callable[..., Any], *args: Any) -> Any:
    return from_task.run_sync(fn, *args)


@blocking_way
async def test_an_error_can_be_caught_in_the_task_and_one_that_would_end_the_program_is_an_error(way: str) -> None:
    async with TaskScope(policy=Collect()) as scope:
        assert await scope.spawn(catches, refuses, on=way) == "caught 7"  # type: ignore[call-overload]
        with pytest.raises(RemoteError, match="SystemExit"):
            await put(scope, way, asks_sync, raises_system_exit)


@blocking_way
async def test_run_sync_calls_a_plain_function_and_refuses_a_coroutine_function(way: str) -> None:
    async with TaskScope(policy=Collect()) as scope:
        assert await scope.spawn(asks_sync, os.getpid, on=way) == os.getpid()  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"write from_task.run\(where, ...\)"):
            await put(scope, way, asks_sync, where)
        with pytest.raises(TypeError, match="getpid"):
            await start(scope, way, os.getpid)


async def returns_a_lock() -> Any:
    return threading.Lock()


async def returns_a_channel() -> Any:
    channel = Channel[int](2)
    channel.send_nowait(5)
    kept.append(channel)
    return channel


kept: list[Any] = []


def takes_from_a_channel() -> Any:
    channel: Channel[int] = from_task.run(returns_a_channel)
    return channel.receive_nowait()


async def test_what_cannot_travel_is_an_error_of_the_call_and_a_channel_comes_along() -> None:
    async with TaskScope(policy=Collect()) as scope:
        with pytest.raises(SerializationError, match=r"the result of returns_a_lock\(\).*lock"):
            await start(scope, "process", returns_a_lock)
        with pytest.raises(SerializationError, match="what asks_with_a_lock"):
            await scope.spawn(asks_with_a_lock, on="process")
        assert await scope.spawn(takes_from_a_channel, on="process") == 5
    kept.clear()


def asks_with_a_lock() -> None:
    from_task.run(where, threading.Lock())


MAIN = """
import anyio
from unified_exec import TaskScope, from_task

class Problem(Exception):
    pass

class Row:
    def __init__(self, n):
        self.n = n

async def look(row):
    if row.n > 1:
        raise Problem(row.n)
    return Row(row.n + 10)

def work():
    assert type(from_task.run(look, Row(1))) is Row
    try:
        from_task.run(look, Row(2))
    except Problem as problem:
        return from_task.run(look, Row(0)).n, problem.args

async def main():
    async with TaskScope() as scope:
        print(await scope.spawn(work, on="process"))

anyio.run(main)
"""


def test_what_the_script_defines_is_the_same_on_both_sides(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "(10, (2,))\n", done.stderr


request_id = ContextVar("request_id", default="none")


async def reads_the_context() -> str:
    return request_id.get()


def sets_and_asks() -> str:
    request_id.set("of the thread")
    return from_task.run(reads_the_context)


async def test_the_function_sees_the_context_of_the_thread_or_of_the_scope() -> None:
    token = request_id.set("of the scope")
    async with TaskScope() as scope:
        request_id.set("later")
        assert await scope.spawn(sets_and_asks) == "of the thread"
        assert await start(scope, "process", reads_the_context) == "of the scope"
    request_id.reset(token)


# -- cancellation, deadlines, deaths


class Function:
    """A function that waits for ever, and tells what has become of it."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.ended: list[str] = []
        self.time_left = 0.0

    async def wait(self, *_: Any) -> None:
        self.time_left = time_left()
        self.started.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise


functions: dict[int, Function] = {}


async def waits_here(key: int, *args: Any) -> None:
    await functions[key].wait(*args)


async def kills(key: int, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await functions[key].wait()


@pytest.fixture
def function() -> tuple[int, Function]:
    key = len(functions)
    functions[key] = Function()
    return key, functions[key]


def cleans_up(key: int, path: str) -> None:
    try:
        from_task.run(waits_here, key)
    except Cancelled:
        Path(path).write_text("cancelled")
        raise


async def cleans_up_async(key: int, path: str) -> None:
    try:
        await from_task.run_async(waits_here, key)
    finally:
        Path(path).write_text("cancelled")


@every_way
@pytest.mark.parametrize("what", ["handle", "scope", "around"])
async def test_cancelling_the_task_cancels_the_function_and_the_call(
    way: str, what: str, function: tuple[int, Function], tmp_path: Path
) -> None:
    key, fn = function
    with anyio.CancelScope() as around:
        async with TaskScope() as scope:
            plain: Any = cleans_up_async if way == "process-coroutine" else cleans_up
            handle = put(scope, way, plain, key, str(tmp_path / "log"))
            await fn.started.wait()
            {"handle": handle, "scope": scope, "around": around}[what].cancel()
    assert handle.cancelled()
    assert len(fn.ended) == 1
    assert (tmp_path / "log").read_text() == "cancelled"


async def increased(number: int) -> int:
    return number + 1


def asks_in_threads(number: int) -> list[int]:
    start, found = threading.Barrier(8), list[int]()

    def ask() -> None:
        start.wait()
        found.append(from_task.run(increased, number))

    threads = [threading.Thread(target=copy_context().run, args=(ask,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


async def test_threads_of_a_task_may_ask_for_the_first_time_all_at_once() -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        assert await scope.spawn(asks_in_threads, 1, on="process", timeout=60) == [2] * 8


@every_way
async def test_the_timeout_of_the_task_cancels_the_function_which_sees_it_coming(
    way: str, function: tuple[int, Function]
) -> None:
    key, fn = function
    for seconds in (0.5, 5.0, 30.0):  # on a busy machine it may be called when the time is over, or not at all
        fn.ended.clear()
        async with TaskScope(policy=Collect()) as scope:
            handle = start(scope, way, waits_here, key, timeout=seconds)
            with pytest.raises(TaskTimeout):
                await handle
        if fn.time_left > 0:
            break
    assert len(fn.ended) == 1
    assert 0 < fn.time_left <= seconds


async def test_a_failure_in_the_scope_is_raised_alone_though_tasks_wait_on_the_loop(
    function: tuple[int, Function],
) -> None:
    key, fn = function
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            for way in WAYS:
                start(scope, way, waits_here, key)
            await fn.started.wait()
            scope.spawn(refuses)
    assert [type(error) for error in caught.value.exceptions] == [Refused]


class Unanswered(Request):
    """A request of a process task, which learns of its cancellation by itself."""

    cancelled_by_itself = True

    def answer(self, outcome: object) -> None:
        raise AssertionError(f"answered with {outcome}")


async def test_a_task_that_is_cancelled_with_its_scope_gets_no_answer_before(function: tuple[int, Function]) -> None:
    key, fn = function
    go = threading.Event()
    async with TaskScope() as scope:
        handle = scope.spawn(go.wait)
        handle.on_request(Unanswered(1, RUN, waits_here, (key,), None))
        await fn.started.wait()
        scope.cancel()
        go.set()
    assert len(fn.ended) == 1


def dies(key: int) -> None:
    from_task.run(kills, key, os.getpid())


async def dies_async(key: int) -> None:
    await from_task.run_async(kills, key, os.getpid())


@pytest.mark.every_loop
@pytest.mark.parametrize("fn", [dies, dies_async])
async def test_a_worker_that_dies_with_an_open_request_cancels_the_function(
    fn: Any, function: tuple[int, Function]
) -> None:
    key, waiting = function
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(fn, key, on="process")
        with pytest.raises(WorkerCrashed):
            await handle
    assert len(waiting.ended) == 1


async def returns_late(key: int) -> str:
    try:
        await functions[key].wait()
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await functions[key].go.wait()  # type: ignore[attr-defined]
        return "late"
    return "never"


async def test_a_late_reply_is_dropped(function: tuple[int, Function]) -> None:
    key, fn = function
    fn.go = anyio.Event()  # type: ignore[attr-defined]
    async with ProcessPool(1) as pool, TaskScope() as scope:
        handle = start(scope, "process", returns_late, key, on=pool)
        await fn.started.wait()
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        later = start(scope, "process", where, on=pool)
        fn.go.set()  # type: ignore[attr-defined]
        assert (await later)[0] == os.getpid()
        assert (await start(scope, "process", where, on=pool))[0] == os.getpid()


def asks_while_it_cleans_up(key: int) -> None:
    try:
        from_task.run(waits_here, key)
    finally:
        from_task.run_sync(note, key)
        with pytest.raises(Cancelled):
            from_task.run(where)


def note(key: int) -> None:
    functions[key].ended.append("noted")


@blocking_way
@pytest.mark.one_loop
async def test_a_task_that_cleans_up_may_call_plain_functions_only(way: str, function: tuple[int, Function]) -> None:
    key, fn = function
    async with TaskScope(policy=Collect()) as scope:
        handle = put(scope, way, asks_while_it_cleans_up, key)
        await fn.started.wait()
        handle.cancel()
    assert handle.cancelled(), handle.exception()
    assert sorted(fn.ended)[-1] == "noted"


async def cancels_itself() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anyio.sleep_forever()
    raise TaskCancelled("inner")


def gives_up(key: int) -> str:
    def ring(*_: Any) -> None:
        raise TimeoutError("the alarm")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        from_task.run(waits_here, key)
    except TimeoutError:
        return "gave up" if until(lambda: from_task.run_sync(len_of_notes, key) == 1, 10) else "it goes on"
    return "never"


async def test_a_task_that_gives_up_waiting_cancels_the_function(function: tuple[int, Function]) -> None:
    key, fn = function
    async with TaskScope() as scope:
        assert await scope.spawn(gives_up, key, on="process") == "gave up"
    assert len(fn.ended) == 1


async def gives_up_async(key: int) -> str:
    with anyio.move_on_after(0.02):
        await from_task.run_async(waits_here, key)
    return "gave up"


def has_a_loop_of_its_own(backend: str, key: int) -> Any:
    async def main() -> Any:
        with pytest.raises(RuntimeError, match=r"await from_task\.run_async"):
            from_task.run(where)
        assert await gives_up_async(key) == "gave up"
        return await from_task.run_async(where, 1)

    return anyio.run(main, backend=backend)


@blocking_way
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_coroutines_of_a_loop_that_a_task_runs_itself_ask_too(
    way: str, backend: str, function: tuple[int, Function]
) -> None:
    key, fn = function
    async with TaskScope() as scope:
        found = await put(scope, way, has_a_loop_of_its_own, backend, key)
        assert await until_async(lambda: len(fn.ended) == 1, 30)
    assert found == (os.getpid(), threading.get_ident(), (1,))


def asks_in_a_thread_of_its_own(key: int) -> Any:
    found: list[Any] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: found.append(context.run(from_task.run, where, 2)))
    thread.start()
    thread.join()
    return found[0]


@blocking_way
async def test_a_thread_of_the_task_may_ask(way: str) -> None:
    async with TaskScope() as scope:
        found = await put(scope, way, asks_in_a_thread_of_its_own, 0)
    assert found == (os.getpid(), threading.get_ident(), (2,))


def misses_a_signal(fn: Callable[[int], Any]) -> tuple[int, Any]:
    """The first signal is lost to the call, as one is that comes just before the thread goes to sleep."""
    missed: list[int] = []
    handler = signal.getsignal(signal.SIGURG)

    def miss(signum: int, frame: object) -> None:
        missed.append(signum)
        signal.signal(signum, handler)

    signal.signal(signal.SIGURG, miss)
    found = fn(2)
    return len(missed), found


def asks_in_a_loop_of_its_own(key: int) -> Any:
    return anyio.run(from_task.run_async, where, key)


@pytest.mark.one_loop
@pytest.mark.parametrize("asks", [asks_in_a_loop_of_its_own, asks_in_a_thread_of_its_own])
async def test_an_answer_arrives_though_the_signal_for_it_came_before_the_sleep(asks: Any) -> None:
    async with TaskScope() as scope:
        with anyio.fail_after(30):
            found = await scope.spawn(misses_a_signal, asks, on="process")
    assert found == (1, (os.getpid(), threading.get_ident(), (2,)))


# -- who runs while a worker waits


async def spawns_and_waits(depth: int) -> int:
    scope = scopes[-1]
    untyped: Any = scope.spawn
    on = pools[-1]
    value: int = await untyped(goes_deeper, depth, on=on)
    return value


def goes_deeper(depth: int) -> int:
    return 0 if not depth else 1 + from_task.run(spawns_and_waits, depth - 1)


scopes: list[TaskScope] = []
pools: list[Any] = []


@pytest.mark.one_loop
async def test_nested_work_neither_starves_nor_deadlocks_and_the_surplus_retires() -> None:
    async with ProcessPool(1) as pool, TaskScope() as scope:
        scopes.append(scope)
        pools.append(pool)
        assert await scope.spawn(goes_deeper, 2, on=pool) == 2
        registry = pool._registry
        assert await until_async(lambda: len(registry.workers) - len(registry._free) == 1, 30)
        assert len(registry._free) <= 2  # the spare, and what exits just now
        first = len(registry.workers)
        assert await scope.spawn(goes_deeper, 1, on=pool) == 1  # the spare helps
        assert len(registry.workers) <= first
        scopes.clear()
        pools.clear()


async def waits_for_those_sent_ahead() -> str:
    await gates[-1].wait()
    return "all"


def quick(n: int) -> int:
    return n


gates: list[anyio.Event] = []


@pytest.mark.one_loop
async def test_what_was_sent_ahead_to_a_worker_that_waits_runs_elsewhere() -> None:
    async with ProcessPool(1) as pool, TaskScope() as scope:
        gates.append(anyio.Event())
        await scope.spawn(asks, where, on=pool)
        stats_for(asks).cost = stats_for(quick).cost = 1e-6  # so that they are sent ahead
        first = scope.spawn(asks, waits_for_those_sent_ahead, on=pool)
        handles = [scope.spawn(quick, n, on=pool) for n in range(20)]
        assert await scope.gather(*handles) == list(range(20))
        gates.pop().set()
        assert await first == "all"


async def test_tasks_that_wait_for_each_other_too_deep_are_an_error_that_names_them() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ThreadPool(1) as pool, TaskScope() as scope:
            scopes.append(scope)
            pools.append(pool)
            await scope.spawn(goes_deeper, 200, on=pool)
    scopes.clear()
    pools.clear()
    (error,) = caught.value.exceptions
    assert isinstance(error, RecursionError)
    assert str(error).count("goes_deeper -> ") == 64


def starts_the_next(left: int) -> None:
    if left:
        from_task.run(start_another, left - 1)


async def start_another(left: int) -> None:
    scopes[-1].spawn(starts_the_next, left)


async def test_a_chain_of_tasks_that_do_not_wait_may_have_any_length() -> None:
    async with TaskScope() as scope:
        scopes.append(scope)
        await scope.spawn(starts_the_next, 200)
    scopes.clear()


# -- spawning into the scope


def spawns(fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return from_task.spawn(fn, *args, **options).result()


async def spawns_async(fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return await from_task.spawn(fn, *args, **options)


def spawn_way(way: str) -> Any:
    return spawns_async if way in ("process-coroutine", "loop") else spawns


@pytest.mark.parametrize("way", [*WAYS, "loop"])
@pytest.mark.parametrize("on", ["loop", "process"])
@pytest.mark.one_loop
async def test_a_task_spawns_into_its_scope(way: str, on: str) -> None:
    fn: Any = where if on == "loop" else os.getpid
    async with TaskScope(policy=Collect()) as scope:
        found = await put(scope, way, partial(spawn_way(way), fn, on=on))
        handle = put(scope, way, partial(spawn_way(way), refuses))
        with pytest.raises(Refused):
            await handle
    assert (found[0] == os.getpid()) if on == "loop" else (found != os.getpid())


def spawns_and_leaves(key: int) -> None:
    from_task.spawn(waits_here, key)


async def spawns_and_leaves_async(key: int) -> None:
    from_task.spawn(waits_here, key)


@every_way
async def test_a_spawned_task_belongs_to_the_scope(way: str, function: tuple[int, Function]) -> None:
    key, fn = function
    async with TaskScope() as scope:
        plain: Any = spawns_and_leaves_async if way == "process-coroutine" else spawns_and_leaves
        await put(scope, way, plain, key)
        await fn.started.wait()
        scope.cancel()
    assert len(fn.ended) == 1


def spawns_and_cancels(key: int) -> str:
    task = from_task.spawn(waits_here, key)
    task.cancel("enough")
    try:
        task.result()
    except TaskCancelled as error:
        return str(error)
    return "no"


@blocking_way
async def test_a_spawned_task_can_be_cancelled(way: str, function: tuple[int, Function]) -> None:
    async with TaskScope() as scope:
        told = await put(scope, way, spawns_and_cancels, function[0])
    assert told == "task 'waits_here' was cancelled: enough"


def spawns_badly() -> None:
    spawns(where, colour="red")


async def spawns_badly_async() -> None:
    untyped: Any = from_task.spawn
    untyped(where, colour="red")


@every_way
async def test_a_spawn_that_is_refused_is_an_error(way: str) -> None:
    plain: Any = spawns_badly_async if way == "process-coroutine" else spawns_badly
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            put(scope, way, plain)
    (error,) = caught.value.exceptions
    assert "no option 'colour'" in str(error)


# -- everywhere


def countdown(n: int) -> Iterator[int]:
    while n:
        yield from_task.run_sync(abs, -n)
        n -= 1


@blocking_way
async def test_generators_and_items_of_a_map_ask_too(way: str) -> None:
    async with TaskScope() as scope:
        assert [n async for n in scope.stream(countdown, 3, on=way)] == [3, 2, 1]  # type: ignore[call-overload]
        assert [n async for n in scope.map(asks_for_abs, range(-5, 0), on=way)] == [5, 4, 3, 2, 1]  # type: ignore[call-overload]
        assert await call(asks_for_abs, -3, on=way) == 3  # type: ignore[call-overload]


def asks_for_abs(n: int) -> int:
    return from_task.run_sync(abs, n)


def fails_at_first(key: int) -> int:
    from_task.run_sync(note, key)
    count = from_task.run_sync(len_of_notes, key)
    if count < 3:
        raise ValueError(count)
    return count


def len_of_notes(key: int) -> int:
    return len(functions[key].ended)


async def test_each_attempt_of_a_task_asks_for_itself(function: tuple[int, Function]) -> None:
    async with TaskScope() as scope:
        assert await scope.spawn(fails_at_first, function[0], on="process", retry=Retry(3)) == 3


def opens_a_scope() -> tuple[int, int]:
    async def main() -> int:
        async with TaskScope() as scope:
            handle = scope.spawn(asks_sync, os.getpid, on="process")
        pid: int = handle.result()
        return pid

    return os.getpid(), anyio.run(main)


@pytest.mark.fresh_pool
@pytest.mark.one_loop
async def test_in_a_nested_scope_it_is_that_scope() -> None:
    async with TaskScope() as scope:
        own, found = await scope.spawn(opens_a_scope, on="process")
    assert own == found != os.getpid()


def test_in_a_blocking_scope_it_is_the_loop_in_its_thread() -> None:
    with SyncTaskScope() as scope:
        found = [scope.spawn(asks, where, on=way).result() for way in ("thread", "process")]
        assert scope.spawn(asks_async, where, on="process").result() == found[0]
    assert found[0] == found[1]
    assert found[0][0] == os.getpid()
    assert found[0][1] != threading.get_ident()


async def test_where_it_cannot_work_it_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"scope.spawn\(...\)"):
        from_task.run(where)
    async with TaskScope(policy=Collect()) as scope:
        for verb in (asks_on_the_loop, asks_sync_on_the_loop):
            handle = scope.spawn(verb)
            with pytest.raises(RuntimeError, match=r"would block the event loop; use `await from_task.run_async"):
                await handle
    with ProcessExecutor(1) as pool, pytest.raises(RuntimeError, match="tasks of a scope"):
        pool.submit(asks, where).result()


async def asks_on_the_loop() -> None:
    from_task.run(where)


async def asks_sync_on_the_loop() -> None:
    from_task.run_sync(os.getpid)


def leaves_a_thread(path: str) -> None:
    task = current_task()
    assert task is not None
    context = copy_context()

    def late() -> None:
        until(Path(path + ".go").exists, 60)
        try:
            context.run(from_task.run, where)
        except BaseException as error:
            Path(path + ".tmp").write_text(f"{type(error).__name__}: {error}")
            os.rename(path + ".tmp", path)

    threading.Thread(target=late, daemon=True).start()


@blocking_way
async def test_after_the_end_of_the_task_it_is_refused(way: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with TaskScope() as scope:
        await put(scope, way, leaves_a_thread, str(path))
        Path(f"{path}.go").touch()
        assert await until_async(path.exists, 30)
    assert "has ended" in path.read_text()


async def test_an_abandoned_task_is_refused() -> None:
    told: list[str] = []
    started, go, over = anyio.Event(), threading.Event(), threading.Event()

    def abandoned() -> None:
        from_task.run_sync(started.set)
        go.wait()
        try:
            check_cancelled()
        except Cancelled:
            pass
        try:
            from_task.run_sync(abs, 1)
        except RuntimeError as error:
            told.append(str(error))
        over.set()

    async with TaskScope() as scope:
        handle = scope.spawn(abandoned, abandon=True)
        await started.wait()
        handle.cancel()
        await handle.wait()
    go.set()
    assert over.wait(30)
    assert told == [f"task {abandoned.__qualname__!r} was abandoned: nothing can be asked of its scope"]
