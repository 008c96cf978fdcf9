"""What pools of workers have in common: their workers, the lanes of event loops, and their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from ..._rules.arguments import seconds, text
from ...abc import Backend

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter
    from .lane import ProcessLane
    from .worker_registry import WorkerRegistry
    from .worker_spec import WorkerSpec


class WorkerPool(Backend):
    """Workers that any number of scopes and event loops share.

    What runs them is imported with the first pool: a worker that imports a module which names the class has no pool.

    Args:
        spec: how they start.
        grace: seconds between requesting a running task to stop and killing its worker.
        name: shown in errors.

    Raises:
        TypeError, ValueError: the grace is not a number of seconds.
    """

    closed = False  # no property: it is read on each spawn

    def __init__(self, spec: WorkerSpec, grace: float, name: str | None) -> None:
        from . import shutdown
        from .admission import Admission
        from .worker_registry import WorkerRegistry

        self.max_workers = spec.max_workers
        self.grace = grace = seconds("grace", grace, optional=False)
        self.name = name = text(name)
        self._text = f"{type(self).__name__}{f' {name!r}' if name else ''} max_workers={self.max_workers}"
        self._admission = Admission(f"<{self._text} closed>")
        self._registry: WorkerRegistry[ProcessLane] = WorkerRegistry(spec, grace, f"<{self._text}>")
        shutdown.track(self._registry)

    def describe(self) -> str:
        return f"<{self._text}{' closed' if self.closed else ''}>"

    def lane(self, adapter: LoopAdapter) -> ProcessLane:
        """Return this pool as the loop of `adapter` sees it.

        Raises:
            PoolClosed: the pool is closed.
        """
        if self._admission.guarded:
            self._admission.admit()
        registry = self._registry
        known = registry.lanes.get(adapter)
        if known is not None:
            return known
        from .lane import ProcessLane

        return registry.lane(adapter, lambda: ProcessLane(registry, self._admission, adapter))

    def refuse_work(self) -> None:
        """Admit no work from now on."""
        self._admission.close()
        self.closed = self._registry.closing = True

    # -- the end

    def close(self) -> None:
        """Refuse new work, let idle workers end and wait for them. Does nothing if it is closed.

        Raises:
            RuntimeError: tasks still run in this pool; leave their scopes first, or use `aclose`.
        """
        from .disband import reap_all
        from .shutdown import dismiss_all

        registry = self._registry
        if self.is_busy() or not self._admission.close_if_idle(registry.all_lanes, self.grace):
            raise RuntimeError(f"{self!r} still runs tasks: leave their scopes before closing it, or await aclose()")
        self.closed = True
        reap_all(dismiss_all(registry), self.grace)

    async def aclose(self) -> None:
        """Refuse new work, wait for the tasks that are here, then end the workers.

        Cancelling it ends the waiting: the workers are killed then, and what still runs fails with `WorkerCrashed`.
        """
        import anyio

        from .admission import IdleCheck
        from .disband import reap_all
        from .shutdown import dismiss_all

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
            workers = dismiss_all(self._registry)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(reap_all, workers, self.grace)

    def end(self, adapter: LoopAdapter, tell: Callable[[], object]) -> None:
        """Refuse new work and end the workers without blocking, in the thread of the one loop that uses the pool.

        Its tasks must have ended. When the last worker is gone, `tell()` is called in that thread.
        """
        from . import shutdown

        self.refuse_work()
        shutdown.end(self._registry, adapter, tell)

    def is_busy(self) -> bool:
        """Tell whether tasks wait or run in the pool, as far as it can be seen from this thread."""
        from .admission import have_tasks

        return any(have_tasks(lane.groups) for _, lane in self._registry.all_lanes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: object, tb: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, exc: object, tb: object) -> None:
        await self.aclose()
