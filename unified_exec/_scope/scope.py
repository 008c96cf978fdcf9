"""The task scope: one law for coroutines, threads and processes."""

from __future__ import annotations

import os
import time
from _thread import get_ident
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import inf as INF
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from .._handles import validation
from .._loops.deadlines import enclosing_deadline, nearest, spawned_in_thread_task
from . import spawning
from .spawning import Spawning
from .verbs import Verbs

if TYPE_CHECKING:
    from anyio import CancelScope

    from .._handles.handle import TaskHandle
    from .._handles.owner import ScopePart
    from .._loops.adapter import LoopAdapter
    from .._loops.current import current_adapter
    from .._pools import default_pools
    from .._pools.process.pool import ProcessPool
    from .._pools.thread.pool import ThreadPool
    from .._rules.policies import FailFast, Policy, Verdict
    from .._sync.limit import Gate
    from ..abc import Backend
    from ..observe.watchdog import Stall
    from . import placement
    from .coroutine import run_coroutine
    from .exit_errors import final_error
    from .policy_state import GO_ON, PolicyState
    from .remote_tasks import RemoteTasks

    On = Literal["loop", "thread", "process", "cpu", "auto"] | ProcessPool | ThreadPool


T = TypeVar("T")

DEBUG = os.environ.get("UNIFIED_EXEC_DEBUG", "").strip().lower() not in ("", "0", "false", "no", "off")
"""Whether every scope watches its loop; asked once."""

DECIDED = "the outcome of its scope is decided"

_loaded = False


def _load() -> None:
    """Load what a scope needs once there is one: its name alone shall cost little more than `import anyio`."""
    from .._handles.handle import TaskHandle
    from .._loops.current import current_adapter
    from .._pools import default_pools
    from .._rules.policies import FailFast, Verdict
    from . import placement
    from .coroutine import run_coroutine
    from .exit_errors import final_error
    from .policy_state import GO_ON, PolicyState
    from .remote_tasks import RemoteTasks

    vars(spawning).update(TaskHandle=TaskHandle, placement=placement)
    globals().update(
        FailFast=FailFast, Verdict=Verdict, current_adapter=current_adapter, placement=placement, GO_ON=GO_ON
    )
    globals().update(default_pools=default_pools)
    globals().update(run_coroutine=run_coroutine, final_error=final_error, TaskHandle=TaskHandle)
    globals().update(PolicyState=PolicyState, RemoteTasks=RemoteTasks, _loaded=True)


