"""The program's main file, imported in a worker as multiprocessing's spawn does: for ``ProcessPool(main="import")``."""

from __future__ import annotations

import os
import sys

from .._wire.pickling import module_names
from .._wire.pickling.main_guard import has_guard

_replaced: list[object] = []


def how() -> tuple[str, str]:
    """Return how a worker is to import the main file of this process: ``"name"`` or ``"path"``, and which.

    Raises:
        ValueError: it cannot be imported, or that would start the program again.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if path is None or (spec is None and not os.path.isfile(path)):
        raise ValueError('main="import" needs a program that is a file; this one was typed in or piped')
    if not has_guard(path):
        raise ValueError(
            f'main="import": a worker would run {path} as a module, and that would start the program again. '
            'Put its start under `if __name__ == "__main__":`'
        )
    sys.modules.setdefault("__mp_main__", main)  # what comes back names this module
    return ("name", spec.name) if spec is not None else ("path", path)


def load(kind: str, what: str) -> None:
    """In the worker, before the initializer: execute the main file in the dictionary of the module it becomes.

    multiprocessing's own function for it leaves the functions with another dictionary than the module's.

    Raises:
        ImportError: the file is not found.
    """
    import importlib.util
    from importlib.machinery import PathFinder
    from types import ModuleType

    module_names.main_is_imported = True
    if what == "__main__":  # of a folder or a zip file, which stands in the path
        spec = PathFinder.find_spec(what)
    elif kind == "name":
        spec = importlib.util.find_spec(what)
    else:
        spec = importlib.util.spec_from_file_location("__mp_main__", what)
    if spec is None or spec.loader is None:
        raise ImportError(f"the main file of the program, {what}, is not found by a worker")
    module = ModuleType("__mp_main__")
    module.__file__ = spec.origin
    module.__spec__ = spec if kind == "name" else None
    module.__package__ = spec.parent if kind == "name" else None
    _replaced.append(sys.modules["__main__"])
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    exec(spec.loader.get_code(spec.name), module.__dict__)  # type: ignore[attr-defined]
