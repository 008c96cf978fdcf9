"""A new worker for a pool: a process that has been told all it must know before its first task."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..._platform import cpu_count
from ..._wire.pickling import codec
from ...errors import WorkerStartError
from . import prestart
from .shutdown import sweep
from .start_worker import parent_settings, start
from .worker import Worker

if TYPE_CHECKING:
    from .pool import ProcessPool


def hire(pool: ProcessPool, coroutines: bool) -> Worker:
    """Start a worker and send it its settings; it says READY when it is up.

    Raises:
        WorkerStartError: no process could be started.
    """
    sweep()
    settings = parent_settings()
    settings.coroutines = coroutines
    settings.initializer = pool._initializer
    settings.max_tasks = pool._max_tasks
    settings.max_memory = pool._max_memory
    settings.idle = pool._idle_timeout
    environment = {
        **os.environ,
        **cpu_count.worker_environment(dict(os.environ), pool.max_workers, cpu_count.cpu_count()),
    }
    environment.update(pool._env)
    worker = Worker(prestart.take(environment) or start(environment), coroutines)
    try:
        worker.set_up(codec.encode_value(settings.as_dict()).data)
    except ConnectionError:
        pass  # it has died at once: its end will be noticed
    except OSError as exc:
        worker.reap_worker()
        raise WorkerStartError(f"its settings could not be sent: {exc}") from exc
    return worker
