"""Every row of the table, in its order. A new theme is one file with ``ROWS`` and one line here."""

from __future__ import annotations

import importlib

from ..model import Row

THEMES = (
    "process_calls",
    "arrays",
    "cancel",
    "balance",
    "fairness",
    "cold_start",
    "scaling",
    "thread_calls",
    "coroutines",
    "queueing",
    "memory",
    "auto",
    "maps",
    "pipelines",
)


def all_rows() -> list[Row]:
    """The rows of all themes."""
    return [row for theme in THEMES for row in importlib.import_module(f"{__name__}.{theme}").ROWS]