class TaskScope(Spawning, Verbs, TaskGroup):
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
        debug: ``True`` reports in the log, with the stack, whatever holds up the event loop for longer than 100 ms; a
            function is also called with each `Stall`, in the watching thread. The environment variable
            ``UNIFIED_EXEC_DEBUG=1`` does the same for every scope.

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
        processes: ProcessPool | None = None,
        threads: ThreadPool | None = None,
        debug: bool | Callable[[Stall], object] = False,
    ) -> None:
        if not _loaded:
            _load()
        validation.check_scope_arguments(policy, timeout, processes, threads, debug)
        self._debug = DEBUG if debug is False else debug
        self.name = name
        self.policy: Policy = policy if policy is not None else FailFast()
        self.timeout = timeout
        self._processes = processes
        self._threads = threads
        self._standing = PolicyState(self.policy)
        self._remote = RemoteTasks(self)
        self._local: set[TaskHandle[Any]] = set()
        self._inner: TaskGroup | None = None
        self._around: Any = None  # the group's cancel scope, once the block is entered
        self._port: LoopAdapter | None = None
        self._thread = 0
        self._open = False
        self._why: str | None = None
        self._stopped = False  # by something else than its timeout
        self._cut_short = False  # it was cancelled before all its tasks had ended
        self._enclosing: float | None = None
        self._ends_at = INF
        self._limits: dict[object, Gate] = {}
        self._restarts = callable(getattr(self.policy, "restart", None))
        self._parts: set[ScopePart] = set()

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
        self._cancel_all(reason)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None
    ) -> anyio.TaskHandle[T]:
        """Start a coroutine object as a task; see `anyio.abc.TaskGroup.create_task`."""
        return self._group().create_task(coro, name=name, context=context)

    async def start(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: object, **options: Any) -> Any:
        """Start a task and wait until it says it is ready; see `anyio.abc.TaskGroup.start`."""
        return await self._group().start(func, *args, **options)

    async def __aenter__(self) -> Self:
        port = current_adapter()
        port.guard(TaskScope, Spawning, Verbs, RemoteTasks, PolicyState, TaskHandle)
        group = self._group()
        await group.__aenter__()
        self._around = group.cancel_scope
        self._port = port
        self._thread = get_ident()
        self._open = True
        self._enclosing = enclosing_deadline()
        if self.timeout is not None:
            self._ends_at = anyio.current_time() + self.timeout
            group.cancel_scope.deadline = min(group.cancel_scope.deadline, self._ends_at)
        if self._debug is not False:
            from ..observe.watchdog import Subscription

            hook = self._debug if callable(self._debug) else None
            self._parts.add(Subscription(port, self._thread, run_coroutine.__code__, hook))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        group = self._group()
        raised: BaseException | None = None
        final: BaseException | None = None
        try:
            if exc is not None:
                self._body_raised()
            self._remote.leave()
            try:
                swallowed = await group.__aexit__(kind, exc, tb)
            except BaseException as error:
                raised = error
            self._open = False
            if self._remote.tasks:  # the supervisor itself was hit
                self._remote.stop(self.reason())
                try:
                    await self._remote.drain()
                except BaseException as error:
                    raised = raised or error
            final = final_error(self, raised)
            if final is None:
                return raised is not None or bool(swallowed)
            if final is exc:
                return False
            if final is raised:
                raise final
            raise final from None
        finally:
            # No cycle from an error over its traceback to this frame and back.
            del raised, final, exc, tb, kind, group
            for part in tuple(self._parts):
                part.scope_ended()
            self._standing.forget()

    def _body_raised(self) -> None:
        """Note whether the timeout had to do with it, as far as can be known now."""
        if self.cancel_scope.cancel_called:
            self._cut_short = True
        elif anyio.current_time() < self._ends_at:
            self._stopped = True

    def launch(self, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> TaskHandle[Any]:
        """Start a task that was made for this scope; ``backend`` is ``None`` for the event loop."""
        if timeout is not None and timeout == INF:
            timeout = None
        handle.nested = spawned_in_thread_task()
        if backend is None:
            return self._spawn_coroutine(handle, timeout)
        return self._spawn_remote(handle, backend, timeout)

    def _spawn_coroutine(self, handle: TaskHandle[Any], timeout: float | None) -> TaskHandle[Any]:
        handle.timeout = timeout
        self._local.add(handle)
        try:
            task = self._inner.create_task(run_coroutine(handle), name=handle.name)  # type: ignore[union-attr]
        except BaseException:
            self._local.discard(handle)
            raise
        if handle.outcome is None:  # else the task factory is an eager one
            handle.backend_data = task
            if self._standing.decided is not None:
                handle.stopped_by_scope(DECIDED)
                self.stop_task(handle, DECIDED)
            elif self._around.cancel_called:  # anyio's asyncio scope delivers no more once nobody was left to hear it
                reason = self.reason()
                handle.stopped_by_scope(reason)
                self.stop_task(handle, reason)
        return handle

    def _spawn_remote(self, handle: TaskHandle[Any], backend: Backend, timeout: float | None) -> TaskHandle[Any]:
        assert self._port is not None
        around, enclosing = self._around, self._enclosing
        if timeout is not None or enclosing is not None or around.deadline != INF:
            handle.deadline = nearest(enclosing, around.deadline, timeout)
        if self._standing.decided is not None or self._remote.draining or around.cancel_called:
            handle.stopped_by_scope(self.reason())
            handle.settle_cancelled()
            return handle
        self._remote.submit(handle, backend, self._port)
        if timeout is not None and handle.outcome is None:
            handle.start_clock(timeout)
        return handle

    @property
    def adapter(self) -> LoopAdapter:
        assert self._port is not None
        return self._port

    @property
    def remote_count(self) -> int:
        return len(self._remote.tasks)

    def resolve(self, fn: Callable[..., Any], on: object) -> tuple[str, Backend | None]:
        if not self._open:
            raise RuntimeError(validation.not_open(fn, self._port is not None))
        return placement.resolve(self, fn, on)

    def thread_pool(self) -> Backend:
        return self._threads or default_pools.default_threads()

    def process_pool(self) -> Backend:
        return self._processes or default_pools.default_processes()

    def attach(self, part: ScopePart) -> None:
        self._parts.add(part)

    def detach(self, part: ScopePart) -> None:
        self._parts.discard(part)

    @property
    def decided(self) -> bool:
        return self._standing.decided is not None

    def restart_delay(self, error: Exception) -> float | None:
        return self._standing.restart(error, time.monotonic())

    def reason(self) -> str:
        """Why the scope cancels its tasks."""
        if self._standing.failures and self.cancel_scope.cancel_called:
            return f"another task of the scope failed with {type(self._standing.failures[0]).__name__}"
        if self._why is not None:
            return self._why
        if self._standing.decided is not None:
            return DECIDED
        if not self._stopped and anyio.current_time() >= self._ends_at:
            return f"the timeout of its scope ({self.timeout:g} s) is over"
        return "its scope was cancelled"

    def stop_task(self, handle: TaskHandle[Any], reason: str | None) -> None:
        """Stop one task of this scope; handles call it."""
        if self._thread != get_ident():
            raise RuntimeError(validation.wrong_thread_to_cancel(handle))
        lane = self._remote.tasks.get(handle)
        if lane is not None:
            if not handle.cancel_requested:
                handle.stop_reason = reason
            lane.cancel([handle], reason)
        elif handle.backend_data is not None and handle.mark_stopping(reason):
            handle.backend_data.cancel()

    def task_settled(self, handle: TaskHandle[Any]) -> None:
        """A task has its outcome: count it, and do what the policy says. Handles call it."""
        remote, outcome = self._remote, handle.outcome
        assert outcome is not None
        was_remote = remote.tasks.pop(handle, None) is not None
        if not was_remote:
            self._local.discard(handle)
        if handle.by_scope and outcome.cancelled and handle.stop_reason is not DECIDED:
            self._cut_short = True
        if not handle.private:
            verdict = self._standing.count(handle, outcome)
            if verdict is not GO_ON:
                if verdict is Verdict.CANCEL_SCOPE:
                    self._cancel_all(None)
                else:
                    self._cancel_rest()
        if was_remote and not remote.tasks:
            remote.note_end()

    def _cancel_all(self, why: str | None) -> None:
        if not self.cancel_scope.cancel_called:
            self._stopped, self._why = True, why
            self.cancel_scope.cancel(self.reason())
        self._remote.stop(self.reason())

    def _cancel_rest(self) -> None:
        self._remote.stop(DECIDED)
        for handle in list(self._local):
            handle.stopped_by_scope(DECIDED)
            self.stop_task(handle, DECIDED)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        running = len(self._remote.tasks) + len(self._local)
        return f"<TaskScope{name} {'open' if self._open else 'closed'}, {running} tasks running>"
