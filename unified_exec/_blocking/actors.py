"""Actors of a `SyncTaskScope`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, overload

from .._handles import actor_refs
from .handle import SyncTaskHandle

if TYPE_CHECKING:
    from typing import Unpack

    from .._handles.handle import TaskHandle
    from .._scope.actor import Actor, ActorGroup
    from .._scope.options import CallOptions

A = TypeVar("A")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SyncActor(Generic[A]):
    """An actor, or a group of actors, of a `SyncTaskScope`; see `Actor` and `ActorGroup`."""

    def __init__(
        self,
        actor: Actor[A] | ActorGroup[A],
        start: Callable[[Callable[[], TaskHandle[Any]]], SyncTaskHandle[Any]],
        iterate: Callable[[Callable[[], Any]], Iterator[Any]],
    ) -> None:
        self._actor = actor
        self._start = start
        self._iterate = iterate

    @overload
    def call(
        self, method: Callable[[A, *Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[CallOptions]
    ) -> SyncTaskHandle[T]: ...

    @overload
    def call(
        self, method: Callable[[A, *Ts], T], /, *args: *Ts, **options: Unpack[CallOptions]
    ) -> SyncTaskHandle[T]: ...

    def call(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, method: Callable[..., Any], /, *args: Any, **options: Any
    ) -> SyncTaskHandle[Any]:
        """Call a method of the object and return at once; arguments and errors as for `Actor.call`."""
        return self._start(partial(self._actor.call, method, *args, **options))

    def stream(self, method: Callable[..., Any], /, *args: Any) -> Iterator[Any]:
        """Yield the items of a generator that is a method; see `Actor.stream`."""
        return self._iterate(lambda: self._actor.stream(method, *args))

    def __reduce__(self) -> Any:
        return actor_refs.itself, (self._actor,)

    def __repr__(self) -> str:
        return f"<SyncActor of {self._actor!r}>"
