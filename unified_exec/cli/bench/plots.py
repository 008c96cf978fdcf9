"""The plots of the HTML report, in Plotly's form; colours are names, which the page's theme resolves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..measuring.figures import shown
from .result_file import Results
from .result_tables import titles
from .workloads import Group

Plot = dict[str, Any]
"""``id``, ``title``, ``part``, ``traces``, ``layout``."""

_PARTS = {
    Group.PYTHON: "Time: computing",
    Group.RELEASING: "Time: computing",
    Group.HOLDING: "Time: computing",
    Group.IO: "Time: waiting",
    Group.MIXED: "Time: waiting",
    Group.TINY: "Time: the model itself",
    Group.ARRAYS: "Time: the model itself",
    Group.SHARED: "Time: the model itself",
    Group.LIBRARIES: "Time: computing",
}
_WAITS = (Group.IO, Group.MIXED)


def plots(results: Results) -> list[Plot]:
    """Return all plots that have something to show."""
    made = [*_times(results), *_parallelism(results), *_scaling(results), *_latencies(results), *_costs(results)]
    return [plot for plot in made if any(trace["x"] for trace in plot["traces"])]


def _colours(results: Results) -> dict[str, str]:
    """Return a colour for each model: by its kind, paler for later models; strongest for this package's own."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for model in results["models"]:
        kind = model["kind"]
        if model["key"].startswith("scope"):
            found[model["key"]] = f"{kind}-own" if model["key"] != "scope-map" else f"{kind}-own-2"
        else:
            counts[kind] = counts.get(kind, 0) + 1
            found[model["key"]] = f"{kind}-{min(counts[kind], 5)}"
    return found


