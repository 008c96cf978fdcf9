"""The rounds: interleaved, repeated where others disturbed them, over when the time is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from unified_exec.cli.bench.models import MODELS, Kind, Model
from unified_exec.cli.bench.suite import Options, measure
from unified_exec.cli.bench.workloads import WORKLOADS
from unified_exec.cli.measuring import rounds
from unified_exec.cli.measuring.rounds import OUT_OF_TIME, Job, Series, TurnFailed, run_rounds


class Quiet:
    def turn(self, done: int, total: int, what: str) -> None: ...


class Scripted:
    """A contender that logs its turns, and fails at one of them when told to."""

    def __init__(self, name: str, log: list[str], fails_at: int = -1) -> None:
        self.name = name
        self.log = log
        self.fails_at = fails_at
        self.turns = 0

    @contextmanager
    def open(self) -> Iterator[Callable[[], dict[str, float]]]:
        yield self.turn

    def turn(self) -> dict[str, float]:
        self.turns += 1
        if self.turns == self.fails_at:
            raise TurnFailed("its process died: it printed nothing")
        self.log.append(self.name)
        return {"seconds": 1.0}


class Neighbours:
    """The cores that others keep busy, as the test scripts them."""

    readings: Iterator[float]

    def busy_cores(self) -> float:
        return next(self.readings, 0.0)


def go(
    monkeypatch: pytest.MonkeyPatch, others: list[float], until: float = math.inf, fails_at: int = -1
) -> tuple[str | None, list[Job], list[str]]:
    """Three rounds of contenders a and b; b fails at a turn of its own."""
    Neighbours.readings = iter(others)
    monkeypatch.setattr(rounds, "Neighbours", Neighbours)
    # A scripted turn takes no time, and so short a disturbance would count as none.
    monkeypatch.setattr(rounds.Turn, "calm", property(lambda turn: turn.others < 0.25))
    log: list[str] = []
    jobs = [Job(Series(), name, Scripted(name, log, at).open) for name, at in (("a", -1), ("b", fails_at))]
    over = run_rounds(jobs, 3, Quiet(), least=3, until=until)
    return over, jobs, log


def test_rounds_are_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, log = go(monkeypatch, [])
    assert log == ["a", "b"] * 3


def test_a_disturbed_turn_is_repeated_until_enough_are_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    over, jobs, log = go(monkeypatch, [0, 2, 0, 2, 0, 0, 2, 0, 0])
    assert log == ["a", "b"] * 3 + ["b"] * 3
    assert [len(job.series.calm_turns()) for job in jobs] == [3, 3]
    assert over is None


def test_a_machine_that_never_gets_calm_ends_the_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, jobs, log = go(monkeypatch, [2.0] * 1000)
    assert len(log) == 6 + 6 * 2
    figure = jobs[0].series.figure("seconds", 3)
    assert figure is not None
    assert figure["median"] is None


def test_no_turn_begins_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    over, _, log = go(monkeypatch, [], until=-math.inf)
    assert log == []
    assert over == OUT_OF_TIME


def test_a_model_that_fails_is_out_with_the_reason_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, jobs, log = go(monkeypatch, [], fails_at=2)
    assert log == ["a", "b", "a", "a"]
    assert jobs[1].series.error == "its process died: it printed nothing"
    assert jobs[1].series.turns == []


def test_a_model_whose_process_cannot_work_ends_nothing() -> None:
    broken = Model("not-there", "not there", Kind.THREAD, MODELS[2].recipe)
    tiny = next(workload for workload in WORKLOADS if workload.key == "tiny")
    run = measure(Options([MODELS[0], broken], [tiny], 2, rounds=1, least=1, scale=0.01), Quiet())
    errors = {cell.model: cell.error for cell in run.cells}
    assert errors["sequential"] is None
    assert "its process died: StopIteration" in (errors["not-there"] or "")
