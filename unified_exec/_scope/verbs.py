"""What a scope does with many items or many handles."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, overload

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._map.generator_stream import GeneratorStream
    from .._map.stream import MapStream
    from .._rules.retry import Retry
    from .._sync.limit import Gate
    from ..observe.progress.record import Show
    from .scope import On, TaskScope

A = TypeVar("A")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Verbs:
    """`map`, `stream`, `as_completed` and `gather` of a `TaskScope`."""

    @overload
    def map(
        self,
        fn: Callable[[A], Awaitable[T]],
        items: Iterable[A] | AsyncIterable[A],
        *,
        on: On | None = ...,
        limit: int | Gate | None = ...,
        ordered: bool = ...,
        chunk: int | Literal["auto"] = ...,
        buffer: int | None = ...,
        retry: Retry | None = ...,
        timeout: float | None = ...,
        return_exceptions: bool = ...,
        progress: Show = ...,
    ) -> MapStream[T]: ...

    @overload
    def map(
        self,
        fn: Callable[[A], T],
        items: Iterable[A] | AsyncIterable[A],
        *,
        on: On | None = ...,
        limit: int | Gate | None = ...,
        ordered: bool = ...,
        chunk: int | Literal["auto"] = ...,
        buffer: int | None = ...,
        retry: Retry | None = ...,
        timeout: float | None = ...,
        return_exceptions: bool = ...,
        progress: Show = ...,
    ) -> MapStream[T]: ...

    def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        on: On | None = None,
        limit: int | Gate | None = None,
        ordered: bool = True,
        chunk: int | Literal["auto"] = "auto",
        buffer: int | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        return_exceptions: bool = False,
        progress: Show = None,
    ) -> MapStream[Any]:
        """Call `fn` for each item, where it belongs, and give the results as an async iterator.

        Nothing is read from `items` faster than the results are taken; an endless source is fine. A plain iterable is
        read on the event loop: one that blocks belongs into `stream`. For a function of
        several arguments give tuples and ``lambda args: fn(*args)``.

        Args:
            fn: a coroutine function, or any callable of one argument.
            items: a plain or async iterable.
            on: as for `spawn`.
            limit: items in flight, by default enough to keep every worker busy, and 100 coroutines; or a `Limit` or
                `Rate` that each item waits for before it is sent (items then travel alone).
            ordered: results come in the order of the items; otherwise as they are finished.
            chunk: items that travel together to a thread or process; ``"auto"`` sizes it by what was measured,
                to a few milliseconds of work. A worker that dies costs the whole chunk.
            buffer: results that may wait for the consumer before the map stops reading.
            retry: try a failed item again.
            timeout: seconds for each item; items then travel alone.
            return_exceptions: give the exception of a failed item in its place instead of raising it.
            progress: ``True`` shows how many items are done on the terminal (with the ``rich`` extra) or in the
                notebook; a function is called with each `Progress`.

        Returns:
            an async iterator, which is also an async context manager.

        Raises:
            RuntimeError: the scope is not open.
            TypeError, ValueError: an argument does not fit.

        Iterating raises the first failed item's exception and cancels the rest; leaving the loop early cancels what
        is in flight. Neither touches the scope's other tasks.

        Example::

            import anyio
            from unified_exec import TaskScope

            async def main():
                async with TaskScope() as scope:
                    async for size in scope.map(len, ["a", "bb", "ccc"], on="cpu", limit=20):
                        print(size)

            anyio.run(main)
        """
        from .._map.stream import make_map

        scope: TaskScope = self  # type: ignore[assignment]
        return make_map(
            scope,
            fn,
            items,
            on,
            limit=limit,
            ordered=ordered,
            chunk=chunk,
            buffer=buffer,
            retry=retry,
            timeout=timeout,
            return_exceptions=return_exceptions,
            progress=progress,
        )

    @overload
    def stream(
        self, fn: Callable[[*Ts], AsyncIterator[T]], /, *args: *Ts, on: On | None = ...
    ) -> GeneratorStream[T]: ...

    @overload
    def stream(self, fn: Callable[[*Ts], Iterator[T]], /, *args: *Ts, on: On | None = ...) -> GeneratorStream[T]: ...

    def stream(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, fn: Callable[..., Any], /, *args: Any, on: On | None = None
    ) -> GeneratorStream[Any]:
        """Run a generator in a thread or a process and give its items as an async iterator.

        The generator runs ahead of the consumer by a bounded number of items, then waits.

        Args:
            fn: a generator function, or for processes and the loop an async generator function.
            args: its positional arguments.
            on: ``"thread"`` (the default for plain generators), ``"process"``, ``"cpu"``, ``"loop"`` (the default for
                async ones) or a pool.

        Returns:
            an async iterator, which is also an async context manager.

        Raises:
            RuntimeError: the scope is not open.
            TypeError: `fn` cannot run there.
            SerializationError: the function or an argument cannot travel.

        Iterating raises what the generator raises, behind its last item. Leaving the loop early cancels the
        generator: its ``finally`` blocks run where it runs.

        Example::

            import anyio
            from unified_exec import TaskScope

            def countdown(n):
                while n:
                    yield n
                    n -= 1

            async def main():
                async with TaskScope() as scope:
                    async for n in scope.stream(countdown, 3, on="process"):
                        print(n)

            anyio.run(main)
        """
        from .._map.generator_stream import make_stream

        scope: TaskScope = self  # type: ignore[assignment]
        stream: GeneratorStream[Any] = make_stream(scope, fn, args, on)
        return stream

    async def gather(self, *handles: TaskHandle[T]) -> list[T]:
        """Wait for all handles: their values, in the order given.

        Raises:
            Exception: the first failure in the order given; under `FailFast` it has cancelled the scope.
            TaskCancelled: one of them was cancelled.

        Cancelling it cancels no task. For coroutine objects without a scope there is `anyio.gather`.
        """
        values: list[T] = []
        handle: TaskHandle[T] | None = None
        try:
            for handle in handles:
                values.append(await handle)  # not a comprehension: before 3.12 its frame could not let go
            return values
        finally:
            del handles, handle, values  # no cycle from a failure over its traceback to this frame

    async def as_completed(self, handles: Iterable[TaskHandle[T]]) -> AsyncIterator[TaskHandle[T]]:
        """Give the handles as they end, the first to end first.

        The handles are given, not their values: ``await handle`` then raises or returns at once. For coroutine objects
        without a scope there is `anyio.as_completed`.
        """
        from .._loops.current import current_adapter

        port = current_adapter()
        ended: list[TaskHandle[T]] = []
        left = 0
        waiter: Any = None

        def note(handle: TaskHandle[T]) -> None:
            ended.append(handle)
            if waiter is not None:
                waiter.wake()

        for handle in dict.fromkeys(handles):
            left += 1
            handle.when_done(lambda handle=handle: note(handle))  # type: ignore[misc]
        while left:
            while not ended:
                waiter = port.waiter()
                await waiter
            waiter = None
            for handle in ended[:]:
                ended.remove(handle)
                left -= 1
                yield handle
