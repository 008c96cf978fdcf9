"""Notes that a task has called a function that changes its process, so that nobody looks for changes after the others.

To look costs system calls, many times what a short task costs. The functions are replaced in their modules, before any
code of the program is imported. C code that changes the process without them is not noted.
"""

from __future__ import annotations

import gc
import os
import sys

from .settings import CONTROL_FD, LIFELINE_FD

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_POSIX = (
    "chdir",
    "chroot",
    "closerange",
    "fchdir",
    "initgroups",
    "setegid",
    "seteuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
    "umask",
)
_OF_MODULE = 2 if sys.version_info >= (3, 14) else 3
"""References to a function that only its module has: its own, a local variable's and, before 3.14, the argument's."""
_SIGNAL = ("alarm", "pthread_sigmask", "set_wakeup_fd", "setitimer", "signal")


class Changes:
    """Whether the process may have changed.

    Attributes:
        made: a noted function was called since somebody has set this to ``False``.
    """

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = True

    def note(self) -> None:
        """Have the state of the process looked at after this task."""
        self.made = True


changes = Changes()


class _NotedCall:
    """Stands in for a function of the interpreter. As that, it does not become a method as an attribute of a class."""

    def __init__(self, fn: Any) -> None:
        self._fn = self.__wrapped__ = fn
        self.__name__: str = fn.__name__
        self.__qualname__, self.__module__ = fn.__qualname__, fn.__module__
        self.__doc__, self.__text_signature__ = fn.__doc__, fn.__text_signature__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._fn(*args, **kwargs)
        finally:  # not before: another thread may restore the process meanwhile
            changes.made = True

    def __repr__(self) -> str:
        return repr(self._fn)

    def __reduce__(self) -> str:
        return self.__name__


class _NotedClose(_NotedCall):
    """`os.close`, which is noted with a descriptor of the worker only: programs call it often."""

    def __call__(self, fd: Any) -> Any:
        try:
            return self._fn(fd)
        finally:
            if fd in (CONTROL_FD, LIFELINE_FD):
                changes.made = True


def note_calls(module: Any, names: Iterable[str], *others: Any) -> bool:
    """Note the calls of these functions of `module`, also where `others` have them.

    Returns:
        ``False`` if something else has one of them already, whose calls are not noted.
    """
    alone = True
    for name in names:
        fn = getattr(module, name, None)
        if fn is None:
            continue
        if isinstance(fn, _NotedCall):
            alone = alone and sys.getrefcount(fn.__wrapped__) <= 3  # two attributes of `fn` and the argument
            continue
        alone = alone and sys.getrefcount(fn) <= _OF_MODULE
        _put_instead(name, fn, _NotedCall(fn), (module, *others))
    return alone


def note_calls_of_interpreter() -> None:
    """Note the calls of every function by which Python code changes what a task must leave as it was."""
    modules = sys.modules
    signals = [modules["signal"]] if "signal" in modules else []
    note_calls(modules[os.name], _POSIX, os)
    note_calls(modules["_signal"], _SIGNAL, *signals)
    note_calls(sys, ["setrecursionlimit"])
    note_calls(gc, ["disable", "enable"])
    if (monitoring := getattr(sys, "monitoring", None)) is not None:
        note_calls(monitoring, ["use_tool_id"])  # cProfile calls it, too
    if not isinstance(os.close, _NotedCall):
        _put_instead("close", os.close, _NotedClose(os.close), (modules[os.name], os))
    if os.chdir.__wrapped__ in os.supports_fd:  # type: ignore[attr-defined]
        os.supports_fd.add(os.chdir)


def _put_instead(name: str, fn: Callable[..., Any], noted: _NotedCall, modules: Iterable[Any]) -> None:
    for module in modules:
        if getattr(module, name, None) is fn:
            setattr(module, name, noted)
