"""Will this program want a worker process? Said from its code alone, before it has run."""

from __future__ import annotations

from types import CodeType

__all__ = ["names_process_work"]

_PLACES = frozenset({"process", "cpu"})
_NAMES = frozenset({"ProcessPool", "ProcessExecutor", "cpu_bound"})


def names_process_work(code: CodeType, cores_are_threads: bool = False) -> bool:
    """Tell whether `code`, or code inside it, spells out ``"process"``, ``"cpu"`` or one of the names for such work.

    Args:
        code: of a module.
        cores_are_threads: CPU work goes to threads in this interpreter, so that ``"cpu"`` means no process.
    """
    places, names = _PLACES, _NAMES
    if cores_are_threads:
        places, names = places - {"cpu"}, names - {"cpu_bound"}
    return _names_one(code, places, names)


def _names_one(code: CodeType, places: frozenset[str], names: frozenset[str]) -> bool:
    if not names.isdisjoint(code.co_names):
        return True
    for constant in code.co_consts:
        if type(constant) is str:
            if constant in places:
                return True
        elif type(constant) is CodeType and _names_one(constant, places, names):
            return True
    return False
