"""`scope.spawn`: what it accepts, and how a task is made of it."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from .._handles import validation
from .._rules.dispatch import AUTO, call_name

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._rules.retry import Retry
    from .._sync.limit import Gate
    from ..observe.progress.record import Show
    from . import placement  # this and `TaskHandle` come with the first scope, see `scope`
    from .scope import On, TaskScope

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Spawning:
    """`spawn` of a `TaskScope`."""

    @overload
    def spawn(
        self,
        fn: Callable[[*Ts], Awaitable[T]],
        /,
        *args: *Ts,
        on: On | None = ...,
        timeout: float | None = ...,
        name: str | None = ...,
        interrupt: bool = ...,
        abandon: bool = ...,
        retry: Retry | None = ...,
        limit: int | Gate | None = ...,
        progress: Show = ...,
    ) -> TaskHandle[T]: ...

    @overload
    def spawn(
        self,
        fn: Callable[[*Ts], T],
        /,
        *args: *Ts,
        on: On | None = ...,
        timeout: float | None = ...,
        name: str | None = ...,
        interrupt: bool = ...,
        abandon: bool = ...,
        retry: Retry | None = ...,
        limit: int | Gate | None = ...,
        progress: Show = ...,
    ) -> TaskHandle[T]: ...

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
        **unknown: Any,
    ) -> TaskHandle[Any]:
        """Start ``fn(*args)`` at once and without waiting.

        Args:
            fn: a coroutine function, or any callable. Bind keyword arguments with `functools.partial`.
            args: its positional arguments; for a process they are pickled here and now.
            on: ``"loop"``, ``"thread"``, ``"process"``, ``"cpu"``, ``"auto"`` or a pool. Without it a marker on the
                function decides (`cpu_bound`, `blocking`), then its kind: coroutine functions go to the loop, others
                to a thread. ``"auto"`` measures the first calls in a thread and goes to processes where that pays;
                the handle's `decision` says why.
            timeout: seconds after which this task is cancelled and fails with `TaskTimeout`.
            name: shown in errors and listings; by default the function's name.
            interrupt: a thread task may be interrupted between two bytecodes when it is cancelled.
            abandon: when cancelled, the scope goes on without waiting for the thread.
            retry: try the call again when it fails; the handle ends once, with the last outcome. Waits between tries
                count in every timeout, and a cancellation ends them.
            limit: a `Limit` or a `Rate` that the call waits for before it starts, or a number: so many calls of this
                function run at once in this scope.
            progress: ``True`` shows on the terminal (with the ``rich`` extra) or notebook what the task tells with
                `report`; a function is called with each `Progress`.

        Returns:
            the handle: await it for the value.

        Raises:
            RuntimeError: the scope is not open.
            TypeError: `fn` is no function, or cannot run there.
            ValueError: an option is out of its range.
            SerializationError: the function or an argument cannot travel to a process.
            PoolClosed: the pool takes no more work.

        Cancelling the handle stops this task alone.
        """
        scope: TaskScope = self  # type: ignore[assignment]
        if unknown:
            raise TypeError(validation.unknown_keywords(fn, unknown))
        if not scope._open:
            raise RuntimeError(validation.not_open(fn, scope._port is not None))
        place, backend = placement.resolve(scope, fn, on)
        if timeout is not None or interrupt or abandon:
            validation.check_spawn_options(fn, on, place, backend, timeout, interrupt, abandon)
        if scope._thread != get_ident():
            raise RuntimeError(validation.wrong_thread(fn))
        assert scope._port is not None
        handle: TaskHandle[Any] = TaskHandle(name or call_name(fn), fn, args, place, scope, scope._port)
        handle.interrupt = interrupt
        handle.abandon = abandon
        if retry is not None or limit is not None or scope._restarts:
            from .._handles.plan import make_plan

            handle.plan = make_plan(fn, retry, limit, scope._limits)
        if progress:
            from ..observe.progress.tracker import follow

            launch = partial(placement.launch_auto, scope) if on == AUTO else scope.launch
            follow(scope._port, handle, progress, partial(launch, handle, backend, timeout))
        elif on == AUTO:
            placement.launch_auto(scope, handle, backend, timeout)
        else:
            scope.launch(handle, backend, timeout)
        return handle
