"""Watching tasks move: free when off, harmless when broken."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from unified_exec import TaskState
from unified_exec._tasks import events
from unified_exec._tasks import task as task_module
from unified_exec._tasks.task import Task, TaskMoved
from unified_exec._tasks.types import Outcome


@pytest.fixture(autouse=True)
def nobody_is_left_watching() -> Iterator[None]:
    yield
    assert events.listeners == ()


def run_one() -> Task:
    task = Task("t", print, (), "thread", None)
    task.move(TaskState.RUNNING)
    task.settle(Outcome(1))
    return task


def test_each_move_is_told_to_every_listener() -> None:
    seen: list[TaskMoved] = []
    again: list[TaskMoved] = []
    ends = [events.watch(seen.append), events.watch(again.append)]
    task = run_one()
    for end in ends:
        end()
    run_one()
    moves = [(TaskState.QUEUED, TaskState.RUNNING), (TaskState.RUNNING, TaskState.DONE)]
    assert [(event.old, event.new) for event in seen] == moves
    assert all(event.task is task for event in seen)
    assert len(again) == 2
    assert repr(seen[0]) == "TaskMoved('t', queued -> running)"


def test_nothing_is_built_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "TaskMoved", None)  # building one would raise
    run_one()


def test_a_listener_that_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: TaskMoved) -> None:
        calls.append(event)
        raise ValueError("listener")

    calls: list[TaskMoved] = []
    seen: list[TaskMoved] = []
    events.watch(broken)
    end = events.watch(seen.append)
    with caplog.at_level(logging.ERROR, "unified_exec"):
        task = run_one()
    end()
    assert task.state is TaskState.DONE
    assert (len(calls), len(seen)) == (1, 2)
    assert "a task listener failed and is dropped" in caplog.text


def test_watching_may_be_ended_twice_and_while_it_is_told() -> None:
    def once(event: TaskMoved) -> None:
        seen.append(event)
        end()

    seen: list[TaskMoved] = []
    end = events.watch(once)
    run_one()
    end()
    assert len(seen) == 1
