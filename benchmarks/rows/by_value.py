"""Functions of a script, which travel by value: what a call of one costs, and the first one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ..child import environment
from ..row import OURS, Bar, Contender, Measure, Row, Settings

PROGRAM = Path(__file__).parents[1] / "programs" / "script_calls.py"
PICKLES = "cloudpickle for each call"
CONSTANT, MUTABLE = "ten constants", "ten globals, some mutable"


def _program(what: str, kind: str) -> Measure:
    def measure(settings: Settings) -> dict[str, float]:
        command = [sys.executable, str(PROGRAM), what, kind]
        if what == "calls":
            command.append(str(settings.calls(500)))
        run = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        found: dict[str, float] = json.loads(run.stdout)
        return found

    return measure


ROWS = [
    Row(
        "by-value",
        "processor time of a call whose function is of a script",
        "s",
        "One call at a time in one warm worker; processor time of both processes, the best of three turns. To compare: "
        "a call of an importable function whose argument is the function's pickle, made by cloudpickle each time.",
        (
            Contender(OURS, _program("calls", "ours")),
            Contender(PICKLES, _program("calls", "pickles"), peer=False),
            Contender("loky", _program("calls", "loky"), ("loky",)),
        ),
        (
            Bar(1.0, f"{PICKLES}: {CONSTANT}", f"{OURS}: {CONSTANT}"),
            Bar(1.0, f"{PICKLES}: {MUTABLE}", f"{OURS}: {MUTABLE}"),
        ),
        rounds_most=5,
    ),
    Row(
        "by-value-first",
        "processor time of a script's first pickle",
        "s",
        "A function that uses two classes of a script with 60. Import: of what pickles by value, once in a program.",
        (Contender(OURS, _program("first", "ours")), Contender("cloudpickle", _program("first", "cloudpickle"))),
        (Bar(4.0, "cloudpickle"),),
    ),
]
