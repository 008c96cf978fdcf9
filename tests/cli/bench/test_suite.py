"""The rounds: interleaved, repeated where others disturbed them, over when the time is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from unified_exec.cli.bench import suite
from unified_exec.cli.bench.hosts import HostError
from unified_exec.cli.bench.models import MODELS, Kind, Model
from unified_exec.cli.bench.readings import Cell
from unified_exec.cli.bench.suite import Job, Options, Run, measure
from unified_exec.cli.bench.workloads import WORKLOADS


class Quiet:
    def turn(self, done: int, total: int, what: str) -> None: ...


class Scripted:
    """A host that notes who was asked, and fails or interrupts when told to."""

    def __init__(self, model: str, log: list[str], fails_at: int = -1) -> None:
        self.model = model
        self.log = log
        self.fails_at = fails_at
        self.turns = 0

    def ask(self, seconds: float, **order: Any) -> dict[str, Any]:
        if order["do"] == "ready":
            return {}
        self.turns += 1
        if self.turns == self.fails_at:
            raise HostError("its process died: no word")
        self.log.append(self.model)
        return {"seconds": 1.0}


class Neighbours:
    """Others' busy cores, as the test has them."""

    readings: Iterator[float]

    def end(self) -> float:
        return next(self.readings, 0.0)


def go(
    monkeypatch: pytest.MonkeyPatch, others: list[float], until: float = math.inf, fails_at: int = -1
) -> tuple[Run, list[Job], list[str]]:
    """Three rounds of models a and b; b fails at a turn of its own."""
    Neighbours.readings = iter(others)
    monkeypatch.setattr(suite, "Neighbours", Neighbours)
    # A turn of a fake takes no time, and so short a disturbance counts as none.
    monkeypatch.setattr("unified_exec.cli.bench.readings.Turn.calm", property(lambda turn: turn.others < 0.25))
    run = Run(Options([], [], 2, rounds=3, least=3))
    jobs = [Job(Cell("primes", model, 1), model, {"do": "turn"}) for model in "ab"]
    log: list[str] = []
    hosts: Any = {"a": Scripted("a", log), "b": Scripted("b", log, fails_at)}
    suite._rounds(run, jobs, hosts, Quiet(), until)
    return run, jobs, log


def test_rounds_are_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, log = go(monkeypatch, [])
    assert log == ["a", "b"] * 3


def test_a_disturbed_turn_is_repeated_until_enough_are_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    run, jobs, log = go(monkeypatch, [0, 2, 0, 2, 0, 0, 2, 0, 0])
    assert log == ["a", "b"] * 3 + ["b"] * 3
    assert [len(job.cell.calm_turns()) for job in jobs] == [3, 3]
    assert run.over is None


def test_a_machine_that_never_gets_calm_ends_the_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, jobs, log = go(monkeypatch, [2.0] * 1000)
    assert len(log) == 6 + 6 * 2
    figure = jobs[0].cell.figure("seconds", 3)
    assert figure is not None
    assert figure["median"] is None


def test_no_turn_begins_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _, log = go(monkeypatch, [], until=-math.inf)
    assert log == []
    assert run.over == "the time was over"


def test_a_model_that_fails_is_out_with_the_reason_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, jobs, log = go(monkeypatch, [], fails_at=2)
    assert log == ["a", "b", "a", "a"]
    assert jobs[1].cell.error == "its process died: no word"
    assert jobs[1].cell.turns == []


def test_a_model_whose_process_cannot_work_ends_nothing() -> None:
    broken = Model("not-there", "not there", Kind.THREAD, MODELS[2].recipe)
    tiny = next(workload for workload in WORKLOADS if workload.key == "tiny")
    run = measure(Options([MODELS[0], broken], [tiny], 2, rounds=1, least=1, scale=0.01), Quiet())
    errors = {cell.model: cell.error for cell in run.cells}
    assert errors["sequential"] is None
    assert "its process died: StopIteration" in (errors["not-there"] or "")
