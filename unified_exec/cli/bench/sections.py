"""The tables of a run as plain text cells, made once for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .classic import classic
from .figures import shown, times
from .results import Results
from .workloads import Group

NONE = "—"
NOISY = "too noisy"


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        about: how to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str = ""
    notes: Sequence[str] = field(default_factory=tuple)


def sections(results: Results) -> list[Section]:
    """All tables of a run, in their order."""
    made = [_classic(results), _costs(results), *_times(results), *_latencies(results), *_scaling(results)]
    return [section for section in made if section.rows]


def of_figure(figure: dict[str, Any] | None, unit: str) -> str:
    """A figure with its spread; or a word why there is none."""
    if figure is None:
        return NONE
    if figure["median"] is None:
        return NOISY
    return shown(figure["median"], unit)


def describe_machine(machine: dict[str, Any]) -> list[str]:
    """The machine in a few lines."""
    gil = "GIL on" if machine["gil"] else "GIL off"
    versions = [f"{name} {version}" for name, version in machine["versions"].items() if version]
    return [
        f"{machine['processor']}, {machine['cores']} cores ({machine['affinity']} by affinity, "
        f"{machine['usable_cores']} usable), {machine['system']}",
        f"{machine['python']}, {gil}",
        ", ".join(versions),
    ]


def describe_run(results: Results) -> str:
    """How was measured, in a sentence or two."""
    settings = results["settings"]
    text = (
        f"{'Quick sizes' if settings['quick'] else 'Full sizes'}, {settings['rounds']} interleaved rounds, "
        f"{settings['workers']} workers that compute, {results['seconds']:.0f} s. Each figure is the median of the "
        f"rounds in which other processes kept at most {results['thresholds']['others']:g} cores busy; where fewer "
        f"than {settings['least']} were, or their quartiles lie more than {results['thresholds']['spread']:.0%} of "
        f'the median apart, it says "{NOISY}".'
    )
    return text + (f" The run ended early: {results['over']}." if results["over"] else "")


def titles(results: Results, of: str) -> dict[str, str]:
    """Titles by key, ``of`` models or workloads."""
    return {entry["key"]: entry["title"] for entry in results[of]}


def _classic(results: Results) -> Section:
    return Section(
        "Which model for what",
        ("model", "best for", "true parallelism", "GIL impact", "overhead", "memory"),
        [line.cells() for line in classic(results)],
        "Best for: workloads on which no model was faster beyond noise, with the speed-up over sequential; in brackets "
        "the best one of a model that was nowhere first. True parallelism: CPU seconds / wall seconds, computing in "
        "Python and in C that releases the GIL. GIL impact: what the workers that compute gained over one on the same "
        "Python work. Overhead: per task of many given out at once, and of a single call from start to end. Memory: of "
        "a worker, and of 1,000 tasks given out.",
    )


def _costs(results: Results) -> Section:
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
    return Section(
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
        "Start: from nothing to the first result, the library's import included. METG: the smallest task done with "
        "half of the workers' time (Task Bench, SC20); a dash where no length reaches it, as with threads that take "
        "turns under the GIL. Memory: private bytes (USS) of the parent and of a worker (a forked one shares "
        "its parent's pages), and growth of the parent by 1,000 tasks. Lines: of user code, imports left out.",
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


def _times(results: Results) -> Iterable[Section]:
    cells = {(cell["workload"], cell["model"]): cell for cell in results["cells"]}
    for group, workloads in _by_group(results).items():
        rows = [
            [model["title"], *row]
            for model in results["models"]
            if any(row := [_time(cells.get((workload["key"], model["key"]))) for workload in workloads])
        ]
        columns = ["model", *(workload["title"] for workload in workloads)]
        about = " ".join(f"{workload['title']}: {workload['about']}" for workload in workloads)
        yield Section(f"Time: {group}", columns, [[cell or NONE for cell in row] for row in rows], about)


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


def _latencies(results: Results) -> Iterable[Section]:
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
        about = "Seconds from the moment all tasks were given out to the end of each; models that did them all."
        yield Section(f"Latency: {workload['title']}", ("model", "p50", "p90", "p97.5", "most"), rows, about)


def _scaling(results: Results) -> Iterable[Section]:
    names = titles(results, "models")
    for key, title in titles(results, "workloads").items():
        cells = [cell for cell in results["scaling"] if cell["workload"] == key]
        counts = sorted({cell["workers"] for cell in cells})
        rows: dict[str, list[str]] = {}
        for cell in cells:
            rows.setdefault(cell["model"], []).append(_time({**cell, "speedup": None}))
        yield Section(
            f"Growing number of workers: {title}",
            ("model", *(f"{count} worker{'s' * (count > 1)}" for count in counts)),
            [[names[model], *row] for model, row in rows.items()],
            "The same work, all of it each time.",
        )
