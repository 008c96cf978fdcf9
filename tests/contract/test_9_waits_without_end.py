"""Clause 9: who waits for what nobody can send, set or notify any more is told, and nobody else is."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import sniffio
from anyio import to_thread

from tests.contract.keepers import (
    Keeper,
    a_touch,
    fork_once,
    keep,
    keep_in_nested,
    kept,
    send,
    send_in_a_fork,
    send_kept,
    send_nested,
    send_to_what_came,
    take_over,
    touch,
    wait_for,
)
from tests.contract.looks import send_by_id, until_looked
from tests.this_python import HAS_GIL
from tests.waiting import until, until_async
from unified_exec import (
    Barrier,
    Channel,
    ChannelClosed,
    Condition,
    DeadlockError,
    Event,
    Limit,
    Lock,
    ProcessPool,
    Semaphore,
    SyncTaskScope,
    TaskHandle,
    TaskScope,
    from_task,
)
from unified_exec._loops.current import current_adapter
from unified_exec._sync.channels import shared_form
from unified_exec._sync.deadlocks import frames, known, look, patrol, reach
from unified_exec._sync.locks import shared_meeting
from unified_exec._sync.shared import board, seats
from unified_exec._worker import passing

pytestmark = [
    pytest.mark.skipif(not HAS_GIL, reason="references cannot be counted"),
    pytest.mark.usefixtures("looks_at_once"),
]
IN_THREADS = pytest.mark.skipif(not frames.KNOWN, reason="what a running frame has cannot be counted")
PATIENCE = 30


async def a_receive(channel: Channel[int]) -> None:
    await channel.receive()


async def a_iterate(channel: Channel[int]) -> None:
    async for _ in channel:
        pass


def receive(channel: Channel[int]) -> None:
    channel.receive_sync()


def iterate(channel: Channel[int]) -> None:
    for _ in channel:
        pass


async def a_receive_of(owner: Any) -> None:
    await owner.channel.receive()


def wait_sync(waited: Any) -> None:
    waited.wait_sync()


def the_one(error: BaseException) -> DeadlockError:
    """The one error in any number of groups."""
    while isinstance(error, BaseExceptionGroup):
        assert len(error.exceptions) == 1, error
        error = error.exceptions[0]
    assert isinstance(error, DeadlockError), error
    return error


async def told(*calls: tuple[Callable[..., Any], Any]) -> DeadlockError:
    """Run the calls in a scope, one after another begins to wait; returns what is told to one of them."""
    calls_left = list(calls)
    del calls
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            while calls_left:
                fn, args = calls_left.pop(0)
                scope.spawn(fn, *args, name=fn.__name__, on="loop" if fn.__name__.startswith("a_") else "thread")
                del args
                await anyio.wait_all_tasks_blocked()
            del fn
    return the_one(caught.value)


@pytest.mark.parametrize(
    "fn", [a_receive, a_iterate, *(pytest.param(each, marks=IN_THREADS) for each in (receive, iterate))]
)
async def test_a_receiver_is_told_that_nobody_is_left_who_could_send(fn: Callable[..., Any]) -> None:
    error = await told((fn, (Channel(1, name="pages"),)))
    assert f"task '{fn.__name__}' in process" in error.ring[0]
    assert f"waits for an item of Channel(1, name='pages') at {__file__}:" in error.ring[0]
    assert "close a channel" in str(error)


def hand_down(channel: Channel[int], calls: int = 3) -> None:
    if calls:
        hand_down(channel, calls - 1)
    else:
        channel.receive_sync()


def hand_down_moved(channel: Channel[int]) -> None:
    def move(given: Channel[int]) -> None:
        moved = copied = given
        del given
        receive(moved)
        touch(copied)

    move(channel)


def generate(channel: Channel[int]) -> Iterator[int]:
    yield channel.receive_sync()


def run_generator(channel: Channel[int]) -> None:
    generator = generate(channel)
    next(generator)


HANDED_DOWN = {hand_down: 3, hand_down_moved: 3, run_generator: 1}
"""With the number of references that a look would find too many, if all variables counted."""


@IN_THREADS
@pytest.mark.parametrize("fn", HANDED_DOWN)
@pytest.mark.one_loop
async def test_a_thread_whose_functions_hand_down_what_only_it_has_is_told(fn: Any) -> None:
    await told((fn, (Channel(1),)))


@pytest.mark.parametrize("fn", HANDED_DOWN)
@pytest.mark.one_loop
async def test_who_has_what_functions_of_a_thread_hand_down_could_act(fn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TaskScope() as scope:
        channel = Channel[int](1)
        _global.extend([channel] * HANDED_DOWN[fn])
        scope.spawn(fn, channel, on="thread")
        del channel
        Quiet(monkeypatch, scope)
    _global.clear()


async def test_what_only_waiters_have_may_be_in_an_object_or_a_closure() -> None:
    await told((a_receive_of, (SimpleNamespace(channel=Channel(1)),)))
    channel = Channel[int](1)

    async def a_closure() -> None:
        await channel.receive()

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(a_closure)
    the_one(caught.value)


async def a_fill(full: Channel[int], empty: Channel[int]) -> None:
    await full.send(1)
    await full.send(2)
    await empty.send(3)


def fill(full: Channel[int], empty: Channel[int]) -> None:
    full.send_sync(1)
    full.send_sync(2)
    empty.send_sync(3)


async def a_drain(full: Channel[int], empty: Channel[int]) -> None:
    await empty.receive()
    await full.receive()


def drain(full: Channel[int], empty: Channel[int]) -> None:
    empty.receive_sync()
    full.receive_sync()


@pytest.mark.parametrize("sender", [a_fill, pytest.param(fill, marks=IN_THREADS)])
@pytest.mark.parametrize("receiver", [a_drain, pytest.param(drain, marks=IN_THREADS)])
async def test_a_ring_of_a_full_and_an_empty_channel_is_found(sender: Any, receiver: Any) -> None:
    error = await told(
        *[
            (fn, channels)
            for channels in [(Channel(1, name="full"), Channel(1, name="empty"))]
            for fn in (sender, receiver)
        ]
    )
    text = str(error)
    assert "waits for room in Channel(1, name='full')" in text
    assert "waits for an item of Channel(1, name='empty')" in text


async def a_hold_and_receive(lock: Lock, channel: Channel[int]) -> None:
    async with lock:
        await channel.receive()


async def a_lock_and_send(lock: Lock, channel: Channel[int]) -> None:
    async with lock:
        await channel.send(1)


async def test_a_ring_of_a_lock_and_an_empty_channel_is_found_at_the_one_that_came_last() -> None:
    both = [(Lock(name="mine"), Channel[int](1, name="pages"))]
    error = await told((a_hold_and_receive, both[0]), (a_lock_and_send, both.pop()))
    assert "task 'a_lock_and_send'" in error.ring[0]
    assert "waits for Lock(name='mine')" in error.ring[0]
    assert "holds Lock(name='mine') acquired at" in str(error)
    assert "waits for an item of Channel(1, name='pages')" in str(error)


async def a_wait(waited: Any) -> None:
    await waited.wait()


async def a_wait_for_change(condition: Condition) -> None:
    async with condition:
        await condition.wait()


@pytest.mark.parametrize("fn", [a_wait, pytest.param(wait_sync, marks=IN_THREADS)])
@pytest.mark.parametrize("kind", [Event, Barrier])
async def test_who_waits_for_an_event_or_a_barrier_that_nobody_else_has_is_told(kind: Any, fn: Any) -> None:
    error = await told((fn, (Barrier(2, name="x") if kind is Barrier else Event(name="x"),)))
    assert f"waits for {kind.__name__}(" in error.ring[0]


async def test_who_waits_for_a_condition_that_nobody_else_has_is_told() -> None:
    error = await told((a_wait_for_change, (Condition(name="changed"),)))
    assert "waits for Condition(name='changed')" in error.ring[0]


@IN_THREADS
def test_threads_without_a_loop_of_the_program_are_told() -> None:
    with pytest.raises(ExceptionGroup) as caught, SyncTaskScope() as scope:
        channel = Channel[int](1)
        scope.spawn(receive, channel, on="thread")
    the_one(caught.value)


@IN_THREADS
def test_data_of_the_program_hides_no_endless_wait() -> None:
    """However much the frames of those who wait lead to, what concerns the wait is found first."""
    data = [[[number] for number in range(500)] for _ in range(100)]
    with pytest.raises(ExceptionGroup) as caught, SyncTaskScope() as scope:
        channel = Channel[int](1)
        scope.spawn(receive, channel, on="thread")
        del channel
    the_one(caught.value)
    assert len(data) == 100


@IN_THREADS
def test_a_blocking_scope_that_somebody_may_cancel_has_no_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    later.clear()
    with SyncTaskScope() as scope:
        later.append(scope.cancel)
        scope.spawn(park, on="thread")
        CancelsLater(monkeypatch, later)
    later.clear()


class CancelsLater:
    """Calls the function in a list after four looks; nothing refers to this object but what looks call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: list[Any]) -> None:
        self._left, self._known, self._calls = 4, board.known, calls
        monkeypatch.setattr(board, "known", self._counted)

    def _counted(self) -> bool:
        self._left -= 1
        if not self._left:
            threading.Thread(target=self._calls[0]).start()
        return self._known()


