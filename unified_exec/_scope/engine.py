"""The running part of a `TaskScope`: made when its block is entered, used up when the block has been left."""

from __future__ import annotations

import time
from _thread import get_ident
from collections.abc import Callable, Coroutine, MutableMapping
from contextvars import copy_context
from functools import partial
from math import inf as INF
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from .._handles import validation
from .._handles.handle import TaskHandle
from .._handles.open_scopes import OpenScope
from .._loops.callbacks import create_task
from .._loops.deadlines import enclosing_deadline, nearest
from .._pools import default_pools
from .._rules.dispatch import AUTO, call_name
from .._rules.policies import Verdict
from .._tasks import events
from .._tasks.current import get_current
from ..observe import first_scope
from .coroutine import run_coroutine
from .debugging import DEBUG, watch_loop
from .ending import DECIDED, Ending, close_parts
from .exit_errors import final_error, raise_as_it_is
from .placement import auto_placer, resolve
from .policy_state import PolicyState
from .remote_tasks import RemoteTasks
from .wrong_task import end_tasks, wrong_task

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter
    from .._rules.policies import Policy
    from .._sync.limit import Gate
    from .._tasks.requests import Request
    from .._tasks.task import Task
    from ..abc import Backend
    from ..observe.watchdog import Stall
    from .lazy_group import LazyTaskGroup


