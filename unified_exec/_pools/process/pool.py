"""The process pool as its users see it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..._loops.adapter import LoopAdapter
from ...abc import Capabilities, ProcessBackend
from . import prestart, shutdown
from .admission import Admission, IdleCheck, have_tasks
from .disband import reap_all
from .lane import ProcessLane
from .worker_registry import WorkerRegistry
from .worker_spec import make_spec

IDLE_TIMEOUT = 60.0
START_TIMEOUT = 30.0


class ProcessPool(ProcessBackend):
    """Worker processes that any number of scopes and event loops share.

    Workers are started when there is work and stay warm from scope to scope and from one event loop to the next.

    Args:
        max_workers: how many worker processes at most; by default the cores this process may use. An event loop
            that has work gets at least one worker, even if other loops have all of them.
        initializer: called in each new worker before its first task; if it fails, the waiting tasks fail with
            `WorkerStartError`.
        initargs: arguments of the initializer.
        max_tasks_per_worker: replace a worker after this many tasks.
        max_worker_memory: replace a worker that holds more resident memory (bytes) than this after a task.
        idle_timeout: seconds after which a worker without work exits; ``None`` for never.
        grace: seconds between requesting a running task to stop and killing its worker.
        env: environment variables to set in the workers, on top of this process's own.
        start_timeout: seconds after which a started process that has not become a worker is killed, and the waiting
            tasks fail with `WorkerStartError`; ``None`` for never. The initializer's time does not count.
        main: ``"import"`` to have each worker import the program's main file, as multiprocessing's spawn does. What the
            file defines then travels by name. The file needs an ``if __name__ == "__main__":``.
        name: shown in errors.

    Raises:
        WorkerStartError: this program was started in place of a worker, see `freeze_support`.
        ValueError: a number is out of its range; or ``main="import"`` in a program that is no file or has no guard.
        SerializationError: the initializer or its arguments cannot travel.

    Example::

        import anyio
        from unified_exec import ProcessPool, TaskScope

        async def main():
            async with ProcessPool(max_workers=2) as pool, TaskScope(processes=pool) as scope:
                total = scope.spawn(sum, range(1000), on="process")
                print(await total)

        anyio.run(main)
    """

    capabilities = Capabilities(coroutines=True, streams=True, interrupt=True, kill=True, copies=True, isolated=True)

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_worker: int | None = None,
        max_worker_memory: int | None = None,
        idle_timeout: float | None = IDLE_TIMEOUT,
        grace: float = 1.0,
        env: dict[str, str] | None = None,
        start_timeout: float | None = START_TIMEOUT,
        main: str | None = None,
        name: str | None = None,
    ) -> None:
        spec = make_spec(
            max_workers,
            initializer,
            initargs,
            max_tasks_per_worker,
            max_worker_memory,
            idle_timeout,
            env,
            start_timeout,
            main,
        )
        if grace < 0:
            raise ValueError(f"grace must not be negative, got {grace}")
        self.max_workers = spec.max_workers
        self.grace = grace
        self.name = name
        text = f"ProcessPool{f' {name!r}' if name else ''} max_workers={self.max_workers}"
        self._text = text
        self._admission = Admission(f"<{text} closed>")
        self._registry: WorkerRegistry[ProcessLane] = WorkerRegistry(spec, grace, f"<{text}>")
        shutdown.track(self._registry)

    def describe(self) -> str:
        return f"<{self._text}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it takes no more work."""
        return self._admission.closed

    def lane(self, adapter: LoopAdapter) -> ProcessLane:
        """Return this pool as the loop of `adapter` sees it.

        Raises:
            PoolClosed: the pool is closed.
        """
        if self._admission.guarded:
            self._admission.admit()
        registry = self._registry
        return registry.lanes.get(adapter) or registry.lane(
            adapter, lambda: ProcessLane(registry, self._admission, adapter)
        )

    def alone(self, name: str, grace: float | None) -> ProcessPool:
        """Return a pool of one worker, which starts as the workers of this one, never retires and is never joined by
        another. `grace` is that of this pool if it is ``None``."""
        made = ProcessPool(1, grace=self.grace if grace is None else grace, name=name)
        spec = self._registry.spec
        made._registry.spec = spec._replace(max_workers=1, max_tasks=None, max_memory=None, idle_timeout=None)
        made._registry.is_alone = True
        return made

    def start_ahead(self, workers: int) -> None:
        """Start processes until the pool has `workers`, or as many as it may have; see `unified_exec.prestart`.

        Raises:
            WorkerStartError: a process could not be started.
        """
        missing = min(workers, self.max_workers) - len(self._registry.workers)
        prestart.start_ahead(missing, self._registry.spec.environment())

    def refuse_work(self) -> None:
        """Admit no work from now on."""
        self._admission.close()
        self._registry.closing = True

    # -- the end

    def close(self) -> None:
        """Refuse new work, let idle workers end and wait for them. Does nothing if it is closed.

        Raises:
            RuntimeError: tasks still run in this pool; leave their scopes first, or use `aclose`.
        """
        registry = self._registry
        if self.is_busy() or not self._admission.close_if_idle(registry.all_lanes, self.grace):
            raise RuntimeError(f"{self!r} still runs tasks: leave their scopes before closing it, or await aclose()")
        reap_all(shutdown.dismiss_all(registry), self.grace)

    async def aclose(self) -> None:
        """Refuse new work, wait for the tasks that are here, then end the workers.

        Cancelling it ends the waiting: the workers are killed then, and what still runs fails with `WorkerCrashed`.
        """
        import anyio

        self.refuse_work()
        try:
            idle = False
            while not idle:
                while self.is_busy():  # noqa: ASYNC110  the tasks may be those of other loops and threads
                    await anyio.sleep(0.005)
                check = IdleCheck(self.grace)
                check.ask(self._registry.all_lanes())
                while check.is_pending():  # noqa: ASYNC110  as above
                    await anyio.sleep(0.0005)
                idle = check.is_idle()
        finally:
            workers = shutdown.dismiss_all(self._registry)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(reap_all, workers, self.grace)

    def end(self, adapter: LoopAdapter, tell: Callable[[], object]) -> None:
        """Refuse new work and end the workers without blocking, in the thread of the one loop that uses the pool.

        Its tasks must have ended. When the last worker is gone, `tell()` is called in that thread.
        """
        self.refuse_work()
        shutdown.end(self._registry, adapter, tell)

    def kill(self) -> None:
        """Kill every worker at once."""
        shutdown.kill(self._registry)

    def is_busy(self) -> bool:
        """Tell whether tasks wait or run in the pool, as far as it can be seen from this thread."""
        return any(have_tasks(lane.groups) for _, lane in self._registry.all_lanes())

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> ProcessPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
