"""Checks of what the user gave to a scope, with messages that show the corrected call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import Any

from .._rules.arguments import as_int, check_callback, check_seconds, whole
from .._rules.dispatch import AUTO, call_name, not_a_function
from .._rules.policies import is_policy
from ..abc import Backend


def check_scope_arguments(policy: object, timeout: object, processes: object, threads: object, debug: object) -> None:
    """Check the arguments of a `TaskScope`.

    Raises:
        TypeError: one of them is of the wrong kind.
        ValueError: the timeout is negative.
    """
    if policy is not None and not is_policy(policy):
        shown = policy.__name__ if isinstance(policy, type) else repr(policy)
        hint = f"policy={shown}()" if isinstance(policy, type) else "policy=FailFast(), Collect() or Race(n)"
        raise TypeError(f"policy={shown} is not a policy: write {hint}")
    kept = getattr(policy, "kept_failures", 0)
    whole(f"kept_failures of policy={policy!r}", kept, 0)
    if timeout is not None:
        check_seconds("timeout", timeout)
    if processes is not None and not (isinstance(processes, Backend) and processes.capabilities.isolated):
        raise TypeError(_wrong_pool("processes", "ProcessPool", processes))
    if threads is not None and not (isinstance(threads, Backend) and not threads.capabilities.isolated):
        raise TypeError(_wrong_pool("threads", "ThreadPool", threads))
    if debug.__class__ is not bool and not callable(debug):
        raise TypeError(f"debug must be True, False or a function of one Stall, got {debug!r}")
    check_callback("debug", debug)


def _wrong_pool(argument: str, pool: str, got: object) -> str:
    return f"{argument} must be a {pool}, got {got!r}: write {argument}={pool}(max_workers=...)"


def check_spawn_options(
    fn: Callable[..., Any],
    on: object,
    place: str,
    backend: Backend | None,
    timeout: object,
    interrupt: bool,
    abandon: bool,
) -> None:
    """Check the options of one `spawn`.

    Args:
        fn: the function to call.
        on: what the user wrote.
        place: where the call runs.
        backend: the pool, ``None`` for the event loop.
        timeout: seconds or ``None``.
        interrupt, abandon: what cancelling does to a call that the pool cannot kill.

    Raises:
        TypeError: an option does not fit the pool, or the timeout is not a number.
        ValueError: the timeout is negative or not a number.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    able = None if on == AUTO or backend is None else backend.capabilities
    wrong_interrupt = interrupt and (able is None or able.kill or not able.interrupt)
    if wrong_interrupt or (abandon and (able is None or not able.abandon)):
        option = "interrupt" if wrong_interrupt else "abandon"
        raise TypeError(
            f"{option}=True is for thread tasks, and {call_name(fn)}() runs with on={AUTO if on == AUTO else place!r}: "
            "coroutines and process tasks are always stopped when they are cancelled; leave the option out"
        )


def check_handles(call: str, handles: Sequence[object], kind: type) -> None:
    """Check what `gather` and `as_completed` take.

    Raises:
        TypeError: one of them is not a handle.
    """
    for handle in handles:
        if not isinstance(handle, kind):
            raise TypeError(f"write scope.{call} with what spawn() returned, got {handle!r}")


def check_priority(priority: object) -> int:
    """Check a priority and return it.

    Raises:
        TypeError: it is not a whole number.
    """
    number = as_int(priority)
    if number is None:
        raise TypeError(
            f"priority must be a whole number, higher first, or None for that of the scope, got {priority!r}"
        )
    return number


def close_coroutine(thing: object) -> None:
    """Close a coroutine object that was passed instead of a function: the error says so, and Python must not warn as
    well that it was never awaited."""
    if type(thing) is CoroutineType:
        thing.close()


def unknown_keywords(fn: object, unknown: dict[str, Any]) -> str:
    """The message for ``spawn(f, key=1)`` where the keyword was meant for `f`."""
    if not callable(fn):
        close_coroutine(fn)
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


def wrong_thread_to_start(fn: object) -> str:
    """The message for `map`, `stream` and `actor` in a thread that is not the scope's."""
    name = call_name(fn) if callable(fn) else repr(fn)
    return (
        f"{name}() cannot be started here: a scope belongs to the thread of its event loop; from a thread task write "
        "from_task.run(f), where f is a coroutine function that uses the scope"
    )


def wrong_thread_to_cancel(thing: object, name: str) -> str:
    """The message for `cancel` of a handle or scope, called `name`, in a thread that is not the scope's."""
    return (
        f"{thing!r} belongs to the thread of its event loop; elsewhere write anyio.from_thread.run_sync({name}.cancel)"
    )


def wrong_loop(thing: str) -> str:
    """The message for code that waits for `thing` in another event loop."""
    return (
        f"{thing} belongs to another event loop, in another thread, and cannot be awaited here; in a task write "
        "from_task.run_async(f), where f is a coroutine function that awaits it"
    )


def not_open(fn: object, was_open: bool) -> str:
    """The message for work that is started in a scope outside of its block.

    Args:
        fn: the function to call.
        was_open: the block has been left; else it has not been entered.
    """
    name = call_name(fn) if callable(fn) else repr(fn)
    if not callable(fn):
        close_coroutine(fn)
    if was_open:
        return f"this scope is closed, {name}() cannot be spawned in it: spawn inside the `async with` block"
    return f"this scope is not open: write `async with TaskScope() as scope: scope.spawn({name}, ...)`"