class ScopeEngine(OpenScope):
    """Starts, stops and settles the tasks of one open scope. Every method is called in the thread of its event loop.

    Args:
        group: the task group of the scope's coroutines, which was just entered.
        adapter: the running event loop.
        name, policy, timeout, processes, threads, debug, priority: the arguments of the `TaskScope`.

    Attributes:
        ending: what has cut the scope short.
    """

    def __init__(
        self,
        group: TaskGroup,
        adapter: LoopAdapter,
        name: str | None,
        policy: Policy,
        timeout: float | None,
        processes: Backend | None,
        threads: Backend | None,
        debug: bool | Callable[[Stall], object],
        priority: int | None,
    ) -> None:
        super().__init__(adapter, name, policy, timeout, priority)
        self._processes, self._threads = processes, threads
        self._group, self._around = group, group.cancel_scope
        self._enclosing = enclosing_deadline()
        self._outcomes = PolicyState(policy)
        self.tally = self._outcomes.tally
        self.ending = Ending(name, timeout, self._around, self._outcomes)
        self._remote = RemoteTasks(adapter, group, self.ending.reason)
        self.remote_tasks = self._remote.tasks
        self._local: set[TaskHandle[Any]] = set()
        self._limits: MutableMapping[object, Gate] | None = None
        if first_scope.pending:
            first_scope.opened(adapter)
        if debug is not False or DEBUG:
            watch_loop(self, self.thread, debug)

    # -- starting tasks

    def spawn(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        on: object,
        timeout: float | None,
        name: object,
        interrupt: bool,
        abandon: bool,
        retry: object,
        limit: object,
        progress: Any,
        priority: int | None,
    ) -> TaskHandle[Any]:
        """Check the options of `TaskScope.spawn`, which documents them, and start the task."""
        place, backend = resolve(self, fn, on)
        if timeout is not None or interrupt or abandon:
            validation.check_spawn_options(fn, on, place, backend, timeout, interrupt, abandon)
        if self.thread != get_ident():
            raise RuntimeError(validation.wrong_thread(fn))
        if name is None:
            name = fn.__qualname__ if type(fn) is FunctionType else call_name(fn)
        handle: TaskHandle[Any] = TaskHandle(name if type(name) is str else str(name), fn, args, place, self)
        if interrupt or abandon:
            handle.interrupt, handle.abandon = interrupt, abandon
        if OpenScope.ranked or priority is not None:
            handle.priority = self.default_priority() if priority is None else validation.check_priority(priority)
            OpenScope.ranked = True
        if retry is not None or limit is not None or self._outcomes.restarts:
            self._plan(handle, fn, retry, limit)
        if progress:
            from ..observe.progress.tracker import follow

            launch = partial(auto_placer().launch, self) if on == AUTO else self.launch
            follow(self, handle, progress, partial(launch, handle, backend, timeout))
        elif on is not None and on == AUTO:
            auto_placer().launch(self, handle, backend, timeout)
        else:
            self.launch(handle, backend, timeout)
        return handle

    def _plan(self, handle: TaskHandle[Any], fn: Callable[..., Any], retry: object, limit: object) -> None:
        from .._handles.plan import make_plan  # loaded with the first retry or limit: it brings `random`

        if self._limits is None:  # weak: a scope may live for weeks, and each lambda is another function
            self._limits = WeakValueDictionary()
        handle.plan = make_plan(fn, retry, limit, self._limits)

    def resolve(self, fn: Callable[..., Any], on: object) -> tuple[str, Backend | None]:
        return resolve(self, fn, on)

    def thread_pool(self) -> Backend:
        return self._threads or default_pools.default_threads()

    def process_pool(self) -> Backend:
        return self._processes or default_pools.default_processes()

    def launch(self, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> TaskHandle[Any]:
        """Start a task that was made for this scope; ``backend`` is ``None`` for the event loop."""
        if timeout is not None and timeout == INF:
            timeout = None
        if (spawner := get_current()) is not None:
            handle.inherit_from(spawner)
        if events.rows is not None:
            if events.in_span is not None and not handle.in_span:
                return events.in_span(handle, partial(self.launch, handle, backend, timeout))
            if spawner is not None or events.moves is not None:
                handle.note_spawner(0 if spawner is None else spawner.id)
        if backend is None:
            if timeout is not None:
                handle.timeout = timeout
            self._local.add(handle)
            try:
                task = create_task(self._group, run_coroutine(handle), handle.name)
            except BaseException:
                self._local.discard(handle)
                raise
            if handle.outcome is None:  # it has one already if the task factory is an eager one
                handle.backend_data = task
                if self._outcomes.decided is not None:
                    self._cancel_coroutine(handle, DECIDED)
                elif self._around.cancel_called:  # anyio's asyncio scope may not deliver the cancellation to a new task
                    self._cancel_coroutine(handle, self.reason())
            return handle
        enclosing, remote, deadline = self._enclosing, self._remote, self._around.deadline
        if timeout is not None or enclosing is not None or deadline != INF:
            handle.deadline = nearest(enclosing, deadline, timeout)
        if self._outcomes.decided is not None or remote.draining or self.adapter.is_cancelled(self._around):
            handle.note_scope_cancel(self.reason())
            create_task(self._group, checkpoint_if_cancelled(), None)  # raises the cancellation of an enclosing scope
            handle.settle_cancelled()
            return handle
        if self._outcomes.is_custom:
            handle.context = copy_context()
        try:
            remote.submit(handle, backend)
        except BaseException:
            if events.rows is not None:
                handle.emit_settled("refused", None)
            raise
        if timeout is not None and handle.outcome is None:
            handle.start_clock(timeout)
        return handle

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: object = None) -> object:
        """Start a coroutine as a task of the scope's own, which no policy sees."""
        return create_task(self._group, coro, name)

    # -- tasks that have ended

    def task_settled(self, handle: TaskHandle[Any]) -> None:
        """Record the outcome of a task, and do what the policy says. Called by the handle."""
        remote, outcome = self._remote, handle.outcome
        assert outcome is not None
        lane = remote.tasks.pop(handle, None) if remote.tasks else None
        if lane is None:
            self._local.discard(handle)
        if outcome.cancelled and handle.by_scope and handle.stop_reason is not DECIDED:
            self.ending.cut_short = True
        if not handle.private:
            outcomes = self._outcomes
            if outcomes.values_never_decide and outcome.error is None and not outcome.cancelled:
                outcomes.tally.values += 1  # what `record` does with most outcomes
            elif (verdict := outcomes.record(outcome, self, handle.context)) is not Verdict.GO_ON:
                if verdict is Verdict.CANCEL_SCOPE:
                    self.cancel(None)
                else:
                    self._cancel_rest()
        if lane is not None and not remote.tasks:
            remote.on_idle()
        if self.parts and self.body_has_ended:
            self.ending.end_streams(self.parts, len(self.remote_tasks) + len(self._local))

    @property
    def decided(self) -> bool:
        """Whether the policy has decided the outcome of the scope."""
        return self._outcomes.decided is not None

    def tasks(self) -> list[TaskHandle[Any]]:
        """Return the tasks that have not ended."""
        return [*self.remote_tasks, *self._local]

    def lanes(self) -> list[tuple[TaskHandle[Any], object]]:
        return [*self.remote_tasks.items(), *((handle, None) for handle in list(self._local))]

    def restart_delay(self, error: Exception) -> float | None:
        """Seconds until the policy wants a task that failed with `error` to be started again; ``None`` if never."""
        return self._outcomes.restart(error, time.monotonic())

    # -- stopping

    def is_cancelled(self) -> bool:
        """Tell, from any thread, whether the scope or one around it was cancelled."""
        return self.adapter.is_cancelled(self._around)

    def reason(self) -> str:
        """Why the scope cancels its tasks."""
        return self.ending.reason()

    def cancel(self, reason: str | None) -> None:
        """Cancel everything in the scope, its body included."""
        if not self._around.cancel_called:
            self.ending.note_cancelled(reason)
            self._around.cancel(self.reason())
        self._remote.cancel_all(self.reason())

    def _cancel_rest(self, reason: str = DECIDED) -> None:
        self._remote.cancel_all(reason)
        for handle in list(self._local):
            self._cancel_coroutine(handle, reason)

    def _cancel_coroutine(self, handle: TaskHandle[Any], reason: str) -> None:
        handle.note_scope_cancel(reason)
        self.stop_task(handle, reason)

    def serve(self, task: Task, request: Request) -> None:
        from .requests import serve  # loaded with the first request

        serve(self, task, request)

    def stop_task(self, handle: TaskHandle[Any], reason: str | None) -> None:
        """Stop one task of this scope. Called by the handle."""
        if self.thread != get_ident():
            raise RuntimeError(validation.wrong_thread_to_cancel(handle, "handle"))
        lane = self.remote_tasks.get(handle)
        if lane is not None:
            if not handle.cancel_requested:
                handle.stop_reason = reason
            lane.cancel([handle], reason)
        elif handle.backend_data is not None and handle.mark_stopping(reason):
            handle.backend_data.cancel()

    # -- the end

    async def close(self, block: LazyTaskGroup, kind: Any, exc: BaseException | None, tb: TracebackType | None) -> bool:
        """Wait for every task, after the body has ended with `exc`; returns whether `exc` ends here.

        Raises:
            BaseException: what the scope raises.
        """
        raised: BaseException | None = None
        final: BaseException | None = None
        wrong = None if self.host is self.adapter.current_task() else wrong_task(kind)
        try:
            if exc is not None:
                self.ending.note_body_raised()
            self.body_has_ended, self.ending.block = True, block
            self.ending.end_streams(self.parts, len(self.remote_tasks) + len(self._local))
            self._remote.leave()
            try:
                if wrong is None or self.adapter.task_has_ended(self.host):
                    swallowed = await self._group.__aexit__(kind, exc, tb)
                else:
                    self._around.deadline = INF  # it would strike the task that entered the scope, for nothing
                    await end_tasks(self.tasks, self._cancel_rest, exc is not None)
            except BaseException as error:
                swallowed = self.ending.swallows(error)
                raised = None if swallowed else error
            self.is_open = False
            if self.remote_tasks:  # the coroutine that represents them was cancelled itself
                self._remote.cancel_all(self.reason())
                try:
                    await self._remote.drain()
                except BaseException as error:
                    raised = error if raised is None else raised
            if self.parts:
                await close_parts(self.parts)
            if wrong is not None:
                raised, wrong.__cause__ = wrong, final_error(self, self.name, None, self._outcomes, self.ending)
                raise wrong
            final = final_error(self, self.name, raised, self._outcomes, self.ending)
            if final is None:
                return raised is not None or bool(swallowed)
            if final is exc:
                return False
            if final is raised:
                raise final
            raise_as_it_is(final)
        finally:
            if events.rows is not None:
                self.emit_closed(final or raised)
            # No cycle from an error over its traceback to this frame and back.
            del raised, final, wrong, exc, tb, kind
            for part in tuple(self.parts):
                part.scope_ended()
            self._outcomes.forget()
            self.host = self.ending.block = None


KEPT_WHOLE = (ScopeEngine, RemoteTasks, PolicyState, TaskHandle)
"""Classes whose methods Ctrl-C must not interrupt half-way, see `LoopAdapter.guard`."""
