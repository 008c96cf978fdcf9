"""Everybody in this process who may send, set or notify: tasks of event loops, and threads, with what they wait for.

Those that wait in a known way are agents: `Reach` follows what they have. The references of all others, such as a task
that sleeps, a timer or a running thread, are not found then.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextvars import Context
from functools import cache, partial
from os.path import dirname, join
from types import FrameType, FunctionType, MethodType
from typing import Any, NamedTuple

from ..._loops.adapter import LoopAdapter
from ..._loops.deadlines import cancel_scopes, has_deadline
from ..._stacks.lines import coroutine_parts, thread_frames
from ..._tasks.parent import parent_pid
from ..._tasks.weak_sets import members
from ..shared.travel import shared_here
from .frames import Awaited, awaited_in, coroutine_of, is_ours, key_of_frame, references
from .graph import Key
from .reach import Reach, module_of

_MOST = 500
"""The most tasks of one event loop that are looked at."""
_HERE = dirname(__file__)
_WORKER = join(dirname(dirname(_HERE)), "_worker")


class Agent(NamedTuple):
    """Somebody who waits.

    Attributes:
        key: names it.
        name: what it is called in errors.
        awaited: what it waits for; ``None`` if that is a lock, or not known.
        roots: objects that it alone uses: its coroutines, its handle.
        variables: what the variables of its thread's frames refer to.
        asker: the task of a thread or process that waits for nothing but the end of this one, through `from_task`.
        context: of a task of an event loop.
        around: ids of the cancel scopes around it: who can reach one could end its wait.
        states: what the event loop has that refers to those.
        may_be_cancelled: a task group or timeout of asyncio itself could end its wait.
        is_internal: it waits for tasks of its scope in other places, and does nothing else.
        thread_of: the task of an event loop that this thread runs until it has ended.
        is_task: this thread runs a task that has no deadline.
        runs: ids by which those name it that wait for its end: of the task, and of the `LoopThread` that it serves.
    """

    key: Key
    name: str
    awaited: Awaited | None
    roots: list[Any]
    variables: list[Any]
    thread_of: Key | None = None
    runs: tuple[int, ...] = ()
    asker: Any = None
    context: Context | None = None
    around: tuple[int, ...] = ()
    states: list[Any] = []  # noqa: RUF012
    is_internal: bool = False
    is_task: bool = False
    may_be_cancelled: bool = False

    def add_to(self, reach: Reach) -> None:
        for root in self.roots:
            reach.add_root(root, self.key)
        for state in self.states:
            reach.add_root(state, None)
        for target in self.variables:
            reach.add_reference(target, self.key)


def agents_of_loops(adapters: Iterable[LoopAdapter]) -> Iterator[Agent]:
    """The tasks of these event loops that do not run. One with a deadline waits for nothing."""
    for adapter in adapters:
        tasks = adapter.tasks()
        if len(tasks) <= _MOST:
            for task in tasks:
                found = _of_task(task)
                if found is not None:
                    yield found


def _of_task(task: Any) -> Agent | None:
    made = coroutine_of(task)
    if made is None or getattr(made, "cr_running", False):
        return None
    key: Key = (os.getpid(), -id(task))
    name = task.get_name() if hasattr(task, "get_name") else task.name
    roots: list[Any] = []
    frames: list[FrameType] = []
    runs = [id(task)]
    asker = None
    ends = has_deadline(task)
    is_internal = False
    for part, frame in coroutine_parts(made):
        if frame is None:
            continue
        roots.append(part)
        frames.append(frame)
        found = key_of_frame(frame)
        if found is not None:
            key, handle = found, frame.f_locals.get("handle")
            if handle is not None:
                roots.append(handle)
                name = handle.name
                asker = _asker(handle)
                ends = ends or handle.deadline is not None
        elif frame.f_code.co_qualname == "LoopThread._live" and is_ours(frame):
            name = "SyncTaskScope"
            runs.append(id(frame.f_locals["self"]))
            roots.append(frame.f_locals["self"])
        is_internal = is_internal or (frame.f_code.co_qualname == "RemoteTasks._watch" and is_ours(frame))
    awaited = None if ends else awaited_in(frames)
    scopes, states = cancel_scopes(task)
    around = tuple(map(id, scopes))
    context = getattr(task, "context", None)
    for each in gc.get_referents(task):
        if type(each) is Context:
            context = context if type(context) is Context else each
        elif type(each) is FunctionType and each.__qualname__ == "TaskGroup._spawn.<locals>.task_done":
            states.append(each)  # anyio's, called when the task has ended
    return Agent(
        key=key,
        name=f"task {name!r}",
        awaited=awaited,
        roots=[] if is_internal else roots,
        variables=[],
        runs=tuple(runs),
        asker=asker,
        context=context,
        around=around,
        states=states + roots if is_internal else states,
        is_internal=is_internal,
        may_be_cancelled=_in_group_of_asyncio(roots),
    )


def _in_group_of_asyncio(parts: list[Any]) -> bool:
    """Tell whether a coroutine is in a block of `asyncio.TaskGroup` or `asyncio.timeout`, which cancel its task."""
    found = [each for part in parts for each in gc.get_referents(part)]
    owners = [each.__self__ if type(each) is MethodType else each for each in found]
    return any(module_of(type(each)) in _CANCELS for each in owners)


_CANCELS = frozenset({"asyncio.taskgroups", "asyncio.timeouts"})


def _asker(handle: Any) -> Any:
    asker = None if handle.asked_by is None else handle.asked_by.asker
    if asker is None or asker.requests is None:
        return None
    if asker.backend == "thread":
        return asker if len(asker.requests.running) == 1 else None
    return asker if getattr(asker.location, "blocked_by", None) == handle.asked_by.number else None


def agents_of_threads(runs: Mapping[int, Key], keys: Mapping[int, Key]) -> Iterator[Agent]:
    """The threads. One that runs an event loop until a task has ended has a part in that task.

    Args:
        runs: the keys of tasks, see `Agent`.
        keys: those of threads that hold locks, by ident.
    """
    for ident, frame in sys._current_frames().items():
        agent = _of_thread(ident, thread_frames(frame), runs, keys)
        del frame  # it may be this one, and a ring of references would keep what this look has found
        if agent is not None:
            yield agent


def _of_thread(ident: int, frames: list[FrameType], runs: Mapping[int, Key], keys: Mapping[int, Key]) -> Agent | None:
    frames = [frame for frame in frames if not frame.f_code.co_filename.startswith(_HERE)]
    main = next((key for frame in frames if (key := runs.get(_main_of(frame))) is not None), None)
    in_worker = any(frame.f_code.co_filename.startswith(_WORKER) for frame in frames)
    waits = bool(frames) and is_ours(frames[0])
    if not waits and main is None:
        return None  # reading its variables would keep them alive, before 3.13
    key, name = keys.get(ident, (os.getpid(), -ident)), f"thread {ident}"
    roots: list[Any] = []
    variables: list[Any] = []
    call = next((frame for frame in frames if frame.f_code.co_qualname == "ThreadCall.run" and is_ours(frame)), None)
    task = None if call is None else call.f_locals.get("task")
    if call is not None and task is not None:
        key, name = (os.getpid(), task.id), f"task {task.name!r}"
        roots += [task, task.args, call.f_locals["self"]]
    if main is not None and task is None and not in_worker:
        key = main
    called = _called(frames, roots, variables) if in_worker and task is None else None
    if called is not None:
        task, in_worker = called, False
        key, name = (parent_pid(), called.id), f"task {called.name!r}"
    ends = in_worker or (task is not None and task.deadline is not None)  # in a worker: its parent may end it
    awaited = None if ends or main is not None else awaited_in(reversed(frames))
    of_loop = [at for at, frame in enumerate(frames, 1) if runs.get(_main_of(frame)) is not None]
    variables += references(frames[of_loop[-1] if of_loop else 0 :])
    return Agent(key, name, awaited, roots, variables, thread_of=main, is_task=task is not None and not ends)


def _called(frames: list[FrameType], roots: list[Any], variables: list[Any]) -> Any:
    """Return the process task that this thread runs, ``None`` if it runs none; its call is a root."""
    for frame in frames:
        if frame.f_code.co_qualname == "CallRunner.run_task" and is_ours(frame):
            names = frame.f_locals
            if names.get("call") is not None:
                roots.append(names["call"])
                variables += [names["call"].args] * _kept_by_call()
                return names["view"]
    return None


@cache
def _kept_by_call() -> int:
    """How many references to its arguments a `partial` has more while it is called: one, from CPython 3.15 on."""

    def count(_: object) -> int:
        return sys.getrefcount(call.args)

    call = partial(count, None)
    return call() - sys.getrefcount(call.args)


def agents_of_workers() -> Iterator[Agent]:
    """The tasks that workers have been sent which have something that is shared. It is their call that has it here."""
    found: dict[int, Any] = {}
    for each in shared_here:
        for worker in members(each.holders):
            found.update(worker.tasks)
    for id, task in found.items():
        if task.deadline is None and not task.cancel_requested:
            yield Agent((os.getpid(), id), f"task {task.name!r}", None, [task], [])


_RUNS = {
    "Runner.run": "asyncio.runners",
    "BaseEventLoop.run_until_complete": "asyncio.base_events",
    "LoopThread.close": None,
    "run": "trio._core._run",
}
"""Functions that return when a task has ended, and their modules; ``None`` for this package's."""


def _main_of(frame: FrameType) -> int:
    """The id of that task, or of what it serves; 0 if it is another function."""
    qualname = frame.f_code.co_qualname
    if qualname not in _RUNS:
        return 0
    module = _RUNS[qualname]
    if not is_ours(frame) if module is None else frame.f_globals.get("__name__") != module:
        return 0
    names = frame.f_locals
    if qualname == "run":
        return id(getattr(names.get("runner"), "main_task", None))
    return id(next((names[name] for name in ("task", "future", "self") if names.get(name) is not None), None))
