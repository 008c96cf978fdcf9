"""What changed since an earlier run, beyond noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .figures import shown
from .readings import beyond_noise
from .results import Results
from .sections import Section, titles

_COSTS = {
    "start": "s",
    "task": "s",
    "metg": "s",
    "parent_bytes": "bytes",
    "worker_bytes": "bytes",
    "task_bytes": "bytes",
}
_NAMES = {
    "start": "start",
    "task": "per task",
    "metg": "METG",
    "parent_bytes": "parent",
    "worker_bytes": "per worker",
    "task_bytes": "memory of a task",
}
_HOW = ("quick", "workers", "scale")

Pair = tuple[str, str, dict[str, Any], dict[str, Any], str]
"""What it is of, the model, the figure before, the figure now, the unit."""


def comparison(old: Results, new: Results) -> Section:
    """The figures that differ by more than their spreads and 5 %, the largest change first."""
    pairs = [pair for pair in _pairs(old, new) if pair[2]["median"] and pair[3]["median"] is not None]
    changes = [pair for pair in pairs if beyond_noise(pair[2], pair[3])]
    changes.sort(key=lambda pair: -abs(_change(pair)))
    rows = [
        [what, model, shown(before["median"], unit), shown(after["median"], unit), f"{_change(pair):+.0%}"]
        for pair in changes
        for what, model, before, after, unit in [pair]
    ]
    about = (
        f"{len(pairs)} figures were in both runs and calm in both; {len(rows)} changed by more than both spreads "
        f"together and 5 %. Before: {old['created']}. {' '.join(differences(old, new))}"
    )
    title = "Changed since the earlier run" if rows else "Nothing changed beyond noise since the earlier run"
    return Section(title, ("what", "model", "before", "now", "change"), rows, about.strip())


def _change(pair: Pair) -> float:
    """By what share the figure is greater now."""
    return float(pair[3]["median"] / pair[2]["median"] - 1)


def differences(old: Results, new: Results) -> list[str]:
    """What makes two runs hard to compare, in sentences."""
    settings = [(key, old["settings"][key], new["settings"][key]) for key in _HOW]
    machines = [(key, old["machine"][key], new["machine"][key]) for key in ("processor", "cores", "python", "gil")]
    return [f"Not alike: {key} was {was}, now {now}." for key, was, now in (*settings, *machines) if was != now]


def _pairs(old: Results, new: Results) -> Iterator[Pair]:
    models = {**titles(old, "models"), **titles(new, "models")}
    workloads = {**titles(old, "workloads"), **titles(new, "workloads")}
    # Other sizes or workers are other work; what a model costs by itself stays comparable.
    if all(old["settings"][key] == new["settings"][key] for key in _HOW):
        for part in ("cells", "scaling"):
            before = {_key(cell): cell for cell in old[part]}
            for cell in new[part]:
                earlier = before.get(_key(cell))
                if earlier and earlier["seconds"] and cell["seconds"]:
                    workers = f", {cell['workers']} workers" if part == "scaling" else ""
                    what = f"{workloads[cell['workload']]}{workers}"
                    yield what, models[cell["model"]], earlier["seconds"], cell["seconds"], "s"
    costs = {profile["model"]: profile for profile in old["profiles"]}
    for profile in new["profiles"]:
        for measure, unit in _COSTS.items():
            earlier = costs.get(profile["model"], {}).get(measure)
            figure = profile.get(measure)
            if earlier and figure:
                yield _NAMES[measure], models[profile["model"]], earlier, figure, unit


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["workload"], cell["model"], cell["workers"]
