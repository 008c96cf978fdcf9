"""Looks for viewers, in a thread that lives while there is something to look at: what else they hear is not delayed."""

from __future__ import annotations

import logging
import time
from _thread import allocate_lock, get_native_id, start_new_thread
from collections import deque
from collections.abc import Callable
from typing import Any

from .door import wait_for_end_of

Send = Callable[[dict[str, Any]], object]

LOOKS = frozenset({"tree", "roster", "gauges", "tasks"})
"""The requests it answers."""
BUDGET = 50
"""After a look that took c seconds of processor time, the next large one begins not before this many times c."""
PATIENCE = 1.0
"""Seconds that a viewer is kept waiting at most."""


class Looker:
    """Answers one request after the other.

    Args:
        answered: called after each answer, in the thread.
    """

    def __init__(self, answered: Callable[[], object]) -> None:
        self._answered = answered
        self._lock = allocate_lock()  # guards the two below
        self._requests: deque[tuple[Send, dict[str, Any]]] = deque()
        self._running = False
        self._thread = 0
        self._ended = allocate_lock()
        self._next = 0.0

    def ask(self, send: Send, request: dict[str, Any]) -> None:
        """Have ``send(answer)`` called, in the thread, with the answer to a request."""
        with self._lock:
            self._requests.append((send, request))
            if self._running:
                return
            self._running = True
        self._ended.acquire()
        try:
            start_new_thread(self._run, ())
        except RuntimeError:  # no thread can be had
            self._ended.release()
            self._run_here()

    def wait(self) -> None:
        """Drop what has not begun, and wait until the thread has ended."""
        with self._lock:
            self._requests.clear()
        with self._ended:
            pass
        wait_for_end_of(self._thread)

    def _run(self) -> None:
        self._thread = get_native_id()
        try:
            self._run_here()
        finally:
            self._ended.release()

    def _run_here(self) -> None:
        while True:
            with self._lock:
                if not self._requests:
                    self._running = False
                    return
                send, request = self._requests.popleft()
            try:
                send(self._look(request))
            except Exception as error:  # what it looks at moves
                logging.getLogger("unified_exec").debug("a look failed", exc_info=True)
                send({"type": "error", "what": f"the look failed: {error!r}"[:200]})
            self._answered()

    def _look(self, request: dict[str, Any]) -> dict[str, Any]:
        from .look import Look
        from .roster import gauges, roster, tasks

        kind = request["type"]
        if kind == "gauges":
            return gauges()
        if kind == "tasks":
            return tasks(request.get("ids"))
        if kind == "roster":
            return self._in_budget(roster)
        stacks = request.get("stacks")
        wanted = stacks if stacks in ("none", "mine", "all") else "mine"
        return {"type": "tree", "tree": self._in_budget(lambda: Look(stacks=wanted).make())}

    def _in_budget(self, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Look, late enough that all looks together take their small share of a core; a patient viewer never waits."""
        wait = self._next - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, PATIENCE))
        began = time.thread_time()
        found = look()
        found["cpu"] = cpu = time.thread_time() - began
        self._next = time.monotonic() + BUDGET * cpu
        return found
