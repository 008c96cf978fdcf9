"""Watching a program while it runs: events, the live tree, and recordings.

    from unified_exec import observe

    print(observe.dump())                                           # every scope and task, and why each waits
    stop = observe.watch(print, kinds={"task.settled"})             # lists of events, in a thread of its own

Nothing here costs anything until it is used. The names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .live.control import allow_control as allow_control
    from .live.dump import dump as dump
    from .live.dump import dump_on as dump_on
    from .live.dump import look as look
    from .metrics import prometheus as prometheus
    from .metrics import prometheus_collector as prometheus_collector
    from .notebook import show as show
    from .notebook import tree as tree
    from .output.record import report as report
    from .output.record import trace as trace
    from .recording.schema import Event as Event
    from .recording.watch import watch as watch
    from .telemetry.instrument import instrument as instrument

_homes = {
    "allow_control": ".live.control",
    "dump": ".live.dump",
    "dump_on": ".live.dump",
    "look": ".live.dump",
    "prometheus": ".metrics",
    "prometheus_collector": ".metrics",
    "report": ".output.record",
    "trace": ".output.record",
    "Event": ".recording.schema",
    "watch": ".recording.watch",
    "instrument": ".telemetry.instrument",
    "show": ".notebook",
    "tree": ".notebook",
}

__all__ = [*_homes]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _homes.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