_global: list[Any] = []


class CouldAct:
    """Each makes what a task waits for, and has somebody who could end that. `undo` ends what was started for it."""

    def __init__(self, scope: TaskScope, undo: list[Callable[[], object]]) -> None:
        self.scope, self.undo = scope, undo

    def a_sleeper(self) -> Any:
        channel = Channel[int](1)
        self.scope.spawn(a_sleep_with, channel)
        return channel

    def a_thread(self) -> Any:
        channel, free = Channel[int](1), threading.Event()
        threading.Thread(target=sleep_with, args=(free, channel)).start()
        self.undo.append(free.set)
        return channel

    def a_thread_of_a_timer(self) -> Any:
        channel = Channel[int](1)
        timer = threading.Timer(PATIENCE, channel.send_nowait, (1,))
        timer.start()
        self.undo.append(timer.cancel)
        return channel

    def a_timer_of_the_loop(self) -> Any:
        event = Event()
        if sniffio.current_async_library() == "asyncio":
            self.undo.append(asyncio.get_running_loop().call_later(PATIENCE, event.set).cancel)
        else:
            self.scope.spawn(a_sleep_with, event)
        return event

    def a_global(self) -> Any:
        channel = Channel[int](1)
        _global.append(channel)
        return channel

    def an_object(self) -> Any:
        channel = Channel[int](1)
        _global.append(SimpleNamespace(channel=channel))
        return channel


