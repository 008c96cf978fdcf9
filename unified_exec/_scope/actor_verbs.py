"""`TaskScope.actor` and `TaskScope.actors`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from .block import ScopeBlock, engine_of

if TYPE_CHECKING:
    from .actor import Actor, ActorGroup, ActorPlace

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ActorVerbs(ScopeBlock):
    """The verbs of a scope that make actors."""

    def actor(
        self,
        cls: Callable[[*Ts], T],
        /,
        *args: *Ts,
        on: ActorPlace = "process",
        name: str | None = None,
        concurrency: int = 1,
        grace: float | None = None,
    ) -> Actor[T]:
        """Make an object that lives elsewhere until the scope ends: ``cls(*args)`` in a worker of its own.

        Args:
            cls: the class, or a function that makes the object.
            args: its positional arguments.
            on: ``"process"`` (a worker, beyond those that the pool has for tasks), ``"thread"``, ``"loop"``, or a pool
                whose settings its worker has. On the pool of a cluster it is one of the engine's threads on some node.
            name: shown in errors; by default that of the class.
            concurrency: how many calls of coroutine methods run at the same time. A class with coroutine methods has an
                event loop in its worker; a plain method blocks that.
            grace: seconds between requesting a call to stop and killing the worker, and the object with it; also the
                seconds that closing may take.

        Raises:
            RuntimeError: the scope is not open.
            TypeError, ValueError: an argument does not fit.
            SerializationError: the class or an argument cannot travel.

        When every other task of the scope has ended, the object is closed: with `aclose`, else with ``__exit__`` if it
        is a context manager, else with `close`.

        If the object cannot be made, or its worker dies, the actor fails, which the policy of the scope sees. Under
        `Supervise` the object is made anew; a call that had begun fails with `WorkerCrashed`, the others go to the new
        object.

        Example::

            import anyio
            from unified_exec import TaskScope

            class Counter:
                def __init__(self, start):
                    self.n = start

                def add(self, n):
                    self.n += n
                    return self.n

            async def main():
                async with TaskScope() as scope:
                    counter = scope.actor(Counter, 10)
                    counter.call(Counter.add, 1)
                    print(await counter.call(Counter.add, 2))

            anyio.run(main)
        """
        from unified_exec._scope.make_actor import make_actor  # loaded with the first actor

        return make_actor(engine_of(self, cls), cls, args, on, name, concurrency, grace)

    def actors(
        self,
        cls: Callable[[*Ts], T],
        /,
        *args: *Ts,
        count: int,
        on: ActorPlace = "process",
        name: str | None = None,
        concurrency: int = 1,
        grace: float | None = None,
    ) -> ActorGroup[T]:
        """Make `count` actors of one class. Each call goes to the one that has the fewest calls.

        Arguments and errors as for `actor`.
        """
        from unified_exec._scope.make_actor import make_actors

        return make_actors(engine_of(self, cls), cls, args, count, on, name, concurrency, grace)
