"""Waits for locks and channels: told as events wherever they happen, and what the tools make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.observe import workloads
from tests.observe.patience import until_async
from tests.observe.protobuf import Trace
from tests.observe.test_events import Seen
from tests.observe.test_report import data_of
from tests.observe.workloads import (
    locks,
    locks_in_a_thread,
    receives,
    receives_in_a_thread,
    sends,
    sends_in_a_thread,
)
from unified_exec import Channel, Collect, Event, Lock, ProcessPool, Semaphore, TaskScope, observe
from unified_exec._sync import waits
from unified_exec.observe.live.look import Look
from unified_exec.observe.live.text import render
from unified_exec.observe.output.advice import Advice, advise
from unified_exec.observe.output.figures import facts
from unified_exec.observe.output.recorder import Recording
from unified_exec.observe.output.trace_file import perfetto
from unified_exec.observe.viewer.board import Board

pytestmark = pytest.mark.anyio

BEGUN, ENDED = "wait.begun", "wait.ended"


@pytest.mark.every_loop
@pytest.mark.parametrize("fn", [locks, locks_in_a_thread])
@pytest.mark.parametrize("lock", [Lock(name="accounts"), Semaphore(1, name="seats")])
async def test_a_wait_for_a_lock_is_told_while_it_goes_on(fn: Any, lock: Any) -> None:
    with Seen(BEGUN, ENDED) as seen:
        async with TaskScope() as scope:
            async with lock:
                waiter = scope.spawn(fn, lock)
                await until_async(lambda: seen.of(BEGUN))
                assert not seen.of(ENDED)
    [begun], [ended] = seen.of(BEGUN), seen.of(ENDED)
    assert (begun.task, begun.name, begun.on, begun.place) == (waiter.id, repr(lock), type(lock).__name__.lower(), 1)
    assert f"({__file__}:" in begun.held_by
    assert (ended.task, ended.name, ended.on, ended.began) == (begun.task, begun.name, begun.on, begun.at)
    assert ended.at >= begun.at + waits.MOMENT


@pytest.mark.every_loop
@pytest.mark.parametrize("fn", [receives, receives_in_a_thread, sends, sends_in_a_thread])
async def test_a_wait_for_a_channel_is_told(fn: Any) -> None:
    channel = Channel[int](1, name="pages")
    word = fn.__name__[:-1].partition("s_")[0]
    if word == "send":
        channel.send_nowait(0)
    with Seen(BEGUN, ENDED) as seen:
        async with TaskScope() as scope:
            waiter = scope.spawn(fn, channel)
            await until_async(lambda: seen.of(BEGUN))
            await (channel.receive() if word == "send" else channel.send(0))
    [begun], [ended] = seen.of(BEGUN), seen.of(ENDED)
    assert (begun.task, begun.on) == (ended.task, ended.on) == (waiter.id, "channel")
    assert begun.name == f"{word} on Channel(1, name='pages')"


async def test_a_wait_for_an_event_is_told() -> None:
    event = Event(name="go")
    with Seen(BEGUN, ENDED) as seen:
        async with TaskScope() as scope:
            scope.spawn(event.wait)
            scope.spawn(event.wait_sync)
            await until_async(lambda: len(seen.of(BEGUN)) == 2)
            event.set()
    assert {(each.on, each.name) for each in seen.events} == {("event", "Event(name='go')")}
    assert len(seen.of(ENDED)) == 2


async def test_a_short_wait_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOMENT", 1000.0)
    lock = Lock()
    with Seen(BEGUN, ENDED) as seen:
        async with TaskScope() as scope:
            async with lock:
                scope.spawn(locks, lock)
                scope.spawn(locks_in_a_thread, lock)
                await until_async(lambda: len(lock.waits()) == 2)
    assert seen.events == []


async def test_a_cancelled_wait_has_ended() -> None:
    lock, channel = Lock(), Channel[int](1)
    with Seen(BEGUN, ENDED) as seen:
        async with lock, TaskScope() as scope:
            for fn, on in ((locks, lock), (locks_in_a_thread, lock), (receives, channel)):
                scope.spawn(fn, on)
            scope.spawn(receives_in_a_thread, channel)
            await until_async(lambda: len(seen.of(BEGUN)) == 4)
            scope.cancel()
    assert {each.task for each in seen.of(BEGUN)} == {each.task for each in seen.of(ENDED)}
    assert len(seen.of(ENDED)) == 4


async def test_while_nobody_listens_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "begin", None)
    lock, channel, event = Lock(), Channel[int](1), Event()
    async with TaskScope() as scope:
        async with lock:
            for fn, on in ((locks, lock), (locks_in_a_thread, lock), (receives, channel)):
                scope.spawn(fn, on)
            scope.spawn(receives_in_a_thread, channel)
            scope.spawn(event.wait)
            await until_async(lambda: len(lock.waits()) == 2)
        await channel.send_many([1, 2])
        event.set()


@pytest.mark.one_loop
async def test_waits_in_worker_processes_are_told_and_seen_in_the_tree() -> None:
    lock, channel = Lock(name="accounts"), Channel[int](1, name="pages")
    with Seen(BEGUN, ENDED) as seen:
        async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
            async with lock:
                tasks = [
                    scope.spawn(locks_in_a_thread, lock, on="process"),
                    scope.spawn(receives_in_a_thread, channel, on="process"),
                ]
                texts: dict[int, str] = {}

                async def wait_in_the_tree() -> bool:
                    tree = await anyio.to_thread.run_sync(observe.look)
                    texts.update({int(id): task["why"]["text"] for id, task in tree["tasks"].items()})
                    return all("name=" in texts[task.id] for task in tasks)

                while not await wait_in_the_tree():
                    pass
                await anyio.sleep(waits.MOMENT)  # so long they wait at least
            await channel.send(1)
    held = f"Lock(name='accounts'), held by code outside of tasks ({__file__}:"
    assert texts[tasks[0].id].startswith(held) or "held by " in texts[tasks[0].id]
    assert texts[tasks[1].id].startswith("receive_sync on Channel(1, name='pages'), in worker ")
    told = {each.task: each for each in seen.of(ENDED) if each.task}
    assert {task: (each.on, each.name) for task, each in told.items()} == {
        tasks[0].id: ("lock", "Lock(name='accounts')"),
        tasks[1].id: ("channel", "receive on Channel(1, name='pages')"),
    }
    begun = {each.task: each for each in seen.of(BEGUN) if each.task}
    assert {task: each.at for task, each in begun.items()} == {task: each.began for task, each in told.items()}


@pytest.mark.one_loop
async def test_coroutines_of_a_worker_tell_what_they_wait_for() -> None:
    lock = Lock(name="accounts")
    with Seen(ENDED) as seen:
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
            async with lock:
                task = scope.spawn(locks, lock, on="process")
                while True:
                    tree = await anyio.to_thread.run_sync(observe.look)
                    why = tree["tasks"][str(task.id)]["why"]
                    if why["text"].startswith("Lock(name='accounts'), held by "):
                        break
                await anyio.sleep(waits.MOMENT)
    assert why["kind"] == "lock"
    assert {each.task for each in seen.of(ENDED)} == {task.id}


@pytest.mark.one_loop
async def test_what_runs_and_what_waits_in_a_worker_is_told_apart_and_each_task_shows_its_own_scopes() -> None:
    expected = {
        "opens": "scope",
        "event": "foreign",
        "sleeps": "sleep",
        "runs_a_loop": "foreign",
    }
    async with ProcessPool(2) as pool, TaskScope(processes=pool, policy=Collect()) as scope:
        tasks = [
            scope.spawn(fn, on="process")
            for fn in (workloads.opens, workloads.event, workloads.sleeps, workloads.runs_a_loop)
        ]
        while True:
            tree = await anyio.to_thread.run_sync(observe.look)
            told = {name: tree["tasks"][str(task.id)] for name, task in zip(expected, tasks, strict=True)}
            looks = [told[name].get("look") for name in ("opens", "runs_a_loop")]
            inner = [task["why"]["kind"] for look in looks if look for task in look["tasks"].values()]
            if {name: each["why"]["kind"] for name, each in told.items()} == expected and inner == ["sleep"] * 2:
                break
        busy = scope.spawn(workloads.computes, on="process")
        while True:
            tree = await anyio.to_thread.run_sync(observe.look)
            computes = tree["tasks"][str(busy.id)]
            if computes["at"] is not None and computes["why"]["kind"] == "runs":
                break
        scope.cancel()
    assert computes["at"][2] == "computes"
    assert told["event"]["why"]["text"].startswith("asyncio.locks Event.wait, in worker ")
    assert told["event"]["at"][2] == "event"
    assert "look" not in told["event"]
    for look in looks:
        [inner], [task] = look["scopes"], look["tasks"].values()
        assert (inner["why"]["kind"], inner["at"][2]) == ("scope", "opens")
        assert (task["name"], task["why"]["kind"]) == ("deep sleeper", "sleep")
    lines = [line.strip("│├└─ ") for line in render(tree).splitlines()]
    assert sum(line.startswith("scope 1 [FailFast, asyncio]") and "(in the worker)" in line for line in lines) == 2
    assert sum("deep sleeper" in line for line in lines) == 2


@pytest.mark.one_loop
async def test_the_first_look_at_a_worker_shows_its_line_also_in_a_call_of_ours(tmp_path: Path) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        task = scope.spawn(workloads.asks_for_ever, tmp_path / "begun", on="process")
        await until_async((tmp_path / "begun").exists)
        told = await anyio.to_thread.run_sync(Look("mine", workers=30.0).make)  # however slow this machine is
        scope.cancel()
    assert told["tasks"][str(task.id)]["at"][2] == "asks_for_ever"


# -- what is made of them


def settled(task: int, fn: str, backend: str, started: float, finished: float) -> tuple[Any, ...]:
    worker = {"process": 100 + task % 2, "thread": 200 + task, "loop": 1}[backend]
    times = (started, started, worker, 1, "value", "", started, finished, 0, 0, "")
    return task, "task.settled", finished, task, fn, f"m:{fn}", backend, 1, 0, 1, *times


def waited(task: int, on: str, name: str, begin: float, end: float, held_by: str = "") -> list[tuple[Any, ...]]:
    return [(900, BEGUN, begin, task, name, 1, on, held_by), (901, ENDED, end, task, name, on, begin)]


def recorded(*rows: tuple[Any, ...], seconds: float) -> Recording:
    return Recording(pid=1, began=0.0, ended=seconds, rows=[*rows])


def advice_on(recording: Recording) -> list[Advice]:
    return advise(facts(recording, recording.of_kind("task.settled")))


def behind_a_lock() -> Recording:
    """Two workers for ten seconds, one of which always waits for the lock that the other one has."""
    rows = [settled(1, "parse", "process", 0.0, 10.0), settled(2, "parse", "process", 0.0, 10.0)]
    for at in range(10):
        rows += waited(1 + at % 2, "lock", "Lock(name='db')", at, at + 0.9, "task 'parse' (shop.py:9)")
    return recorded(*rows, seconds=10.0)


def test_workers_idle_behind_a_lock_is_advice_with_its_holder() -> None:
    [found] = [each for each in advice_on(behind_a_lock()) if "Lock" in each.title]
    assert found.title == "Workers idle behind Lock(name='db')"
    assert found.figures.startswith(
        "tasks waited 9.0 s for it in all, 10 times, mostly held by task 'parse' (shop.py:9)"
    )
    assert "busy 55 %" in found.figures


def test_slow_receivers_are_advice_and_idle_ones_are_not() -> None:
    rows = [settled(1, "put", "thread", 0.0, 10.0), settled(2, "get", "thread", 0.0, 10.0)]
    sends = waited(1, "channel", "send on Channel(2)", 0.0, 9.0)
    titles = [each.title for each in advice_on(recorded(*rows, *sends, seconds=10.0))]
    assert "Much waits for send on Channel(2)" in titles
    receives = waited(2, "channel", "receive on Channel(2)", 0.0, 9.0)
    assert advice_on(recorded(*rows, *receives, seconds=10.0)) == []


def test_where_the_time_went_tells_waits_inside_of_runs() -> None:
    rows = [
        settled(1, "f", "thread", 1.0, 5.0),
        *waited(1, "lock", "Lock()", 0.0, 2.0),
        *waited(1, "lock", "L", 4.0, 9.0),
    ]
    recording = recorded(*rows, seconds=9.0)
    [function] = facts(recording, recording.of_kind("task.settled")).functions
    assert (function.run, function.waited) == (4.0, 2.0)


def test_waits_that_go_on_end_with_the_recording_and_pairs_are_kept_apart() -> None:
    again = [
        *waited(1, "lock", "L", 0.0, 1.0),
        *waited(1, "lock", "L", 2.0, 4.0),
        *waited(2, "lock", "L", 3.0, 0.0)[:1],
    ]
    assert [(each.task, each.begin, each.end) for each in recorded(*again, seconds=9.0).waits()] == [
        (1, 0.0, 1.0),
        (1, 2.0, 4.0),
        (2, 3.0, 9.0),
    ]


def test_a_trace_has_a_slice_for_each_wait_and_an_arrow_to_its_task() -> None:
    trace = Trace(perfetto(behind_a_lock()))
    waits = [each for each in trace.slices if each[0] == "Lock(name='db')"]
    assert len(waits) == 10
    assert {notes["held by"] for *_, notes in waits} == {b"task 'parse' (shop.py:9)"}
    assert {(notes["task"], notes["for"]) for *_, notes in waits} == {(1, b"lock"), (2, b"lock")}


def test_a_viewer_shows_the_lock_and_its_holder_until_the_wait_has_ended() -> None:
    board = Board()
    begun, ended = waited(1, "lock", "Lock()", 5.0, 6.0, "task 'f' (a.py:1)")
    spawned = [1, "task.spawned", 4.0, 1, "f", "m:f", "thread", 1, 0, 1, None]
    board.take({"type": "events", "rows": [spawned, [*begun]]})
    assert board.tasks[1].wait == "Lock(), held by task 'f' (a.py:1)"
    board.take({"type": "events", "rows": [[*ended], [*begun]]})  # told by two threads, in the wrong order
    assert board.tasks[1].wait == ""


async def test_a_report_tells_the_waits_of_workers_and_threads(tmp_path: Path) -> None:
    lock = Lock(name="accounts")
    with observe.report(tmp_path / "run.html"), Seen(BEGUN, ENDED) as seen:
        async with ProcessPool(1) as pool, TaskScope(processes=pool, policy=Collect()) as scope:
            async with lock:
                scope.spawn(locks_in_a_thread, lock, on="thread")
                await until_async(lambda: seen.of(BEGUN))
            await scope.spawn(workloads.value, 1, on="process")
    data = data_of((tmp_path / "run.html").read_text("utf-8"))
    [wait] = [each for each in data["waits"] if each["name"] == "Lock(name='accounts')"]
    assert (wait["on"], wait["times"]) == ("lock", 1)
    assert wait["seconds"] >= waits.MOMENT
    [function] = [each for each in data["functions"] if each["backend"] == "thread"]
    assert function["waited"] == pytest.approx(wait["seconds"], abs=0.5)
