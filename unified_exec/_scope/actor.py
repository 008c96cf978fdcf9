"""Actors: objects that live in a worker, a thread or on the loop for as long as their scope is open."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, TypeVarTuple, Unpack, overload

from .._handles import actor_refs
from .._handles.handle import TaskHandle
from .._handles.open_scopes import ScopePart
from .._pools.thread.pool import ThreadPool
from .._rules.arguments import check_seconds, text
from .._rules.dispatch import call_name
from .._tasks import events
from .._tasks.types import Outcome
from ..abc import ProcessBackend

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from .._loops.adapter import LoopAdapter
    from .._map.generator_stream import GeneratorStream
    from .options import CallOptions

A = TypeVar("A")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ActorPlace = Literal["process", "thread", "loop"] | ProcessBackend | ThreadPool


class Actor(ScopePart, Generic[A]):
    """An object that lives elsewhere and serves calls of its methods, see `TaskScope.actor`.

    It may be passed to tasks, in threads and processes too, and to other actors: they call it as the code of its scope
    does, over the way back (see `from_task`). There ``call`` returns a `from_task.SpawnedTask`: ``result()`` waits.

    Calls are served one at a time, in the order in which they were made; with ``concurrency=n`` up to n at a time. They
    are tasks of the scope: they can be awaited, cancelled and timed, and the scope waits for them. What a method raises
    is raised where the call is awaited, and nowhere else.

    Attributes:
        name: shown in errors; the name of the class by default.
        state: ``"making"``, ``"up"``, ``"lost"`` (its worker has died and the object will be made anew) or ``"ended"``.
    """

    def __init__(self, scope: Launcher, cls: Callable[..., A], args: tuple[Any, ...], name: str | None) -> None:
        self.name = name or call_name(cls)
        self.state = "making"
        self.token: str | None = None  # once it has travelled
        self._scope = scope
        self._cls = cls
        self._args = args
        self._error: BaseException | None = None
        scope.attach(self)

    @overload
    def call(
        self, method: Callable[[A, *Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[CallOptions]
    ) -> TaskHandle[T]: ...

    @overload
    def call(self, method: Callable[[A, *Ts], T], /, *args: *Ts, **options: Unpack[CallOptions]) -> TaskHandle[T]: ...

    def call(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, method: Callable[..., Any], /, *args: Any, timeout: float | None = None, name: str | None = None
    ) -> TaskHandle[Any]:
        """Call a method of the object and return at once; await the handle for the value.

        Args:
            method: the method, as an attribute of the class: ``actor.call(Model.predict, x)``.
            args: its positional arguments.
            timeout: seconds after which the call fails with `TaskTimeout`; waiting for its turn counts.
            name: shown in errors; by default that of the class and the method.

        Raises:
            TypeError: `method` is not a method of the actor's class.
            ValueError: the timeout is negative or not a number.
            SerializationError: an argument cannot travel.
            RuntimeError: the actor or its scope has ended.

        A call that is cancelled before its turn never starts. One that runs in a process is asked to stop, and if it
        does not within the grace, the worker is killed: the object is lost with it.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        if self._scope.thread != get_ident():
            method_name = actor_refs.method_name(self._cls, method)
            asked: Any = actor_refs.ask(self, self.name, method_name, args, timeout, name)
            return asked  # type: ignore[no-any-return]  # as good as a handle: await it, or ask for its result
        method_name = self._check(method)
        return self._start(text(name) or f"{self.name}.{method_name}", method_name, args, timeout)

    def is_of(self, adapter: LoopAdapter) -> bool:
        return adapter is self._scope.adapter

    def call_named(
        self, method: str, args: tuple[Any, ...], *, timeout: float | None, name: str | None
    ) -> TaskHandle[Any]:
        """Call a method on behalf of a task, on the event loop of the actor."""
        self._refuse_if_ended()
        return self._start(name or f"{self.name}.{method}", method, args, timeout)

    def stream(self, method: Callable[..., Any], /, *args: Any) -> GeneratorStream[Any]:
        """Iterate over the items of a generator that is a method, as `TaskScope.stream` does; it counts as one call."""
        raise NotImplementedError

    @property
    def pending(self) -> int:
        """How many calls have not been answered."""
        raise NotImplementedError

    def _start(self, name: str, method: str, args: tuple[Any, ...], timeout: float | None) -> TaskHandle[Any]:
        raise NotImplementedError

    def scope_ended(self) -> None:
        self.state = "ended"

    def _check(self, method: Callable[..., Any]) -> str:
        if self._scope.thread != get_ident():
            raise actor_refs.no_stream(self.name)
        self._refuse_if_ended()
        return actor_refs.method_name(self._cls, method)

    def _refuse_if_ended(self) -> None:
        if self.state == "ended":
            why = f"it has failed: {self._error}" if self._error is not None else "its scope has ended"
            raise RuntimeError(f"actor {self.name!r} takes no calls: {why}") from self._error

    def method_name(self, method: str) -> str:
        """What events tell of a call's function."""
        return f"{events.function_name(self._cls)}.{method}"[:200]

    def _report(self, error: BaseException) -> None:
        """Let the policy of the scope see that the actor has failed."""
        handle: TaskHandle[Any] = TaskHandle(self.name, self._cls, self._args, "actor", self._scope)
        handle.silent = True
        handle.settle(Outcome(error=error))

    def __reduce__(self) -> Any:
        return actor_refs.arrived, (actor_refs.token_of(self), self.name, self._cls)

    def __repr__(self) -> str:
        return f"<Actor {self.name!r} {self.state}, {self.pending} calls>"


class ActorGroup(Generic[A]):
    """Several actors of one class, see `TaskScope.actors`. A call goes to the one with the fewest calls.

    Attributes:
        members: the actors.
    """

    def __init__(self, members: list[Actor[A]]) -> None:
        self.members = members
        self.token: str | None = None
        self._next = 0

    @overload
    def call(
        self, method: Callable[[A, *Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[CallOptions]
    ) -> TaskHandle[T]: ...

    @overload
    def call(self, method: Callable[[A, *Ts], T], /, *args: *Ts, **options: Unpack[CallOptions]) -> TaskHandle[T]: ...

    def call(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, method: Callable[..., Any], /, *args: Any, **options: Any
    ) -> TaskHandle[Any]:
        """Call a method of the least busy actor, in turn if several are; arguments and errors as for `Actor.call`."""
        return self.least_busy().call(method, *args, **options)

    def stream(self, method: Callable[..., Any], /, *args: Any) -> GeneratorStream[Any]:
        """Iterate over a generator method of the least busy actor, see `Actor.stream`."""
        return self.least_busy().stream(method, *args)

    def broadcast(self, method: Callable[..., Any], /, *args: Any) -> list[TaskHandle[Any]]:
        """Call a method of every actor that takes calls."""
        untyped: list[Any] = [actor for actor in self.members if actor.state != "ended"]
        return [actor.call(method, *args) for actor in untyped]

    def least_busy(self) -> Actor[A]:
        """Return the actor that the next call goes to: one whose object is there, if there is such a one."""
        self._next += 1
        count = len(self.members)
        turn = [self.members[(self._next + n) % count] for n in range(count)]
        ranks = {"up": 0, "making": 0, "lost": 1, "ended": 2}
        return min(turn, key=lambda actor: (ranks[actor.state], actor.pending))

    def __reduce__(self) -> Any:
        return actor_refs.arrived_group, (actor_refs.token_of(self), self.members)

    def __iter__(self) -> Iterator[Actor[A]]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"<ActorGroup {self.members!r}>"
