"""A handle sets by itself what every task has."""

from __future__ import annotations

from typing import Any

from unified_exec._handles.handle import TaskHandle
from unified_exec._tasks.task import Task


class Owner:
    """Enough of a scope for a task that never runs."""


def test_a_handle_has_every_field_of_a_task_with_the_same_value() -> None:
    owner: Any = Owner()
    task = Task("name", len, ("x",), "thread", owner)
    handle: TaskHandle[int] = TaskHandle("name", len, ("x",), "thread", owner)
    assert handle.id == task.id + 1
    assert handle.queued_at >= task.queued_at
    for field in set(Task.__slots__) - {"__dict__", "id", "queued_at"}:
        assert getattr(handle, field) == getattr(task, field)


def test_the_fields_that_few_tasks_set_take_no_room_in_the_others() -> None:
    owner: Any = Owner()
    handle: TaskHandle[int] = TaskHandle("name", len, ("x",), "thread", owner)
    assert not vars(handle)
