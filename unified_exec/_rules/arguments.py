"""Checks of arguments, with messages that say what is wanted. Each is made where the user wrote the argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any, TypeGuard

from .dispatch import call_name, is_async, not_a_function

LONGEST = 2e6
"""Seconds, 23 days: `poll` takes no more."""


def check_seconds(what: str, value: object, *, optional: bool = True, positive: bool = False) -> None:
    """Check a number of seconds.

    Args:
        what: the name of the argument.
        value: what was given.
        optional: ``None`` may be given instead; the caller has looked for it.
        positive: 0 is not allowed.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, larger than any `float`, or not a number in the sense of IEEE 754.
    """
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or _is_real(value)):
        raise TypeError(f"{what} must be a number of seconds{' or None' if optional else ''}, got {value!r}")
    none = "; use None for no limit" if optional else ""
    try:
        float(value)
    except OverflowError:  # and maybe too long to be shown
        raise ValueError(f"{what} must be a number of seconds, got one that no float can hold{none}") from None
    if value != value:
        raise ValueError(f"{what} must be a number of seconds, got {value!r}{none}")
    if value < 0 or (positive and value == 0):
        raise ValueError(f"{what} must {'be positive' if positive else 'not be negative'}, got {value!r}{none}")


def seconds(what: str, value: Any, *, optional: bool = True, positive: bool = False) -> float:
    """Check a number of seconds, and return it as a `float` that may travel and be waited for; see `check_seconds`."""
    check_seconds(what, value, optional=optional, positive=positive)
    return min(float(value), LONGEST)


def seconds_left(what: str, value: Any, *, optional: bool = True) -> float:
    """Like `seconds`; less than none is left of a deadline that has passed."""
    return 0.0 if isinstance(value, (int, float)) and value < 0 else seconds(what, value, optional=optional)


def _is_real(value: object) -> TypeGuard[float]:
    """Tell whether it is a number of another kind, such as one of NumPy's."""
    from numbers import Real  # rarely needed

    return isinstance(value, Real)


def as_int(value: object) -> int | None:
    """Return a whole number as an `int`; ``None`` if it is something else. NumPy's are whole numbers, a bool is not."""
    if type(value) is int:
        return value
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def whole(what: str, value: object, least: int = 1, most: int | None = None, *, instead: str = "") -> int:
    """Check a whole number and return it as an `int`.

    Args:
        what: the name of the argument.
        value: what was given.
        least, most: the bounds; ``None`` for no upper one.
        instead: what else may be given; the caller has looked for it.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is out of its bounds.
    """
    number = as_int(value)
    instead = instead and f" or {instead}"
    if number is None:
        raise TypeError(f"{what} must be a whole number{instead}, got {value!r}")
    if number < least:
        raise ValueError(f"{what} must be at least {least}{instead}, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{what} must be at most {most}{instead}, got {number}")
    return number


def check_function(verb: str, fn: object) -> None:
    """Check that `fn` can be called.

    Raises:
        TypeError: it cannot; the message says what to write instead.
    """
    if not callable(fn):
        raise TypeError(not_a_function(fn, verb))


def check_callback(what: str, fn: Any) -> None:
    """Check a function of the user's that is called and not awaited.

    Raises:
        TypeError: it is async, so nothing would happen.
    """
    if callable(fn) and is_async(fn):
        raise TypeError(f"{what} must be a plain function, and {call_name(fn)}() is async: nothing awaits it")


def check_backoff(what: str, value: object) -> None:
    """Check the seconds between two tries, or the function that returns them.

    Raises:
        TypeError: it is neither a number nor a plain function.
        ValueError: it is negative, or not a number.
    """
    check_callback(what, value)
    if not callable(value):
        check_seconds(what, value, optional=False)


def exception_types(what: str, kinds: Any) -> tuple[type[BaseException], ...]:
    """Check the exception types of an option, one or a tuple of them, and return a tuple.

    Raises:
        TypeError: there is something else.
    """
    found = kinds if isinstance(kinds, tuple) else (kinds,)
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"{what} takes an exception type or a tuple of them, got {kind!r}")
    return found


def check_initializer(fn: Any, args: object) -> None:
    """Check what is called when a worker starts.

    Raises:
        TypeError: it is not a plain function, or its arguments are not in a tuple.
    """
    if fn is not None and not callable(fn):
        raise TypeError(f"initializer must be a callable, got {fn!r}: write initializer=f, initargs=(x,) for f(x)")
    check_callback("initializer", fn)
    if not isinstance(args, Iterable) or isinstance(args, (str, bytes)):
        raise TypeError(f"initargs must be a tuple, got {args!r}: write initargs=({args!r},)")


def check_amounts(what: str, amounts: Any, example: str) -> None:
    """Check the amounts of an engine's resources, by name.

    Raises:
        TypeError: it is not a dict of numbers.
        ValueError: one is negative, or not a number.
    """
    pairs = list(amounts.items()) if isinstance(amounts, Mapping) else None
    if pairs is None or not all(isinstance(name, str) and _is_real(amount) for name, amount in pairs):
        raise TypeError(f"{what} must be a dict of names and numbers, got {amounts!r}: write {what}={example}")
    wrong = [name for name, amount in pairs if not 0 <= amount < float("inf")]
    if wrong:
        raise ValueError(f"{what} must not be negative, got {wrong[0]!r}: {amounts[wrong[0]]!r}")


def text(name: object) -> str | None:
    """Return a name as text: a number is a good name for a task."""
    return name if name is None or type(name) is str else str(name)
