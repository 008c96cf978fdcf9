"""`RayPool`: process workers on the nodes of a Ray cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from .._rules.arguments import check_amounts
from .pool import ClusterPool


class RayPool(ClusterPool):
    """Worker processes on the nodes of a Ray cluster, for any number of scopes and event loops.

    Use it where a `ProcessPool` is used; what holds for `DaskPool` holds here. Ray places the work, watches and scales
    its nodes; this package's own worker processes run it there. A slot is a placement group of one CPU, and each node
    has one actor that starts the workers.

    Each node needs this package, in the same version and with the same version of Python. What ``__main__`` defines
    travels by value; other modules must exist on the nodes, or be sent with `runtime_env`.

    Args:
        address: of the cluster, as for `ray.init`, which is called if this program is not connected to Ray; ``None``
            for the one that Ray finds, or starts on this machine. A connection that is there is used, and stays; one
            that a pool makes ends with it, also for other pools.
        max_workers: how many CPUs to use at most, each for one task at a time; by default all, also those of nodes
            that join later.
        min_workers: how many CPUs to keep while there is no work.
        idle_timeout: seconds without work after which CPUs are given back to Ray; ``None`` for never.
        grace: seconds between requesting a running task to stop and killing its worker.
        lease: seconds that tasks run on at a node that hears nothing of this program. A node of which nothing was heard
            for ``lease + max(grace, 1) + 1`` seconds is lost.
        start_timeout: seconds after which waiting tasks fail with `WorkerStartError` if no node takes work; ``None``
            for never.
        runtime_env: Ray's runtime environment for the workers, such as ``{"working_dir": "."}``. If this program is
            connected to Ray already, give folders to `ray.init`: nothing else sends them to the nodes.
        env: environment variables to set in the workers.
        initializer: called in each new worker before its first task.
        initargs: arguments of the initializer.
        max_tasks_per_worker: replace a worker after this many tasks.
        resources: Ray's resources that each slot needs next to its CPU, such as ``{"GPU": 1}``.
        name: shown in errors.

    Raises:
        ImportError: `ray` is not installed.
        TypeError: an option is of another type.
        ValueError: a number is out of its range.
        SerializationError: the initializer or its arguments cannot travel.

    Example:
        async with RayPool("auto") as pool, TaskScope(processes=pool) as scope:
            handles = [scope.spawn(simulate, case, on="process", timeout=600) for case in cases]
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        max_workers: int | None = None,
        min_workers: int = 0,
        idle_timeout: float | None = 60.0,
        grace: float = 1.0,
        lease: float = 8.0,
        start_timeout: float | None = 60.0,
        runtime_env: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_worker: int | None = None,
        resources: dict[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        try:
            from .ray_engine import RayEngine
        except ImportError as exc:
            raise ImportError(f"RayPool needs Ray: pip install 'unified-exec[ray]' ({exc})") from exc
        if address is not None and not isinstance(address, str):
            raise TypeError(f'address must be that of a Ray cluster, or None, got {address!r}: write RayPool("auto")')
        if runtime_env is not None and not isinstance(runtime_env, dict):
            raise TypeError(
                f'runtime_env must be a dict, got {runtime_env!r}: write runtime_env={{"working_dir": "."}}'
            )
        if resources is not None:
            check_amounts("resources", resources, '{"GPU": 1}')
        super().__init__(
            RayEngine(address, resources, runtime_env),
            uuid.uuid4().hex[:12],
            max_workers=max_workers,
            min_workers=min_workers,
            idle_timeout=idle_timeout,
            grace=grace,
            lease=lease,
            drain=0.0,
            start_timeout=start_timeout,
            env=env,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_worker=max_tasks_per_worker,
            name=name,
        )
