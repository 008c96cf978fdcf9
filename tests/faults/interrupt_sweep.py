"""Ctrl-C at one line of the engine after another, while a scope spawns, waits and ends. Run as a program.

Arguments: event loop, place of the tasks, first line, step. Prints ``BAD`` and what went wrong, at the end ``SWEPT``
and how many lines there are. A hang ends the program through faulthandler.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from types import FrameType
from typing import Any

import anyio

import unified_exec
from tests.contract.groups import leaves
from unified_exec import TaskScope, shutdown_default_pools

ROOT = os.path.dirname(unified_exec.__file__)
HANG_SECONDS = 60


class Sweep:
    """Counts the engine's lines as they run, and raises SIGINT at one of them."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.count = 0
        self.where: str | None = None

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(ROOT):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.target:
                self.where = f"{os.path.relpath(frame.f_code.co_filename, ROOT)}:{frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)
        return self.trace


async def use_a_scope(place: Any, sweep: Sweep | None) -> None:
    async with TaskScope() as scope:
        if sweep is not None:
            sys.settrace(sweep.trace)
        first, second = scope.spawn(pow, 2, 3, on=place), scope.spawn(pow, 2, 4, on=place)
        await first
        await second
    sys.settrace(None)


def main(loop: str, place: str, first: int, step: int) -> None:
    anyio.run(use_a_scope, place, None, backend=loop)
    target = first
    while True:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        sweep = Sweep(target)
        raised: BaseException | None = None
        try:
            anyio.run(use_a_scope, place, sweep, backend=loop)
        except BaseException as exc:
            raised = exc
        finally:
            sys.settrace(None)
        if sweep.where is None:
            break
        if raised is None:
            print("BAD", target, sweep.where, "no KeyboardInterrupt", flush=True)
        else:
            for leaf in leaves(raised):
                if not isinstance(leaf, KeyboardInterrupt):
                    print("BAD", target, sweep.where, repr(leaf), flush=True)
        target += step
    faulthandler.cancel_dump_traceback_later()
    shutdown_default_pools()
    print("SWEPT", target, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
