"""The process pool as its users see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...abc import Capabilities, ProcessBackend
from .worker_pool import WorkerPool

IDLE_TIMEOUT = 60.0
START_TIMEOUT = 30.0


class ProcessPool(WorkerPool, ProcessBackend):
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
            tasks fail with `WorkerStartError`; ``None`` for never. The initializer's time does not count, nor what the
            process waits for a processor on a busy machine.
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
        from .worker_spec import make_spec

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
        super().__init__(spec, grace, name)

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
        from . import prestart

        missing = min(workers, self.max_workers) - len(self._registry.workers)
        prestart.start_ahead(missing, self._registry.spec.environment())

    def kill(self) -> None:
        """Kill every worker at once."""
        from . import shutdown

        shutdown.kill(self._registry)
