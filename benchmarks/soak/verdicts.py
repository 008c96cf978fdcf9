"""Whether what became of a task, and of its scope, is what the law allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from unified_exec import TaskCancelled, TaskHandle, TaskTimeout, WorkerCrashed, WorkerStartError

from . import jobs
from .kinds import PROCESS, THREAD, Kind

if TYPE_CHECKING:
    from .epoch import Epoch


@dataclass
class Spawned:
    """One task: its kind, its number in the journal and its handle.

    Attributes:
        asked: somebody called `handle.cancel`.
        timeout: it has a timeout of its own.
    """

    __slots__ = ("asked", "handle", "kind", "timeout", "token")

    kind: Kind
    token: int
    handle: TaskHandle[Any]
    asked: bool
    timeout: bool


def fault_of(task: Spawned, stopped: bool, epoch: Epoch) -> str | None:
    """What is wrong with a task after the end of its scope; ``None`` if nothing is.

    Args:
        task: the task.
        stopped: its scope was stopped, by whatever: the task may have been cancelled with it.
        epoch: knows the journal and who was killed.
    """
    handle, kind = task.handle, task.kind
    if not handle.done():
        return "its scope has ended and it has not"
    began, ended = counts(epoch.journal, task.token)
    if began > 1 or ended > 1:
        return f"it ran more than once (began {began}, ended {ended})"
    wrong = _wrong_outcome(task, stopped, epoch)
    if wrong is not None:
        return f"{wrong} (began {began}, ended {ended}, timing {handle.timing})"
    leaves_worker = kind.on != PROCESS and not kind.options
    if leaves_worker and began != ended:
        return f"it still runs on its {kind.on} after its scope has ended (began {began}, ended {ended})"
    return None


def counts(journal: mmap, token: int) -> tuple[int, int]:
    """How often a task began and ended."""
    return journal[2 * token], journal[2 * token + 1]


def _wrong_outcome(task: Spawned, stopped: bool, epoch: Epoch) -> str | None:
    handle, kind = task.handle, task.kind
    began, ended = counts(epoch.journal, task.token)
    if handle.cancelled():
        epoch.count("cancelled")
        return None if task.asked or stopped else "it was cancelled and nobody asked for that"
    error = handle.exception()
    if error is None:
        epoch.count("value")
        if kind.error is not None or kind.crashes or (kind.endless and not kind.keeps_value):
            return f"it returned {handle.result()!r:.80} and should never have"
        if not kind.check(handle.result(), task.token):
            return f"it returned the wrong value, {handle.result()!r:.80}"
        return None if began == ended == 1 else "it has a value and did not run once"
    epoch.count(type(error).__name__)
    if isinstance(error, TaskTimeout):
        return None if task.timeout else "it timed out without a timeout"
    if isinstance(error, WorkerCrashed):
        return _wrong_crash(task, error, epoch)
    if isinstance(error, ExceptionGroup) and kind.fn is jobs.nested:
        # Its own scope had a worker of this process, which may have been killed.
        _, error = error.split(lambda inner: isinstance(inner, WorkerCrashed) and inner.pid in epoch.killed)
        if error is None:
            return None
    if isinstance(error, WorkerStartError):
        return None if kind.on == PROCESS and epoch.kills >= 3 else f"{error}"
    if kind.error is None or not isinstance(error, kind.error):
        return f"it failed with {error!r}\n{''.join(format_exception(error))}"
    if getattr(error, "token", task.token) != task.token:
        return f"it failed with the error of another task: {error!r}"
    return None if began == 1 else "it failed and did not run"


def _wrong_crash(task: Spawned, error: WorkerCrashed, epoch: Epoch) -> str | None:
    kind = task.kind
    if kind.on != PROCESS:
        return f"it was no process task and its worker crashed: {error}"
    if kind.crashes or error.pid in epoch.killed:
        return None
    if kind.coroutine and epoch.shares_workers:
        return None  # a neighbour in the same worker may have crashed it, or been killed for its deafness
    return f"its worker crashed and nobody killed it: {error}"


def fault_of_scope(
    raised: BaseException | None, tasks: list[Spawned], policy: str, body: BaseException | None, cancelled: bool
) -> str | None:
    """What is wrong with what a scope raised; ``None`` if nothing is.

    Args:
        raised: what came out of the `async with` block.
        tasks: the tasks that it spawned.
        policy: ``"fail-fast"``, ``"collect"`` or ``"race"`` (of one).
        body: what the body raised itself.
        cancelled: something outside of the scope was cancelled.
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
        return f"it raised what no task of it failed with: {foreign[0]!r}"
    if raised is not None and not isinstance(raised, Exception) and not cancelled and not _only_base(tasks):
        return f"it raised {raised!r:.200}"
    return None


def _error(task: Spawned) -> BaseException | None:
    return None if task.handle.cancelled() else task.handle.exception()


def _only_base(tasks: list[Spawned]) -> bool:
    return any((error := _error(task)) is not None and not isinstance(error, Exception) for task in tasks)


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions in a group and its groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif error is not None:
        yield error


def still_running(tasks: list[tuple[int, int, int, Kind]], journal: mmap) -> Iterator[str]:
    """Tasks whose journal has moved since their scope ended; `tasks` holds token, began and ended then, and kind."""
    for token, began, ended, kind in tasks:
        now = counts(journal, token)
        if now != (began, ended) and not (kind.on == THREAD and kind.options):
            yield f"{kind.on}/{kind.name} {token} went on after its scope had ended: {(began, ended)} then, {now} now"
