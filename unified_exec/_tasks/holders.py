"""Who holds a lock: the running coroutine's task of its event loop, or else the task, or thread, in this thread.

A pool's thread and a worker run one task after another: each is a holder of its own, and ends with its task.
"""

from __future__ import annotations

from _thread import _local, get_ident
from _weakref import ref

from .current import current
from .fork_lock import in_forked_child
from .loaded import loaded

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Held(Protocol):
        def holder_ended(self, holder: object) -> None:
            """What it holds is given back."""


class ThreadHolder:
    """A thread, or one task that runs in it.

    Attributes:
        name: what it is called in errors.
        over: the task has ended.
        task: the id of that task, ``None`` for a thread outside of tasks.
        is_process_task: that task was spawned by the parent of this process.
        thread: ident of the thread.
        has_deadline: the task ends by itself.
        holds: the shared locks that it holds; they are given back when it ends.
    """

    __slots__ = ("__weakref__", "_life", "has_deadline", "holds", "is_process_task", "name", "over", "task", "thread")

    def __init__(self, life: _Life) -> None:
        task = current.get()
        if task is not None and task.backend != "loop":
            self.name = f"task {task.name!r}"
            self.task: int | None = task.id
            self.is_process_task = task.backend == "process"
        else:
            self.name = _thread_name()
            self.task = None
            self.is_process_task = False
        self.thread = get_ident()
        self.has_deadline = task is not None and task.deadline is not None
        self.over = False
        self.holds: list[Held] = []
        self._life = ref(life)

    def has_ended(self) -> bool:
        return self.over or self._life() is None


class _Life:
    """Lives while its thread does."""

    __slots__ = ("__weakref__",)


class _OfThread(_local):
    holder: ThreadHolder | None = None
    life: _Life | None = None


of_thread = _OfThread()


def _thread_name() -> str:
    threading = loaded("threading")
    return f"thread {threading.current_thread().name!r}" if threading is not None else f"thread {get_ident()}"


def _thread_holder() -> ThreadHolder:
    life = of_thread.life
    if life is None:
        life = of_thread.life = _Life()
    holder = of_thread.holder = ThreadHolder(life)
    return holder


def _running_loop() -> object:
    """Return something that is not ``None`` if this thread is inside an event loop.

    Most programs have asyncio and not trio: then its own function, written in C, takes the place of this one.
    """
    global current_coroutine, running_loop
    asyncio = loaded("asyncio")
    trio = loaded("trio")
    if trio is not None and getattr(trio.lowlevel, "in_trio_task", bool)():
        return trio
    if asyncio is None:
        return None
    if trio is None:
        running_loop = asyncio._get_running_loop
        current_coroutine = asyncio.current_task
    return asyncio._get_running_loop()


def _current_coroutine() -> object:
    _running_loop()
    return me()


running_loop: Callable[[], object] = _running_loop
current_coroutine: Callable[[], object] = _current_coroutine
"""In a coroutine: returns the holder that it is, or raises `RuntimeError`; then `me` knows it."""


def me() -> object:
    """Return the holder that the calling code is."""
    asyncio = loaded("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            return task
    trio = loaded("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_task()
    return of_thread.holder or _thread_holder()


def has_ended(holder: Any) -> bool:
    """Tell whether a holder can never release anything any more."""
    if type(holder) is ThreadHolder:
        return holder.has_ended()
    if hasattr(holder, "done"):  # a task of asyncio
        return bool(holder.done() or holder.get_loop().is_closed())
    return holder.coro.cr_frame is None  # a task of trio


def describe(holder: Any) -> str:
    """Name a holder of this process."""
    if type(holder) is ThreadHolder:
        return holder.name
    name = holder.get_name() if hasattr(holder, "get_name") else holder.name
    return f"task {name!r}"


coroutine_holds: dict[object, list[Held]] = {}
"""The shared locks that coroutines hold."""


def note_hold(holder: Any, held: Held) -> None:
    """Note that a holder has a shared lock: other processes cannot find out that it has ended."""
    if type(holder) is ThreadHolder:
        holder.holds.append(held)
        return
    found = coroutine_holds.get(holder)
    if found is None:
        found = coroutine_holds[holder] = []
        if hasattr(holder, "add_done_callback"):
            holder.add_done_callback(end_coroutine_holder)
    found.append(held)


def note_release(holder: Any, held: Held) -> None:
    """Note that it has it no more."""
    holds = holder.holds if type(holder) is ThreadHolder else coroutine_holds.get(holder, [])
    try:
        holds.remove(held)
    except ValueError:
        return
    if not holds and type(holder) is not ThreadHolder:
        coroutine_holds.pop(holder, None)
        if hasattr(holder, "remove_done_callback"):
            holder.remove_done_callback(end_coroutine_holder)


def end_coroutine_holder(holder: object) -> None:
    """Give back what a coroutine held that has ended."""
    for held in coroutine_holds.pop(holder, ()):
        held.holder_ended(holder)


def task_ended() -> None:
    """Note that the task in this thread has ended. Called if `of_thread.holder` is set."""
    holder = of_thread.holder
    of_thread.holder = None
    if holder is not None:
        holder.over = True
        for held in holder.holds:
            held.holder_ended(holder)


@in_forked_child
def _after_fork() -> None:
    """In a forked child: what the parent holds is not the child's, shared locks least of all."""
    coroutine_holds.clear()
    holder = of_thread.holder
    if holder is not None:
        holder.holds.clear()
