"""What a viewer knows of a program: the tasks that are open, kept by events, and figures of those that have ended.

Code that uses it holds its `lock`. It trusts nothing of what the program sent.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from ..live.protocol import BadMessage
from .functions import FunctionTotals

FUNCTIONS_MAX = 500
FAILURES_MAX = 50
WORKER_EVENTS_MAX = 30
SECONDS_KEPT = 120
SETTLED_KEPT = 50_000
QUEUED, SENT, RUNS, ON_LOOP = "queued", "sent", "runs", "loop"


class TaskRow:
    """One open task.

    Attributes:
        state: ``"queued"``, ``"sent"`` to a worker process, ``"runs"``, or ``"loop"``: a coroutine that has begun.
        wait: the limit, lock or channel it waits for, "" for none.
        waited: since when it waited the last time it did, 0 if it has not.
        version: the version of the board in which it changed last.
    """

    __slots__ = (
        *("id", "name", "fn", "backend", "scope", "items", "spawned", "started", "worker", "state"),
        *("asked", "wait", "waited", "version"),
    )

    def __init__(self, id: int, name: str, fn: str, backend: str, scope: int, items: int) -> None:
        self.id = id
        self.name = name
        self.fn = fn
        self.backend = backend
        self.scope = scope
        self.items = items
        self.spawned = 0.0
        self.started: float | None = None
        self.worker = 0
        self.state = ON_LOOP if backend == "loop" else QUEUED
        self.asked = False
        self.wait = ""
        self.waited = 0.0
        self.version = 0


class Board:
    """The state of one program.

    Attributes:
        lock: hold it while you use the board.
        hello: what the program said first.
        tasks: the open tasks by id.
        scopes: the open scopes by number.
        version: counts the changes of tasks.
        gone: versions and ids of the tasks that have ended, oldest first.
        gone_before: no task that ended up to this version is in `gone` any more.
        tree: the last tree.
        gauges: the last queues and workers.
        summed: there are too many tasks for each of their steps to be told; they are counted.
        ended: the program has ended; `note` tells more.
        note: what stands between the viewer and the program; "" nothing.
        heard_at: instant of the last message.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hello: dict[str, Any] = {}
        self.tasks: dict[int, TaskRow] = {}
        self.scopes: dict[int, dict[str, Any]] = {}
        self.functions: dict[tuple[str, str], FunctionTotals] = {}
        self.outcomes: Counter[str] = Counter()
        self.failures: deque[dict[str, Any]] = deque(maxlen=FAILURES_MAX)
        self.worker_events: deque[dict[str, Any]] = deque(maxlen=WORKER_EVENTS_MAX)
        self.version = 1
        self.gone: deque[tuple[int, int]] = deque(maxlen=SETTLED_KEPT)
        self.gone_before = 0
        self.tree: dict[str, Any] = {}
        self.gauges: dict[str, Any] = {}
        self.more = 0
        self.summed = False
        self.ended = False
        self.ended_at = 0.0
        self.note = "connecting"
        self.heard_at = time.monotonic()
        self.rates: deque[int] = deque(maxlen=SECONDS_KEPT)
        self.queues: deque[int] = deque(maxlen=SECONDS_KEPT)
        self.memory: dict[int, deque[int]] = {}
        self.moves_told = 0
        self._processes: set[int] = set()
        self._settled: deque[int] = deque(maxlen=SETTLED_KEPT)
        self._settled_set: set[int] = set()
        self._count = 0
        self._second = time.monotonic()

    def take(self, message: dict[str, Any]) -> None:
        """Take over what a message tells.

        Raises:
            BadMessage: it does not have the form it should have.
        """
        self.heard_at = time.monotonic()
        kind = message.get("type")
        try:
            if kind == "events":
                for row in message["rows"]:
                    self._event(row)
            elif kind == "roster":
                self._roster(message)
            elif kind == "gauges":
                self._gauges(message)
            elif kind == "tree" and isinstance(message["tree"], dict):
                self.tree = message["tree"]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadMessage(f"a wrong {str(kind)[:20]!r}: {error}") from None

    def tick(self) -> None:
        """Close the second, if it is over."""
        now = time.monotonic()
        if now - self._second >= 1.0:
            self.rates.append(round(self._count / (now - self._second)))
            self._second, self._count = now, 0
            self.queues.append(sum(int(pool["queued"]) for pool in self.gauges.get("pools", ())))

    @property
    def rate(self) -> int:
        """Tasks that ended in the last full second."""
        return self.rates[-1] if self.rates else 0

    def end(self) -> None:
        """The program has ended."""
        self.ended, self.ended_at, self.note = True, time.time(), "the program has ended"

    # -- tasks

    def _event(self, row: list[Any]) -> None:
        kind = row[1]
        if kind == "task.settled":
            self._settle(row)
        elif kind == "task.spawned":
            self.moves_told += 1
            if row[3] not in self.tasks and row[3] not in self._settled_set:
                self._add(row[3:10], row[2])
        elif kind.startswith(("task.", "wait.")):
            self.moves_told += 1
            task = self.tasks.get(row[3])
            if task is not None:
                _step(task, row)
                self._changed(task)
        elif kind == "scope.opened":
            self._scope([*row[3:10], row[2]])
        elif kind == "scope.closed":
            self.scopes.pop(row[3], None)
        elif kind.startswith("worker."):
            self._worker_event(row)

    def _add(self, fields: Iterable[Any], spawned: float) -> TaskRow:
        id, name, fn, backend, scope, _, items = fields
        task = TaskRow(int(id), str(name), str(fn), str(backend), int(scope), int(items))
        task.spawned = float(spawned)
        self.tasks[task.id] = task
        self._changed(task)
        return task

    def _changed(self, task: TaskRow) -> None:
        self.version += 1
        task.version = self.version

    def _remove(self, id: int) -> None:
        if self.tasks.pop(id, None) is not None:
            self.version += 1
            if len(self.gone) == self.gone.maxlen:
                self.gone_before = self.gone[0][0]
            self.gone.append((self.version, id))

    def _settle(self, row: list[Any]) -> None:
        id = row[3]
        self._remove(id)
        if len(self._settled) == self._settled.maxlen:
            self._settled_set.discard(self._settled[0])
        self._settled.append(id)
        self._settled_set.add(id)
        self._count += 1
        outcome, error, fn, backend = str(row[14]), str(row[15]), str(row[5]), str(row[6])
        self.outcomes[outcome] += 1
        key = (fn, backend)
        if key not in self.functions and len(self.functions) >= FUNCTIONS_MAX:
            key = ("others", "")
        totals = self.functions.setdefault(key, FunctionTotals(*key))
        spawned, started, finished = float(row[10]), row[16], float(row[17])
        ran = None if started is None else max(0.0, finished - float(started))
        failed = outcome not in ("value", "cancelled")
        totals.add(max(0.0, finished - spawned - (ran or 0.0)), ran, failed)
        if failed:
            text = str(row[20]) if len(row) > 20 else ""
            found = {"id": id, "name": str(row[4]), "fn": fn, "outcome": outcome, "error": error, "traceback": text}
            self.failures.append({**found, "at": finished, "worker": row[12]})

    def _roster(self, message: dict[str, Any]) -> None:
        """Everything that is open, to begin with and again when steps may have been missed."""
        at = float(message["at"])
        self.scopes.clear()
        for scope in message["scopes"]:
            self._scope(scope)
        listed = set[int]()
        for row in message["tasks"]:
            id, spawned, started, worker, asked = row[0], row[7], row[8], row[9], row[10]
            if id in self._settled_set:
                continue
            listed.add(id)
            task = self.tasks.get(id) or self._add(row[:7], spawned)
            state = task.state
            if task.backend != "loop":
                state = SENT if task.backend == "process" and worker else RUNS if started is not None else QUEUED
                state = RUNS if task.state == RUNS and worker == task.worker else state
            if (state, worker, started, asked) != (task.state, task.worker, task.started, task.asked):
                task.state, task.worker, task.started, task.asked = state, worker, started, bool(asked)
                self._changed(task)
        self.more = int(message.get("more", 0))
        for id in [task.id for task in self.tasks.values() if task.id not in listed and task.spawned < at]:
            self._remove(id)

    def _scope(self, fields: list[Any]) -> None:
        number, name, policy, opener, _, loop, _, opened = fields
        self.scopes[int(number)] = {
            "id": int(number),
            "name": str(name),
            "policy": str(policy),
            "opener": int(opener),
            "loop": str(loop),
            "opened": float(opened),
        }

    # -- workers

    def _gauges(self, message: dict[str, Any]) -> None:
        self.gauges = message
        alive = {0: int(message["memory"])}
        for pool in message["pools"]:
            for worker in pool.get("workers", ()):
                alive[int(worker["pid"])] = int(worker["memory"])
                self._processes.add(int(worker["pid"]))
                running = self.tasks.get(worker["running"])
                if running is not None and running.state != RUNS:
                    running.state, running.worker = RUNS, int(worker["pid"])
                    self._changed(running)
        for pid in [pid for pid in self.memory if pid not in alive]:
            del self.memory[pid]
        for pid, size in alive.items():
            self.memory.setdefault(pid, deque(maxlen=SECONDS_KEPT)).append(size)

    def _worker_event(self, row: list[Any]) -> None:
        kind, at, worker = row[1].partition(".")[2], float(row[2]), int(row[3])
        text = kind
        if kind == "started" and row[5] == "process":
            self._processes.add(worker)
        if worker not in self._processes:
            return  # a thread: they come and go
        if kind == "died":
            self._processes.discard(worker)
            code = row[4]
            text = f"killed by signal {-code}" if isinstance(code, int) and code < 0 else f"ended with code {code}"
            text += f" while it ran #{row[5]}" if row[5] else ""
        elif kind == "killed":
            text = f"is killed: {row[5]}" + (f", for #{row[4]}" if row[4] else "")
        elif kind == "ready":
            text = f"ready after {float(row[4]):.2f} s"
        elif kind == "retired":
            text = "retires"
        self.worker_events.append({"at": at, "worker": worker, "kind": kind, "text": text})


def _step(task: TaskRow, row: list[Any]) -> None:
    kind = row[1]
    if kind == "task.sent":
        task.state, task.worker = SENT, int(row[4])
    elif kind == "task.started":
        task.state = ON_LOOP if task.backend == "loop" else RUNS
        task.worker, task.started = int(row[4]), float(row[2])
    elif kind in ("task.returned", "task.queued"):
        task.state, task.worker = QUEUED, 0
    elif kind == "task.asked":
        task.asked = True
    elif kind == "wait.begun" and float(row[2]) > task.waited:
        task.wait = f"{row[4]}, held by {row[7]}" if row[7] and row[6] in ("lock", "semaphore") else str(row[4])
    elif kind == "wait.ended":
        task.wait, task.waited = "", float(row[6])