def _bars(
    results: Results,
    id: str,
    title: str,
    part: str,
    values: dict[str, dict[str, Any] | None],
    unit: str,
    scale: float = 1.0,
    log: bool = False,
    about: str = "",
) -> Plot:
    """Return a plot with a bar for each model that has a figure, and the range of its rounds as a whisker."""
    names, colours = titles(results, "models"), _colours(results)
    known = [(model, figure) for model, figure in values.items() if figure and figure["median"] is not None]
    # A logarithmic axis has no zero.
    known = [(model, figure) for model, figure in known if figure["median"] > 0 or not log][::-1]
    noisy = [names[model] for model, figure in values.items() if figure and figure["median"] is None]
    middle = [figure["median"] * scale for _, figure in known]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": middle,
        "y": [names[model] for model, _ in known],
        "colours": [colours[model] for model, _ in known],
        "customdata": [
            f"{shown(value, unit)}, rounds from {shown(figure['low'] * scale, unit)} to "
            f"{shown(figure['high'] * scale, unit)}"
            for value, (_, figure) in zip(middle, known, strict=True)
        ],
        "hovertemplate": "%{y}<br>%{customdata}<extra></extra>",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [(figure["high"] - figure["median"]) * scale for _, figure in known],
            "arrayminus": [(figure["median"] - figure["low"]) * scale for _, figure in known],
            "thickness": 1,
            "width": 3,
        },
    }
    # Right of the whisker, which would otherwise cross the text.
    labels = {
        "type": "scatter",
        "mode": "text",
        "x": [figure["high"] * scale for _, figure in known],
        "y": trace["y"],
        "text": [f" {shown(value, unit)}" for value in middle],
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
    notes = f"Too noisy to give a figure: {', '.join(noisy)}." if noisy else ""
    return {
        "id": id,
        "title": title,
        "part": part,
        "about": " ".join(part for part in (about, notes) if part),
        "traces": [trace, labels],
        "layout": {"height": 76 + 25 * len(known), "xaxis": _axis(unit, middle, log), "bar": True},
    }


def _axis(unit: str, values: list[float], log: bool) -> dict[str, Any]:
    """Return an axis whose ticks bear the unit."""
    if log:
        low, high = (min(values), max(values)) if values else (1.0, 1.0)
        decades = [10.0**power for power in range(-9, 13) if low / 10 <= 10.0**power <= high * 10]
        return {"type": "log", "tickvals": decades, "ticktext": [shown(value, unit) for value in decades]}
    if not unit:
        return {"rangemode": "tozero", "tickformat": "~g"}
    return {"rangemode": "tozero", "ticksuffix": "B" if unit == "bytes" else unit, "tickformat": "~s"}


def _of_cells(results: Results, workload: str, take: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    return {cell["model"]: take(cell) for cell in results["cells"] if cell["workload"] == workload}


def _times(results: Results) -> Iterator[Plot]:
    for workload in results["workloads"]:
        values = _of_cells(results, workload["key"], lambda cell: cell["seconds"])
        medians = [figure["median"] for figure in values.values() if figure and figure["median"]]
        log = bool(medians) and max(medians) > 30 * min(medians)
        scaled = any(cell["done"] != cell["tasks"] for cell in results["cells"] if cell["workload"] == workload["key"])
        about = f"{workload['group'][0].upper()}{workload['group'][1:]}. {workload['about']}" + (
            " Models with few workers do some of the tasks; their time is scaled up." if scaled else ""
        )
        yield _bars(
            results,
            f"time-{workload['key']}",
            workload["title"],
            _PARTS[workload["group"]],
            values,
            "s",
            log=log,
            about=about + (" The axis is logarithmic." if log else ""),
        )


def _parallelism(results: Results) -> Iterator[Plot]:
    for key, title in titles(results, "workloads").items():
        if key in ("primes", "hashing", "powers"):
            values = _of_cells(results, key, lambda cell: cell["parallelism"])
            about = "CPU seconds / wall seconds: the number of cores in use."
            yield _bars(results, f"cores-{key}", title, "True parallelism", values, "", about=about)


def _line(results: Results, model: str, x: list[Any], y: list[Any], hover: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": titles(results, "models")[model],
        "x": x,
        "y": y,
        "colour": _colours(results)[model],
        "own": model.startswith("scope"),
        "hovertemplate": hover,
    }


def _scaling(results: Results) -> Iterator[Plot]:
    for key, title in titles(results, "workloads").items():
        alone = next(
            (c["seconds"] for c in results["cells"] if (c["workload"], c["model"]) == (key, "sequential")), None
        )
        if not alone or not alone["median"]:
            continue
        lines: dict[str, tuple[list[int], list[float]]] = {}
        for cell in results["scaling"]:
            if cell["workload"] == key and cell["seconds"] and cell["seconds"]["median"]:
                counts, gains = lines.setdefault(cell["model"], ([], []))
                counts.append(cell["workers"])
                gains.append(alone["median"] / cell["seconds"]["median"])
        counts = sorted({cell["workers"] for cell in results["scaling"]})
        usable = results["machine"]["usable_cores"]
        ideal = {
            "type": "scatter",
            "mode": "lines",
            "name": "ideal: one core each",
            "x": counts,
            "y": [min(count, usable) for count in counts],
            "colour": "ideal",
            "dash": True,
            "hoverinfo": "skip",
        }
        hover = "%{y:.2f} × with %{x}<extra>%{fullData.name}</extra>"
        yield {
            "id": f"workers-{key}",
            "title": title,
            "part": "Speed-up against workers",
            "about": f"The same amount of work each time, on {usable} usable cores. A flat line is limited by the GIL.",
            "traces": [
                *(_line(results, model, *line, hover) for model, line in lines.items()),
                *([ideal] * bool(lines)),
            ],
            "layout": {
                "height": 420,
                "xaxis": {"type": "log", "tickvals": counts, "ticktext": [str(n) for n in counts], "title": "workers"},
                "yaxis": {"rangemode": "tozero", "title": "times as fast as sequential"},
            },
        }


def _latencies(results: Results) -> Iterator[Plot]:
    for workload in results["workloads"]:
        if workload["group"] not in _WAITS:
            continue
        cells = [
            cell
            for cell in results["cells"]
            if cell["workload"] == workload["key"] and cell["latency"] and cell["done"] == cell["tasks"]
        ]
        if len(cells) < 2:
            continue
        traces = []
        for cell in cells:
            curve = cell["latency"]
            shares = [100 * part / (len(curve) - 1) for part in range(len(curve))]
            hover = "%{y:.0f} % within %{x:.4s}s<extra>%{fullData.name}</extra>"
            traces.append(_line(results, cell["model"], curve, shares, hover) | {"mode": "lines"})
        yield {
            "id": f"latency-{workload['key']}",
            "title": workload["title"],
            "part": "Latency: share of the tasks that are done",
            "about": "Seconds since all tasks were submitted, for the models that did all of them. Left is better.",
            "traces": traces,
            "layout": {
                "height": 420,
                "xaxis": {"rangemode": "tozero", "ticksuffix": "s", "tickformat": "~s"},
                "yaxis": {"title": "% of the tasks", "range": [0, 102]},
            },
        }


def _costs(results: Results) -> Iterator[Plot]:
    def of(measure: str) -> dict[str, Any]:
        return {profile["model"]: profile.get(measure) for profile in results["profiles"]}

    yield _bars(results, "memory-parent", "The parent", "Memory", of("parent_bytes"), "bytes",
                about="Private bytes (USS) while its workers are up.")  # fmt: skip
    yield _bars(results, "memory-worker", "One worker", "Memory", of("worker_bytes"), "bytes", log=True,
                about="Private bytes (USS). The axis is logarithmic.")  # fmt: skip
    yield _bars(results, "memory-tasks", "1,000 submitted tasks", "Memory", of("task_bytes"), "bytes", 1000, log=True,
                about="Growth of the parent. The axis is logarithmic.")  # fmt: skip
    yield _bars(results, "cost-task", "One of many tiny tasks", "What a model costs", of("task"), "s", log=True,
                about="All submitted at once. The axis is logarithmic.")  # fmt: skip
    yield _bars(results, "cost-start", "From nothing to the first result", "What a model costs", of("start"), "s",
                log=True, about="Including the library's import. The axis is logarithmic.")  # fmt: skip
