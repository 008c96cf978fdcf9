"""Calls of actors that tasks in other places ask their scope for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._handles import actor_refs
from .._handles.handle import TaskHandle
from .._tasks.current import current
from .actor import Actor, ActorGroup
from .actor_rings import QueuedCall, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from .._handles.owner import Launcher
    from .._tasks.requests import Request


def start_call(scope: Launcher, opened_in: Context, request: Request) -> TaskHandle[Any]:
    """Call an actor on behalf of a task.

    Args:
        scope: of the task.
        opened_in: the context of the scope.
        request: what the task asks for.

    Raises:
        RuntimeError: the actor has ended, or belongs to another event loop.
        SerializationError: an argument cannot travel.
    """
    actor, method, args = request.args
    options: dict[str, Any] = request.options
    found: Any = actor if isinstance(actor, Actor) else actor_refs.arrived(*actor)
    if isinstance(found, ActorGroup):
        found = found.least_busy()
    is_here = isinstance(found, Actor)
    if is_here and found.is_of(scope.adapter):
        call: TaskHandle[Any] = found.call_named(method, args, **options)
        if isinstance(call, QueuedCall):
            watch(scope.adapter, call)
        return call
    opener = opened_in.get(current)  # the task, in this process, that has opened the scope
    if opener is None:
        why = "its scope has ended"
        if is_here:
            why = "it belongs to the event loop of another thread, and the task to this one; use a Channel"
        raise RuntimeError(f"actor {found.name!r} takes no calls: {why}")
    forward: Callable[..., Any] = actor_refs.forward
    arguments = (opener, found if is_here else actor, method, args, options)
    handle: TaskHandle[Any] = TaskHandle(f"{found.name}.{method}", forward, arguments, "loop", scope)
    handle.private = True
    return scope.launch(handle, None, None)
