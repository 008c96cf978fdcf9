"""The levels of the program's loggers, as its workers take them over: nothing is sent that would be thrown away."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

UNCHANGED: Any = "unified_exec"
"""A key in the root logger's cache, which `logging` empties whenever a level changes: while it is there, none has."""


def watched_cache() -> dict[Any, Any] | None:
    """Return the cache of the root logger; ``None`` if this process has not imported `logging`."""
    logging = sys.modules.get("logging")
    root = getattr(logging, "root", None)
    return getattr(root, "_cache", None)


def levels_now() -> dict[str, Any] | None:
    """Return the levels of the loggers of this process; ``None`` if it has not imported `logging`.

    All of it is plain data: names and levels may be members of an enum that a worker does not know.
    """
    cache = watched_cache()
    if cache is None:
        return None
    cache[UNCHANGED] = True  # first: a change from now on is one more
    root = sys.modules["logging"].root
    loggers = {
        str.__str__(name): (_plain(logger.level), logger.disabled)
        for name, logger in list(root.manager.loggerDict.items())
        if getattr(logger, "level", 0) or getattr(logger, "disabled", False)
    }
    return {"root": _plain(root.level), "disable": _plain(root.manager.disable), "loggers": loggers}


def _plain(level: Any) -> Any:
    return int(level) if isinstance(level, int) else level


def apply(new: dict[str, Any], old: dict[str, Any] | None) -> None:
    """Set in a worker, which has imported `logging`, what has changed since `old`. What its code has set stays else."""
    logging = sys.modules["logging"]
    old = old or {"root": logging.WARNING, "disable": 0, "loggers": {}}
    if new["root"] != old["root"]:
        logging.root.setLevel(new["root"])
    if new["disable"] != old["disable"]:
        logging.disable(new["disable"])
    before, after = old["loggers"], new["loggers"]
    for name in {**before, **after}:
        level, disabled = after.get(name, (0, False))
        if before.get(name, (0, False)) != (level, disabled):
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.disabled = disabled
