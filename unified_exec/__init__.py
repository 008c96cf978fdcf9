"""unified_exec: coroutines, threads and processes in one structured-concurrency scope.

    async with TaskScope(timeout=30) as scope:
        page = scope.spawn(fetch, url)                  # async def  -> event loop
        rows = scope.spawn(read_rows, path)             # def        -> thread
        stats = scope.spawn(crunch, data, on="cpu")     # CPU work   -> process, or thread without GIL
        print(await page, await rows, await stats)

The names are loaded when they are first used: a worker process needs few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._blocking.scope import SyncTaskHandle as SyncTaskHandle
    from ._blocking.scope import SyncTaskScope as SyncTaskScope
    from ._handles.cancelled import TaskCancelled as TaskCancelled
    from ._handles.decision import Decision as Decision
    from ._handles.handle import TaskHandle as TaskHandle
    from ._pipeline.pipeline import Failure as Failure
    from ._pipeline.pipeline import Pipeline as Pipeline
    from ._pipeline.pipeline import StageStats as StageStats
    from ._platform.cpu_count import cpu_count as cpu_count
    from ._pools.default_pools import prestart as prestart
    from ._pools.default_pools import shutdown_default_pools as shutdown_default_pools
    from ._pools.process.pool import ProcessPool as ProcessPool
    from ._pools.thread.pool import ThreadPool as ThreadPool
    from ._rules.dispatch import blocking as blocking
    from ._rules.dispatch import cpu_bound as cpu_bound
    from ._rules.policies import (
        Collect as Collect,
    )
    from ._rules.policies import (
        FailFast as FailFast,
    )
    from ._rules.policies import (
        Policy as Policy,
    )
    from ._rules.policies import Quorum as Quorum
    from ._rules.policies import (
        Race as Race,
    )
    from ._rules.policies import Supervise as Supervise
    from ._rules.policies import (
        Tally as Tally,
    )
    from ._rules.policies import (
        Verdict as Verdict,
    )
    from ._rules.retry import Retry as Retry
    from ._rules.retry import exponential as exponential
    from ._scope.call import call as call
    from ._scope.scope import TaskScope as TaskScope
    from ._scope.share import share as share
    from ._sync.limit import Limit as Limit
    from ._sync.rate import Rate as Rate
    from ._tasks.current import CurrentTask as CurrentTask
    from ._tasks.current import check_cancelled as check_cancelled
    from ._tasks.current import current_task as current_task
    from ._tasks.current import is_cancelled as is_cancelled
    from ._tasks.current import report as report
    from ._tasks.current import time_left as time_left
    from ._tasks.types import TaskState as TaskState
    from ._worker.shared_object import Shared as Shared
    from .errors import (
        Cancelled as Cancelled,
    )
    from .errors import (
        PoolClosed as PoolClosed,
    )
    from .errors import (
        RemoteError as RemoteError,
    )
    from .errors import (
        SerializationError as SerializationError,
    )
    from .errors import (
        TaskTimeout as TaskTimeout,
    )
    from .errors import (
        UnifiedExecError as UnifiedExecError,
    )
    from .errors import (
        WorkerCrashed as WorkerCrashed,
    )
    from .errors import (
        WorkerStartError as WorkerStartError,
    )
    from .observe.progress.record import Progress as Progress
    from .observe.watchdog import Stall as Stall

__version__ = "0.1.0"

_HOMES = {
    "_pools.process.pool": ("ProcessPool",),
    "_pools.thread.pool": ("ThreadPool",),
    "_scope.call": ("call",),
    "_scope.share": ("share",),
    "_worker.shared_object": ("Shared",),
    "_pools.default_pools": ("prestart", "shutdown_default_pools"),
    "_handles.cancelled": ("TaskCancelled",),
    "_handles.handle": ("TaskHandle",),
    "_sync.limit": ("Limit",),
    "_sync.rate": ("Rate",),
    "observe.progress.record": ("Progress",),
    "_scope.scope": ("TaskScope",),
    "observe.watchdog": ("Stall",),
    "_tasks.current": ("CurrentTask", "check_cancelled", "current_task", "is_cancelled", "report", "time_left"),
    "_tasks.types": ("TaskState",),
    "_handles.decision": ("Decision",),
    "_rules.dispatch": ("blocking", "cpu_bound"),
    "_rules.policies": ("Collect", "FailFast", "Policy", "Quorum", "Race", "Supervise", "Tally", "Verdict"),
    "_rules.retry": ("Retry", "exponential"),
    "_platform.cpu_count": ("cpu_count",),
    "errors": (
        "Cancelled",
        "PoolClosed",
        "RemoteError",
        "SerializationError",
        "TaskTimeout",
        "UnifiedExecError",
        "WorkerCrashed",
        "WorkerStartError",
    ),
    "_pipeline.pipeline": ("Failure", "Pipeline", "StageStats"),
    "_blocking.scope": ("SyncTaskHandle", "SyncTaskScope"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Cancelled",
    "Collect",
    "CurrentTask",
    "Decision",
    "FailFast",
    "Failure",
    "Limit",
    "Pipeline",
    "Policy",
    "PoolClosed",
    "ProcessPool",
    "Progress",
    "Quorum",
    "Race",
    "Rate",
    "RemoteError",
    "Retry",
    "SerializationError",
    "Shared",
    "StageStats",
    "Stall",
    "Supervise",
    "SyncTaskHandle",
    "SyncTaskScope",
    "Tally",
    "TaskCancelled",
    "TaskHandle",
    "TaskScope",
    "TaskState",
    "TaskTimeout",
    "ThreadPool",
    "UnifiedExecError",
    "Verdict",
    "WorkerCrashed",
    "WorkerStartError",
    "__version__",
    "blocking",
    "call",
    "check_cancelled",
    "cpu_bound",
    "cpu_count",
    "current_task",
    "exponential",
    "is_cancelled",
    "prestart",
    "report",
    "share",
    "shutdown_default_pools",
    "time_left",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
