"""`unified-exec ps`: the programs of this user that can be looked at."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from ...observe.live.client import CannotLook, Connection, Program, command, is_stopped, programs
from ...observe.live.text import duration, plain

ANSWER_SECONDS = 2.0


def run(arguments: argparse.Namespace) -> int:
    """Print a line, or a JSON object, for each program."""
    told = [one for program in programs() if (one := describe(program))["program"]]  # else it has just ended
    if arguments.json:
        print(json.dumps(told, indent=2))
        return 0
    if not told:
        print("no program of this user has a TaskScope open to be looked at", file=sys.stderr)
        return 0
    print(f"{'PID':>8} {'AGE':>9} {'SCOPES':>6} {'TASKS':>6} {'WORKERS':>7}  PROGRAM")
    for one in told:
        if one.get("error"):
            counts = f"{'(stopped)' if is_stopped(one['pid']) else '(does not answer)':>21}"
        else:
            counts = f"{one['scopes']:6} {one['tasks']:6} {one['workers']:7}"
        print(f"{one['pid']:>8} {duration(one['age']):>9} {counts}  {plain(one['program'], 100)}")
    return 0


def describe(program: Program) -> dict[str, Any]:
    told: dict[str, Any] = {"pid": program.pid, "age": _age(program.pid), "program": command(program.pid)}
    try:
        with Connection(program, ANSWER_SECONDS) as connection:
            told["version"], told["python"] = connection.hello.get("version"), connection.hello.get("python")
            tree = connection.tree("none")
    except (CannotLook, TimeoutError) as error:
        return {**told, "error": str(error)}
    tasks = sum(len(scope["tasks"]) + scope["more"] + sum(scope["queued"].values()) for scope in tree.get("scopes", ()))
    workers = sum(len(pool.get("workers", ())) for pool in tree.get("pools", ()))
    return {**told, "scopes": len(tree.get("scopes", ())), "tasks": tasks, "workers": workers}


def _age(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            started = int(file.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, IndexError, ValueError, AttributeError):
        return 0.0
