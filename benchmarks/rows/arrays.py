"""Large arrays into a worker and back."""

from __future__ import annotations

from typing import Any

from ..engines import processes
from ..engines.ours import OurProcesses
from ..model import BEST_PEER, Bar, Contender, Row
from .plans import round_trip

MEBIBYTES = 64


def _array() -> Any:
    import numpy

    return numpy.arange(MEBIBYTES * 1024 * 1024 // 8, dtype="float64")


def _check(array: Any) -> None:
    if array.nbytes != MEBIBYTES * 1024 * 1024 or array[0] != 0 or array[-1] != len(array) - 1:
        raise AssertionError("the array that came back is not the one that was sent")


def _contenders() -> tuple[Contender, ...]:
    plan = round_trip(_array, _check, calls=2)
    contenders = [engine.contender(plan) for engine in (OurProcesses(), *processes.PEERS, processes.Joblib())]
    return tuple(Contender(one.name, one.measure, (*one.needs, "numpy"), one.peer, one.loops) for one in contenders)


ROWS = [
    Row(
        "array",
        "64 MiB float64 array into a process and back",
        "s",
        "A function that returns its argument; the array that comes back is looked at, outside of the time.",
        _contenders(),
        (Bar(0.2, BEST_PEER),),
        rounds_most=7,
    )
]
