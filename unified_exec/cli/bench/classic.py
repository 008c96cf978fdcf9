"""The comparison every text on concurrency has, with a measured figure in each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .figures import shown, times
from .readings import beyond_noise, ratio
from .results import Results

PYTHON_WORK = "primes"
C_WORK = "hashing"
UNKNOWN = "too noisy"
_MOST_NAMED = 4


@dataclass(frozen=True)
class Line:
    """One model's line of the table."""

    model: str
    best_for: str
    parallelism: str
    gil: str
    overhead: str
    memory: str

    def cells(self) -> list[str]:
        return [self.model, self.best_for, self.parallelism, self.gil, self.overhead, self.memory]


def classic(results: Results) -> list[Line]:
    """The table's lines, one for each model that took part."""
    cells = {(cell["workload"], cell["model"]): cell for cell in results["cells"]}
    profiles = {profile["model"]: profile for profile in results["profiles"]}
    firsts = _firsts(results)
    return [
        Line(
            model["title"],
            _best_for(results, model["key"], firsts),
            _parallelism(cells, model["key"]),
            _gil(results, cells, model),
            _overhead(profiles.get(model["key"])),
            _memory(profiles.get(model["key"])),
        )
        for model in results["models"]
    ]


def _firsts(results: Results) -> set[tuple[str, str]]:
    """Workload and model of each that nobody was faster than beyond noise."""
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


def _best_for(results: Results, model: str, firsts: set[tuple[str, str]]) -> str:
    titles = {workload["key"]: workload["title"] for workload in results["workloads"]}
    mine = [cell for cell in results["cells"] if cell["model"] == model]
    won = [cell for cell in mine if (cell["workload"], model) in firsts]
    won.sort(key=lambda cell: -(cell["speedup"] or 0.0))
    named = [titles[cell["workload"]] + _times(cell) for cell in won[:_MOST_NAMED]]
    if len(won) > _MOST_NAMED:
        named.append(f"{len(won) - _MOST_NAMED} more")
    if named:
        return ", ".join(named)
    known = [cell for cell in mine if cell["speedup"] is not None]
    if not known:
        return UNKNOWN if mine else "—"
    best = max(known, key=lambda cell: float(cell["speedup"]))
    return f"[{titles[best['workload']]}{_times(best)}]"


def _times(cell: dict[str, Any]) -> str:
    return "" if cell["speedup"] is None or cell["model"] == "sequential" else f" {times(cell['speedup'])}"


def _parallelism(cells: dict[tuple[str, str], dict[str, Any]], model: str) -> str:
    parts = []
    for workload, name in ((PYTHON_WORK, "Python"), (C_WORK, "C")):
        cell = cells.get((workload, model))
        if cell is not None:
            figure = cell["parallelism"]
            known = figure is not None and figure["median"] is not None
            parts.append(f"{name} {figure['median']:.2f}" if known else f"{name}: {UNKNOWN}")
    return ", ".join(parts) or "—"


def _gil(results: Results, cells: dict[tuple[str, str], dict[str, Any]], model: dict[str, Any]) -> str:
    if model["kind"] in ("sequential", "loop"):
        return "one thread"
    if (PYTHON_WORK, model["key"]) not in cells:
        return "—"
    workers = results["settings"]["workers"]
    times = {
        cell["workers"]: cell["seconds"]
        for cell in results["scaling"]
        if cell["workload"] == PYTHON_WORK and cell["model"] == model["key"]
    }
    gained = ratio(times.get(1), times.get(workers)) or cells[PYTHON_WORK, model["key"]]["speedup"]
    if gained is None:
        return UNKNOWN
    usable = min(workers, results["machine"]["usable_cores"])
    share = gained / usable
    word = "none" if share > 0.8 else "full" if gained < 1.2 else "in part"
    return f"{word}: {gained:.2f} × with {workers}"


def _overhead(profile: dict[str, Any] | None) -> str:
    if profile is None or profile["error"]:
        return "—"
    task = profile["task"]
    per_task = shown(task["median"], "s") if task and task["median"] is not None else UNKNOWN
    call = profile["call"]
    return f"{per_task} a task, {shown(call[len(call) // 2], 's') if call else UNKNOWN} a call"


def _memory(profile: dict[str, Any] | None) -> str:
    if profile is None or profile["error"]:
        return "—"
    parts = []
    for measure, count, name in (("worker_bytes", 1, "a worker"), ("task_bytes", 1000, "1,000 tasks")):
        figure = profile[measure]
        if figure is not None:
            value = shown(figure["median"] * count, "bytes") if figure["median"] is not None else UNKNOWN
            parts.append(f"{value} {name}")
    return ", ".join(parts) or "—"
