"""The comparison of threads, processes and coroutines that every textbook has, with a measured figure in each cell."""

from __future__ import annotations

from typing import Any

from ..measuring.figures import beyond_noise, ratio, shown, times
from ..measuring.tables import NOISY, NONE, Table
from .result_file import Results

PYTHON_WORK = "primes"
C_WORK = "hashing"
_MOST_NAMED = 4

Cells = dict[tuple[str, str], dict[str, Any]]
"""Cells by workload and model."""


def overview(results: Results) -> Table:
    """Return the table, with a row for each model that took part."""
    cells: Cells = {(cell["workload"], cell["model"]): cell for cell in results["cells"]}
    profiles = {profile["model"]: profile for profile in results["profiles"]}
    fastest = _fastest(results)
    rows = [
        [
            model["title"],
            _best_for(results, model["key"], fastest),
            _parallelism(cells, model["key"]),
            _gil(results, cells, model),
            _overhead(profiles.get(model["key"])),
            _memory(profiles.get(model["key"])),
        ]
        for model in results["models"]
    ]
    return Table(
        "Which model for what",
        ("model", "best for", "true parallelism", "GIL impact", "overhead", "memory"),
        rows,
        "Best for: workloads on which no model was faster beyond noise, with the speed-up over sequential; in brackets "
        "its best workload, for a model that was never the fastest. True parallelism: CPU seconds / wall seconds, "
        "computing in Python and in C that releases the GIL. GIL impact: speed-up of all workers over one worker on "
        "the same Python work. Overhead: time per task when many are submitted at once, and time of a single call. "
        "Memory: of a worker, and of 1,000 submitted tasks.",
        wordy=True,
    )


def _fastest(results: Results) -> set[tuple[str, str]]:
    """Return workload and model of those cells that no model was faster than beyond noise."""
    found = set()
    for workload in results["workloads"]:
        timed = [
            cell
            for cell in results["cells"]
            if cell["workload"] == workload["key"] and cell["seconds"] and cell["seconds"]["median"] is not None
        ]
        if not timed:
            continue
        best = min(timed, key=lambda cell: float(cell["seconds"]["median"]))
        for cell in timed:
            if not beyond_noise(best["seconds"], cell["seconds"]):
                found.add((workload["key"], cell["model"]))
    return found


def _best_for(results: Results, model: str, fastest: set[tuple[str, str]]) -> str:
    titles = {workload["key"]: workload["title"] for workload in results["workloads"]}
    own = [cell for cell in results["cells"] if cell["model"] == model]
    won = [cell for cell in own if (cell["workload"], model) in fastest]
    won.sort(key=lambda cell: -(cell["speedup"] or 0.0))
    named = [titles[cell["workload"]] + _speedup(cell) for cell in won[:_MOST_NAMED]]
    if len(won) > _MOST_NAMED:
        named.append(f"{len(won) - _MOST_NAMED} more")
    if named:
        return ", ".join(named)
    known = [cell for cell in own if cell["speedup"] is not None]
    if not known:
        return NOISY if own else NONE
    best = max(known, key=lambda cell: float(cell["speedup"]))
    return f"[{titles[best['workload']]}{_speedup(best)}]"


def _speedup(cell: dict[str, Any]) -> str:
    return "" if cell["speedup"] is None or cell["model"] == "sequential" else f" {times(cell['speedup'])}"


def _parallelism(cells: Cells, model: str) -> str:
    parts = []
    for workload, name in ((PYTHON_WORK, "Python"), (C_WORK, "C")):
        cell = cells.get((workload, model))
        if cell is not None:
            figure = cell["parallelism"]
            known = figure is not None and figure["median"] is not None
            parts.append(f"{name} {figure['median']:.2f}" if known else f"{name}: {NOISY}")
    if parts and all(part.endswith(NOISY) for part in parts):
        return NOISY
    return ", ".join(parts) or NONE


def _gil(results: Results, cells: Cells, model: dict[str, Any]) -> str:
    if model["kind"] in ("sequential", "loop"):
        return "one thread"
    if (PYTHON_WORK, model["key"]) not in cells:
        return NONE
    workers = results["settings"]["workers"]
    seconds = {
        cell["workers"]: cell["seconds"]
        for cell in results["scaling"]
        if cell["workload"] == PYTHON_WORK and cell["model"] == model["key"]
    }
    gained = ratio(seconds.get(1), seconds.get(workers)) or cells[PYTHON_WORK, model["key"]]["speedup"]
    if gained is None:
        return NOISY
    share = gained / min(workers, results["machine"]["usable_cores"])
    word = "none" if share > 0.8 else "full" if gained < 1.2 else "partial"
    return f"{word}: {gained:.2f} × with {workers}"


def _overhead(profile: dict[str, Any] | None) -> str:
    if profile is None or profile["error"]:
        return NONE
    task = profile["task"]
    per_task = shown(task["median"], "s") if task and task["median"] is not None else NOISY
    call = profile["call"]
    per_call = shown(call[len(call) // 2], "s") if call else NOISY
    return NOISY if per_task == per_call == NOISY else f"{per_task} a task, {per_call} a call"


def _memory(profile: dict[str, Any] | None) -> str:
    if profile is None or profile["error"]:
        return NONE
    parts = []
    for measure, count, name in (("worker_bytes", 1, "a worker"), ("task_bytes", 1000, "1,000 tasks")):
        figure = profile[measure]
        if figure is not None:
            value = shown(figure["median"] * count, "bytes") if figure["median"] is not None else NOISY
            parts.append(f"{value} {name}")
    if parts and all(part.startswith(NOISY) for part in parts):
        return NOISY
    return ", ".join(parts) or NONE
