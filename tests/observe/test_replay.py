"""The replay of a recorded run elsewhere: arithmetic, so every figure here is exact."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak import predictions
from tests.observe import workloads
from tests.observe.patience import until
from unified_exec import ProcessPool, SyncTaskScope, TaskScope
from unified_exec.observe.output import recorder as recorder_module
from unified_exec.observe.output.demands import Demand, cores_of, demands
from unified_exec.observe.output.recorder import LOOK_SECONDS, Look, Recorder, Recording, Sample
from unified_exec.observe.output.replay import moved, replay
from unified_exec.observe.output.schedule import PROCESS_CALL, Job, Schedule, schedule_of
from unified_exec.observe.output.threads import BLOCKED, RUNS, WANTS_GIL, ThreadReader, Used
from unified_exec.observe.output.what_if import changes, judge, what_if

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

PLACES = {"thread": 8, "process": 2}


def jobs(
    count: int, backend: str, python: float, waits: float, limit: str = "", released: float = 0.0, fn: str = "m:f"
) -> list[Job]:
    return [Job(fn, backend, "begin", 0, 0.0, python, released, waits, limit) for _ in range(count)]


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


def test_a_program_that_cannot_have_all_cores_gains_less_by_processes() -> None:
    run = schedule(jobs(8, "thread", 1.0, 0.0), capacity=1.25)
    assert replay(run) == near(8.0)
    assert replay(moved(run, "m:f", "thread", "process")) == near(8.0 / 1.25)


def test_threads_that_compute_without_the_gil_have_a_core_each() -> None:
    assert replay(schedule(jobs(8, "thread", 0.0, 0.0, released=1.0))) == near(4.0)
    mixed = [*jobs(4, "thread", 1.0, 0.0, fn="m:python"), *jobs(4, "thread", 0.0, 0.0, released=1.0, fn="m:array")]
    assert replay(schedule(mixed)) == near(5.5)  # for 2.5 s five share two cores, then the GIL is what counts
    assert replay(schedule(jobs(8, "thread", 0.5, 0.0, released=0.5))) == near(6.0)  # they have the GIL in turn
    assert replay(schedule(jobs(8, "process", 0.5, 0.0, released=0.5))) == near(4.0)


def test_what_travels_takes_longer_in_a_worker() -> None:
    made = [replace(job, travels=0.5) for job in jobs(4, "process", 1.0, 0.0)]
    assert replay(schedule(made)) == near(3.0)
    assert replay(moved(schedule(made), "m:f", "process", "thread")) == near(4.0)


def test_what_waits_takes_as_long_as_there_are_places() -> None:
    assert replay(schedule(jobs(8, "process", 0.0, 1.0))) == near(4.0)
    assert replay(schedule(jobs(8, "thread", 0.0, 1.0))) == near(1.0)
    assert replay(schedule(jobs(8, "loop", 0.0, 1.0), places={})) == near(1.0)


def test_a_limit_lets_as_many_pass_as_it_has_permits() -> None:
    run = schedule(jobs(12, "loop", 0.0, 1.0, "Limit(3)"), limits={"Limit(3)": 3})
    assert replay(run) == near(4.0)
    assert replay(replace(run, limits={"Limit(3)": 6})) == near(2.0)


def test_a_limit_that_is_held_for_a_part_of_the_run_lets_the_next_pass_then() -> None:
    made = [replace(job, holds=0.25) for job in jobs(12, "loop", 0.0, 1.0, "Limit(3)")]
    assert replay(schedule(made, limits={"Limit(3)": 3})) == near(3 * 0.25 + 1.0)
    assert replay(schedule(made, limits={"Limit(3)": 12})) == near(1.0)


def test_workers_have_to_be_started_and_the_end_of_the_run_stays() -> None:
    run = schedule(jobs(2, "process", 1.0, 0.0), worker_start=0.5, tail=0.25)
    assert replay(run) == pytest.approx(1.75 + PROCESS_CALL)


def test_what_was_spawned_after_an_end_is_spawned_after_it_again() -> None:
    made = [Job("m:f", "thread", "begin", 0, 0.5, 0.0, 0.0, 2.0), Job("m:g", "thread", "end", 0, 0.25, 0.0, 0.0, 1.0)]
    assert replay(schedule(made)) == near(3.75)
    made[0] = replace(made[0], waits=1.0)
    assert replay(schedule(made)) == near(2.75)


def test_a_coroutine_that_waits_for_what_it_spawned_ends_after_it() -> None:
    outer = Job("m:outer", "loop", "begin", 0, 0.0, 0.0, 0.0, 9.0, children=[1, 2], tail=0.5)
    children = [Job("m:f", "thread", "start", 0, 0.1 * n, 0.0, 0.0, 1.0) for n in (1, 2)]
    after = Job("m:g", "thread", "end", 0, 0.0, 0.0, 0.0, 1.0)
    assert replay(schedule([outer, *children, after])) == near(2.7)


# -- what the recording tells


def settled(task: int, fn: str, backend: str, spawned: float, started: float, finished: float, **more: Any) -> Any:
    values = {"parent": 0, "worker": 1, **more}
    at = values.get("at", finished)
    times = (spawned, values.get("sent"), values["worker"], 1, "value", "", started, finished, 0, 0, "")
    return (task, "task.settled", at, task, fn, f"m:{fn}", backend, 1, values["parent"], 1, *times)


def recording(*rows: Any, samples: list[Sample] | None = None, ended: float = 10.0) -> Recording:
    return Recording(began=0.0, ended=ended, rows=list(rows), samples=samples or [])


def made_of(run: Recording) -> Schedule:
    return schedule_of(run, run.of_kind("task.settled"))


def steps(cpu: dict[int, float], stalled: dict[int, float] | None = None, seconds: int = 10) -> list[Sample]:
    """Samples of threads that used `cpu` cores and waited `stalled` for one, a second each."""
    waited = stalled or {}
    return [
        Sample(
            float(n), [], threads={thread: Used(n * used, n * waited.get(thread, 0.0)) for thread, used in cpu.items()}
        )
        for n in range(seconds + 1)
    ]


def looks(*states: dict[int, str]) -> list[Look]:
    """Looks at threads, twenty a second, each of `states` in turn."""
    return [Look(0.025 + 0.05 * n, states[n % len(states)]) for n in range(200)]


def threads(fn: str, *idents: int, seconds: float = 10.0) -> list[Any]:
    """A task in each of these threads, for the whole time."""
    return [settled(ident, fn, "thread", 0.0, 0.0, seconds, worker=ident) for ident in idents]


def needed(rows: list[Any], samples: list[Sample], seen: list[Look]) -> dict[str, Demand]:
    run = recording(*rows, samples=samples)
    run.looks = seen
    return {fn[2:]: demand for (fn, _), demand in demands(run, run.of_kind("task.settled")).items()}


def everyone(state: str, *idents: int) -> dict[int, str]:
    return dict.fromkeys(idents, state)


def test_threads_that_share_a_core_and_want_the_gil_compute_and_wait_for_nothing_else() -> None:
    found = needed(
        threads("f", 1, 2, 3, 4), steps(dict.fromkeys((1, 2, 3, 4), 0.25)), looks(everyone(WANTS_GIL, 1, 2, 3, 4))
    )
    assert found["f"] == (near(0.25), 0.0, 0.0)


def test_a_thread_that_computes_alone_needs_the_gil_only_if_it_is_seen_to_want_it() -> None:
    assert needed(threads("f", 1), steps({1: 1.0}), looks({1: WANTS_GIL}))["f"] == (near(1.0), 0.0, 0.0)
    assert needed(threads("f", 1), steps({1: 1.0}), looks({1: RUNS}))["f"] == (0.0, near(1.0), 0.0)


def test_a_function_that_computes_without_the_gil_is_told_from_one_that_needs_it() -> None:
    rows = [*threads("python", 1), *threads("array", 2)]
    found = needed(rows, steps({1: 1.0, 2: 0.9}), looks({1: WANTS_GIL, 2: RUNS}))
    assert found["python"] == (near(1.0), 0.0, 0.0)
    assert found["array"] == (0.0, near(0.9), 0.0)


def test_looks_that_come_when_the_gil_is_given_away_do_not_count_too_much_as_computing_without_it() -> None:
    seen = looks({1: RUNS, 2: WANTS_GIL}, {1: WANTS_GIL, 2: RUNS})
    found = needed(threads("f", 1, 2), steps({1: 0.6, 2: 0.6}), seen)
    assert found["f"] == (near(0.5), near(0.1), 0.0)


def test_a_task_that_waits_and_computes_is_told_from_one_that_waits_for_the_gil() -> None:
    # Of eight threads one waits for something else, as looks tell; one had the GIL until the look.
    states = [everyone(WANTS_GIL, *range(1, 9)) | {ident: BLOCKED} for ident in range(1, 9)]
    found = needed(threads("f", *range(1, 9)), steps(dict.fromkeys(range(1, 9), 0.125)), looks(*states))
    assert found["f"] == (near(0.125), 0.0, near(0.125))
    found = needed(threads("f", 1), steps({1: 0.5}), looks({1: WANTS_GIL}, {1: BLOCKED}))
    assert found["f"] == (near(0.5), 0.0, near(0.5))


def test_threads_whose_cores_others_have_compute_as_well() -> None:
    computed, stalled = dict.fromkeys((1, 2, 3, 4), 0.025), dict.fromkeys((1, 2, 3, 4), 0.7)
    seen = looks({1: RUNS, 2: RUNS, 3: WANTS_GIL, 4: WANTS_GIL})
    assert needed(threads("f", 1, 2, 3, 4), steps(computed, stalled), seen)["f"] == (near(0.25), 0.0, 0.0)


def test_without_looks_threads_that_compute_all_the_time_together_wait_for_the_gil_and_others_do_not() -> None:
    assert needed(threads("f", 1, 2), steps({1: 0.5, 2: 0.5}), [])["f"] == (near(0.5), 0.0, 0.0)
    assert needed(threads("f", 1, 2), steps({1: 0.2, 2: 0.2}), [])["f"] == (near(0.2), 0.0, near(0.8))
    found = needed(threads("f", 1, 2), steps({1: 0.9, 2: 0.9}), [])["f"]
    assert found == (near(0.5), near(0.4), 0.0)


@pytest.mark.parametrize(
    ("computed", "stalled", "idle", "capacity", "slowness"),
    [
        (1.0, 0.0, 1.0, 2.0, 1.0),  # nobody else is there
        (1.0, 0.0, 0.5, 1.5, 1.0),  # others have half a core
        (0.5, 0.5, 0.0, 1.0, 2.0),  # others want all cores: two processes have no more together than one thread
        (0.8, 0.2, 0.2, 1.25, 1.25),
        (0.1, 0.0, 0.0, 2.0, 1.0),  # it hardly computes, and shows nothing
        (0.5, 0.5, None, 2.0, 1.0),  # the system does not tell
    ],
)
def test_the_cores_that_other_programs_had_are_not_there_for_processes(
    monkeypatch: pytest.MonkeyPatch,
    computed: float,
    stalled: float,
    idle: float | None,
    capacity: float,
    slowness: float,
) -> None:
    monkeypatch.setattr("unified_exec.observe.output.demands.cpu_count", lambda: 2)
    samples = steps({1: computed}, {1: stalled})
    for n, sample in enumerate(samples):
        sample.seconds, sample.idle = n * computed, None if idle is None else n * idle
    assert cores_of(recording(samples=samples)) == (near(capacity), near(slowness))


def test_only_the_time_in_which_tasks_ran_counts() -> None:
    rows = [settled(n, "f", "thread", 4.5, 4.5, 5.5, worker=n) for n in (1, 2)]
    assert needed(rows, steps({1: 0.5, 2: 0.5}), [])["f"].python == near(1.0)


def test_two_functions_are_told_apart_by_when_they_ran() -> None:
    rows = [settled(1, "computes", "thread", 0.0, 0.0, 5.0), settled(2, "waits", "thread", 5.0, 5.0, 10.0)]
    samples = [*steps({1: 0.9}, seconds=5), *(Sample(float(n), [], threads={1: Used(4.5, 0.0)}) for n in range(6, 11))]
    found = needed(rows, samples, [])
    assert found["computes"].python > 0.85
    assert found["waits"] == (near(0.0), 0.0, near(1.0))


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


def test_how_long_a_limit_is_held_is_told_by_how_fast_it_passes_on() -> None:
    rows: list[Any] = [settled(1, "f", "loop", 0.0, 0.0, 2.0)]
    for n in range(2, 11):  # one every 0.1 s, and each runs for 2 s after it
        got = 0.1 * (n - 1)
        rows += [
            (8, "wait.begun", 0.0, n, "Limit(1)", 1, "limit", ""),
            (9, "wait.ended", got, n, "Limit(1)", "limit", 0.0),
        ]
        rows += [settled(n, "f", "loop", 0.0, 0.0, got + 2.0)]
    run = made_of(recording(*rows))
    assert [job.holds for job in run.jobs] == [pytest.approx(0.1)] * 10
    assert replay(run) == pytest.approx(9 * 0.1 + 2.0 + run.tail)


def test_what_a_worker_imports_for_its_first_task_counts_as_its_start() -> None:
    rows = [settled(n, "f", "process", 0.0, 1.0 + 0.1 * n, 1.1 + 0.1 * n) for n in range(1, 9)]
    rows.append(settled(0, "f", "process", 0.0, 0.1, 1.1))
    run = made_of(recording(*rows))
    assert run.worker_start == pytest.approx(0.2 + 0.9)
    assert [job.waits for job in run.jobs] == [pytest.approx(0.1)] * 9


def test_what_travels_is_the_least_that_arguments_and_results_took() -> None:
    rows = [
        settled(n, "f", "process", 0.0, 0.1 * n + 0.03, 0.1 * n + 0.1, sent=0.1, at=0.1 * n + 0.12) for n in (1, 2, 3)
    ]
    assert [job.travels for job in made_of(recording(*rows)).jobs] == [pytest.approx(0.05)] * 3


def test_threads_are_seen_to_want_the_gil_or_to_wait_for_something_else() -> None:
    reader, over, spins = ThreadReader(), threading.Event(), True

    def spin() -> None:
        while spins:
            pass

    made = [threading.Thread(target=spin), threading.Thread(target=over.wait)]
    for thread in made:
        thread.start()
    try:
        if not reader.states():
            pytest.skip("the system does not tell what threads do, or there is no GIL")
        spinning, waiting = (thread.ident or 0 for thread in made)
        expected = {spinning: WANTS_GIL, waiting: BLOCKED}
        until(lambda: expected.items() <= (reader.states() or {}).items())
        assert reader.used()[spinning].seconds > 0
    finally:
        spins = False
        over.set()
        for thread in made:
            thread.join()


def record_a_thread_that_is_looked_at(seconds: float = 0.3) -> Recording:
    recorder = Recorder()
    recorder.start()
    with SyncTaskScope() as scope:
        scope.spawn(time.sleep, seconds, on="thread")
    return recorder.stop()


def test_where_the_system_does_not_tell_what_threads_do_there_are_no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that see nothing would say that nobody has the GIL."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    monkeypatch.setattr(ThreadReader, "_read", lambda *_: [])
    assert record_a_thread_that_is_looked_at().looks == []


def test_a_long_recording_is_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "LOOKS_MAX", 4)
    recorder = Recorder()
    for at in range(10):
        recorder._keep(Look(float(at), {1: RUNS}))
    kept = recorder.recording.looks
    assert [look.at for look in kept] == [7.0, 9.0]
    assert all(look.states is kept[0].states for look in kept)
    assert recorder._look_seconds == 16 * LOOK_SECONDS


# -- the advice


def test_what_is_bound_by_the_gil_should_run_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
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


def test_a_function_that_hardly_runs_is_not_moved() -> None:
    made = [*jobs(8, "thread", 1.0, 0.0), *jobs(1, "thread", 0.01, 0.0, fn="m:tiny")]
    assert [change.what for change, _ in changes(schedule(made)) if ":" in change.what] == ["m:f"]


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
