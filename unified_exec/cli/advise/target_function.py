"""The user's function: finding it and its arguments from the command line, and what its code assigns to."""

from __future__ import annotations

import ast
import dis
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ..._auto.captured_state import functions_in
from ..._rules.dispatch import is_async, unwrap


class BadTarget(Exception):
    """The function cannot be found or called; the text says why, and what to write instead."""


class Call:
    """A call that can be repeated, each time with fresh arguments.

    Attributes:
        name: as written on the command line.
        fn: the function.
        is_async: calling it returns a coroutine.
    """

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        setup: Callable[[], Any] | None,
    ) -> None:
        self.name = name
        self.fn = fn
        self.is_async = is_async(fn)
        self._args = args
        self._kwargs = kwargs
        self._setup = setup

    def fresh(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return the function, with its keyword arguments bound, and the positional arguments of the next run.

        Raises:
            BadTarget: the setup function returned no arguments.
        """
        args, kwargs = self._args, self._kwargs
        if self._setup is not None:
            args, kwargs = _arguments(self._setup)
        return (partial(self.fn, **kwargs) if kwargs else self.fn), args


def load(name: str, args: Iterable[str], kwargs: Iterable[str], setup: str | None) -> Call:
    """Find the function and read its arguments.

    Raises:
        BadTarget: one of them is missing or invalid.
    """
    fn = find(name)
    _check_kind(name, fn)
    positional = tuple([_value(text, "--args") for text in args])
    named = dict(_named(text) for text in kwargs)
    if setup is not None and (positional or named):
        raise BadTarget("--setup provides all arguments: leave --args and --kwargs out, or leave out --setup")
    make = find(setup) if setup is not None else None
    if make is not None and is_async(make):
        raise BadTarget(f"--setup {setup} is async; make it a plain function")
    call = Call(name, fn, positional, named, make)
    if make is None:
        _check_signature(name, fn, positional, named)
    return call


def find(name: str) -> Callable[..., Any]:
    """Import ``module:function`` or ``file.py:function``.

    Raises:
        BadTarget: it does not exist or cannot be called.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise BadTarget(
            f"{name!r} does not name a function: write MODULE:FUNCTION, such as shop.prices:total or prices.py:total"
        )
    thing: Any = _module(module_name)
    for part in path.split("."):
        if not hasattr(thing, part):
            raise BadTarget(f"{module_name} has no {path!r}{_near(part, thing)}")
        thing = getattr(thing, part)
    if not callable(thing):
        raise BadTarget(f"{name} is an object of type {type(thing).__name__} and cannot be called")
    found: Callable[..., Any] = thing
    return found


def _module(name: str) -> Any:
    folder = Path.cwd()
    if name.endswith(".py"):
        file = Path(name)
        if not file.is_file():
            raise BadTarget(f"there is no file {name}")
        folder, name = file.resolve().parent, file.stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # worker processes inherit this path
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise BadTarget(f"there is no module {name!r} (searched from {folder})") from None
        raise BadTarget(f"importing {name} raised ModuleNotFoundError: {error}") from error
    except Exception as error:
        raise BadTarget(f"importing {name} raised {type(error).__name__}: {error}") from error


def _near(part: str, thing: Any) -> str:
    import difflib

    close = difflib.get_close_matches(part, dir(thing), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_kind(name: str, fn: Callable[..., Any]) -> None:
    inner = unwrap(fn)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise BadTarget(
            f"{name} is a generator function: calling it runs nothing; see scope.stream, or name a plain function"
        )


def _value(text: str, option: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadTarget(
            f"{option} {text!r} is neither a Python literal nor JSON. Quote a string for the shell and for Python, "
            f"{option} \"'{text}'\"; for anything that is not a literal use --setup MODULE:FUNCTION"
        ) from None


def _named(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise BadTarget(f"--kwargs {text!r} is not of the form NAME=VALUE, such as level=9 or \"mode='fast'\"")
    return name, _value(value, f"--kwargs {name}=")


def _check_signature(name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError):
        return  # some functions written in C have none
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise BadTarget(
            f"{name}{signature} cannot be called like this: {error}; see --args, --kwargs and --setup"
        ) from None


def _arguments(setup: Callable[[], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        made = setup()
    except Exception as error:
        raise BadTarget(f"--setup raised {type(error).__name__}: {error}") from error
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], tuple) and isinstance(made[1], dict):
        return made
    if isinstance(made, tuple):
        return made, {}
    raise BadTarget(
        f"--setup returned {type(made).__name__}; return a tuple of the arguments, `(x,)` for one, or a pair of a "
        "tuple and a dict"
    )


def rebound_names(fn: Callable[..., Any]) -> list[str]:
    """Return the globals and captured variables that a function, or a function inside it, assigns to."""
    names: dict[str, None] = {}
    for function in functions_in(fn):
        _note_assignments(function.__code__, names, frozenset(function.__code__.co_freevars))
    return list(names)


def _note_assignments(code: Any, names: dict[str, None], captured: frozenset[str]) -> None:
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") or (
            step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in captured
        ):
            names[step.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            _note_assignments(constant, names, captured & frozenset(constant.co_freevars))
