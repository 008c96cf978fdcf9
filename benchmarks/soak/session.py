"""One session: a scope with random tasks and random cancellations, and a check of everything after its exit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio

from unified_exec import Collect, FailFast, PoolClosed, Race, TaskScope

from .epoch_state import EpochState, Finished, Slot
from .verdicts import Spawned, fault_of, fault_of_scope

POLICIES: dict[str, Callable[[], Any]] = {"fail-fast": FailFast, "collect": Collect, "race": Race}


class BodyError(Exception):
    """The body of the scope fails on purpose."""


class Session:
    """A random scope.

    All random choices come from the seed of the session, so that it can be repeated, except for its timing.
    """

    def __init__(self, state: EpochState, number: int) -> None:
        self.state = state
        self.number = number
        self.rng = rng = random.Random(f"{state.seed}/{number}")
        self.policy = rng.choices(tuple(POLICIES), (2, 5, 1))[0]
        self.burst = rng.random() < state.bursts
        self.timeout = rng.uniform(0.005, 0.5) if rng.random() < 0.1 else None
        self.tasks: list[Spawned] = []
        self.stopped = False  # the scope was cancelled
        self.outside = False  # the cancel scope around it was cancelled
        self.body: BaseException | None = None
        self.raised: BaseException | None = None
        self.leaving = False

    def __repr__(self) -> str:
        kind = "burst" if self.burst else "mixed"
        return f"session {self.number} ({kind}, {self.policy}, timeout {self.timeout}, {len(self.tasks)} tasks)"

    async def run(self) -> None:
        """Run the scope and check it."""
        rng = self.rng
        processes = self.state.take_slot(self.state.process_slots, rng, self.burst)
        threads = self.state.take_slot(self.state.thread_slots, rng, self.burst)
        around = anyio.CancelScope()
        if rng.random() < 0.1:
            around.deadline = anyio.current_time() + rng.uniform(0.002, 0.5)
        try:
            with around:
                await self._scope(processes, threads)
        finally:
            self.outside = around.cancel_called
            for slot in (processes, threads):
                if slot is not None:
                    slot.users -= 1
        self._check()

    async def _scope(self, processes: Slot | None, threads: Slot | None) -> None:
        scope = TaskScope(
            f"session {self.number}",
            policy=POLICIES[self.policy](),
            timeout=self.timeout,
            processes=processes.pool if processes else None,
            threads=threads.pool if threads else None,
        )
        try:
            async with scope:
                try:
                    await self._body(scope)
                except BaseException as error:
                    self.body = error
                    raise
                finally:
                    self.leaving = True
        except anyio.get_cancelled_exc_class():
            self.outside = True
            raise
        except BaseExceptionGroup as group:
            self.raised = group
            if group.split(anyio.get_cancelled_exc_class())[0] is not None:
                self.outside = True
        except Exception as error:
            self.raised = error

    async def _body(self, scope: TaskScope) -> None:
        rng = self.rng
        number = rng.randint(300, 3000) if self.burst else rng.randint(1, 40)
        scope.start_soon(self._cancel_tasks, scope)
        for _ in range(number):
            self._spawn(scope)
            if not self.burst and rng.random() < 0.1:
                await anyio.sleep(rng.choice((0, 0.001, 0.01)))
        end = rng.random()
        if end < 0.1:
            raise BodyError(self.number)
        if end < 0.3 and self.tasks:
            await rng.choice(self.tasks).handle.wait()
        elif end < 0.4 and self.tasks and self.policy != "collect":
            await rng.choice(self.tasks).handle
        elif end < 0.5:
            await anyio.sleep(rng.uniform(0, 0.05))

    def _spawn(self, scope: TaskScope) -> None:
        rng, state = self.rng, self.state
        kinds = state.quick_kinds if self.burst and rng.random() < 0.99 else state.kinds
        kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
        token = state.new_token()
        fn, args = kind.call(rng, state.path, token)
        timeout = rng.uniform(0, 0.2) if rng.random() < 0.05 else None
        try:
            spawn: Any = scope.spawn
            handle = spawn(fn, *args, on=kind.on, timeout=timeout, name=f"{kind.name} {token}", **kind.options)
        except PoolClosed:
            state.count("refused by a closed pool")
            return
        self.tasks.append(Spawned(kind, token, handle, False, timeout is not None))

    async def _cancel_tasks(self, scope: TaskScope) -> None:
        """Cancel tasks, sometimes the whole scope, and in the end all tasks that do not end by themselves."""
        rng = self.rng
        stop_all = rng.random() < 0.1
        for _ in range(rng.randint(0, 8)):
            await anyio.sleep(rng.choice((0, 0.0005, 0.002, 0.01, 0.05)))
            self._cancel_some(rng.choice((1, 1, 3, 50)))
        if stop_all:
            self.stopped = True
            scope.cancel("cancelled by the session")
            return
        while not (self.leaving and all(task.cancel_requested for task in self.tasks if task.kind.endless)):
            for task in self.tasks:
                if task.kind.endless and not task.cancel_requested and rng.random() < 0.5:
                    self._cancel(task)
            await anyio.sleep(rng.choice((0.001, 0.005, 0.02)))

    def _cancel_some(self, number: int) -> None:
        for task in self.rng.choices(self.tasks, k=number) if self.tasks else ():
            self._cancel(task)

    def _cancel(self, task: Spawned) -> None:
        if not task.handle.done():
            task.cancel_requested = True
            task.handle.cancel("cancelled by the session" if self.rng.random() < 0.5 else None)
        elif task.kind.endless:
            task.cancel_requested = True

    # -- the check

    def _check(self) -> None:
        stopped = self._was_stopped()
        for task in self.tasks:
            fault = fault_of(task, stopped, self.state)
            if fault is not None:
                self.state.violation(f"{self!r}: {task.kind.on}/{task.kind.name}, {task.handle!r}: {fault}")
        if all(task.handle.done() for task in self.tasks):
            fault = fault_of_scope(self.raised, self.tasks, self.policy, self._own_error(), self.outside)
            # Failures may be replaced by a cancellation from outside.
            if fault is not None and not self.outside:
                self.state.violation(f"{self!r}: the scope: {fault}")
        state = self.state
        state.add_finished([Finished(task.token, *state.runs_of(task.token), task.kind) for task in self.tasks])

    def _own_error(self) -> BaseException | None:
        return self.body if isinstance(self.body, Exception) else None

    def _was_stopped(self) -> bool:
        if self.stopped or self.outside or self.body is not None or self.timeout is not None:
            return True
        ended = [task.handle for task in self.tasks if task.handle.done() and not task.handle.cancelled()]
        failed = any(handle.exception() is not None for handle in ended)
        won = any(handle.exception() is None for handle in ended)
        return (self.policy == "fail-fast" and failed) or (self.policy == "race" and won)
