"""Rounds in which every contender has its turn: A B C, A B C, ... so that what disturbs one disturbs all."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import Protocol

from unified_exec.cli.bench.figures import MANY_OTHERS, WIDE_SPREAD
from unified_exec.cli.bench.machine import Neighbours, missing

from .model import Contender, Figure, Result, Row, Settings


class Watcher(Protocol):
    """Told what goes on; the report draws a line from it."""

    def turn(self, row: Row, round: int, rounds: int, contender: str) -> None: ...


def run_row(row: Row, settings: Settings, rounds: int, watcher: Watcher) -> Result:
    """Measure one row. A contender that is not installed, or that fails, is left out and named."""
    result = Result(row)
    taking_part = _taking_part(row, settings, result)
    neighbours = Neighbours()
    began = time.monotonic()
    rounds = max(1, min(rounds, row.rounds_most))
    for round in range(rounds):
        for contender in list(taking_part):
            watcher.turn(row, round + 1, rounds, contender.name)
            neighbours.begin()
            try:
                reached = _turn(contender, settings)
            except Exception as error:
                # One that fails in the middle would have fewer rounds than the others: it is out altogether.
                taking_part.remove(contender)
                result.missing[contender.name] = f"failed: {type(error).__name__}: {error}"
                for name in [name for name in result.figures if _owner(name) == contender.name]:
                    del result.figures[name]
                continue
            result.others.append(neighbours.end())
            for name, value in reached.items():
                result.figures.setdefault(name, Figure(name=name, peer=contender.peer)).samples.append(value)
    result.seconds = time.monotonic() - began
    return result


def _taking_part(row: Row, settings: Settings, result: Result) -> list[Contender]:
    chosen = []
    for contender in row.contenders:
        lacking = missing(contender.needs)
        if lacking:
            result.missing[contender.name] = f"not installed: {', '.join(lacking)}"
        elif settings.loop not in contender.loops:
            result.missing[contender.name] = f"does not run on {settings.loop}"
        else:
            chosen.append(contender)
    return chosen


def _turn(contender: Contender, settings: Settings) -> dict[str, float]:
    # Equal for all: what earlier turns and the imports left behind is neither collected nor looked through.
    gc.collect()
    gc.freeze()
    try:
        reached = contender.measure(settings)
    finally:
        gc.unfreeze()
    if isinstance(reached, Mapping):
        return {figure_name(contender.name, key): value for key, value in reached.items()}
    return {contender.name: reached}


def figure_name(contender: str, key: str) -> str:
    """The name of one of several figures of a contender."""
    return f"{contender}: {key}" if key else contender


def _owner(figure: str) -> str:
    return figure.partition(": ")[0]


def noise(result: Result) -> list[str]:
    """Why the figures of a row are not to be relied on; empty if they are."""
    reasons = []
    others = sum(result.others) / len(result.others) if result.others else 0.0
    if others > MANY_OTHERS:
        reasons.append(f"other processes kept {others:.1f} cores busy")
    barred = {bar.figure for bar in result.row.bars} | {bar.against for bar in result.row.bars}
    wide = [f for f in result.figures.values() if f.name in barred and f.spread > WIDE_SPREAD]
    if wide:
        widest = max(wide, key=lambda figure: figure.spread)
        reasons.append(f"spread of {widest.name} {widest.spread:.0%}")
    return reasons
