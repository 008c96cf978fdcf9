"""What changed since an earlier run, beyond noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..measuring.figures import beyond_noise, shown
from ..measuring.tables import Table
from .result_file import COSTS, Results
from .result_tables import titles

_COST_NAMES = {
    "start": "start",
    "task": "per task",
    "metg": "METG",
    "parent_bytes": "parent",
    "worker_bytes": "per worker",
    "task_bytes": "memory of a task",
}
_SETTINGS = ("quick", "workers", "scale")


class Pair(NamedTuple):
    """The same figure in two runs."""

    what: str
    model: str
    old: dict[str, Any]
    new: dict[str, Any]
    unit: str

    @property
    def change(self) -> float:
        """The relative change: 0.5 if the new figure is half again as large."""
        return float(self.new["median"] / self.old["median"] - 1)

    def cells(self) -> list[str]:
        before, now = (shown(figure["median"], self.unit) for figure in (self.old, self.new))
        return [self.what, self.model, before, now, f"{self.change:+.0%}"]


def comparison(old: Results, new: Results) -> Table:
    """Return the figures that differ by more than their spreads and 5 %, the largest change first."""
    pairs = [pair for pair in _pairs(old, new) if pair.old["median"] and pair.new["median"] is not None]
    changes = [pair for pair in pairs if beyond_noise(pair.old, pair.new)]
    changes.sort(key=lambda pair: -abs(pair.change))
    about = (
        f"{len(pairs)} figures were measured in both runs; {len(changes)} changed by more than their combined spread "
        f"and 5 %. Earlier run: {old['created']}. {' '.join(differences(old, new))}"
    )
    title = "Changed since the earlier run" if changes else "Nothing changed beyond noise since the earlier run"
    rows = [pair.cells() for pair in changes]
    return Table(title, ("what", "model", "before", "now", "change"), rows, about.strip())


def differences(old: Results, new: Results) -> list[str]:
    """Return, in sentences, what makes two runs hard to compare."""
    settings = [(key, old["settings"][key], new["settings"][key]) for key in _SETTINGS]
    machines = [(key, old["machine"][key], new["machine"][key]) for key in ("processor", "cores", "python", "gil")]
    return [f"Different: {key} was {was}, now {now}." for key, was, now in (*settings, *machines) if was != now]


def _pairs(old: Results, new: Results) -> Iterator[Pair]:
    models = {**titles(old, "models"), **titles(new, "models")}
    workloads = {**titles(old, "workloads"), **titles(new, "workloads")}
    # Other sizes or other numbers of workers are other work; what a model itself costs stays comparable.
    if all(old["settings"][key] == new["settings"][key] for key in _SETTINGS):
        for part in ("cells", "scaling"):
            before = {_key(cell): cell for cell in old[part]}
            for cell in new[part]:
                earlier = before.get(_key(cell))
                if earlier and earlier["seconds"] and cell["seconds"]:
                    workers = f", {cell['workers']} workers" if part == "scaling" else ""
                    what = f"{workloads[cell['workload']]}{workers}"
                    yield Pair(what, models[cell["model"]], earlier["seconds"], cell["seconds"], "s")
    costs = {profile["model"]: profile for profile in old["profiles"]}
    for profile in new["profiles"]:
        for cost, unit in COSTS.items():
            earlier, figure = costs.get(profile["model"], {}).get(cost), profile.get(cost)
            if earlier and figure:
                yield Pair(_COST_NAMES[cost], models[profile["model"]], earlier, figure, unit)


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["workload"], cell["model"], cell["workers"]
