"""Calling a function when a module has been imported, without importing it: a finder that waits for its name."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

_waiting: dict[str, list[Callable[[], object]]] = {}


class _Finder:
    """Finds nothing itself: it has the module of a name it waits for found by the others, and is told when it ran."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _waiting:
            return None
        for finder in list(sys.meta_path):
            if finder is not self and (find := getattr(finder, "find_spec", None)) is not None:
                spec = find(name, path, target)
                if spec is not None:
                    _watch(name, spec.loader)
                    return spec
        return None


_finder = _Finder()


def when_imported(name: str, fn: Callable[[], object]) -> None:
    """Call `fn()` once the module of this name has been imported, in the code that imports it; now if it is there.

    What `fn` raises is ignored. It is called before the import of a module that is frozen or built in.
    """
    if name in sys.modules:
        fn()
        return
    _waiting.setdefault(name, []).append(fn)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _watch(name: str, loader: Any) -> None:
    if isinstance(loader, type):
        _imported(name)
        return
    if loader is None or not hasattr(loader, "exec_module"):
        return
    original = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        if vars(loader).get("exec_module") is exec_module:
            del loader.exec_module
        original(module)
        _imported(module.__name__)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        pass  # it lets nobody set one


def _imported(name: str) -> None:
    for fn in _waiting.pop(name, ()):
        try:
            fn()
        except Exception:
            pass
