"""Whether a program's main file may be executed a second time, as a module."""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


class GuardedModule(ModuleType):
    """A module whose file multiprocessing runs again only if the program's start is under a main guard."""

    @property
    def __file__(self) -> Any:
        """The file. Refused to a nested spawn of multiprocessing that would run a program without a main guard."""
        try:
            path = self.__dict__["__file__"]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute '__file__'") from None
        if self.__name__ == "__main__" and sys._getframe(1).f_globals.get("__name__") == "multiprocessing.spawn":
            _need_guard(path)
        return path

    @__file__.setter
    def __file__(self, path: Any) -> None:
        self.__dict__["__file__"] = path


def has_guard(path: str) -> bool:
    """Tell whether the file has an ``if __name__ == "__main__":``; True for a file that cannot be read."""
    import ast

    try:
        with open(path, "rb") as file:
            module = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):  # a folder or a zip file with a __main__.py
        return True
    for node in module.body:
        if isinstance(node, ast.If):
            test = ast.dump(node.test)
            if "'__name__'" in test and "'__main__'" in test:
                return True
    return False


def _need_guard(path: str) -> None:
    """Refuse a nested spawn of multiprocessing that would run a program without a main guard.

    Raises:
        RuntimeError: `path` has none.
    """
    if not has_guard(path):
        raise RuntimeError(
            f"multiprocessing, called inside a task, would run {path} again in its child, and that has no "
            "`if __name__ == \"__main__\":`: add the guard, move the function to a module, use the start method 'fork' "
            "or open a TaskScope in the task instead"
        )
