"""Stands in for pytest in a worker process that imports a test module for one of the module's functions.

pytest takes a quarter of a second of a core to import, six times what the worker itself takes to start, and the
suite starts more than a thousand workers. At import a test module uses only the decorators below; the first use of
any other name imports the real pytest.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class Mark:
    """Returns the test that it is applied to; called with arguments, it returns itself."""

    def __getattr__(self, name: str) -> Mark:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        return args[0] if len(args) == 1 and not options and callable(args[0]) else self


def fixture(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    return fn or fixture


def param(*values: Any, **options: Any) -> tuple[Any, ...]:
    return values


class LeanPytest(ModuleType):
    mark = Mark()
    fixture = staticmethod(fixture)
    param = staticmethod(param)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get("pytest") is self:
            del sys.modules["pytest"]
        return getattr(importlib.import_module("pytest"), name)


def install() -> None:
    sys.modules["pytest"] = LeanPytest("pytest")
