"""The task scope: one law for coroutines, threads and processes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, overload

import anyio
from anyio.abc import TaskGroup

from . import route
from .ambient import enclosing_deadline, spawned_in_thread_task
from .coroutine import run_coroutine
from .handle import TaskHandle
from .._backends.base import Backend, Lane
from .._backends.ports import Port, current_port
from .._model.current import INF
from .._model.task import Task
from .._rules.dispatch import call_name
from .._rules.policies import FailFast, Policy, Tally, Verdict
from ..errors import TaskTimeout

if TYPE_CHECKING:
    from anyio import CancelScope

    from .._backends.process.pool import ProcessPool
    from .._backends.thread import ThreadPool

    On = Literal["loop", "thread", "process", "cpu"] | ProcessPool | ThreadPool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DECIDED = "the outcome of its scope is decided"


class TaskScope(TaskGroup):
    """Runs coroutines on the event loop, blocking calls in threads and CPU work in processes, under one law.

    Leaving the ``async with`` block waits for every task of the scope. It is an `anyio.abc.TaskGroup`: wherever a
    library takes a task group, a scope can be passed; `start_soon`, `start`, `create_task` and `cancel_scope`
    behave as anyio's.

    Args:
        name: shown in errors.
        policy: what a failed or finished task means for the others: `FailFast()`, `Collect()`, `Race(n)`, or an
            object of your own with the two methods of `Policy`.
        timeout: seconds after which everything in the scope is cancelled and `TaskTimeout` is raised.
        processes: the pool for ``on="process"``; by default one shared by all scopes.
        threads: the pool for ``on="thread"``; by default one shared by all scopes.

    Raises:
        ExceptionGroup: on exit, if tasks failed and the policy raises; each failure is in it exactly once.
        TaskTimeout: on exit, if the timeout struck and nothing failed; otherwise it is in the group.

    Cancelling the block (from outside, or with `cancel`) cancels every task wherever it runs and waits for it.

    Example:
        async with TaskScope(timeout=30) as scope:
            page = scope.spawn(fetch, url)
            stats = scope.spawn(crunch, data, on="cpu")
            print(await page, await stats)
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        policy: Policy | None = None,
        timeout: float | None = None,
        processes: ProcessPool | None = None,
        threads: ThreadPool | None = None,
    ) -> None:
        route.check_scope_arguments(policy, timeout, processes, threads)
        self.name = name
        self.policy: Policy = policy if policy is not None else FailFast()
        self.timeout = timeout
        self._processes = processes
        self._threads = threads
        self._tally = Tally()
        self._failures: list[BaseException] = []
        self._remote: dict[TaskHandle[Any], Lane] = {}
        self._local: set[TaskHandle[Any]] = set()
        self._lanes: dict[object, Lane] = {}
        self._inner: TaskGroup | None = None
        self._port: Port | None = None
        self._open = False
        self._leaving = False
        self._supervised = False
        self._stopped = False
        self._decided = False
        self._quiet: Any = None
        self._enclosing: float | None = None
        self._ends_at = INF

    # -- the task group

    @property
    def cancel_scope(self) -> CancelScope:  # type: ignore[override]
        """The anyio cancel scope around the whole block."""
        return self._group().cancel_scope

    def _group(self) -> TaskGroup:
        if self._inner is None:
            self._inner = anyio.create_task_group()
        return self._inner

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything in the scope, its body included.

        Args:
            reason: shown to the tasks.
        """
        self._stopped = True
        self.cancel_scope.cancel(reason)
        self._stop_remote(reason)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None
    ) -> anyio.TaskHandle[T]:
        """Start a coroutine object as a task; see `anyio.abc.TaskGroup.create_task`."""
        return self._group().create_task(coro, name=name, context=context)

    async def start(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: object, **options: Any) -> Any:
        """Start a task and wait until it says it is ready; see `anyio.abc.TaskGroup.start`."""
        return await self._group().start(func, *args, **options)

    async def __aenter__(self) -> TaskScope:
        group = self._group()
        await group.__aenter__()
        self._port = current_port()
        self._open = True
        self._enclosing = enclosing_deadline()
        if self.timeout is not None:
            self._ends_at = anyio.current_time() + self.timeout
            group.cancel_scope.deadline = min(group.cancel_scope.deadline, self._ends_at)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        group = self._group()
        self._leaving = True
        if not self._remote and self._quiet is not None:
            self._quiet.wake()
        raised: BaseException | None = None
        swallowed: bool | None = False
        try:
            swallowed = await group.__aexit__(kind, exc, tb)
        except BaseException as error:
            raised = error
        try:
            self._open = False
            timeout = self._timeout_error()
            if raised is None and timeout is None and not self._failures:
                return bool(swallowed)
            from .failures import join_failures

            final = join_failures(self, raised, self._failures, timeout)
            if final is None:
                return bool(swallowed) or raised is not None
            if final is exc:
                return False
            if final is raised:
                raise final
            raise final from None
        finally:
            # No cycle from an error over its traceback to this frame and back.
            del raised, exc, tb, kind, group
            self._failures = []

    def _timeout_error(self) -> TaskTimeout | None:
        """The error of a scope whose own timeout, and nothing else, has cut something short."""
        scope = self.cancel_scope
        if self.timeout is None or self._stopped or not scope.cancel_called or anyio.current_time() < self._ends_at:
            return None
        if not scope.cancelled_caught and not self._tally.cancelled:
            return None
        return TaskTimeout(f"scope {self.name!r}" if self.name else "the scope", self.timeout)

    # -- spawn

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
    ) -> TaskHandle[T]: ...

    def spawn(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        on: On | None = None,
        timeout: float | None = None,
        name: str | None = None,
        interrupt: bool = False,
        abandon: bool = False,
        **unknown: Any,
    ) -> TaskHandle[Any]:
        """Start ``fn(*args)`` at once and without waiting.

        Args:
            fn: a coroutine function, or any callable. Bind keyword arguments with `functools.partial`.
            args: its positional arguments; for a process they are pickled here and now.
            on: ``"loop"``, ``"thread"``, ``"process"``, ``"cpu"`` or a pool. Without it a marker on the function
                decides (`cpu_bound`, `blocking`), then its kind: coroutine functions go to the loop, others to a
                thread.
            timeout: seconds after which this task is cancelled and fails with `TaskTimeout`.
            name: shown in errors and listings; by default the function's name.
            interrupt: a thread task may be interrupted between two bytecodes when it is cancelled.
            abandon: when cancelled, the scope goes on without waiting for the thread.

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
        if unknown:
            raise TypeError(route.unknown_keywords(fn, unknown))
        if not self._open:
            raise RuntimeError(route.not_open(self, fn))
        place, backend = route.resolve(self, fn, on)
        if timeout is not None or interrupt or abandon:
            route.check_options(fn, place, timeout, interrupt, abandon)
        assert self._port is not None
        handle: TaskHandle[Any] = TaskHandle(name or call_name(fn), fn, args, place, self, self._port)
        if backend is None:
            return self._spawn_coroutine(handle, timeout)
        handle.interrupt = interrupt
        handle.abandon = abandon
        return self._spawn_remote(handle, backend, timeout)

    def _spawn_coroutine(self, handle: TaskHandle[Any], timeout: float | None) -> TaskHandle[Any]:
        handle.timeout = timeout
        self._local.add(handle)
        try:
            handle.cargo = self._group().create_task(run_coroutine(handle), name=handle.name)
        except BaseException:
            self._local.discard(handle)
            raise
        if self._decided:
            self.stop_task(handle, DECIDED)
        return handle

    def _spawn_remote(self, handle: TaskHandle[Any], backend: Backend, timeout: float | None) -> TaskHandle[Any]:
        lane = self._lanes.get(backend)
        if lane is None:
            assert self._port is not None
            lane = self._lanes[backend] = backend.lane(self._port)
        handle.deadline = self._deadline(timeout)
        handle.nested = spawned_in_thread_task()
        if self._decided or self.cancel_scope.cancel_called:
            handle.by_scope = True
            handle.settle_cancelled()
            return handle
        lane.submit(handle)
        if handle.outcome is None:
            self._remote[handle] = lane
            if timeout is not None:
                handle.start_clock(timeout)
            if not self._supervised:
                self._supervised = True
                self._group().start_soon(self._supervise, name="unified_exec supervisor")
        return handle

    def _deadline(self, timeout: float | None) -> float | None:
        """When the task will be cancelled, as far as is known now, as an instant of `time.monotonic`."""
        ends = self.cancel_scope.deadline
        least = self._enclosing
        if ends != INF:
            own = time.monotonic() + ends - anyio.current_time()
            least = own if least is None else min(least, own)
        if timeout is not None:
            own = time.monotonic() + timeout
            least = own if least is None else min(least, own)
        return least

    # -- the tasks outside of the loop

    async def _supervise(self) -> None:
        """Stands for all thread and process tasks in the inner task group: it ends after the last of them, and
        what cancels the group reaches them through it."""
        assert self._port is not None
        try:
            while not (self._leaving and not self._remote):
                self._quiet = self._port.waiter()
                await self._quiet
        except BaseException:
            with anyio.CancelScope(shield=True):
                self._stop_remote(self._reason())
                while self._remote:
                    self._quiet = self._port.waiter()
                    await self._quiet
            raise
        finally:
            self._quiet = None
            self._supervised = False

    def _reason(self) -> str:
        if self._failures:
            return f"another task of the scope failed with {type(self._failures[0]).__name__}"
        return "its scope was cancelled"

    def _stop_remote(self, reason: str | None) -> None:
        by_lane: dict[Lane, list[Task]] = {}
        for handle, lane in self._remote.items():
            if handle.stop_reason is None:
                handle.by_scope = True
            by_lane.setdefault(lane, []).append(handle)
        for lane, tasks in by_lane.items():
            lane.cancel(tasks, reason)

    def stop_task(self, handle: TaskHandle[Any], reason: str | None) -> None:
        """Stop one task of this scope; handles call it."""
        lane = self._remote.get(handle)
        if lane is not None:
            lane.cancel([handle], reason)
        elif handle.cargo is not None and handle.stopping(reason):
            handle.cargo.cancel()

    def task_settled(self, handle: Task) -> None:
        """A task has its outcome: count it, and do what the policy says. Handles call it."""
        assert isinstance(handle, TaskHandle) and handle.outcome is not None
        if self._remote.pop(handle, None) is None:
            self._local.discard(handle)
        tally, outcome = self._tally, handle.outcome
        if outcome.cancelled:
            tally.cancelled += 1
        elif outcome.error is None:
            tally.values += 1
        else:
            tally.errors += 1
            self._failures.append(outcome.error)
        verdict = self.policy.judge(tally)
        if verdict is not Verdict.GO_ON and not self._decided:
            self._decided = True
            if verdict is Verdict.CANCEL_REST:
                self._cancel_rest()
            else:
                self._cancel_all()
        if not self._remote and self._quiet is not None:
            self._quiet.wake()

    def _cancel_all(self) -> None:
        if not self.cancel_scope.cancel_called:
            self._stopped = True
            self.cancel_scope.cancel(self._reason())
        self._stop_remote(self._reason())

    def _cancel_rest(self) -> None:
        self._stop_remote(DECIDED)
        for handle in list(self._local):
            handle.by_scope = True
            self.stop_task(handle, DECIDED)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        running = len(self._remote) + len(self._local)
        return f"<TaskScope{name} {'open' if self._open else 'closed'}, {running} tasks running>"
