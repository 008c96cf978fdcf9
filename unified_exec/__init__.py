"""unified_exec: coroutines, threads and processes in one structured-concurrency scope.

    async with TaskScope(timeout=30) as scope:
        page = scope.spawn(fetch, url)                  # async def  -> event loop
        rows = scope.spawn(read_rows, path)             # def        -> thread
        stats = scope.spawn(crunch, data, on="cpu")     # CPU work   -> process, or thread without GIL
        print(await page, await rows, await stats)

The names are loaded when they are first used: a worker process needs few of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light

__version__ = "0.1.0"

_homes: dict[str, str] = {}
"""The module of each public name."""


def _read_homes() -> bool:
    """Read the list of public names below, which is the only one, and load none of them.

    Returns:
        whether that was possible; it is not if the package was installed without its source.
    """
    try:
        source: str = __spec__.loader.get_data(__file__).decode()  # type: ignore[union-attr]  # also from a zip file
    except (AttributeError, OSError, ValueError):
        return False
    for line in source.splitlines():
        if line.startswith("    from ."):
            _, home, _, _, _, name = line.split()
            _homes[name] = home
    return bool(_homes)


if TYPE_CHECKING or not _read_homes():
    from . import from_task as from_task
    from ._blocking.actors import SyncActor as SyncActor
    from ._blocking.handle import SyncTaskHandle as SyncTaskHandle
    from ._blocking.scope import SyncTaskScope as SyncTaskScope
    from ._handles.cancelled import TaskCancelled as TaskCancelled
    from ._handles.decision import Decision as Decision
    from ._handles.handle import TaskHandle as TaskHandle
    from ._map.stats import StageStats as StageStats
    from ._pipeline.pipeline import Pipeline as Pipeline
    from ._pipeline.stages import Failure as Failure
    from ._platform.cpu_count import cpu_count as cpu_count
    from ._pools.default_pools import prestart as prestart
    from ._pools.default_pools import shutdown_default_pools as shutdown_default_pools
    from ._pools.interpreter.pool import InterpreterPool as InterpreterPool
    from ._pools.process.frozen import freeze_support as freeze_support
    from ._pools.process.pool import ProcessPool as ProcessPool
    from ._pools.thread.pool import ThreadPool as ThreadPool
    from ._rules.dispatch import blocking as blocking
    from ._rules.dispatch import cpu_bound as cpu_bound
    from ._rules.policies import Collect as Collect
    from ._rules.policies import FailFast as FailFast
    from ._rules.policies import Policy as Policy
    from ._rules.policies import Quorum as Quorum
    from ._rules.policies import Race as Race
    from ._rules.policies import Supervise as Supervise
    from ._rules.policies import Tally as Tally
    from ._rules.policies import Verdict as Verdict
    from ._rules.retry import Retry as Retry
    from ._rules.retry import exponential as exponential
    from ._scope.actor import Actor as Actor
    from ._scope.actor import ActorGroup as ActorGroup
    from ._scope.call import call as call
    from ._scope.scope import TaskScope as TaskScope
    from ._scope.share import share as share
    from ._sync.channels.channel import Channel as Channel
    from ._sync.channels.sender import ChannelSender as ChannelSender
    from ._sync.channels.would_block import ChannelEmpty as ChannelEmpty
    from ._sync.channels.would_block import ChannelFull as ChannelFull
    from ._sync.limit import Limit as Limit
    from ._sync.locks.barrier import Barrier as Barrier
    from ._sync.locks.condition import Condition as Condition
    from ._sync.locks.event import Event as Event
    from ._sync.locks.lock import Lock as Lock
    from ._sync.locks.rlock import RLock as RLock
    from ._sync.locks.semaphore import Semaphore as Semaphore
    from ._sync.locks.value import SharedValue as SharedValue
    from ._sync.locks.would_block import LockTaken as LockTaken
    from ._sync.rate import Rate as Rate
    from ._tasks.current import CurrentTask as CurrentTask
    from ._tasks.current import check_cancelled as check_cancelled
    from ._tasks.current import current_task as current_task
    from ._tasks.current import is_cancelled as is_cancelled
    from ._tasks.current import report as report
    from ._tasks.current import time_left as time_left
    from ._tasks.types import TaskState as TaskState
    from ._worker.shared_object import Shared as Shared
    from .errors import BrokenBarrier as BrokenBarrier
    from .errors import Cancelled as Cancelled
    from .errors import ChannelClosed as ChannelClosed
    from .errors import DeadlockError as DeadlockError
    from .errors import LockAbandoned as LockAbandoned
    from .errors import PoolClosed as PoolClosed
    from .errors import RemoteError as RemoteError
    from .errors import SerializationError as SerializationError
    from .errors import TaskTimeout as TaskTimeout
    from .errors import UnifiedExecError as UnifiedExecError
    from .errors import WorkerCrashed as WorkerCrashed
    from .errors import WorkerStartError as WorkerStartError
    from .observe.progress.record import Progress as Progress
    from .observe.watchdog import Stall as Stall


def _is_public(name: str, value: object) -> bool:
    return name == "from_task" or (name[0] != "_" and getattr(value, "__module__", "").startswith("unified_exec"))


_names = _homes or [name for name, value in globals().items() if _is_public(name, value)]
__all__ = ["__version__", *_names]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    home = _homes.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # "." is the home of a public module.
    value = import_module(f".{name}", __name__) if home == "." else getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
