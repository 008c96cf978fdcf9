"""The scope without async: for plain scripts and threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from inspect import GEN_CREATED, getgeneratorstate
from queue import SimpleQueue
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload
from weakref import WeakKeyDictionary

from .._handles.handle import TaskHandle
from .._handles.validation import check_handles
from .._rules.policies import Policy
from .._scope.scope import TaskScope
from .._tasks.current import on_event_loop
from .handle import SyncTaskHandle
from .loop_thread import LoopThread, would_wait_for_itself
from .own_import import check_not_importing

if TYPE_CHECKING:
    from typing import Unpack

    from .._pools.thread.pool import ThreadPool
    from .._scope.actor import ActorPlace
    from .._scope.options import MapOptions, PlaceOption, SpawnOptions
    from ..abc import ProcessBackend
    from ..observe.watchdog import Stall
    from .actors import SyncActor

T = TypeVar("T")
A = TypeVar("A")
Ts = TypeVarTuple("Ts")

_BATCH = 256  # results fetched from the loop's thread at a time


_WRONG_HERE = (
    "SyncTaskScope would block the event loop that runs in this thread; write `async with TaskScope() as scope:` here"
)


class SyncTaskScope:
    """`TaskScope` for code that is not async: the same verbs, on an event loop of its own in a background thread.

    Args:
        name, policy, timeout, processes, threads, debug, priority: as for `TaskScope`.

    Raises:
        RuntimeError: an event loop runs in this thread; use `TaskScope` there.
        ExceptionGroup: on exit, as `TaskScope` does.

    Ctrl-C, or any exception in the block, cancels every task and waits for it.

    Example::

        from unified_exec import SyncTaskScope

        with SyncTaskScope() as scope:
            handle = scope.spawn(sum, range(1000), on="cpu")
            print(handle.result())
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
        pools: dict[str, Any] = {"processes": processes, "threads": threads}
        self._scope = TaskScope(name, policy=policy, timeout=timeout, debug=debug, priority=priority, **pools)
        self._loop: LoopThread | None = None
        self._streams: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # of what `map` and `stream` returned

    if not TYPE_CHECKING:  # a type checker tells it by itself

        async def __aenter__(self):
            raise TypeError(_WRONG_HERE)

        async def __aexit__(self, *_):
            pass  # without it, `async with` would not come to the error above

    def __enter__(self) -> SyncTaskScope:
        if on_event_loop():
            raise RuntimeError(_WRONG_HERE)
        loop = LoopThread(self._scope)
        try:
            loop.open()
            self._loop = loop
        except BaseException:  # of a signal handler, if the scope was not open before
            loop.give_up()
            raise
        return self

    def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> bool:
        loop = None
        self = [self][0]  # borrows no reference: see `references` of deadlocks
        try:
            loop = self._open()
            return loop.close(exc)
        except BaseException as raised:
            if loop is None or loop.is_left:
                raise
            return loop.close(raised)  # of a signal handler, before the scope was told
        finally:
            self._loop = None
            del exc, tb

    def _open(self) -> LoopThread:
        if self._loop is None:
            raise RuntimeError("this scope is not open: write `with SyncTaskScope() as scope:` and spawn inside it")
        return self._loop

    @overload
    def spawn(
        self, fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[SpawnOptions]
    ) -> SyncTaskHandle[T]: ...

    @overload
    def spawn(self, fn: Callable[[*Ts], T], /, *args: *Ts, **options: Unpack[SpawnOptions]) -> SyncTaskHandle[T]: ...

    def spawn(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, fn: Callable[..., Any], /, *args: Any, **options: Any
    ) -> SyncTaskHandle[Any]:
        """Start ``fn(*args)`` and return its handle; arguments, options and errors as for `TaskScope.spawn`."""
        check_not_importing(fn, options)
        return self._start(lambda: self._scope.spawn(fn, *args, **options))

    def _start(self, spawn: Callable[[], TaskHandle[Any]]) -> SyncTaskHandle[Any]:
        loop = self._open()

        def start() -> SyncTaskHandle[Any]:
            task = spawn()
            handle = SyncTaskHandle(task, loop)
            task.when_done(lambda: handle.ended.set_result(None))
            return handle

        return loop.call(start)

    def actor(
        self,
        cls: Callable[[*Ts], T],
        /,
        *args: *Ts,
        on: ActorPlace = "process",
        name: str | None = None,
        concurrency: int = 1,
        grace: float | None = None,
    ) -> SyncActor[T]:
        """Make an object that lives elsewhere until the scope ends; arguments and errors as for `TaskScope.actor`."""
        options: dict[str, Any] = {"on": on, "name": name, "concurrency": concurrency, "grace": grace}
        check_not_importing(cls, options)
        return self._actor(lambda: self._scope.actor(cls, *args, **options))

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
    ) -> SyncActor[T]:
        """Make several actors of one class; arguments and errors as for `TaskScope.actors`."""
        options: dict[str, Any] = {"on": on, "name": name, "concurrency": concurrency, "grace": grace}
        check_not_importing(cls, options)
        return self._actor(lambda: self._scope.actors(cls, *args, count=count, **options))

    def _actor(self, make: Callable[[], Any]) -> SyncActor[Any]:
        from .actors import SyncActor

        made = self._open().call(make)
        return SyncActor(made, self._start, lambda stream: self._iterate(self._open(), self._open().call(stream)))

    @overload
    def map(
        self, fn: Callable[[A], Awaitable[T]], items: Iterable[A], **options: Unpack[MapOptions]
    ) -> Iterator[T]: ...

    @overload
    def map(self, fn: Callable[[A], T], items: Iterable[A], **options: Unpack[MapOptions]) -> Iterator[T]: ...

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any], **options: Any) -> Iterator[Any]:
        """Yield the results of `fn` for each item; options and errors as for `TaskScope.map`.

        Plain iterables are read in the loop's thread, so they must not wait for tasks of the scope; what `map` and
        `stream` return may be given to another `map`. Leaving the loop early cancels what is in flight.
        """
        check_not_importing(fn, options)
        loop = self._open()
        if isinstance(items, GeneratorType) and getgeneratorstate(items) == GEN_CREATED:
            items = self._streams.pop(items, items)
        stream: Any = loop.call(lambda: self._scope.map(fn, items, **options))
        return self._iterate(loop, stream)

    def _iterate(self, loop: LoopThread, stream: Any) -> Iterator[Any]:
        items = self._items(loop, stream)
        self._streams[items] = stream
        return items

    def _items(self, loop: LoopThread, stream: Any) -> Generator[Any]:
        async def fetch() -> list[Any]:
            try:
                first = await anext(stream)
            except StopAsyncIteration:
                return []
            return [first, *(stream.take(_BATCH) if hasattr(stream, "take") else ())]

        try:
            while batch := loop.call(fetch):
                yield from batch
        finally:
            if self._loop is not None and not loop.is_current():  # a finalizer may run in the loop's thread
                loop.call(stream.aclose)

    @overload
    def stream(
        self, fn: Callable[[*Ts], AsyncIterator[T]], /, *args: *Ts, **options: Unpack[PlaceOption]
    ) -> Iterator[T]: ...

    @overload
    def stream(
        self, fn: Callable[[*Ts], Iterator[T]], /, *args: *Ts, **options: Unpack[PlaceOption]
    ) -> Iterator[T]: ...

    def stream(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
        self, fn: Callable[..., Any], /, *args: Any, **options: Any
    ) -> Iterator[Any]:
        """Yield the items of a generator in a thread or a process; options and errors as for `TaskScope.stream`."""
        check_not_importing(fn, options)
        loop = self._open()
        stream: Any = loop.call(lambda: self._scope.stream(fn, *args, **options))
        return self._iterate(loop, stream)

    def gather(self, *handles: SyncTaskHandle[T]) -> list[T]:
        """Wait for all handles: their values, in the order given. Raises as `TaskScope.gather` does."""
        check_handles("gather(*handles)", handles, SyncTaskHandle)
        return [handle.result() for handle in handles]

    def as_completed(self, handles: Iterable[SyncTaskHandle[T]]) -> Iterator[SyncTaskHandle[T]]:
        """Give the handles as they end, the first to end first."""
        ended: SimpleQueue[SyncTaskHandle[T]] = SimpleQueue()
        each = list(dict.fromkeys(handles))
        check_handles("as_completed(handles)", each, SyncTaskHandle)
        for handle in each:
            handle.ended.add_done_callback(lambda _, handle=handle: ended.put(handle))  # type: ignore[misc]
        for _ in each:
            if ended.empty() and self._open().is_current():
                raise RuntimeError(would_wait_for_itself("as_completed()"))
            yield ended.get()

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything in the scope. Code of the block itself goes on until it waits for a cancelled task."""
        self._open().call(lambda: self._scope.cancel(reason))

    def _repr_mimebundle_(self, **wanted: Any) -> dict[str, str]:
        shown: dict[str, str] = getattr(self._scope, "_repr_mimebundle_")(**wanted)  # noqa: B009
        shown["text/plain"] = repr(self)
        return shown

    def __repr__(self) -> str:
        return f"<Sync{repr(self._scope)[1:]}"
