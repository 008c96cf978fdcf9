"""Clause 9: waits of tasks that process tasks have started, in nested workers too, are told if nobody can end them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.contract import waits_elsewhere as waits
from tests.contract.looks import act_later, send_by_id, the_ones
from unified_exec import Channel, TaskScope
from unified_exec._sync.deadlocks import frames, reach

pytestmark = [
    pytest.mark.skipif(not (frames.KNOWN and reach.can_count()), reason="what a running frame has cannot be counted"),
    pytest.mark.usefixtures("looks_at_once"),
    pytest.mark.fresh_pool,  # nested workers would stay
]

HANDED_ON: dict[str, tuple[Any, ...]] = {
    "thread-in-thread": ("thread", waits.hand_on, waits.receive, "thread"),
    "thread": ("process", waits.hand_on, waits.receive, "thread"),
    "process": ("process", waits.hand_on, waits.receive, "process"),
    "coroutine": ("process", waits.a_hand_on, waits.a_receive, "loop"),
    "two-levels": ("process", waits.a_hand_on, waits.hand_on, "process", waits.receive, "process"),
}


@pytest.mark.parametrize(("on", "call"), [(on, call) for on, *call in HANDED_ON.values()], ids=HANDED_ON)
@pytest.mark.one_loop
async def test_a_task_that_a_process_or_thread_task_has_started_is_told(on: Any, call: list[Any]) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(*call, Channel[int](1, name="x"), on=on)
    (error,) = the_ones(caught.value)
    assert "waits for an item of Channel(1, name='x')" in error.ring[0]


@pytest.mark.one_loop
async def test_of_tasks_in_nested_workers_that_wait_for_one_another_one_is_told() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            one, two = Channel[int](1, name="one"), Channel[int](1, name="two")
            scope.spawn(waits.hand_on, waits.relay, "process", one, two, on="process")
            scope.spawn(waits.a_hand_on, waits.a_relay, "process", two, one, on="process")
            del one, two
    (error,) = the_ones(caught.value)
    assert "name='one'" in str(error)
    assert "name='two'" in str(error)


class CouldEnd:
    """Each has a task in a nested worker wait, and has somebody in no scope around it end that later, at the sign."""

    def __init__(self, scope: TaskScope, path: Path, later: list[Any], threads: list[threading.Thread]) -> None:
        self.scope, self.path, self.later, self.threads = scope, path, later, threads
        self.channel = Channel[int](1)

    def aside(self, *call: Any) -> None:
        self.threads.append(waits.hand_on_aside(*call, self.channel, self.path))

    def receive(self) -> None:
        self.scope.spawn(waits.hand_on, waits.receive, "process", self.channel, on="process")

    def a_thread_of_the_program(self) -> None:
        self.threads.append(threading.Thread(target=waits.send_slowly, args=(self.channel, self.path)))
        self.threads[0].start()
        self.receive()

    def a_nested_worker_of_another_worker(self) -> None:
        self.aside(waits.hand_on, waits.send_slowly, "process")
        self.receive()

    def a_function_that_a_nested_task_has_asked_for(self) -> None:
        self.aside(waits.hand_on, waits.ask_for_an_item, "process")
        self.receive()

    def another_nested_worker(self) -> None:
        self.scope.spawn(waits.receive_beside_another_nested_worker, self.channel, self.path, on="process")

    def a_thread_of_the_nested_worker(self) -> None:
        self.scope.spawn(waits.hand_on, waits.receive_from_a_thread, "process", self.channel, self.path, on="process")

    def a_thread_of_the_worker(self) -> None:
        self.scope.spawn(waits.receive_below_a_thread, self.channel, self.path, on="process")

    def who_has_the_scope_in_the_worker(self) -> None:
        self.scope.spawn(waits.receive_below_who_may_cancel, self.channel, self.path, on="process")

    def a_task_of_the_same_scope_that_may_fail(self) -> None:
        self.later.insert(0, send_by_id(self.channel))
        other = Channel[int](1)
        self.threads.append(threading.Thread(target=waits.send_slowly, args=(other, self.path)))
        self.threads[0].start()
        self.scope.spawn(waits.receive_below_beside_a_task, self.channel, other, on="process")

    def a_timeout_of_the_nested_task(self) -> None:
        self.later.append(send_by_id(self.channel))
        self.scope.spawn(waits.receive_below_in_time, self.channel, on="process")


@pytest.mark.parametrize("who", [name for name in vars(CouldEnd) if name.startswith(("a_", "another", "who_"))])
@pytest.mark.one_loop
async def test_who_could_end_the_wait_in_a_nested_worker_means_no_deadlock(
    who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Any] = [(tmp_path / "go").touch]
    threads: list[threading.Thread] = []
    async with TaskScope() as scope:
        getattr(CouldEnd(scope, tmp_path / "go", later, threads), who)()
        act_later(monkeypatch, lambda: [each() for each in later], telling=2)
    for each in threads:
        each.join()
