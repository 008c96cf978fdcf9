"""`DaskPool`: process workers on the nodes of a Dask cluster."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from .._rules.arguments import check_amounts, whole
from .pool import ClusterPool


class DaskPool(ClusterPool):
    """Worker processes on the nodes of a Dask cluster, for any number of scopes and event loops.

    Use it where a `ProcessPool` is used: the law holds as on one machine, but for the points that the chapter on
    clusters names. Dask places the work, watches and scales its workers; this package's own worker processes run it
    next to them, so a running task can be stopped, a crash costs one task, and errors arrive as they were raised.

    Each node needs this package, in the same version and with the same version of Python. What ``__main__`` defines
    travels by value; other modules must exist on the nodes, or be sent with `upload`.

    Args:
        cluster: the address of a scheduler, a `distributed.Client` (which stays open), or a cluster object such as
            `distributed.LocalCluster`.
        max_workers: how many Dask threads to use at most, each for one task at a time; by default all, also those of
            nodes that join later.
        min_workers: how many threads to keep while there is no work.
        idle_timeout: seconds without work after which threads are given back to Dask; ``None`` for never.
        grace: seconds between requesting a running task to stop and killing its worker.
        lease: seconds that tasks run on at a node that hears nothing of this program. A node of which nothing was heard
            for ``lease + max(grace, 1) + 1`` seconds is lost.
        drain: seconds that running tasks may go on when their Dask worker closes.
        start_timeout: seconds after which waiting tasks fail with `WorkerStartError` if no node takes work; ``None``
            for never.
        upload: files (``.py``, ``.zip``, ``.egg``) and folders for the nodes to import from.
        env: environment variables to set in the workers.
        initializer: called in each new worker before its first task.
        initargs: arguments of the initializer.
        max_tasks_per_worker: replace a worker after this many tasks.
        priority: of the threads' requests among those of other users of the scheduler.
        resources: Dask's abstract resources that each thread needs, such as ``{"GPU": 1}``.
        name: shown in errors.

    Raises:
        ImportError: Dask's `distributed` is not installed.
        TypeError: an option is of another type.
        ValueError: a number is out of its range, a path of `upload` does not exist, or `cluster` is none.
        SerializationError: the initializer or its arguments cannot travel.

    Example:
        async with DaskPool("tcp://scheduler:8786") as pool, TaskScope(processes=pool) as scope:
            handles = [scope.spawn(simulate, case, on="process", timeout=600) for case in cases]
    """

    def __init__(
        self,
        cluster: Any,
        *,
        max_workers: int | None = None,
        min_workers: int = 0,
        idle_timeout: float | None = 60.0,
        grace: float = 1.0,
        lease: float = 8.0,
        drain: float = 2.0,
        start_timeout: float | None = 60.0,
        upload: Iterable[str | os.PathLike[str]] = (),
        env: dict[str, str] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_worker: int | None = None,
        priority: int = 0,
        resources: dict[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        try:
            from .dask_engine import DaskEngine
        except ImportError as exc:
            raise ImportError(f"DaskPool needs Dask: pip install 'unified-exec[dask]' ({exc})") from exc
        if isinstance(upload, (str, bytes, os.PathLike)):
            raise ValueError(f"upload must be a list of paths, got {upload!r}: write upload=[{upload!r}]")
        try:
            paths = [os.fsdecode(path) for path in upload]
        except TypeError as exc:
            raise TypeError(f'upload must be a list of paths, got {upload!r}: write upload=["simulation.py"]') from exc
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise ValueError(f"upload: there is no file or folder {missing[0]!r} (from {os.getcwd()})")
        priority = whole("priority", priority, -sys.maxsize)
        if resources is not None:
            check_amounts("resources", resources, '{"GPU": 1}')
        pool_id = uuid.uuid4().hex[:12]
        super().__init__(
            DaskEngine(cluster, tuple(paths), priority, resources, start_timeout, pool_id),
            pool_id,
            max_workers=max_workers,
            min_workers=min_workers,
            idle_timeout=idle_timeout,
            grace=grace,
            lease=lease,
            drain=drain,
            start_timeout=start_timeout,
            env=env,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_worker=max_tasks_per_worker,
            name=name,
        )
