"""The state table of a task, and the box of its outcome."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest

from unified_exec import TaskState, TaskTimeout
from unified_exec._tasks.task import Task
from unified_exec._tasks.types import CANCELLED, NEXT, IllegalMove, Outcome

MOVES = [
    (TaskState.QUEUED, TaskState.RUNNING),
    (TaskState.QUEUED, TaskState.STOPPING),
    (TaskState.QUEUED, TaskState.DONE),
    (TaskState.RUNNING, TaskState.STOPPING),
    (TaskState.RUNNING, TaskState.DONE),
    (TaskState.STOPPING, TaskState.DONE),
]
WAYS: dict[TaskState, list[TaskState]] = {
    TaskState.QUEUED: [],
    TaskState.RUNNING: [TaskState.RUNNING],
    TaskState.STOPPING: [TaskState.RUNNING, TaskState.STOPPING],
    TaskState.DONE: [TaskState.DONE],
}


def task() -> Task:
    return Task("t", print, (), "thread", None)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(TaskState, TaskState)))
def test_only_the_moves_of_the_table_are_made(old: TaskState, new: TaskState) -> None:
    made = task()
    for step in WAYS[old]:
        made.move(step)
    if (old, new) in MOVES:
        made.move(new)
        assert made.state is new
    else:
        with pytest.raises(IllegalMove, match=f"task 't' cannot go from {old.value} to {new.value}; please report"):
            made.move(new)
        assert made.state is old
    assert (new in NEXT[old]) == ((old, new) in MOVES)


def test_a_task_is_asked_once() -> None:
    made = task()
    assert made.mark_stopping("first")
    assert made.cancel_requested
    assert not made.mark_stopping("second")
    assert made.stop_reason == "first"
    made.settle_cancelled()
    assert not made.cancel_requested
    assert not made.mark_stopping("third")


def test_a_task_is_settled_once() -> None:
    made = task()
    made.settle(Outcome(1))
    with pytest.raises(IllegalMove):
        made.settle(Outcome(2))


def test_a_settled_task_lets_go_of_its_call() -> None:
    made = task()
    made.backend_data = made.location = object()
    made.settle(Outcome(None))
    assert (made.fn, made.args, made.backend_data, made.location) == (None, None, None, None)
    assert made.timing.queued <= (made.timing.finished or 0)


def test_a_cancellation_by_its_own_timeout_is_a_timeout() -> None:
    made = task()
    made.timeout, made.expired = 3.0, True
    made.settle_cancelled()
    assert made.outcome is not None
    assert isinstance(made.outcome.error, TaskTimeout)


def test_a_value_beats_the_timeout() -> None:
    made = task()
    made.timeout, made.expired = 3.0, True
    made.settle(Outcome(1))
    assert made.outcome is not None
    assert made.outcome.unwrap() == 1


class Worker:
    def __init__(self, running: bool) -> None:
        self.running = running

    def is_running(self, task: Task) -> bool:
        return self.running


@pytest.mark.parametrize(("running", "state"), [(True, TaskState.RUNNING), (False, TaskState.QUEUED)])
def test_the_location_of_a_queued_task_may_know_better(running: bool, state: TaskState) -> None:
    made = task()
    made.location = Worker(running)
    assert made.state is state


def test_states_show_their_names() -> None:
    assert repr(TaskState.QUEUED) == "TaskState.QUEUED"


# --- outcomes ---


def test_an_outcome_is_a_value_an_error_or_a_cancellation() -> None:
    error = ValueError(1)
    assert Outcome(3).unwrap() == 3
    assert Outcome(None).is_value
    assert not Outcome(error=error).is_value
    assert not CANCELLED.is_value
    assert list(map(repr, (Outcome(3), Outcome(error=error), CANCELLED))) == [
        "Outcome(value=3)",
        "Outcome(error=ValueError(1))",
        "Outcome(cancelled)",
    ]


def test_an_error_has_the_same_traceback_each_time_it_is_raised() -> None:
    def frames(outcome: Outcome[Any]) -> int:
        try:
            outcome.unwrap()
        except ValueError as error:
            count, tb = 0, error.__traceback__
            while tb is not None:
                count, tb = count + 1, tb.tb_next
            return count
        raise AssertionError

    outcome: Outcome[Any] = Outcome(error=ValueError(1))
    assert frames(outcome) == frames(outcome) == frames(outcome)


class Failure(Exception):
    pass


def test_raising_leaves_no_cycle() -> None:
    def fail() -> weakref.ref[Failure]:
        error = Failure()
        kept = weakref.ref(error)
        outcome: Outcome[Any] = Outcome(error=error)
        del error
        try:
            outcome.unwrap()
        except Failure:
            pass
        finally:
            del outcome  # else this very frame closes a cycle
        return kept

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()
