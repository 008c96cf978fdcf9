"""Whole programs, from the start of the interpreter to its exit: with one call in a process, or with an import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

from ..child import environment
from ..row import OURS, Bar, Contender, Measure, Row, Settings

_PROGRAMS = Path(__file__).parents[1] / "programs"
PRESTART = "unified_exec with prestart()"


def _program(name: str, *args: str) -> Measure:
    def measure(settings: Settings) -> float:
        command = [sys.executable, str(_PROGRAMS / f"{name}.py"), *args]
        times = []
        for _ in range(3):
            began = perf_counter()
            subprocess.run(command, env=environment(), check=True, stdin=subprocess.DEVNULL)
            times.append(perf_counter() - began)
        return sorted(times)[1]

    return measure


ROWS = [
    Row(
        "cold-start",
        "a cold program's first process result, from the start of the interpreter to its end",
        "s",
        "The programs in benchmarks/programs, run as a user would run them; the middle one of three runs a round.",
        (
            Contender(OURS, _program("ours")),
            Contender("anyio.to_process", _program("anyio_process"), ("anyio",)),
            Contender(PRESTART, _program("ours", "prestart")),
            Contender("asyncio + ProcessPoolExecutor", _program("executor")),
            Contender("unified_exec under asyncio.run", _program("ours_asyncio")),
            Contender("anyio.run alone", _program("anyio_alone"), ("anyio",), peer=False),
            Contender("asyncio.run alone", _program("asyncio_alone"), peer=False),
            Contender("bare interpreter", _program("nothing"), peer=False),
        ),
        (
            Bar(1.0, "anyio.to_process"),
            Bar(0.7, "anyio.to_process", PRESTART),
            Bar(1.25, "asyncio + ProcessPoolExecutor", PRESTART),
        ),
    ),
    Row(
        "import",
        "a program that imports TaskScope, from the start of the interpreter to its end",
        "s",
        "As above.",
        (
            Contender(OURS, _program("import_scope")),
            Contender("anyio", _program("import_anyio"), ("anyio",)),
            Contender("bare interpreter", _program("nothing"), peer=False),
        ),
        (Bar(1.25, "anyio"),),
    ),
]
