"""Whether the outcome of a task, and of its scope, is one that the law allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from traceback import format_exception
from typing import Any

from unified_exec import TaskCancelled, TaskHandle, TaskTimeout, WorkerCrashed, WorkerStartError
from unified_exec._handles.cancelled import leaves

from . import jobs
from .epoch_state import EpochState
from .kinds import PROCESS, THREAD, Kind


@dataclass
class Spawned:
    """One task: its kind, its number in the journal and its handle.

    Attributes:
        cancel_requested: `handle.cancel` was called.
        timeout: it has a timeout of its own.
    """

    __slots__ = ("cancel_requested", "handle", "kind", "timeout", "token")

    kind: Kind
    token: int
    handle: TaskHandle[Any]
    cancel_requested: bool
    timeout: bool


def fault_of(task: Spawned, stopped: bool, state: EpochState) -> str | None:
    """Return what is wrong with a task after the exit of its scope; ``None`` if nothing is.

    Args:
        task: the task.
        stopped: its scope was stopped for any reason: the task may have been cancelled with it.
        state: has the journal and the killed workers.
    """
    handle, kind = task.handle, task.kind
    if not handle.done():
        return "it has not ended, but its scope has exited"
    started, ended = state.runs_of(task.token)
    if started > 1 or ended > 1:
        return f"it ran more than once (started {started}, ended {ended})"
    wrong = _wrong_outcome(task, stopped, state)
    if wrong is not None:
        return f"{wrong} (started {started}, ended {ended}, timing {handle.timing})"
    leaves_worker = kind.on != PROCESS and not kind.options
    if leaves_worker and started != ended:
        return f"it still runs on its {kind.on} after its scope has exited (started {started}, ended {ended})"
    return None


def _wrong_outcome(task: Spawned, stopped: bool, state: EpochState) -> str | None:
    handle, kind = task.handle, task.kind
    started, ended = state.runs_of(task.token)
    if handle.cancelled():
        state.count("cancelled")
        return None if task.cancel_requested or stopped else "it was cancelled without a request"
    error = handle.exception()
    if error is None:
        state.count("value")
        if kind.error is not None or kind.crashes or (kind.endless and not kind.keeps_value):
            return f"it returned {handle.result()!r:.80} and should never return"
        if not kind.check(handle.result(), task.token):
            return f"it returned the wrong value, {handle.result()!r:.80}"
        return None if started == ended == 1 else "it has a value and did not run once"
    state.count(type(error).__name__)
    if isinstance(error, TaskTimeout):
        return None if task.timeout else "it timed out without a timeout"
    if isinstance(error, WorkerCrashed):
        return _wrong_crash(task, error, state)
    if isinstance(error, ExceptionGroup) and kind.fn is jobs.nested:
        # A worker of its nested scope may have been killed.
        _, error = error.split(lambda inner: isinstance(inner, WorkerCrashed) and inner.pid in state.killed)
        if error is None:
            return None
    if isinstance(error, WorkerStartError):
        return None if kind.on == PROCESS and state.kills >= 3 else f"{error}"
    if kind.error is None or not isinstance(error, kind.error):
        return f"it failed with {error!r}\n{''.join(format_exception(error))}"
    if getattr(error, "token", task.token) != task.token:
        return f"it failed with the error of another task: {error!r}"
    return None if started == 1 else "it failed and did not run"


def _wrong_crash(task: Spawned, error: WorkerCrashed, state: EpochState) -> str | None:
    kind = task.kind
    if kind.on != PROCESS:
        return f"it is not a process task, but its worker crashed: {error}"
    if kind.crashes or error.pid in state.killed:
        return None
    if kind.coroutine and state.shares_workers:
        return None  # another task in the same worker may have crashed or been killed
    return f"its worker crashed without being killed: {error}"


def fault_of_scope(
    raised: BaseException | None, tasks: list[Spawned], policy: str, body: BaseException | None, cancelled: bool
) -> str | None:
    """Return what is wrong with what a scope raised; ``None`` if nothing is.

    Args:
        raised: what came out of the `async with` block.
        tasks: the tasks that it spawned.
        policy: ``"fail-fast"``, ``"collect"`` or ``"race"`` (of one).
        body: what the body of the scope raised.
        cancelled: a cancel scope around it was cancelled.
    """
    failures = [error for task in tasks if (error := _error(task)) is not None]
    values = sum(1 for task in tasks if not task.handle.cancelled() and task.handle.exception() is None)
    if policy == "collect" or (policy == "race" and values):
        failures = []
    wanted = {id(error): error for error in failures}
    if body is not None and not isinstance(body, TaskCancelled):
        wanted[id(body)] = body
    found = Counter(id(leaf) for leaf in leaves(raised))
    twice = [leaf for leaf in leaves(raised) if found[id(leaf)] > 1]
    if twice:
        return f"it raised a failure more than once: {twice[0]!r}"
    lost = [error for key, error in wanted.items() if key not in found]
    if lost:
        return f"it lost {len(lost)} of {len(wanted)} failures, such as {lost[0]!r}; it raised {raised!r:.200}"
    foreign = [
        leaf
        for leaf in leaves(raised)
        if id(leaf) not in wanted and not isinstance(leaf, (TaskTimeout, TaskCancelled)) and isinstance(leaf, Exception)
    ]
    if foreign:
        return f"it raised an error that none of its tasks failed with: {foreign[0]!r}"
    if raised is not None and not isinstance(raised, Exception) and not cancelled and not _only_base(tasks):
        return f"it raised {raised!r:.200}"
    return None


def _error(task: Spawned) -> BaseException | None:
    return None if task.handle.cancelled() else task.handle.exception()


def _only_base(tasks: list[Spawned]) -> bool:
    return any((error := _error(task)) is not None and not isinstance(error, Exception) for task in tasks)


def still_running(state: EpochState) -> Iterator[str]:
    """Yield the tasks whose journal entries have changed since their scope exited."""
    for token, started, ended, kind in state.finished:
        now = state.runs_of(token)
        if now != (started, ended) and not (kind.on == THREAD and kind.options):
            then = (started, ended)
            yield f"{kind.on}/{kind.name} {token} continued after its scope had exited: {then} then, {now} now"
