"""The replay of a recorded run elsewhere: arithmetic, so every figure here is exact."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak import predictions
from tests.observe import workloads
from unified_exec import ProcessPool, TaskScope
from unified_exec.observe.output.recorder import Recorder, Recording, Sample
from unified_exec.observe.output.replay import PROCESS_CALL, moved, replay
from unified_exec.observe.output.schedule import Job, Schedule, demands, schedule_of
from unified_exec.observe.output.what_if import judge, what_if

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

PLACES = {"thread": 8, "process": 2}


def jobs(count: int, backend: str, computes: float, waits: float, limit: str = "") -> list[Job]:
    return [Job("m:f", backend, "begin", 0, 0.0, computes, waits, limit) for _ in range(count)]


def schedule(made: list[Job], **changes: Any) -> Schedule:
    return replace(Schedule(made, 2, PLACES, {}, 0.0, 0.0), **changes)


def near(value: float) -> Any:
    return pytest.approx(value, rel=0.01)


def test_threads_that_compute_share_one_core_and_processes_have_one_each() -> None:
    run = schedule(jobs(8, "thread", 1.0, 0.0))
    assert replay(run) == near(8.0)
    assert replay(run, gil=False) == near(4.0)
    assert replay(moved(run, "m:f", "thread", "process")) == near(4.0)
    assert replay(replace(moved(run, "m:f", "thread", "process"), cores=1)) == near(8.0)


def test_what_waits_takes_as_long_as_there_are_places() -> None:
    assert replay(schedule(jobs(8, "process", 0.0, 1.0))) == near(4.0)
    assert replay(schedule(jobs(8, "thread", 0.0, 1.0))) == near(1.0)
    assert replay(schedule(jobs(8, "loop", 0.0, 1.0), places={})) == near(1.0)


def test_a_limit_lets_as_many_pass_as_it_has_permits() -> None:
    run = schedule(jobs(12, "loop", 0.0, 1.0, "Limit(3)"), limits={"Limit(3)": 3})
    assert replay(run) == near(4.0)
    assert replay(replace(run, limits={"Limit(3)": 6})) == near(2.0)


def test_workers_have_to_be_started_and_the_end_of_the_run_stays() -> None:
    run = schedule(jobs(2, "process", 1.0, 0.0), worker_start=0.5, tail=0.25)
    assert replay(run) == pytest.approx(1.75 + PROCESS_CALL)


def test_what_was_spawned_after_an_end_is_spawned_after_it_again() -> None:
    made = [Job("m:f", "thread", "begin", 0, 0.5, 0.0, 2.0), Job("m:g", "thread", "end", 0, 0.25, 0.0, 1.0)]
    assert replay(schedule(made)) == near(3.75)
    made[0] = replace(made[0], waits=1.0)
    assert replay(schedule(made)) == near(2.75)


def test_a_coroutine_that_waits_for_what_it_spawned_ends_after_it() -> None:
    outer = Job("m:outer", "loop", "begin", 0, 0.0, 0.0, 9.0, children=[1, 2], tail=0.5)
    children = [Job("m:f", "thread", "start", 0, 0.1 * n, 0.0, 1.0) for n in (1, 2)]
    after = Job("m:g", "thread", "end", 0, 0.0, 0.0, 1.0)
    assert replay(schedule([outer, *children, after])) == near(2.7)


# -- what the recording tells


def settled(task: int, fn: str, backend: str, spawned: float, started: float, finished: float, **more: Any) -> Any:
    values = {"parent": 0, "worker": 1, **more}
    at = values.get("at", finished)
    times = (spawned, None, values["worker"], 1, "value", "", started, finished, 0, 0, "")
    return (task, "task.settled", at, task, fn, f"m:{fn}", backend, 1, values["parent"], 1, *times)


def recording(*rows: Any, samples: list[Sample] | None = None, ended: float = 10.0) -> Recording:
    return Recording(began=0.0, ended=ended, rows=list(rows), samples=samples or [])


def made_of(run: Recording) -> Schedule:
    return schedule_of(run, run.of_kind("task.settled"))


def steps(cpu: float, stalled: float = 0.0, until: int = 10) -> list[Sample]:
    """Samples of a program that used `cpu` cores and waited `stalled` for one, a second each."""
    return [Sample(float(n), [], 0, n * cpu, {0: n * stalled}) for n in range(until + 1)]


def test_threads_that_use_a_whole_core_compute_and_others_wait() -> None:
    rows = [settled(n, "f", "thread", 0.0, 0.0, 10.0) for n in range(4)]
    busy, idle = recording(*rows, samples=steps(1.0)), recording(*rows, samples=steps(0.04))
    assert demands(busy.samples, busy.of_kind("task.settled"))["m:f", "thread"] == (near(0.25), 0.0)
    assert demands(idle.samples, idle.of_kind("task.settled"))["m:f", "thread"] == (near(0.01), near(0.99))


def test_a_program_whose_cores_others_have_computes_as_well() -> None:
    rows = [settled(n, "f", "thread", 0.0, 0.0, 10.0) for n in range(4)]
    run = recording(*rows, samples=steps(0.1, stalled=3.0))
    assert demands(run.samples, run.of_kind("task.settled"))["m:f", "thread"] == (near(0.25), 0.0)


def test_only_the_time_in_which_tasks_ran_counts() -> None:
    rows = [settled(n, "f", "thread", 4.5, 4.5, 5.5) for n in range(2)]
    run = recording(*rows, samples=steps(1.0))
    assert demands(run.samples, run.of_kind("task.settled"))["m:f", "thread"] == (near(0.5), 0.0)


def test_two_functions_are_told_apart_by_when_they_ran() -> None:
    rows = [settled(1, "computes", "thread", 0.0, 0.0, 5.0), settled(2, "waits", "thread", 5.0, 5.0, 10.0)]
    samples = [*steps(0.9, until=5), *(Sample(float(n), [], 0, 4.5, {}) for n in range(6, 11))]
    found = demands(samples, recording(*rows).of_kind("task.settled"))
    assert found["m:computes", "thread"][0] > 0.85
    assert found["m:waits", "thread"] == (near(0.0), near(1.0))


def test_a_spawn_just_after_an_end_is_its_consequence_and_any_other_follows_the_last_spawn() -> None:
    run = made_of(
        recording(
            settled(1, "f", "thread", 0.5, 0.5, 2.0),
            settled(2, "f", "thread", 0.6, 0.6, 2.5),
            settled(3, "g", "thread", 2.501, 2.6, 3.0),
            settled(4, "h", "thread", 2.7, 2.8, 3.5),
            settled(5, "inner", "thread", 2.8, 2.8, 3.1, parent=4),
        )
    )
    told = [(job.after, job.cause, pytest.approx(job.gap)) for job in run.jobs]
    assert told == [("begin", 0, 0.5), ("spawn", 0, 0.1), ("end", 1, 0.001), ("spawn", 2, 0.199), ("start", 3, 0.0)]
    assert run.tail == pytest.approx(6.5)


def test_a_spawn_after_all_others_have_ended_is_the_next_phase() -> None:
    rows = [settled(n, "f", "thread", 0.0, 0.0, 1.0 + n) for n in range(2)]
    run = made_of(recording(*rows, settled(5, "g", "thread", 2.5, 2.5, 3.0)))
    assert [(job.after, job.cause, job.gap) for job in run.jobs][2] == ("end", 1, 0.5)


def test_a_functions_limit_is_that_which_its_tasks_waited_for() -> None:
    waits = [(8, "wait.begun", 0.0, 2, "Limit(2)", 1, "limit", ""), (9, "wait.ended", 1.0, 2, "Limit(2)", "limit", 0.0)]
    rows = [settled(1, "f", "loop", 0.0, 0.0, 1.0), settled(2, "f", "loop", 0.0, 0.0, 2.0)]
    run = made_of(recording(*rows, *waits))
    assert [(job.limit, job.waits) for job in run.jobs] == [("Limit(2)", 1.0), ("Limit(2)", 1.0)]
    assert run.limits == {"Limit(2)": 2}


def test_what_a_worker_imports_for_its_first_task_counts_as_its_start() -> None:
    rows = [settled(n, "f", "process", 0.0, 1.0 + 0.1 * n, 1.1 + 0.1 * n) for n in range(1, 9)]
    rows.append(settled(0, "f", "process", 0.0, 0.1, 1.1))
    run = made_of(recording(*rows))
    assert run.worker_start == pytest.approx(0.2 + 0.9)
    assert [job.waits for job in run.jobs] == [pytest.approx(0.1)] * 9


# -- the advice


def test_what_is_bound_by_the_gil_should_run_in_processes() -> None:
    found = judge(schedule(jobs(8, "thread", 1.0, 0.0)), 8.0)
    assert found is not None
    assert [(step.change.text, step.seconds) for step in found.plan] == [('Run f with on="process"', near(4.0))]


def test_what_is_bound_by_a_limit_needs_a_higher_one() -> None:
    found = judge(schedule(jobs(12, "loop", 0.0, 1.0, "Limit(3)"), limits={"Limit(3)": 3}), 4.0)
    assert found is not None
    texts = [(step.change.text, step.seconds) for step in found.plan]
    assert texts == [("Raise Limit(3) to 12, if what it protects allows", near(1.0))]


def test_what_waits_in_workers_should_wait_in_threads() -> None:
    found = judge(schedule(jobs(8, "process", 0.0, 1.0)), 4.0)
    assert found is not None
    assert [(step.change.text, step.seconds) for step in found.plan] == [('Run f with on="thread"', near(1.0))]


def test_predictions_are_scaled_to_the_run_and_not_made_where_the_replay_is_far_from_it() -> None:
    run = schedule(jobs(8, "process", 0.0, 1.0))
    near_by, far = judge(run, 4.4), judge(run, 8.0)
    assert near_by is not None
    assert near_by.plan[0].seconds == near(1.1)
    assert far is not None
    assert (far.trusted, far.plan, far.alone) == (False, [], [])


def test_where_nothing_helps_nothing_is_advised() -> None:
    found = judge(schedule(jobs(2, "process", 1.0, 0.0)), 1.0)
    assert found is not None
    assert found.plan == []
    assert what_if(recording(), []) is None


def test_the_examples_of_the_soak_are_replayed() -> None:
    """`python -m benchmarks.soak.predictions` measures whether they come true; a loaded machine cannot."""
    recorder = Recorder()
    recorder.start()
    predictions.anyio.run(predictions.bound_by_a_limit, "30")
    run = recorder.stop()
    made = made_of(run)
    assert made.limits == {"Limit(30)": 30}
    assert len(made.jobs) == 60


async def test_a_recorded_run_can_be_replayed() -> None:
    recorder = Recorder()
    recorder.start()
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        for number in range(5):
            scope.spawn(time.sleep, 0.01, on="process")
            scope.spawn(workloads.value, number, on="thread")
        scope.spawn(workloads.coroutine)
    run = recorder.stop()
    made = made_of(run)
    assert len(made.jobs) == 11
    assert 0 < replay(made) < 60
