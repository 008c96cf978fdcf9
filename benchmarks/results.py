"""The JSON file of a run.

Its form, which grows only by new keys while ``schema`` stays 1::

    {"schema": 1,
     "machine": {"system", "processor", "cores", "affinity", "usable_cores", "python", "gil",
                 "load_average_at_start", "revision", "versions": {package: version or null}},
     "settings": {"loop", "quick", "rounds"},
     "thresholds": {"others": cores, "spread": share of the median},
     "rows": [{"name", "title", "about", "seconds",
               "figures": [{"name", "unit": "s" | "bytes" | "", "peer": counts as a peer,
                            "median", "spread": quartile distance / median, "samples": [one for each round]}],
               "bars": [{"figure", "against": name or null (a bar on the figure itself), "at_least",
                         "limit", "value": ratio or figure or null, "low", "high": of single rounds,
                         "calm": ratio of the least figures or null,
                         "passed": true | false | null (not measured)}],
               "missing": {contender: reason},
               "others": cores that other processes kept busy, on average,
               "disturbed": [reasons why the figures are not to be relied on]}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unified_exec.cli.bench.figures import MANY_OTHERS, WIDE_SPREAD

from .model import Result, Settings, Verdict
from .runner import noise


def as_json(machine: dict[str, Any], settings: Settings, rounds: int, results: Sequence[Result]) -> dict[str, Any]:
    """All of a run, ready for `json.dump`."""
    return {
        "schema": 1,
        "machine": machine,
        "settings": {"loop": settings.loop, "quick": settings.quick, "rounds": rounds},
        "thresholds": {"others": MANY_OTHERS, "spread": WIDE_SPREAD},
        "rows": [_row(result) for result in results],
    }


def _row(result: Result) -> dict[str, Any]:
    row = result.row
    return {
        "name": row.name,
        "title": row.title,
        "about": row.about,
        "seconds": result.seconds,
        "figures": [
            {
                "name": figure.name,
                "unit": row.unit_of(figure.name),
                "peer": figure.peer,
                "median": figure.median,
                "spread": figure.spread,
                "samples": figure.samples,
            }
            for figure in result.figures.values()
        ],
        "bars": [_bar(verdict) for verdict in result.verdicts()],
        "missing": result.missing,
        "others": sum(result.others) / len(result.others) if result.others else 0.0,
        "disturbed": noise(result),
    }


def _bar(verdict: Verdict) -> dict[str, Any]:
    bar = verdict.bar
    return {
        "figure": bar.figure,
        "against": verdict.against,
        "at_least": bar.at_least,
        "limit": bar.limit,
        "value": verdict.value,
        "low": verdict.low,
        "high": verdict.high,
        "calm": verdict.calm,
        "passed": verdict.passed,
    }
