"""The JSON file of a run, from which every report is made. docs/bench.md describes its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..measuring.figures import MANY_OTHERS, WIDE_SPREAD, column_medians, ratio
from .models import by_key as model_by_key
from .suite import Cell, Run
from .workloads import Workload

SCHEMA = 1
"""While it stays the same, only new keys are added."""

Results = dict[str, Any]

COSTS = {
    "start": "s",
    "task": "s",
    "metg": "s",
    "parent_bytes": "bytes",
    "worker_bytes": "bytes",
    "task_bytes": "bytes",
}
"""What is measured of a model itself, with the unit."""


class UnreadableResults(Exception):
    """A file was not written by `--json`; the text says which file and what is wrong."""


def as_json(run: Run, machine: dict[str, Any], created: str) -> Results:
    """Return all of a run, ready for `json.dump`."""
    options = run.options
    cells = [_cell(cell, options.least) for cell in run.cells]
    _add_speedups(cells)
    return {
        "schema": SCHEMA,
        "created": created,
        "machine": machine,
        "settings": {
            "quick": options.quick,
            "rounds": options.rounds,
            "least": options.least,
            "workers": options.workers,
            "scale": options.scale,
        },
        "thresholds": {"others": MANY_OTHERS, "spread": WIDE_SPREAD},
        "seconds": run.seconds,
        "over": run.over,
        "workloads": [_workload(workload) for workload in options.workloads],
        "models": [_model(key, lines) for key, lines in run.lines.items()],
        "cells": cells,
        "scaling": [_cell(cell, options.least) for cell in run.scaling],
        "profiles": [_profile(cell, options.least) for cell in run.profiles],
        "left_out": [{"what": what, "why": why} for what, why in run.left_out],
    }


def read(path: Path) -> Results:
    """Read a file that `--json` wrote.

    Raises:
        UnreadableResults: it is not such a file, or has a schema that this version does not know.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableResults(f"{path} cannot be read as JSON: {error}") from error
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA or "cells" not in results:
        raise UnreadableResults(
            f"{path} is not a result of `unified-exec bench` with schema {SCHEMA} (it has {schema!r}): "
            f"write one with --json"
        )
    return dict(results)


def _workload(workload: Workload) -> dict[str, Any]:
    return {"key": workload.key, "title": workload.title, "group": workload.group.value, "about": workload.about}


def _model(key: str, lines: int) -> dict[str, Any]:
    model = model_by_key(key)
    return {"key": key, "title": model.title, "kind": model.kind.value, "peer": model.is_peer, "lines": lines}


def _cell(cell: Cell, least: int) -> dict[str, Any]:
    return {
        "workload": cell.workload,
        "model": cell.model,
        "workers": cell.workers,
        "tasks": cell.newest("tasks"),
        "done": cell.newest("done"),
        "seconds": cell.figure("seconds", least),
        "parallelism": cell.figure("parallelism", least),
        "latency": column_medians([turn.values["latency"] for turn in cell.calm_turns()]),
        "error": cell.error,
    }


def _add_speedups(cells: list[dict[str, Any]]) -> None:
    sequential = {cell["workload"]: cell["seconds"] for cell in cells if cell["model"] == "sequential"}
    for cell in cells:
        cell["speedup"] = ratio(sequential.get(cell["workload"]), cell["seconds"])


def _profile(cell: Cell, least: int) -> dict[str, Any]:
    return {
        "model": cell.model,
        "workers": cell.newest("workers"),
        **{cost: cell.figure(cost, least) for cost in COSTS},
        "call": column_medians([turn.values["call"] for turn in cell.calm_turns()]),
        "error": cell.error,
    }
