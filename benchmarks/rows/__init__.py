"""The rows of the table, by theme. A new theme is a file with ``ROWS`` and a line here."""

from __future__ import annotations

import importlib

from ..row import Row

THEMES = (
    "calls",
    "cancel",
    "balance",
    "fairness",
    "priority",
    "many",
    "shards",
    "web",
    "validation",
    "cold_start",
    "interpreters",
    "memory",
    "auto",
    "maps",
    "pipelines",
    "channels",
    "cluster",
    "actors",
    "locks",
    "carried",
    "by_value",
    "observing",
)


def rows_by_theme() -> dict[str, list[Row]]:
    """Return the rows of each theme, in the order of the table."""
    return {theme: importlib.import_module(f"{__name__}.{theme}").ROWS for theme in THEMES}
