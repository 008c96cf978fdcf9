"""`TaskScope`: the public face of a scope: its options and verbs. `ScopeEngine` runs it while its block is open.

Methods import what they need, by absolute names, which are quick: the class must cost little more than `import anyio`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

from .actor_verbs import ActorVerbs
from .block import engine_of

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._map.generator_stream import GeneratorStream
    from .._map.stream import MapStream
    from .._pools.thread.pool import ThreadPool
    from .._rules.policies import Policy
    from .._rules.retry import Retry
    from .._sync.limit import Gate
    from ..abc import ProcessBackend
    from ..observe.progress.record import Show
    from ..observe.watchdog import Stall
    from .options import Items, MapOptions, On, PlaceOption, SpawnOptions

A = TypeVar("A")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskScope(ActorVerbs):
    """Runs coroutines on the event loop, blocking calls in threads and CPU work in processes, under one law.

    Leaving the ``async with`` block waits for every task of the scope. It is an `anyio.abc.TaskGroup`: wherever a
    library takes a task group, a scope can be passed; `start_soon`, `start`, `create_task` and `cancel_scope`
    behave as anyio's.

    Args:
        name: shown in errors.
        policy: what a failed or finished task means for the others: `FailFast()`, `Collect()`, `Race(n)`, or a custom
            object with the two methods of `Policy`.
        timeout: seconds after which everything in the scope is cancelled and `TaskTimeout` is raised.
        processes: the pool for ``on="process"``; by default one shared by all scopes.
        threads: the pool for ``on="thread"``; by default one shared by all scopes.
        debug: ``True`` reports in the log, with the stack, what holds up the event loop for longer than 100 ms, waits
            for a lock of more than 5 s, and locks that are acquired in orders that could deadlock; a function is also
            called with each `Stall`, in a watching thread or where a lock was acquired. The environment variable
            ``UNIFIED_EXEC_DEBUG=1`` does the same for every scope.
        priority: of its tasks, see `spawn`; by default that of the task that opens the scope, else 0.

    Raises:
        ExceptionGroup: on exit, if tasks failed and the policy raises; each failure is in it exactly once.
        TaskTimeout: on exit, if the timeout struck and nothing failed; otherwise it is in the group.

    Cancelling the block (from outside, or with `cancel`) cancels every task wherever it runs and waits for it.

    Example::

        import anyio
        from unified_exec import TaskScope

        async def fetch(url):
            await anyio.sleep(0.01)
            return f"the page at {url}"

        async def main():
            async with TaskScope(timeout=30) as scope:
                page = scope.spawn(fetch, "/index")
                total = scope.spawn(sum, range(1000), on="cpu")
                print(await page, await total)

        anyio.run(main)
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        policy: Policy | None = None,
        timeout: float | None = None,
        processes: ProcessBackend | None = None,
        threads: ThreadPool | None = None,
        debug: bool | Callable[[Stall], object] = False,
        priority: int | None = None,
    ) -> None:
        from unified_exec._handles.validation import check_priority, check_scope_arguments
        from unified_exec._rules.policies import FailFast

        check_scope_arguments(policy, timeout, processes, threads, debug)
        if priority is not None:
            priority = check_priority(priority)
        policy = policy if policy is not None else FailFast()
        super().__init__(name, policy, timeout, (processes, threads, debug, priority))

    @overload
    def spawn(
        self, fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[SpawnOptions]
    ) -> TaskHandle[T]: ...

    @overload
    def spawn(self, fn: Callable[[*Ts], T], /, *args: *Ts, **options: Unpack[SpawnOptions]) -> TaskHandle[T]: ...

    def spawn(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        on: On | None = None,
        timeout: float | None = None,
        name: str | None = None,
        interrupt: bool = False,
        abandon: bool = False,
        retry: Retry | None = None,
        limit: int | Gate | None = None,
        progress: Show = None,
        priority: int | None = None,
        **unknown: Any,
    ) -> TaskHandle[Any]:
        """Start ``fn(*args)`` at once and without waiting; await the handle for the value.

        Args:
            fn: a coroutine function, or any callable. Bind keyword arguments with `functools.partial`.
            args: its positional arguments; for a process they are pickled here and now.
            on: ``"loop"``, ``"thread"``, ``"process"``, ``"interpreter"`` (CPython 3.14 on), ``"cpu"``, ``"auto"`` or a
                pool. Without it a marker on the function decides (`cpu_bound`, `blocking`), then its kind: coroutine
                functions go to the loop, others to a thread. ``"auto"`` measures the first calls in a thread and goes
                to processes where that pays; the handle's `decision` says why.
            timeout: seconds after which this task is cancelled and fails with `TaskTimeout`.
            name: shown in errors and listings; by default the function's name.
            interrupt: a thread task may be interrupted between two bytecodes when it is cancelled.
            abandon: when cancelled, the scope goes on without waiting for the thread.
            retry: try the call again when it fails; the handle ends once, with the last outcome. Waits between
                attempts count in every timeout, and a cancellation ends them.
            limit: a `Limit` or a `Rate` that the call waits for before it starts, or an int: the maximum number of
                concurrent calls of this function in this scope.
            progress: ``True`` shows on the terminal (with the ``rich`` extra) or notebook what the task tells with
                `report`; a function is called with each `Progress`.
            priority: thread and process tasks of a higher one start first, also before those of other scopes; by
                default that of the task that calls this, or of the scope outside of its tasks. The others get a turn
                each second. What runs is not interrupted.

        Raises:
            RuntimeError: the scope is not open.
            TypeError: `fn` is not a function, or cannot run there.
            ValueError: an option is out of its range.
            SerializationError: the function or an argument cannot travel to a process.
            PoolClosed: the pool takes no more work.

        Cancelling the handle stops this task alone.
        """
        if unknown:
            from unified_exec._handles.validation import unknown_keywords

            raise TypeError(unknown_keywords(fn, unknown))
        engine = self._engine
        if engine is None or not engine.is_open:
            engine = engine_of(self, fn)
        return engine.spawn(fn, args, on, timeout, name, interrupt, abandon, retry, limit, progress, priority)

    @overload
    def map(self, fn: Callable[[A], Awaitable[T]], items: Items[A], **options: Unpack[MapOptions]) -> MapStream[T]: ...

    @overload
    def map(self, fn: Callable[[A], T], items: Items[A], **options: Unpack[MapOptions]) -> MapStream[T]: ...

    def map(
        self,
        fn: Callable[[Any], Any],
        items: Items[Any],
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
        priority: int | None = None,
    ) -> MapStream[Any]:
        """Call `fn` for each item, and return an async iterator of the results, which is an async context manager too.

        Nothing is read from `items` faster than the results are taken; an endless source is fine. A plain iterable is
        read on the event loop: if it blocks, pass it through `stream`. For a function of several arguments pass tuples
        and ``lambda args: fn(*args)``.

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
            return_exceptions: yield the exception of a failed item in its place instead of raising it.
            progress: ``True`` shows how many items are done on the terminal (with the ``rich`` extra) or in the
                notebook; a function is called with each `Progress`.
            priority: as for `spawn`.

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
        engine = engine_of(self, fn)
        from unified_exec._map.stream import make_map  # loaded with the first map

        options: dict[str, Any] = {"limit": limit, "ordered": ordered, "chunk": chunk, "buffer": buffer, "retry": retry}
        options |= {"timeout": timeout, "return_exceptions": return_exceptions, "priority": priority}
        return make_map(engine, fn, items, on, progress=progress, **options)

    @overload
    def stream(
        self, fn: Callable[[*Ts], AsyncIterator[T]], /, *args: *Ts, **options: Unpack[PlaceOption]
    ) -> GeneratorStream[T]: ...

    @overload
    def stream(
        self, fn: Callable[[*Ts], Iterator[T]], /, *args: *Ts, **options: Unpack[PlaceOption]
    ) -> GeneratorStream[T]: ...

    def stream(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, fn: Callable[..., Any], /, *args: Any, on: On | None = None
    ) -> GeneratorStream[Any]:
        """Run a generator elsewhere, and return an async iterator of its items, which is an async context manager too.

        The generator runs ahead of the consumer by a bounded number of items, then waits.

        Args:
            fn: a generator function, or for processes and the loop an async generator function.
            args: its positional arguments.
            on: ``"thread"`` (the default for plain generators), ``"process"``, ``"cpu"``, ``"loop"`` (the default for
                async ones) or a pool.

        Raises:
            RuntimeError: the scope is not open.
            TypeError: `fn` cannot run there.
            SerializationError: the function or an argument cannot travel.

        If the generator raises, the exception is re-raised after all items produced before it. Leaving the loop early
        cancels the generator: its ``finally`` blocks run where it runs.

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
        engine = engine_of(self, fn)
        from unified_exec._map.generator_stream import make_stream  # loaded with the first stream

        stream: GeneratorStream[Any] = make_stream(engine, fn, args, on)
        return stream

    def gather(self, *handles: TaskHandle[T]) -> Coroutine[Any, Any, list[T]]:
        """Wait for all handles: their values, in the order given.

        Raises:
            Exception: the first failure in the order given; under `FailFast` it has cancelled the scope.
            TaskCancelled: one of them was cancelled.

        Cancelling it cancels no task. For coroutine objects without a scope there is `anyio.gather`.
        """
        from unified_exec._handles.waiting import gather

        return gather(handles)

    def as_completed(self, handles: Iterable[TaskHandle[T]]) -> AsyncIterator[TaskHandle[T]]:
        """Yield the handles as their tasks end, the first to end first.

        Then ``await handle`` raises or returns at once. Without a scope there is `anyio.as_completed`.
        """
        from unified_exec._handles.waiting import as_completed

        return as_completed(handles)
