"""One session: a scope with random tasks in it, random trouble, and a check of everything after its end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from unified_exec import Collect, FailFast, PoolClosed, Race, TaskScope

from .kinds import QUICK, Kind
from .verdicts import Spawned, counts, fault_of, fault_of_scope

if TYPE_CHECKING:
    from .epoch import Epoch, Slot

POLICIES: dict[str, Callable[[], Any]] = {"fail-fast": FailFast, "collect": Collect, "race": Race}


class BodyError(Exception):
    """The body of the scope fails, as ordered."""


class Session:
    """A random scope.

    Everything random is drawn from the seed of the session, so that it can be run again; what the machine makes of it
    in time is not.
    """

    def __init__(self, epoch: Epoch, number: int) -> None:
        self.epoch = epoch
        self.number = number
        self.rng = rng = random.Random(f"{epoch.seed}/{number}")
        self.policy = rng.choices(tuple(POLICIES), (2, 5, 1))[0]
        self.burst = rng.random() < epoch.bursts
        self.timeout = rng.uniform(0.005, 0.5) if rng.random() < 0.1 else None
        self.tasks: list[Spawned] = []
        self.stopped = False  # somebody stopped the scope
        self.outside = False  # the scope around it was cancelled
        self.body: BaseException | None = None
        self.raised: BaseException | None = None
        self.leaving = False

    def __repr__(self) -> str:
        kind = "burst" if self.burst else "mixed"
        return f"session {self.number} ({kind}, {self.policy}, timeout {self.timeout}, {len(self.tasks)} tasks)"

    async def run(self) -> None:
        """Run the scope and check it."""
        rng = self.rng
        processes = self.epoch.take(self.epoch.process_slots, rng, self.burst)
        threads = self.epoch.take(self.epoch.thread_slots, rng, self.burst)
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
        scope.start_soon(self._trouble, scope)
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
        rng, epoch = self.rng, self.epoch
        kinds = epoch.quick_kinds if self.burst and rng.random() < 0.99 else epoch.kinds
        kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
        token = epoch.new_token()
        fn, args = kind.call(rng, epoch.path, token)
        timeout = rng.uniform(0, 0.2) if rng.random() < 0.05 else None
        try:
            spawn: Any = scope.spawn
            handle = spawn(fn, *args, on=kind.on, timeout=timeout, name=f"{kind.name} {token}", **kind.options)
        except PoolClosed:
            epoch.count("refused by a closed pool")
            return
        self.tasks.append(Spawned(kind, token, handle, False, timeout is not None))

    async def _trouble(self, scope: TaskScope) -> None:
        """Cancels tasks, sometimes the whole scope, and in the end everything that would not end by itself."""
        rng = self.rng
        stop_all = rng.random() < 0.1
        for _ in range(rng.randint(0, 8)):
            await anyio.sleep(rng.choice((0, 0.0005, 0.002, 0.01, 0.05)))
            self._cancel_some(rng.choice((1, 1, 3, 50)))
        if stop_all:
            self.stopped = True
            scope.cancel("the session says so")
            return
        while not (self.leaving and all(task.asked for task in self.tasks if task.kind.endless)):
            for task in self.tasks:
                if task.kind.endless and not task.asked and rng.random() < 0.5:
                    self._cancel(task)
            await anyio.sleep(rng.choice((0.001, 0.005, 0.02)))

    def _cancel_some(self, number: int) -> None:
        for task in self.rng.choices(self.tasks, k=number) if self.tasks else ():
            self._cancel(task)

    def _cancel(self, task: Spawned) -> None:
        if not task.handle.done():
            task.asked = True
            task.handle.cancel("the session says so" if self.rng.random() < 0.5 else None)
        elif task.kind.endless:
            task.asked = True

    # -- the check

    def _check(self) -> None:
        stopped = self._was_stopped()
        for task in self.tasks:
            fault = fault_of(task, stopped, self.epoch)
            if fault is not None:
                self.epoch.violation(f"{self!r}: {task.kind.on}/{task.kind.name}, {task.handle!r}: {fault}")
        if all(task.handle.done() for task in self.tasks):
            fault = fault_of_scope(self.raised, self.tasks, self.policy, self._own_error(), self.outside)
            # What goes with a cancellation from outside stays with it.
            if fault is not None and not self.outside:
                self.epoch.violation(f"{self!r}: the scope: {fault}")
        journal = self.epoch.journal
        ended = [(task.token, *counts(journal, task.token), task.kind) for task in self.tasks]
        self.epoch.session_over(ended)

    def _own_error(self) -> BaseException | None:
        return self.body if isinstance(self.body, Exception) else None

    def _was_stopped(self) -> bool:
        if self.stopped or self.outside or self.body is not None or self.timeout is not None:
            return True
        ended = [task.handle for task in self.tasks if task.handle.done() and not task.handle.cancelled()]
        failed = any(handle.exception() is not None for handle in ended)
        won = any(handle.exception() is None for handle in ended)
        return (self.policy == "fail-fast" and failed) or (self.policy == "race" and won)


def quick_of(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """The kinds a burst is made of."""
    return tuple(kind for kind in kinds if kind in QUICK) or kinds
