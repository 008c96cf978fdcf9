"""Checking what the user gave to a scope, and finding the pool for a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._pools import default_pools
from .._rules.dispatch import AUTO, call_name, not_a_function, place_of, unknown_place, unwrap
from .._rules.policies import is_policy
from ..abc import Backend

if TYPE_CHECKING:
    from .._auto.placer import AdaptivePlacement
    from .._handles.handle import TaskHandle
    from .retrying import Plan
    from .scope import TaskScope


def resolve(scope: TaskScope, fn: Callable[..., Any], on: object) -> tuple[str, Backend | None]:
    """Return the name of the place a call goes to and its pool, ``None`` for the event loop.

    Raises:
        TypeError: `fn` is no function, or cannot run there.
        ValueError: `on` is no place.
    """
    if on is None or isinstance(on, str):
        if on == AUTO:
            if not callable(fn):
                raise TypeError(not_a_function(fn))
            place, backend = (_auto or _import_auto()).resolve(scope, fn)
            return place, backend
        place = place_of(fn, on)
        if place == "loop":
            return place, None
        if place == "thread":
            return place, scope._threads or default_pools.default_threads()
        if place == "cpu" and default_pools.gil_is_off():
            return "thread", default_pools.default_cores()
        return "process", scope._processes or default_pools.default_processes()
    if isinstance(on, Backend):
        place_of(fn, on.kind)
        return on.kind, on
    raise ValueError(unknown_place(on))


_auto: Any = None  # an import statement in a function costs more than all that is to be decided


def launch_auto(scope: TaskScope, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> None:
    """Start a task with ``on="auto"`` in the place that `resolve` found."""
    _import_auto().launch(scope, handle, backend, timeout)  # which puts `auto.launch` itself in this one's place


def _import_auto() -> Any:
    global _auto, launch_auto
    from .._auto import placer

    _auto, launch_auto = placer, placer.launch
    return placer


def steering(scope: TaskScope, fn: Callable[..., Any], on: object) -> AdaptivePlacement | None:
    """Return what chooses the place of each chunk of a map; ``None`` if `on` is not ``"auto"``."""
    if on != AUTO:
        return None
    from .._auto.placer import adaptive_placement

    return adaptive_placement(scope, fn)


def make_plan(scope: TaskScope, fn: Callable[..., Any], retry: object, limit: object) -> Plan:
    """Check ``retry=`` and ``limit=`` of `spawn` and make a plan of them.

    Raises:
        TypeError, ValueError: one of them does not fit.
    """
    from .._rules.retry import Retry
    from .._sync.limit import Limit, as_gate
    from .retrying import Plan

    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry, got {retry!r}: write retry=Retry(3)")
    if isinstance(limit, int) and not isinstance(limit, bool):
        key = unwrap(fn), limit
        gate = scope._limits.get(key)
        if gate is None:
            gate = scope._limits[key] = Limit(limit)
        return Plan(retry, gate)
    return Plan(retry, as_gate(limit, "limit"))


def check_options(fn: Callable[..., Any], place: str, timeout: object, interrupt: bool, abandon: bool) -> None:
    """Check the options of one `spawn`.

    Raises:
        TypeError: an option does not fit the place, or the timeout is no number.
        ValueError: the timeout is no positive number of seconds.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    if place != "thread" and (interrupt or abandon):
        option = "interrupt" if interrupt else "abandon"
        raise TypeError(
            f"{option}=True is for thread tasks, and {call_name(fn)}() runs with on={place!r}: "
            "coroutines and process tasks are always stopped when they are cancelled; leave the option out"
        )


def check_seconds(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds or None, got {value!r}")
    if value != value:
        raise ValueError(f"{what} must be a number of seconds, got {value!r}; use None for no limit")
    if value < 0:
        raise ValueError(f"{what} must not be negative, got {value!r}; use None for no limit")


def check_scope_arguments(policy: object, timeout: object, processes: object, threads: object) -> None:
    """Check the arguments of a `TaskScope`.

    Raises:
        TypeError: one of them is of the wrong kind.
        ValueError: the timeout is negative.
    """
    if policy is not None and not is_policy(policy):
        shown = policy.__name__ if isinstance(policy, type) else repr(policy)
        hint = f"policy={shown}()" if isinstance(policy, type) else "policy=FailFast(), Collect() or Race(n)"
        raise TypeError(f"policy={shown} is no policy object: write {hint}")
    if timeout is not None:
        check_seconds("timeout", timeout)
    for what, pool, kind in (("processes", processes, "process"), ("threads", threads, "thread")):
        if pool is not None and not (isinstance(pool, Backend) and pool.kind == kind):
            name = f"{kind.capitalize()}Pool"
            raise TypeError(f"{what} must be a {name}, got {pool!r}: write {what}={name}(max_workers=...)")


def checked_debug(debug: object) -> Any:
    """Return ``debug=`` of a scope as it is.

    Raises:
        TypeError: it is neither a bool nor a function.
    """
    if debug.__class__ is not bool and not callable(debug):
        raise TypeError(f"debug must be True, False or a function of one Stall, got {debug!r}")
    return debug


def unknown_keywords(fn: object, unknown: dict[str, Any]) -> str:
    """The message for ``spawn(f, key=1)`` where the keyword was meant for `f`."""
    if not callable(fn):
        return not_a_function(fn)
    names = ", ".join(f"{key}={value!r}" for key, value in unknown.items())
    name = call_name(fn)
    return (
        f"spawn() has no option {next(iter(unknown))!r}; keyword arguments of {name}() are bound with functools: "
        f"spawn(functools.partial({name}, {names}))"
    )


def wrong_thread(fn: object) -> str:
    """The message for `spawn` in a thread that is not the scope's."""
    return (
        "spawn() belongs to the thread of the scope's event loop; from a thread task write "
        f"anyio.from_thread.run_sync(scope.spawn, {call_name(fn) if callable(fn) else repr(fn)}, ...)"
    )


def wrong_thread_to_cancel(handle: object) -> str:
    return (
        f"{handle!r} belongs to the thread of its event loop; elsewhere write anyio.from_thread.run_sync(handle.cancel)"
    )


def not_open(scope: TaskScope, fn: object) -> str:
    name = call_name(fn) if callable(fn) else repr(fn)
    if not callable(fn):
        not_a_function(fn)  # closes a coroutine object
    if scope._port is not None:  # it was open once
        return f"this scope is closed, {name}() cannot be spawned in it: spawn inside the `async with` block"
    return f"this scope is not open: write `async with TaskScope() as scope: scope.spawn({name}, ...)`"
