"""joblib's ``"unified_exec"`` backend: its batches run in the workers of a `ProcessExecutor`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any

from joblib.parallel import (  # type: ignore[import-untyped, unused-ignore]
    AutoBatchingMixin,
    ParallelBackendBase,
    register_parallel_backend,
)

from .._platform.cpu_count import cpu_count
from .processes import ProcessExecutor

_lock = Lock()
_executors: dict[tuple[int, int | None], ProcessExecutor] = {}


class UnifiedExecBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc, unused-ignore]
    """Processes that stay warm from one `Parallel` to the next; work that joblib aborts is stopped.

    Inside a worker a nested `Parallel` uses threads, and one nested in those runs sequentially, as with joblib's own
    backends. A call that names this backend again starts further processes there.

    With an `initializer` a `Parallel` has processes of its own, which end with it.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._executor: ProcessExecutor | None = None
        self._is_own = False
        self._futures: dict[Future[Any], None] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many processes `n_jobs` means; negative numbers count down from the number of cores."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Prepare for one `Parallel`; returns the number of processes."""
        from joblib.parallel import FallbackToBackend, SequentialBackend

        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        given = {**self.backend_kwargs, **options}
        initializer = given.get("initializer")
        self._is_own = initializer is not None
        if initializer is not None:
            env = self._thread_limits()
            initargs = given.get("initargs", ())
            self._executor = ProcessExecutor(n_jobs, initializer=initializer, initargs=initargs, env=env)
        else:
            self._executor = _executor_of(n_jobs, self.inner_max_num_threads, self._thread_limits())
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> Future[Any]:
        """Start a batch."""
        assert self._executor is not None
        future = self._executor.submit(_run, func)
        self._futures[future] = None
        future.add_done_callback(lambda ended: self._futures.pop(ended, None))
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return the values of a batch that has ended."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop every batch, including the running ones."""
        for future in reversed(
            list(self._futures)
        ):  # the last first: a cancelled batch makes room for the one before it
            future.cancel()

    def terminate(self) -> None:
        """Release the processes; they stay warm for the next `Parallel`, but for those of an initializer."""
        if self._is_own and self._executor is not None:
            self._executor.shutdown()
        self._executor = None
        self.reset_batch_stats()

    def _thread_limits(self) -> dict[str, str]:
        limit = self.inner_max_num_threads
        return {} if limit is None else {name: str(limit) for name in self.MAX_NUM_THREADS_VARS}


def _run(batch: Callable[[], Any]) -> Any:
    """Run a batch in a worker, where calls may name this backend, too."""
    register_parallel_backend("unified_exec", UnifiedExecBackend)
    return batch()


def _executor_of(n_jobs: int, inner_threads: int | None, env: dict[str, str]) -> ProcessExecutor:
    key = n_jobs, inner_threads
    with _lock:
        executor = _executors.get(key)
        if executor is None or executor.closed:
            executor = _executors[key] = ProcessExecutor(n_jobs, env=env)
        return executor


def shut_down() -> None:
    """End the processes that are kept warm, and wait for them."""
    with _lock:
        executors = list(_executors.values())
        _executors.clear()
    for executor in executors:
        executor.shutdown()