async def a_sleep_with(_: Any) -> None:
    await anyio.sleep(PATIENCE)


def sleep_with(free: threading.Event, _: Any) -> None:
    assert free.wait(PATIENCE)


@pytest.mark.parametrize("who", [name for name in vars(CouldAct) if name[0] != "_"])
@pytest.mark.one_loop
async def test_who_has_what_is_waited_for_and_could_act_means_no_deadlock(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo: list[Callable[[], object]] = []
    try:
        async with TaskScope() as scope:
            waited = getattr(CouldAct(scope, undo), who)()
            scope.spawn(a_receive if isinstance(waited, Channel) else a_wait, waited)
            del waited
            Quiet(monkeypatch, scope)
    finally:
        for each in undo:
            each()
        _global.clear()


# -- no false alarm: each of these was told once


class Quiet:
    """Cancels a scope whose body has ended, after some looks. It refers to nothing: a look finds nobody who could.

    Args:
        scope: is cancelled.
        looks: after as many.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scope: TaskScope, looks: int = 4) -> None:
        self.left, self._known, self._scope, self._adapter = looks, board.known, id(scope), id(current_adapter())
        monkeypatch.setattr(board, "known", self._counted)  # called after the threads were looked at: it is in none

    def _counted(self) -> bool:
        self.left -= 1
        if not self.left:
            adapter, scope = (ctypes.cast(each, ctypes.py_object).value for each in (self._adapter, self._scope))
            adapter.call_threadsafe(scope.cancel)
        return self._known()


async def a_park(kind: Any = Event) -> None:
    await (kind().wait() if kind is Event else kind(1).receive())


def park() -> None:
    Channel[int](1).receive_sync()


async def test_a_wait_that_live_code_may_cancel_is_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body of its scope or of an outer one runs, or another task, or nobody knows who waits for it."""
    with monkeypatch.context() as patch:
        async with TaskScope() as outer:
            inner = TaskScope()

            async def host() -> None:
                async with inner:
                    inner.spawn(a_park, Channel)

            outer.spawn(host)
            outer.spawn(a_park)
            outer.spawn(park, on="thread")
            foreign = [asyncio.ensure_future(a_park())] if sniffio.current_async_library() == "asyncio" else []
            await until_looked(patch, looks=4, within=PATIENCE)
            assert not any(each.done() for each in foreign)
            for each in foreign:
                each.cancel()
            outer.cancel()
    with monkeypatch.context() as patch:
        async with TaskScope() as scope:
            scope.spawn(a_park)
            scope.spawn(anyio.sleep, PATIENCE)
            Quiet(patch, scope)
    await nothing_is_told_while_another_waits_for_a_thread(monkeypatch)


async def nothing_is_told_while_another_waits_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the scope waits too, for a lock that a thread holds which has nothing of the scope."""
    lock, taken, free = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            assert free.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(PATIENCE)
    async with TaskScope() as scope:
        scope.spawn(a_park)
        scope.spawn(lock.acquire)
        Quiet(monkeypatch, scope)
    free.set()
    thread.join()


async def test_a_look_leaves_nothing_behind_that_hides_an_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has found of a task that ends, until the collector runs."""
    quiet: list[Quiet] = []

    async def end_soon() -> None:
        assert await until_async(lambda: quiet and quiet[0].left < 36)

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskScope() as scope:
                scope.spawn(end_soon)
                scope.spawn(a_park, Channel)
                quiet.append(Quiet(monkeypatch, scope, looks=40))
    finally:
        gc.enable()
    the_one(caught.value)


async def a_wait_with_a_deadline() -> None:
    with anyio.move_on_after(PATIENCE):
        await Channel[int](1).receive()


async def a_wait_with_a_timeout() -> None:
    await Channel[int](1).receive(timeout=PATIENCE)


async def a_wait_for_a_thread_that_waits_for_it() -> None:
    """From a task of no scope where there are such: then the deadline is not that of a scope around the thread."""
    channel = Channel[int](1)
    foreign = sniffio.current_async_library() == "asyncio"
    async with TaskScope() as scope:
        receiver = scope.spawn(receive, channel, on="thread")
        if foreign:
            sender = asyncio.ensure_future(a_send_after_a_while(receiver, channel))
        else:
            scope.spawn(a_send_after_a_while, receiver, channel)
        del channel, receiver
    if foreign:
        sender.cancel()


async def a_send_after_a_while(receiver: TaskHandle[None], channel: Channel[int]) -> None:
    with anyio.move_on_after(PATIENCE):
        await receiver
    await channel.send(1)


@pytest.mark.parametrize("fn", [a_wait_with_a_deadline, a_wait_with_a_timeout, a_wait_for_a_thread_that_waits_for_it])
async def test_who_gives_up_by_itself_does_not_wait_endlessly(fn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TaskScope() as scope:
        scope.spawn(fn)
        Quiet(monkeypatch, scope)


later: list[Any] = []  # as what a timer or the handler of a signal has


async def a_keep_scope(scope: TaskScope) -> None:
    later.append(scope.cancel)


async def a_keep_cancel_scope(scope: TaskScope) -> None:
    later.append(scope.cancel_scope)


async def a_keep_nothing(scope: TaskScope) -> None:
    pass


@pytest.mark.parametrize("keep", [a_keep_scope, a_keep_cancel_scope, a_keep_nothing])
@pytest.mark.parametrize("kind", ["cancel scope", "task group", "group of asyncio", "scope"])
async def test_who_has_a_scope_around_a_wait_may_end_it(kind: str, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else has it if it was not kept, and there is no other task of a group that could fail."""
    is_told = keep is a_keep_nothing and kind in ("cancel scope", "scope")
    later.clear()

    async def main() -> None:
        async with TaskScope() as scope:
            scope.spawn(keep, scope)
            scope.spawn(a_park)
            if not is_told:
                Quiet(monkeypatch, scope)

    async def around() -> None:
        if kind == "cancel scope":
            with anyio.CancelScope() as outer:
                if keep is not a_keep_nothing:
                    later.append(outer)
                await main()
        elif kind == "task group":
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                await main()
                group.cancel_scope.cancel()
        elif kind == "group of asyncio":
            async with asyncio.TaskGroup():
                await main()
        else:
            await main()

    if kind == "group of asyncio" and sniffio.current_async_library() != "asyncio":
        return
    if is_told:
        with pytest.raises(ExceptionGroup) as caught:
            await around()
        the_one(caught.value)
    else:
        await around()
    later.clear()


def take(first: Any, second: Any, here: threading.Event, there: threading.Event) -> None:
    with first:
        here.set()
        assert there.wait(PATIENCE)
        with second:
            pass


async def a_use(limit: Limit) -> None:
    async with limit:
        pass


def ask(limit: Limit, here: threading.Event, there: threading.Event) -> None:
    here.set()
    assert there.wait(PATIENCE)
    from_task.run(a_use, limit)


@pytest.mark.parametrize("case", [park, take, ask])
async def test_a_thread_with_a_deadline_is_no_part_of_a_deadlock(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TaskScope() as scope:
        kinds = {take: (Lock, lambda: Limit(1)), ask: (lambda: Limit(1),)}.get(case, ())
        if case is park:
            scope.spawn(park, on="thread", timeout=PATIENCE)
        for kind in kinds:
            one, two, here, there = kind(), kind(), threading.Event(), threading.Event()
            for first, second, mine, other in ((one, two, here, there), (two, one, there, here)):
                args = (second, mine, other) if case is ask else (first, second, mine, other)
                limit = first if case is ask else None
                ends = None if first is one and kind is Lock else PATIENCE  # one that ends is enough
                scope.spawn(case, *args, on="thread", timeout=ends, limit=limit)
        Quiet(monkeypatch, scope, looks=8)


def receive_below(channel: Channel[int]) -> None:
    with SyncTaskScope() as scope:
        scope.spawn(receive, channel, on="thread")
        del channel


async def test_a_thread_with_a_deadline_has_no_tasks_that_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel[int](1)
    later = [send_by_id(channel)]
    async with TaskScope() as scope:
        scope.spawn(receive_below, channel, on="thread", timeout=PATIENCE)
        del channel
        CancelsLater(monkeypatch, later)


class Page:
    def __init__(self) -> None:
        self.changed = Event()

    def on_change(self) -> None:
        self.changed.set()


async def test_who_has_a_weak_reference_could_act(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a publisher that keeps its subscribers so, or a signal their methods."""
    subscribers: weakref.WeakSet[Channel[int]] = weakref.WeakSet()
    methods: list[Any] = []

    async def subscribe() -> None:
        channel = Channel[int](1)
        subscribers.add(channel)
        await channel.receive()

    async def show() -> None:
        page = Page()
        methods.append(weakref.WeakMethod(page.on_change))
        await page.changed.wait()

    for fn in (subscribe, show):
        with monkeypatch.context() as patch:
            async with TaskScope() as scope:
                scope.spawn(fn)
                Quiet(patch, scope)


class Lazy:
    """As a proxy of Django, werkzeug or wrapt."""

    asked: list[str] = []  # noqa: RUF012

    def _ask(self) -> Any:
        self.asked.append("asked")
        raise RuntimeError("outside of a request")

    __class__ = property(_ask)  # type: ignore[assignment]
    __module__ = property(_ask)  # type: ignore[assignment]


def hold_lazy() -> None:
    held = Lazy()
    held.me = held  # type: ignore[attr-defined]
    park()


class Names(dict[str, Any]):
    """As what a metaclass prepares for the body of a class."""

    def values(self) -> Any:
        Lazy.asked.append("values")
        return super().values()


def park_in_names() -> None:
    exec("park()", {"park": park}, Names())


async def a_hold_lazy() -> None:
    held = Lazy()
    held.me = held  # type: ignore[attr-defined]
    with anyio.CancelScope():
        await a_park()


async def test_a_look_runs_no_code_of_the_program_and_its_errors_reach_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: Any, **__: Any) -> bool:
        looks.append(1)
        if len(looks) == 3:
            adapter.call_threadsafe(scope.cancel)
        raise ValueError("of a look")

    for fn in (a_hold_lazy, hold_lazy, park_in_names) if frames.KNOWN else (a_hold_lazy,):
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskScope() as scope:
                scope.spawn(fn)
        the_one(caught.value)
        assert not Lazy.asked
    looks: list[int] = []
    adapter = current_adapter()
    monkeypatch.setattr(patrol, "NEVER", 0.01)
    monkeypatch.setattr(patrol, "_failed", False)
    monkeypatch.setattr(look, "look", explode)
    async with TaskScope() as scope:
        scope.spawn(a_park)
        scope.spawn(park, on="thread")
    assert len([each for each in caplog.records if "looking for endless waits failed" in each.message]) == 1


def test_what_is_waited_for_may_change_while_another_thread_looks() -> None:
    errors: list[BaseException] = []
    end = time.monotonic() + 0.3
    registry = known.Registry()
    keep = [Lock() for _ in range(300)]
    for each in keep:
        registry.add(each)

    def change() -> None:
        while time.monotonic() < end:
            made = [Lock() for _ in range(3)]
            for each in made:
                registry.add(each)
            registry.discard(made[0])

    def iterate_over() -> None:
        try:
            while time.monotonic() < end:
                assert len(list(registry)) >= len(keep)
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=fn) for fn in (change, iterate_over, change)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors
    assert len(list(registry)) == len(keep)


async def test_a_look_takes_its_share_of_the_time_whoever_begins_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_next", "_floor"):
        monkeypatch.setattr(patrol, name, 0.0)
    looks: list[int] = []
    channels = [Channel[int](1), Channel[int](1)]
    async with TaskScope() as scope:
        scope.spawn(a_receive, channels[0])
        await anyio.wait_all_tasks_blocked()
        monkeypatch.setattr(patrol, "SHARE", 10**7)
        await until_looked(monkeypatch, looks=1, within=PATIENCE)
        scope.spawn(a_receive, channels[1])
        await anyio.wait_all_tasks_blocked()
        monkeypatch.setattr(look, "look", lambda *_, **__: looks.append(1))
        pause = patrol.watch()
        assert not looks
        assert pause is not None
        assert pause > 10
        monkeypatch.setattr(reach, "_counts", False)
        assert patrol.watch_from(0.0) == patrol.NEVER  # a thread does not ask where nobody can look
        scope.cancel()


class Large:
    pass


async def test_a_look_keeps_nothing_alive_in_a_thread_that_waits_for_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()

    def hold() -> bool:
        large = Large()
        known_by = weakref.ref(large)
        assert go.wait(PATIENCE)
        del large
        return known_by() is None

    async with TaskScope() as scope:
        holder = scope.spawn(hold, on="thread")
        scope.spawn(a_park)
        await until_looked(monkeypatch, within=PATIENCE)
        go.set()
        assert await holder
        scope.cancel()


# -- what was shared with worker processes


@pytest.fixture
def threads_look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in (shared_form, shared_meeting):
        monkeypatch.setattr(form, "LOOK_AGAIN", 0.05)


async def a_send_two(channel: Channel[int]) -> None:
    await channel.send(1)
    await channel.send(2)


SHARED = {
    "item": (a_receive, lambda: Channel(1, name="x"), "an item of Channel(1, name='x')"),
    "room": (a_send_two, lambda: Channel(1, name="x"), "room in Channel(1, name='x')"),
    "event": (a_wait, lambda: Event(name="x"), "Event(name='x')"),
    "barrier": (a_wait, lambda: Barrier(2, name="x"), "Barrier(2, name='x')"),
    "condition": (a_wait_for_change, lambda: Condition(name="x"), "Condition(name='x')"),
    "thread-item": (receive, lambda: Channel(1, name="x"), "an item of Channel(1, name='x')"),
    "thread-event": (wait_sync, lambda: Event(name="x"), "Event(name='x')"),
}


@pytest.mark.usefixtures("threads_look_at_once")
@pytest.mark.parametrize(
    ("fn", "make", "words"),
    [pytest.param(*case, marks=IN_THREADS if "thread" in name else (), id=name) for name, case in SHARED.items()],
)
async def test_who_waits_for_what_no_process_has_any_more_is_told(fn: Any, make: Any, words: str) -> None:
    """The tasks of the workers that had it have ended; the workers are there, and serve again."""
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            made = make()
            for other in (touch, a_touch):
                scope.spawn(other, made, on="process")
            scope.spawn(fn, made, on="loop" if fn.__name__.startswith("a_") else "thread")
            del made
    error = the_one(caught.value)
    assert f"task '{fn.__name__}' in process {os.getpid()} waits for {words} at {__file__}:" in error.ring[0]
    assert "close a channel" in str(error)


@pytest.mark.parametrize("kind", [Lock, lambda name: Semaphore(1, name=name)])
async def test_a_ring_of_a_lock_and_a_channel_that_were_shared_is_found(kind: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            both = kind(name="mine"), Channel[int](1, name="pages")
            await scope.spawn(touch, *both, on="process")
            scope.spawn(a_hold_and_receive, *both)
            await anyio.wait_all_tasks_blocked()
            scope.spawn(a_lock_and_send, *both)
            del both
    error = the_one(caught.value)
    assert "task 'a_lock_and_send'" in error.ring[0]
    assert "waits for an item of Channel(1, name='pages')" in str(error)


class Elsewhere:
    """Has a channel go somewhere, in scopes of other threads, and has something sent from there later.

    Args:
        pool: one worker.
        channels: has the channel, and nothing else here.
        path: for the sign that the later part begins, where that is not in this process.
    """

    def __init__(self, pool: ProcessPool, channels: list[Channel[int]], path: Path) -> None:
        self.pool, self.channels, self.path, self.go = pool, channels, path, threading.Event()

    def call(self, fn: Any, *args: Any) -> None:
        with SyncTaskScope(processes=self.pool) as scope:
            scope.spawn(fn, *args, on="process")

    def call_aside(self, *calls: tuple[Any, ...]) -> None:
        """In a thread that has only started them when this returns."""

        def run() -> None:
            with SyncTaskScope(processes=self.pool) as scope:
                while left:
                    scope.spawn(*left.pop(0), on="process")
                calls_made.set()

        left = list(calls)
        del calls
        calls_made = threading.Event()
        threading.Thread(target=run).start()
        assert calls_made.wait(PATIENCE)

    def in_a_global(self) -> Any:
        self.call(keep, self.channels[0])
        return lambda: self.call(send_kept)

    def in_a_nested_worker(self) -> Any:
        self.call(keep_in_nested, self.channels[0])
        return lambda: self.call(send_nested)

    def in_a_forked_child(self) -> Any:
        self.call(send_in_a_fork, self.channels[0], self.path)
        return self.path.touch

    def in_an_item(self) -> Any:
        mail = Channel[Any](1)
        self.call(keep, mail)
        mail.send_nowait(self.channels[0])
        return lambda: self.call(send_to_what_came)

    def in_a_queued_call(self) -> Any:
        self.call_aside((wait_for, self.path), (send, self.channels[0]))
        return self.path.touch

    def in_an_answer_under_way(self) -> Any:
        kept.append(self.channels[0])
        self.call_aside((take_over,))
        assert until(lambda: not kept)
        (worker,) = self.pool._registry.workers
        return lambda: os.kill(worker.pid, signal.SIGCONT)

    def in_a_pickle(self) -> Any:
        data = pickle.dumps(self.channels[0])
        self.call(touch, self.channels[0])
        return lambda: pickle.loads(data).send_nowait(1)

    def in_an_actor(self) -> Any:
        def run() -> None:
            with SyncTaskScope(processes=self.pool) as scope:
                actor = scope.actor(Keeper, self.channels[0], on="process")
                actor_made.set()
                assert self.go.wait(PATIENCE)
                actor.call(Keeper.send).wait()

        actor_made = threading.Event()
        threading.Thread(target=run).start()
        assert actor_made.wait(PATIENCE)
        return self.go.set


@pytest.mark.parametrize("where", [name for name in vars(Elsewhere) if name.startswith("in_")])
@pytest.mark.one_loop
async def test_who_may_still_send_in_another_process_means_no_deadlock(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ProcessPool(1) as pool:
        channels = [Channel[int](1)]
        acts: list[Any] = []
        elsewhere = Elsewhere(pool, channels, tmp_path / "go")
        thread = threading.Thread(target=lambda: acts.append(getattr(elsewhere, where)()))
        thread.start()
        thread.join()
        async with TaskScope() as scope:
            scope.spawn(a_receive, channels.pop())
            CancelsLater(monkeypatch, acts)
    gc.collect()
    assert until(lambda: passing.sweep() == 0)


async def test_a_worker_that_has_let_go_is_sent_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        channel = Channel[int](1)
        await scope.spawn(touch, channel, on="process")
        receiver = scope.spawn(a_receive, channel)
        await until_looked(monkeypatch, looks=4, within=PATIENCE)  # this frame could send
        scope.spawn(send, channel, on="process")
        await receiver


def forked(channel: Channel[int], _: pytest.MonkeyPatch) -> None:
    with SyncTaskScope() as scope:
        scope.spawn(fork_once, channel, on="process")


class ThreadOfAnInterpreter:
    """Stands for a worker that lives in a thread of this process, and whose tasks may go on when they are forgotten."""

    tasks = ()
    reaped = True

    def drop_share(self, token: bytes) -> None: ...


def given_to_an_interpreter(channel: Channel[int], _: pytest.MonkeyPatch) -> None:
    channel.share()
    channel.sent_to(ThreadOfAnInterpreter(), False)


def interrupted(channel: Channel[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit will find an item that nobody has in hands, but it must wait for somebody who is busy."""
    channel.send_nowait(1)
    channel.share()
    form: Any = channel._form
    os.read(form.memory.fds[2], 4)
    form.words[seats.DUE] = 1
    monkeypatch.setattr(seats, "audit", lambda *_: False)


@pytest.mark.parametrize("gone", [forked, given_to_an_interpreter, interrupted])
async def test_what_may_still_come_from_where_nobody_can_tell_means_no_deadlock(
    gone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel[int](2)
    await to_thread.run_sync(gone, channel, monkeypatch)
    number = id(channel)

    def come() -> None:
        monkeypatch.undo()
        if gone is not interrupted:
            ctypes.cast(number, ctypes.py_object).value.send_nowait(1)

    async with TaskScope() as scope:
        scope.spawn(a_receive, channel)
        del channel
        CancelsLater(monkeypatch, [come])


async def test_an_item_that_the_loop_has_not_seen_yet_means_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is held up, and the threads look."""
    looks: list[int] = []
    gives_up, known, note, adapter = Channel[int](1), board.known, patrol.note_shared, current_adapter()
    channel = Channel[int](1)
    channel.share()
    number = id(channel)

    def counted() -> bool:
        looks.append(1)
        return known()

    def hold_up() -> None:
        ctypes.cast(number, ctypes.py_object).value.send_nowait(1)
        before = len(looks)
        assert until(lambda: len(looks) > before + 4)

    def noted(*args: Any) -> None:
        note(*args)
        monkeypatch.setattr(patrol, "note_shared", note)
        adapter.call_soon(hold_up)

    def look_on() -> None:
        with pytest.raises(ChannelClosed):
            gives_up.receive_sync(timeout=PATIENCE)

    monkeypatch.setattr(board, "known", counted)
    monkeypatch.setattr(patrol, "note_shared", noted)
    thread = threading.Thread(target=look_on)
    thread.start()
    async with TaskScope() as scope:
        scope.spawn(a_receive, channel)
        del channel
    gives_up.close()
    thread.join()
