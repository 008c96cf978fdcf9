"""Stand in for what a test module imports, in a worker process that imports it for one of its functions.

pytest takes a quarter of a second of a core to import, Hypothesis half a second, scopes and pools of the package a
tenth: many times what the worker itself takes to start, and the suite starts more than a thousand workers. At import a
test module uses only the decorators below and names scopes and pools; the first use of anything else imports what it
stands for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, MutableSequence
from types import ModuleType
from typing import Any

import unified_exec


class Mark:
    """Returns the test that it is applied to; called with arguments, it returns itself. A base class that is none."""

    def __getattr__(self, name: str) -> Mark:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        return args[0] if len(args) == 1 and not options and callable(args[0]) else self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __or__(self, other: object) -> Mark:
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()


def fixture(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    return fn or fixture


def param(*values: Any, **options: Any) -> tuple[Any, ...]:
    return values


class LeanModule(ModuleType):
    """Imports the module that it stands in for when something else of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class LeanPytest(LeanModule):
    mark = Mark()
    fixture = staticmethod(fixture)
    param = staticmethod(param)


class LeanHypothesis(ModuleType):
    """No worker process tries examples, so that every name is a decorator that leaves the test as it is."""

    __path__: MutableSequence[str] = []  # noqa: RUF012

    @staticmethod
    def precondition(check: Callable[..., bool]) -> Any:
        return fixture

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Mark()


class LeanName:
    """A class or function of the package, looked up when it is first used: called, derived from, compared with."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _real(self) -> Any:
        if vars(unified_exec).get(self._name) is self:
            delattr(unified_exec, self._name)
        return getattr(unified_exec, self._name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._real()(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self._real())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._real(),)


def install() -> None:
    sys.modules["pytest"] = LeanPytest("pytest")
    sys.modules["psutil"] = LeanModule("psutil")
    for name in ("hypothesis", "hypothesis.strategies", "hypothesis.stateful"):
        sys.modules[name] = LeanHypothesis(name)
    for name in ("Pipeline", "ProcessPool", "SyncTaskScope", "TaskHandle", "TaskScope", "ThreadPool", "call", "share"):
        vars(unified_exec).setdefault(name, LeanName(name))
