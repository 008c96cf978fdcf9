"""Where a call runs: `on=` decides, else the marker, else the kind of function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__unified_exec_on__"
CO_COROUTINE = 0x80  # as in inspect, whose import costs more than everything else a marked function needs
PLACES = ("loop", "thread", "process", "interpreter", "cpu")
AUTO = "auto"
"""Decided anew for each call, from measurements: see `_auto`."""


def cpu_bound(fn: F) -> F:
    """Mark a function as CPU work: `spawn` sends it to processes, or to threads where there is no GIL.

    Args:
        fn: any function; it is returned unchanged and can be called as before.

    Example::

        from unified_exec import cpu_bound

        @cpu_bound
        def crunch(data):
            return sum(data)

        assert crunch([1, 2]) == 3
    """
    _mark(fn, "cpu", "cpu_bound")
    return fn


def blocking(fn: F) -> F:
    """Mark a function as blocking: `spawn` sends it to a thread (as it does with every plain function).

    Args:
        fn: a plain function, not a coroutine function.

    Raises:
        TypeError: `fn` is a coroutine function, which cannot run in a thread.
    """
    if hasattr(fn, "__call__") and is_async(fn):  # noqa: B004  else it is refused below
        raise TypeError(f"@blocking is for plain functions, and {call_name(fn)}() is async: it runs on the event loop")
    _mark(fn, "thread", "blocking")
    return fn


def _mark(fn: Any, place: str, decorator: str) -> None:
    if isinstance(fn, (staticmethod, classmethod)):
        fn = fn.__func__  # this is what `spawn` receives
    try:
        setattr(fn, MARK, place)
    except (AttributeError, TypeError):
        raise TypeError(
            f"@{decorator} cannot mark {fn!r}: say where it runs when you spawn it, "
            f"spawn({call_name(fn)}, ..., on={place!r})"
        ) from None


def is_async(fn: Any) -> bool:
    """Tell whether calling `fn` returns a coroutine: looks through partials, methods and callable objects."""
    if type(fn) is FunctionType:
        if fn.__code__.co_flags & CO_COROUTINE:
            return True
        if not fn.__dict__:
            return False  # it is not marked with inspect.markcoroutinefunction either
    elif type(fn) is BuiltinFunctionType:
        return False
    import inspect

    fn = unwrap(fn)
    if inspect.iscoroutinefunction(fn):
        return True
    # Of a class, `__call__` is what its instances do.
    return callable(fn) and not isinstance(fn, type) and inspect.iscoroutinefunction(unwrap(fn.__call__))


def unwrap(fn: Any) -> Any:
    """Return the function inside of partials and bound methods."""
    while True:
        if isinstance(fn, partial):
            fn = fn.func
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        else:
            return fn


def place_of(fn: Callable[..., Any], on: str | None = None) -> str:
    """Return one of `PLACES` for a call of `fn`.

    Raises:
        TypeError: `fn` cannot be called, or is async where only a plain function can run.
        ValueError: `on` is not a valid target.
    """
    if type(fn) is FunctionType and not fn.__dict__:
        coroutine, marker = fn.__code__.co_flags & CO_COROUTINE != 0, None
        if on is None:
            return "loop" if coroutine else "thread"
    else:
        coroutine, marker = _look_inside(fn)
    if on is None:
        on = marker or ("loop" if coroutine else "thread")
        if on == "cpu" and coroutine:
            return "process"
        return on
    if on not in PLACES:
        raise ValueError(unknown_place(on))
    if coroutine and on in ("thread", "interpreter", "cpu"):
        raise TypeError(must_not_be_async(fn, on))
    return on


def _look_inside(fn: Callable[..., Any]) -> tuple[bool, str | None]:
    if not callable(fn):
        raise TypeError(not_a_function(fn))
    return is_async(fn), _marker(fn)


def _marker(fn: Any) -> str | None:
    """Return the nearest marker: a partial may have one itself."""
    while True:
        marker: str | None = getattr(fn, MARK, None)
        if marker is not None:
            return marker
        if isinstance(fn, partial):
            fn = fn.func
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        elif isinstance(fn, type):
            return None
        else:
            return getattr(type(fn).__call__, MARK, None)


def not_awaitable(fn: Callable[..., Any], value: object) -> str:
    """Return the message for a plain function that was sent to the event loop."""
    return (
        f"{call_name(fn)}() ran on the event loop, where it holds up everything else, and returned "
        f"{type(value).__name__}, which cannot be awaited; use on='thread' (the default for plain functions), "
        "on='process', or write it as `async def`"
    )


def must_not_be_async(fn: Callable[..., Any], on: str) -> str:
    """The message for an async function that was sent where only plain functions run."""
    return (
        f"{call_name(fn)}() is async and cannot run with on={on!r}; "
        "use on='loop' (the default for async functions) or on='process'"
    )


def not_a_function(thing: object, verb: str = "spawn") -> str:
    """Return the message for `spawn(f())` where `spawn(f)` was meant, and similar mistakes."""
    import inspect

    if inspect.iscoroutine(thing):
        name = thing.__name__
        return (
            f"{verb}() takes the function, not a coroutine object: write {verb}({name}, ...) instead of "
            f"{verb}({name}(...))"
        )
    if inspect.isawaitable(thing):
        return (
            f"{verb}() takes a function, not an awaitable ({type(thing).__name__}): write `await` or wrap it in "
            "`async def`"
        )
    return (
        f"{verb}() takes a function and its arguments, got {thing!r} of type {type(thing).__name__}: "
        f"write {verb}(f, x) instead of {verb}(f(x))"
    )


def call_name(fn: Callable[..., Any]) -> str:
    """Return the name of a call for errors and listings."""
    name = getattr(fn, "__qualname__", None)
    if name is None:
        inner = unwrap(fn)
        name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return name if type(name) is str else str(name)


def unknown_place(on: object) -> str:
    """Return the message for an `on=` that is not a valid target."""
    text = f"on={on!r} is not a valid target"
    import difflib  # slow to import, and for this message only

    close = difflib.get_close_matches(on, (*PLACES, AUTO), n=1) if isinstance(on, str) else []
    if close:
        text += f"; did you mean on={close[0]!r}?"
    elif isinstance(on, type):
        text += f": write on={on.__name__}(...) and enter it with `async with`."
    else:
        text += "."
    return text + " Choose 'loop', 'thread', 'process', 'interpreter', 'cpu', 'auto', or a pool object."
