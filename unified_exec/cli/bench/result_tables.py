"""The tables of a run: one overview, what each model costs, times, latencies, scaling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..measuring.figures import shown, times
from ..measuring.tables import NOISY, NONE, Table, of_figure
from .overview_table import overview
from .result_file import Results
from .workloads import Group


def result_tables(results: Results) -> list[Table]:
    """Return all tables of a run, in their order."""
    made = [overview(results), _costs(results), *_times(results), *_latencies(results), *_scaling(results)]
    return [table for table in made if table.rows]


def describe_run(results: Results) -> str:
    """Describe in a few sentences how a run was measured."""
    settings = results["settings"]
    text = (
        f"{'Quick sizes' if settings['quick'] else 'Full sizes'}, {settings['rounds']} interleaved rounds, "
        f"{settings['workers']} workers that compute, {results['seconds']:.0f} s in total. Each figure is the median "
        f"of the calm rounds: those in which other processes kept at most {results['thresholds']['others']:g} cores "
        f'busy. "{NOISY}" means that fewer than {settings["least"]} rounds were calm, or that their interquartile '
        f"range exceeds {results['thresholds']['spread']:.0%} of the median."
    )
    busy = [cell["seconds"]["others"] for cell in results["cells"] if cell["seconds"]]
    others = sum(busy) / len(busy) if busy else 0.0
    if others > results["thresholds"]["others"]:
        text += f" Other processes kept {others:.1f} cores busy on average: run it on an idle machine for more figures."
    return text + (f" The run ended early: {results['over']}." if results["over"] else "")


def titles(results: Results, of: str) -> dict[str, str]:
    """Return titles by key; `of` is ``"models"`` or ``"workloads"``."""
    return {entry["key"]: entry["title"] for entry in results[of]}


def _costs(results: Results) -> Table:
    rows = []
    names = titles(results, "models")
    lines = {model["key"]: model["lines"] for model in results["models"]}
    for profile in results["profiles"]:
        if profile["error"]:
            rows.append([names[profile["model"]], f"failed: {profile['error']}", *[NONE] * 8])
            continue
        call = profile["call"]
        rows.append(
            [
                names[profile["model"]],
                of_figure(profile["start"], "s"),
                of_figure(profile["task"], "s"),
                *((shown(call[at], "s") for at in _percentiles(call)) if call else (NOISY, NOISY)),
                NONE if profile["metg"] is None else of_figure(profile["metg"], "s"),
                of_figure(profile.get("parent_bytes"), "bytes"),
                of_figure(profile["worker_bytes"], "bytes"),
                of_figure(_times_thousand(profile["task_bytes"]), "bytes"),
                str(lines[profile["model"]]),
            ]
        )
    return Table(
        "What a model costs",
        (
            "model",
            "start",
            "per task",
            "call, p50",
            "call, p97.5",
            "METG",
            "parent",
            "per worker",
            "per 1,000 tasks",
            "lines",
        ),
        rows,
        "Start: from nothing to the first result, including the library's import. METG: the smallest task that keeps "
        "the workers busy for half of the time (Task Bench, SC20); a dash where no length does, as with threads that "
        "share the GIL. Memory: private bytes (USS) of the parent and of a worker (a forked worker shares its parent's "
        "pages), and the parent's growth by 1,000 submitted tasks. Lines: of user code, without imports.",
    )


def _percentiles(quantiles: Sequence[float]) -> tuple[int, int]:
    last = len(quantiles) - 1
    return round(last * 0.5), last - 1 if last > 1 else last


def _times_thousand(figure: dict[str, Any] | None) -> dict[str, Any] | None:
    if figure is None or figure["median"] is None:
        return figure
    return {**figure, "median": figure["median"] * 1000}


def _by_group(results: Results) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    measured = {cell["workload"] for cell in results["cells"]}
    for workload in results["workloads"]:
        if workload["key"] in measured:
            groups.setdefault(workload["group"], []).append(workload)
    return groups


def _times(results: Results) -> Iterable[Table]:
    cells = {(cell["workload"], cell["model"]): cell for cell in results["cells"]}
    for group, workloads in _by_group(results).items():
        rows = [
            [model["title"], *row]
            for model in results["models"]
            if any(row := [_time(cells.get((workload["key"], model["key"]))) for workload in workloads])
        ]
        columns = ["model", *(workload["title"] for workload in workloads)]
        about = " ".join(f"{workload['title']}: {workload['about']}" for workload in workloads)
        yield Table(f"Time: {group}", columns, [[cell or NONE for cell in row] for row in rows], about)


def _time(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["error"]:
        return f"failed: {cell['error']}"
    text = of_figure(cell["seconds"], "s")
    if text in (NONE, NOISY):
        return text
    parts = [text + ("*" if cell["done"] != cell["tasks"] else "")]
    if cell["speedup"] is not None and cell["model"] != "sequential":
        parts.append(f"{times(cell['speedup'])}")
    if cell["parallelism"] and cell["parallelism"]["median"] is not None:
        parts.append(f"{cell['parallelism']['median']:.2f} cores")
    return ", ".join(parts)


def _latencies(results: Results) -> Iterable[Table]:
    cells = [cell for cell in results["cells"] if cell["latency"] and cell["done"] == cell["tasks"]]
    names = titles(results, "models")
    for workload in results["workloads"]:
        if workload["group"] not in (Group.IO, Group.MIXED):
            continue
        rows = []
        for cell in cells:
            if cell["workload"] == workload["key"]:
                curve = cell["latency"]
                points = (curve[len(curve) // 2], curve[round((len(curve) - 1) * 0.9)], curve[-2], curve[-1])
                rows.append([names[cell["model"]], *(shown(point, "s") for point in points)])
        about = "Time from the submission of all tasks to the end of each, for the models that did all of them."
        yield Table(f"Latency: {workload['title']}", ("model", "p50", "p90", "p97.5", "max"), rows, about)


def _scaling(results: Results) -> Iterable[Table]:
    names = titles(results, "models")
    for key, title in titles(results, "workloads").items():
        cells = [cell for cell in results["scaling"] if cell["workload"] == key]
        counts = sorted({cell["workers"] for cell in cells})
        rows: dict[str, list[str]] = {}
        for cell in cells:
            rows.setdefault(cell["model"], []).append(_time({**cell, "speedup": None}))
        yield Table(
            f"Scaling with workers: {title}",
            ("model", *(f"{count} worker{'s' * (count > 1)}" for count in counts)),
            [[names[model], *row] for model, row in rows.items()],
            "The same amount of work with each number of workers.",
        )
