"""What a task tells of itself: nothing while nobody listens."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from unified_exec import TaskState
from unified_exec._tasks import events
from unified_exec._tasks.task import Task
from unified_exec._tasks.types import CANCELLED, Outcome
from unified_exec.observe.recording.schema import TaskSettled, TaskSpawned, build, split


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
    told: list[object] = []
    monkeypatch.setattr(events, "rows", told.extend)
    run_one()
    assert [row[1] for row in split(told, count(1))] == ["task.settled"]
    monkeypatch.setattr(events, "moves", told.extend)
    told.clear()
    run_one()
    rows = split(told, count(1))
    assert [row[:2] for row in rows] == [(1, "task.spawned"), (2, "task.started"), (3, "task.settled")]


@pytest.mark.parametrize("outcome", [Outcome(1), Outcome(error=ValueError("x")), CANCELLED])
@pytest.mark.parametrize("noted", [{}, {"parent": 7}, {"items": 3, "attempts": 2, "fn_name": "m:other"}])
@pytest.mark.parametrize("sent", [None, 5.0])
def test_what_is_told_in_short_has_all_fields_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome[int], noted: dict[str, Any], sent: float | None
) -> None:
    told: list[object] = []
    monkeypatch.setattr(events, "rows", told.extend)
    monkeypatch.setattr(events, "moves", told.extend)
    task = Task("t" * 300, run_one, (), "process", SimpleNamespace(number=4))
    for name, value in noted.items():
        setattr(task, name, value)
    task.deadline, task.worker, task.started_at, task.finished_at = 99.0, 11, 6.0, 7.0
    task.note_spawner(task.parent)
    if sent is not None:
        task.sent_at, task.bytes_sent, task.bytes_received = sent, 12, 13
    task.settle(outcome)
    spawned, settled = build(split(told, count(1)))
    about = {"task": task.id, "name": "t" * 200, "backend": "process", "scope": 4}
    about |= {"parent": 0, "items": 1, "fn": f"{__name__}:run_one"}
    about |= {{"fn_name": "fn"}.get(name, name): value for name, value in noted.items() if name != "attempts"}
    assert spawned == TaskSpawned(**about, n=1, kind="task.spawned", at=task.queued_at, deadline=99.0)
    error = type(outcome.error).__name__ if outcome.error else ""
    ran = {"worker": 11, "attempts": noted.get("attempts", 1), "error": error, "started": 6.0, "finished": 7.0}
    ran |= {"outcome": "cancelled" if outcome.cancelled else "error" if error else "value", "sent": sent}
    ran |= {"bytes_sent": 12, "bytes_received": 13} if sent else {"bytes_sent": 0, "bytes_received": 0}
    whole = TaskSettled(**about, **ran, n=2, kind="task.settled", at=settled.at, spawned=task.queued_at, traceback="")
    assert settled._replace(traceback="") == whole


def test_an_event_keeps_nothing_of_the_task_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(events, "rows", told.extend)
    task = Task("t", print, (), "thread", None)
    try:
        raise ValueError("failed")
    except ValueError as error:
        task.settle(Outcome(error=error))
    plain = (str, int, float, bool, type(None))
    assert all(isinstance(field, plain) for field in told)
    assert "ValueError: failed" in str(told[-1])


def test_functions_of_one_name_in_two_modules_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def one() -> None: ...

    def two() -> None: ...

    two.__qualname__, two.__module__ = one.__qualname__, "elsewhere"
    assert [events.function_name(fn).partition(":")[0] for fn in (one, two, one)] == [__name__, "elsewhere", __name__]
    told: list[object] = []
    monkeypatch.setattr(events, "rows", told.extend)
    for fn in (one, two, one):
        Task("t", fn, (), "thread", None).settle(Outcome(None))
    names = [row[TaskSettled._fields.index("fn")] for row in split(told, count(1))]
    assert names == [events.function_name(fn) for fn in (one, two, one)]
