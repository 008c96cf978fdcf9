"""Results as a run would find them, made up: for what is shown of them."""

from __future__ import annotations

import copy
from typing import Any

from unified_exec.cli.bench.model_costs import POINTS
from unified_exec.cli.bench.models import MODELS
from unified_exec.cli.bench.result_file import Results, as_json
from unified_exec.cli.bench.suite import Cell, Options, Run
from unified_exec.cli.bench.workloads import WORKLOADS
from unified_exec.cli.measuring.rounds import Turn

MACHINE: dict[str, Any] = {
    "system": "Linux 6 x86_64",
    "processor": "A </script> & processor",
    "cores": 2,
    "affinity": 2,
    "usable_cores": 2,
    "python": "CPython 3.13.0",
    "gil": True,
    "load_average_at_start": [0.0, 0.0, 0.0],
    "revision": None,
    "versions": {"unified-exec": "0.1.0", "numpy": None},
}
_SPEED = {"sequential": 1.0, "asyncio": 1.0, "thread-pool": 1.0, "process-pool": 1.8, "scope-process": 1.9}


def results() -> Results:
    """Three calm rounds of five models; asyncio's time for primes is too noisy, the thread pool failed at HTTP."""
    models = [model for model in MODELS if model.key in _SPEED]
    workloads = [workload for workload in WORKLOADS if workload.key in ("primes", "hashing", "http-100", "tiny")]
    run = Run(Options(models, workloads, 2), lines={model.key: model.lines for model in models}, seconds=12.0)
    run.left_out = [("HTTP, 10,000 connections", "too large for a quick run")]
    for workload in workloads:
        for model in models:
            run.cells.append(_cell(workload.key, model.key, 0.1 / _SPEED[model.key]))
    for workers in (1, 2, 4):
        for model in ("thread-pool", "process-pool", "scope-process"):
            speed = _SPEED[model] if workers > 1 else 1.0
            run.scaling.append(_cell("primes", model, 0.1 / speed, workers))
    run.profiles = [Cell(None, model.key, 2, turns=[Turn(_profile(), 0.0, 1.0)] * 3) for model in models]
    for cell in run.cells:
        if (cell.workload, cell.model) == ("primes", "asyncio"):
            cell.turns[0].others = cell.turns[1].others = 2.0
        if (cell.workload, cell.model) == ("http-100", "thread-pool"):
            cell.error, cell.turns = "OSError: no more", []
    return as_json(run, MACHINE, "2026-01-02T03:04:05+00:00")


def _cell(workload: str, model: str, seconds: float, workers: int = 2) -> Cell:
    return Cell(workload, model, workers, turns=[_turn(seconds * (1 + 0.01 * n)) for n in range(3)])


def _turn(seconds: float) -> Turn:
    curve = [seconds * (n + 1) / POINTS for n in range(POINTS)]
    values = {"seconds": seconds, "parallelism": 1.0, "tasks": 10, "done": 10, "latency": curve}
    return Turn(values, 0.0, seconds)


def _profile() -> dict[str, Any]:
    return {
        "start": 0.01,
        "call": [1e-4] * POINTS,
        "task": 1e-5,
        "metg": 1e-4,
        "parent_bytes": 20 << 20,
        "worker_bytes": 1 << 20,
        "task_bytes": 500.0,
        "workers": 2,
    }


def slower(found: Results, model: str, factor: float) -> Results:
    """The same run with one model's times multiplied."""
    changed = copy.deepcopy(found)
    for cell in changed["cells"]:
        if cell["model"] == model and cell["seconds"] and cell["seconds"]["median"]:
            cell["seconds"]["median"] *= factor
    return changed
