"""One look at this program: scopes, tasks, where each is and what it waits for. Nothing was recorded before.

A look runs in any thread, best not in an event loop's. What it reads moves meanwhile, and nothing is locked: each part
is read by itself, and one that could not be read says so.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident
from typing import Any

from ..._handles.handle import TaskHandle
from ..._handles.open_scopes import OpenScope, open_scopes
from ..._loops.adapter import LoopAdapter
from ..._pools.process.ask_where import ask_workers, machines
from ..._stacks.lines import Line, coroutine_frames, line_of, thread_frames
from . import reasons, rings
from .pools import describe_pools
from .protocol import VERSION, command_line
from .samples import usage
from .whereabouts import Whereabouts

TASKS_MAX = 2000
QUEUED_SHOWN = 3
NAME_MAX = 200
LOOP_SECONDS = 0.1
"""An event loop that has not run a callback for this long is told as held up."""
AGAIN_SECONDS = 0.3
"""A ring is told if it is the same after this time."""


class Look:
    """Gathers one tree.

    Args:
        stacks: ``"none"``, ``"mine"`` (the user's own lines) or ``"all"``.
        workers: seconds to wait for the stacks of busy workers; 0 not to ask.
    """

    def __init__(self, stacks: str = "mine", workers: float = 0.25) -> None:
        self._began = time.monotonic()
        self._stacks = stacks
        self._seconds = workers
        self._tasks: dict[int, dict[str, Any]] = {}
        self._waits: dict[int, tuple[tuple[int, ...], bool]] = {}
        self._threads = sys._current_frames()
        self._where = Whereabouts({}, self._threads, None)

    def make(self) -> dict[str, Any]:
        """Look, and return the tree as plain data; see the documentation for its form."""
        scopes = open_scopes()
        loops = self._loops(scopes)
        described = [found for scope in scopes if (found := self._scope(scope))["tasks"] or scope.host is not None]
        stuck = self._rings()
        return {
            "v": VERSION,
            "pid": os.getpid(),
            "argv": command_line(),
            "python": sys.version.split()[0],
            "time": time.time(),
            "loops": loops,
            "scopes": described,
            "tasks": {str(id): task for id, task in self._tasks.items()},
            "pools": describe_pools(self._where.answers),
            "nodes": [told for node in machines() if (told := node.summary()) is not None],
            "rings": stuck,
            "memory": usage(os.getpid()).memory,
            "took": round(time.monotonic() - self._began, 4),
        }

    def of(self, ids: frozenset[int]) -> dict[str, dict[str, Any]]:
        """Look at some tasks only. Those that have ended are left out."""
        for scope in open_scopes() if ids else ():
            for handle, lane in list(scope.lanes()):
                if handle.id in ids and handle.outcome is None:
                    self._task(handle, lane, scope)
        return {str(id): task for id, task in self._tasks.items()}

    # -- event loops

    def _loops(self, scopes: list[OpenScope]) -> list[dict[str, Any]]:
        """Ask every loop for a sign of life, and the workers in the same time."""
        alive: set[int] = set()
        adapters: dict[int, LoopAdapter] = {scope.thread: scope.adapter for scope in scopes}
        asked = [thread for thread in adapters if self._seconds and thread != get_ident()]
        for thread in asked:
            adapters[thread].call_threadsafe(alive.add, thread)
        if self._seconds and get_ident() not in adapters:
            began = time.monotonic()
            self._where = Whereabouts(ask_workers(self._seconds), self._threads, began)
        while not alive.issuperset(asked) and time.monotonic() - self._began < LOOP_SECONDS:
            time.sleep(0.002)
        told: list[dict[str, Any]] = []
        for thread, adapter in adapters.items():
            frames = thread_frames(self._threads.get(thread))
            held = thread in asked and thread not in alive
            lines = [line_of(frame) for frame in frames]
            one: dict[str, Any] = {"thread": thread, "kind": adapter.kind, "held": held}
            one["at"] = reasons.users_line(lines) if held else None
            one["stack"] = self._kept(lines) if held else []
            told.append(one)
            if held:
                self._where.held[thread] = one
        return told

    # -- scopes and tasks

    def _scope(self, scope: OpenScope) -> dict[str, Any]:
        now = time.monotonic()
        told: dict[str, Any] = {
            "id": scope.number,
            "name": (scope.name or "")[:NAME_MAX],
            "policy": scope.policy,
            "opener": 0 if scope.outer else scope.opener,
            "outer": scope.opener if scope.outer else 0,
            "thread": scope.thread,
            "loop": scope.adapter.kind,
            "age": round(max(0.0, now - scope.opened_at), 3),
            "timeout": scope.timeout,
            "tasks": [],
            "queued": {},
            "more": 0,
            "why": None,
        }
        try:
            if not told["opener"]:
                self._body(scope, told)
            self._members(scope, told)
        except Exception as error:  # it has moved on while we looked
            told["torn"] = f"{type(error).__name__}: {error}"[:NAME_MAX]
        return told

    def _body(self, scope: OpenScope, told: dict[str, Any]) -> None:
        """What the code in the block waits for."""
        host: Any = scope.host
        coroutine = host.get_coro() if hasattr(host, "get_coro") else getattr(host, "coro", None)
        if coroutine is None:
            return
        if getattr(coroutine, "cr_running", False):
            told["why"] = reasons.wait("runs", "runs")
            lines = [line_of(frame) for frame in thread_frames(self._threads.get(scope.thread))]
        else:
            frames, end = coroutine_frames(coroutine)
            told["why"] = reasons.of_coroutine(frames, end)
            lines = [line_of(frame) for frame in frames]
            self._note_wait(-scope.number, told["why"])
        told["at"] = reasons.users_line(lines)
        told["stack"] = self._kept(lines)

    def _members(self, scope: OpenScope, told: dict[str, Any]) -> None:
        queued: dict[str, int] = {}
        for handle, lane in list(scope.lanes()):
            if handle.outcome is not None:
                continue
            if self._where.is_queued(handle, lane):  # counted, not listed: there may be a hundred thousand
                key = f"{handle.name[:NAME_MAX]} on {handle.backend}"
                queued[key] = queued.get(key, 0) + 1
                if queued[key] > QUEUED_SHOWN:
                    continue
            if len(self._tasks) >= TASKS_MAX:
                told["more"] += 1
                continue
            told["tasks"].append(handle.id)
            self._task(handle, lane, scope)
        told["tasks"].sort()  # coroutines come in no order
        told["queued"] = {key: count - QUEUED_SHOWN for key, count in queued.items() if count > QUEUED_SHOWN}

    def _task(self, handle: TaskHandle[Any], lane: object, scope: OpenScope) -> None:
        now = time.monotonic()
        told: dict[str, Any] = {
            "id": handle.id,
            "name": handle.name[:NAME_MAX],
            "backend": handle.backend,
            "scope": scope.number,
            "age": round(max(0.0, now - handle.queued_at), 3),
            "attempt": handle.attempts,
            "items": handle.items,
            "worker": handle.worker or 0,
            "deadline": None if handle.deadline is None else round(handle.deadline - now, 3),
            "asked": handle.cancel_requested,
        }
        self._tasks[handle.id] = told
        try:
            found = self._where.of_task(handle, lane, scope)
            told["why"], lines = found.why, found.lines
            told["at"] = reasons.users_line(lines)
            told["stack"] = self._kept(lines)
            if found.look is not None:
                told["look"] = found.look
            told["state"] = "runs" if found.why["kind"] == "runs" else "waits"
            self._note_wait(handle.id, found.why)
        except Exception as error:  # it has moved on while we looked
            told["state"] = "?"
            told["why"] = reasons.wait("unknown", f"could not be read: {type(error).__name__}: {error}"[:NAME_MAX])
            told["torn"] = True

    def _note_wait(self, waiter: int, why: reasons.Wait) -> None:
        if why["enders"]:
            self._waits[waiter] = tuple(why["enders"]), why["all"]

    def _kept(self, lines: list[Line]) -> list[Line]:
        if self._stacks == "none":
            return []
        return lines if self._stacks == "all" else [line for line in lines if reasons.is_user_code(line[0])]

    def _rings(self) -> list[list[int]]:
        found = rings.rings(self._waits)
        if not found or not self._seconds:
            return found
        time.sleep(AGAIN_SECONDS)
        again = Look("none", 0.0)
        for scope in open_scopes():
            again._scope(scope)
        return [ring for ring in rings.rings(again._waits) if ring in found]
