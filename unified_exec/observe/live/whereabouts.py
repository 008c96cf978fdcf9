"""Where one task is: in which thread, worker or queue, at which line, and what it waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, NamedTuple

from ..._handles.open_scopes import OpenScope
from ..._pools.process.ask_where import has_read
from ..._pools.process.shutdown import registries
from ..._pools.process.worker import Worker
from ..._pools.thread.call import ThreadCall
from ..._pools.thread.queues import QUEUED, RUNNING
from ..._stacks.lines import Line, coroutine_frames, line_of, thread_frames
from ..._sync.limit import Gate
from ..._tasks.task import Task
from ..._wire.protocol import STARTING, UP
from . import reasons
from .samples import usage
from .text import busy_text, duration

_RUNNER = os.path.join(reasons.PACKAGE, "_worker", "run_")
_CALL = os.path.join(reasons.PACKAGE, "_pools", "thread", "call.py")


class Found(NamedTuple):
    """What was found of a task.

    Attributes:
        why: what it waits for, or that it runs.
        lines: its stack, innermost first.
        look: the tree of the scopes that it has opened in its worker.
    """

    why: reasons.Wait
    lines: list[Line]
    look: dict[str, Any] | None = None


class Whereabouts:
    """Finds tasks.

    Args:
        answers: what the busy workers have told, by process id.
        threads: the frames of all threads.
        asked_at: when the workers were asked: one that has told nothing since is in C code. ``None``: they were not.

    Attributes:
        held: the event loops that are held up, by thread.
    """

    def __init__(
        self, answers: dict[int, dict[str, Any]], threads: Mapping[int, FrameType], asked_at: float | None
    ) -> None:
        self.answers = answers
        self._asked_at = asked_at
        self.held: dict[int, dict[str, Any]] = {}
        self._threads = threads

    def is_queued(self, task: Task, lane: object) -> bool:
        """Tell whether it only waits for a worker or a thread."""
        if lane is None or hasattr(lane, "waits_for"):
            return False
        location = task.location
        return location is None or (type(location) is ThreadCall and location.state == QUEUED)

    def of_task(self, task: Any, lane: object, scope: OpenScope) -> Found:
        """Find a task that has not ended."""
        if lane is None:
            return self._coroutine(task, scope)
        waits_for = getattr(lane, "waits_for", None)
        if waits_for is not None:
            return self._planned(waits_for(), task, scope)
        location = task.location
        if type(location) is ThreadCall:
            return self._in_thread(task, location)
        if type(location) is Worker:
            return self._in_worker(task, location, scope)
        elsewhere = getattr(location, "whereabouts", None)
        if elsewhere is not None:
            begun, where, answer, silent = elsewhere(task, self._asked_at)
            if not begun:
                return Found(reasons.wait("node", where), [])
            if answer is not None:
                silent = _in_c(answer.get("state"))
            return _told(task, answer, where, task.started_at, silent)
        return Found(self._for_a_worker(lane), [])

    def _coroutine(self, task: Any, scope: OpenScope) -> Found:
        coroutine = getattr(task.backend_data, "_coro", None)
        if coroutine is None:
            return Found(reasons.wait("ready", "its first turn on the event loop"), [])
        if coroutine.cr_running:
            lines = [line_of(frame) for frame in thread_frames(self._threads.get(scope.thread))]
            return Found(reasons.wait("runs", "runs on the event loop"), lines)
        frames, end = coroutine_frames(coroutine)
        lines = [line_of(frame) for frame in frames]
        held = self.held.get(scope.thread)
        if _is_ready(end):
            text = "its turn on the event loop"
            if held is not None and held["at"] is not None:
                text += f", which is held up at {os.path.basename(held['at'][0])}:{held['at'][1]}"
            return Found(reasons.wait("ready", text), lines)
        return Found(reasons.of_coroutine(frames, end), lines)

    def _planned(self, waits_for: object, task: Any, scope: OpenScope) -> Found:
        if isinstance(waits_for, Task):
            return self.of_task(waits_for, waits_for, scope)
        if isinstance(waits_for, tuple):
            gate, waiter = waits_for
            assert isinstance(gate, Gate)
            return Found(reasons.of_gate(gate, waiter), [])
        if isinstance(waits_for, float):
            return Found(reasons.wait("retry", f"attempt {task.attempts + 1} in {waits_for:.1f} s"), [])
        return Found(reasons.wait("unknown", "between two attempts"), [])

    def _in_thread(self, task: Task, call: ThreadCall) -> Found:
        if call.state == QUEUED:
            return Found(reasons.wait("thread", "a thread: all are busy"), [])
        if call.state != RUNNING:
            return Found(reasons.wait("ready", "the event loop, to take its result"), [])
        frames = []
        for frame in thread_frames(self._threads.get(task.worker or 0)):
            if frame.f_code.co_filename == _CALL:
                break
            frames.append(frame)
        lines = [line_of(frame) for frame in frames]
        known = reasons.of_thread(frames)
        return Found(known or _runs(task.started_at, f"in thread {task.worker}", call.cancel_requested), lines)

    def _in_worker(self, task: Task, worker: Worker, scope: OpenScope) -> Found:
        if worker.connection.state == STARTING:
            return Found(reasons.wait("start", f"worker {worker.pid}, which starts"), [])
        answer = self.answers.get(worker.pid)
        if not worker.is_running(task):
            return Found(_behind(task, worker), [])
        silent = ""
        if answer is None and scope.thread in self.held:
            silent = ", which cannot be asked: its event loop is held up"
        elif answer is None and worker.connection.state == UP and self._asked_at is not None:
            silent = ", which has not answered yet" if has_read(worker) else _in_c(usage(worker.pid).state)
        return _told(task, answer, f"in worker {worker.pid}", worker.answered_at, silent)

    def _for_a_worker(self, of: object) -> reasons.Wait:
        """The wait for a worker of the pool that has a lane."""
        found = registries()
        for registry in found:
            lanes = list(registry.lanes.values())
            if of in lanes or len(found) == 1:  # an attempt of a retry does not tell its lane
                groups = [group for lane in lanes for group in lane.groups]
                busy = [id for group in groups for worker in list(group.workers) if (id := running(worker))]
                most, queued = registry.spec.max_workers, sum(group.queue.length for group in groups)
                text = f"a worker: {busy_text(len(busy), most)}, {queued} queued"
                return reasons.wait("worker", text, busy if len(registry.workers) >= most else ())
        return reasons.wait("worker", "a worker")


def _is_ready(end: Any) -> bool:
    """Tell whether what an asyncio task awaits is done, so that only its loop keeps it waiting."""
    referred: Any = getattr(end, "__self__", None)
    if referred is None and type(end).__name__ == "FutureIter":
        import gc

        referred = next(iter(gc.get_referents(end)), None)
    done = getattr(referred, "done", None)
    return bool(done()) if callable(done) else False


def _in_c(state: str | None) -> str:
    """What is told of a worker that has not answered, by the state of its process."""
    return {"R": ", in C code: computes", "T": ", stopped"}.get(state, ", in C code: waits") if state else ""


def _told(task: Task, answer: dict[str, Any] | None, where: str, since: float | None, silent: str) -> Found:
    """Find a task that its worker has begun in what the worker has told, if it has."""
    if answer is None:
        return Found(_runs(since, where + silent, task.cancel_requested), [])
    is_running = task.id in (answer.get("running"), answer.get("turn"))
    lines = _task_lines(answer, task.id, is_running)
    look = _look_of(task.id, answer.get("look"))
    module = answer.get("importing") if is_running else None
    if module:
        return Found(reasons.wait("start", f"the import of {module}, {where}"), lines, look)
    known = _told_wait(answer, task.id)
    if known is None and lines:
        known = reasons.of_lines(lines) if is_running else reasons.of_suspended(lines)
    if known is not None:
        known["text"] += f", {where}"
        return Found(known, lines, look)
    return Found(_runs(since, where + silent, task.cancel_requested), lines, look)


def _runs(since: float | None, where: str, asked: bool) -> reasons.Wait:
    seconds = "" if since is None else f" for {duration(max(0.0, time.monotonic() - since))}"
    return reasons.wait("runs", f"runs{seconds} {where}" + (", was asked to stop" if asked else ""))


def running(worker: Worker) -> int:
    """The id of the task that a worker runs; 0 for none."""
    try:
        return worker.started()
    except ValueError:  # it was reaped just now
        return 0


def _behind(task: Task, worker: Worker) -> reasons.Wait:
    ahead = list(worker.tasks)
    first = running(worker)
    place = ahead.index(task.id) - (ahead.index(first) if first in ahead else 0)
    text = f"worker {worker.pid}" + (
        f", {place} after #{first}" if first else f", {place} after its next" if place else " to begin it"
    )
    return reasons.wait("behind", text, [first] if first else ())


def _look_of(id: int, look: dict[str, Any] | None) -> dict[str, Any] | None:
    """The scopes that a task has opened in its worker, and those below them, out of the worker's look at itself."""
    tasks: set[int] = set()
    kept = []
    for scope in (look or {}).get("scopes", ()):  # the oldest is the first
        if scope["outer"] == id or scope["opener"] in tasks:
            kept.append(scope)
            tasks.update(scope["tasks"])
    if look is None or not kept:
        return None
    return {**look, "scopes": kept, "tasks": {key: task for key, task in look["tasks"].items() if int(key) in tasks}}


def _told_wait(answer: dict[str, Any], id: int) -> reasons.Wait | None:
    """The lock or channel that a task waits for, out of a worker's answer."""
    text = answer.get("waits", {}).get(str(id))
    if text is None:
        return None
    return reasons.wait("channel" if " on Channel(" in str(text) else "lock", str(text))


def _task_lines(answer: dict[str, Any], id: int, is_running: bool) -> list[Line]:
    """The lines of a task out of a worker's answer, without those of the worker that call it."""
    raw = answer.get("stack", ()) if is_running else answer.get("coroutines", {}).get(str(id), ())
    lines: list[Line] = []
    for file, number, name in raw:
        if str(file).startswith(_RUNNER):
            break
        lines.append((str(file), int(number), str(name)))
    return lines
