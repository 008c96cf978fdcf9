"""What a task tells of itself: nothing while nobody listens."""

from __future__ import annotations

import pytest

from unified_exec import TaskState
from unified_exec._tasks import events
from unified_exec._tasks.task import Task
from unified_exec._tasks.types import Outcome
from unified_exec.observe.recording.schema import TaskSettled, split


def run_one() -> Task:
    task = Task("t", print, (), "thread", None)
    task.note_spawner(0) if events.rows is not None else None
    task.begin()
    task.settle(Outcome(1))
    return task


def test_nothing_is_built_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "emit", None)  # calling it would raise
    monkeypatch.setattr(events, "emit_move", None)
    assert run_one().state is TaskState.DONE


def test_rows_tell_once_for_each_task_and_moves_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(events, "rows", told.append)
    run_one()
    assert [row[1] for row in told] == ["task.settled"]
    monkeypatch.setattr(events, "moves", told.append)
    told.clear()
    run_one()
    assert [row[1] for row in told] == ["task.spawned", "task.started", "task.settled"]
    numbers = [row[0] for row in told]
    assert numbers == sorted(set(numbers))


def test_an_event_keeps_nothing_of_the_task_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(events, "rows", told.append)
    task = Task("t", print, (), "thread", None)
    try:
        raise ValueError("failed")
    except ValueError as error:
        task.settle(Outcome(error=error))
    plain = (str, int, float, bool, type(None))
    assert all(isinstance(field, plain) for row in told for field in row)
    assert "ValueError: failed" in str(told[0][-2])


def test_functions_of_one_name_in_two_modules_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def one() -> None: ...

    def two() -> None: ...

    two.__qualname__, two.__module__ = one.__qualname__, "elsewhere"
    assert [events.function_name(fn).partition(":")[0] for fn in (one, two, one)] == [__name__, "elsewhere", __name__]
    told: list[object] = []
    monkeypatch.setattr(events, "rows", told.extend)
    for fn in (one, two, one):
        Task("t", fn, (), "thread", None).settle(Outcome(None))
    names = [row[TaskSettled._fields.index("fn")] for row in split(told)]
    assert names == [events.function_name(fn) for fn in (one, two, one)]
