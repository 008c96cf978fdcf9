"""The thread that talks with a program and keeps the board."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from itertools import chain
from typing import Any

from ..live.client import CannotLook, Connection, find
from ..live.named import is_running
from ..live.protocol import BadMessage
from ..live.samples import usage
from ..recording.schema import MOVES
from .board import Board

KINDS = (
    *("scope.opened", "scope.closed", "task.settled", "task.asked", "wait.begun", "wait.ended"),
    *("worker.started", "worker.ready", "worker.retired", "worker.killed", "worker.died"),
)
_ANSWERED = {"tasks": "tasks", "done": "cancel", "refused": "cancel"}
"""By the type of an answer, the type of the request. Answers to one type come in order; a list of tasks takes longer
than a cancellation that was requested after it."""
MOVES_MAX = 20_000
"""Steps of tasks a second; above that the steps are not told one by one any more, and rosters take their place."""
GAUGES_SECONDS = 0.5
TREE_SECONDS = 1.5
ROSTER_SECONDS = 10.0
SUMMED_SECONDS = 1.0
SHARE = 50
"""A look that took c seconds of processor time is asked for again after this many times c, at the soonest."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
SILENT_SECONDS = 5.0
POLL_SECONDS = 0.05


class Feed:
    """Keeps a board up to date, from `start` to `stop`; connects again if the connection is lost.

    Args:
        pid: the process.
        board: what is kept.
    """

    def __init__(self, pid: int, board: Board) -> None:
        self.board = board
        self._pid = pid
        self._stopping = threading.Event()
        self._asked: deque[tuple[dict[str, Any], Future[dict[str, Any]]]] = deque()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Connect and begin.

        Raises:
            CannotLook: the program cannot be looked at.
        """
        connection = Connection(find(self._pid))
        self.board.hello = connection.hello
        self._first: Connection | None = connection
        self._thread.start()

    def stop(self) -> None:
        """End the conversation."""
        self._stopping.set()
        self._thread.join(5)

    def ask(self, **request: Any) -> Future[dict[str, Any]]:
        """Ask the program something else. The answer comes, or fails with `CannotLook`, in the feed's thread."""
        future: Future[dict[str, Any]] = Future()
        if self.board.ended:
            future.set_exception(CannotLook(self.board.note))
        else:
            self._asked.append((request, future))
        return future

    # -- in the thread

    def _run(self) -> None:
        failed = 0
        while not self._stopping.is_set():
            note = ""
            try:
                with self._connect() as connection:
                    failed = 0
                    _Conversation(self.board, connection, self._asked, self._stopping).run()
            except (CannotLook, TimeoutError) as error:
                note = str(error)
            except BadMessage as error:
                note = f"the program sent {error}"
            self._refuse(note or "the viewer ends")
            if not is_alive(self._pid):
                with self.board.lock:
                    self.board.end()
                return
            with self.board.lock:
                self.board.note = note
            self._stopping.wait(PAUSES[min(failed, len(PAUSES) - 1)])
            failed += 1

    def _connect(self) -> Connection:
        first, self._first = self._first, None
        return first if first is not None else Connection(find(self._pid))

    def _refuse(self, note: str) -> None:
        while self._asked:
            _, future = self._asked.popleft()
            _fail(future, note)


class _Conversation:
    """One connection, until it ends."""

    def __init__(
        self,
        board: Board,
        connection: Connection,
        asked: deque[tuple[dict[str, Any], Future[dict[str, Any]]]],
        stopping: threading.Event,
    ) -> None:
        self._board = board
        self._connection = connection
        self._asked = asked
        self._stopping = stopping
        self._due = {"roster": 0.0, "gauges": 0.0, "tree": 0.0}
        self._sent_at: dict[str, float] = {}
        self._waiting: dict[str, deque[Future[dict[str, Any]]]] = {"tasks": deque(), "cancel": deque()}
        self._second = time.monotonic()
        self._moves_before = 0

    def run(self) -> None:
        """Ask and listen.

        Raises:
            CannotLook: the connection is lost.
        """
        board = self._board
        with board.lock:
            board.hello, board.note = self._connection.hello, ""
            self._moves_before = board.moves_told
        self._subscribe()
        try:
            while not self._stopping.is_set():
                self._ask()
                try:
                    message = self._connection.receive(POLL_SECONDS)
                except TimeoutError:
                    message = None
                if message is not None and message.get("type") in _ANSWERED:
                    self._answer(message)  # without the lock: who waits for it may want to look at the board
                    message = None
                with board.lock:
                    if message is not None:
                        self._take(message)
                    board.tick()
                    silent = time.monotonic() - board.heard_at
                    board.note = f"no answer for {silent:.0f} s" if silent > SILENT_SECONDS else ""
                self._pace()
        finally:
            for future in chain(*self._waiting.values()):
                _fail(future, "the connection was lost")

    def _subscribe(self) -> None:
        moves = not self._board.summed
        self._connection.send(type="events", moves=moves, kinds=[*KINDS, *MOVES] if moves else [*KINDS])

    def _ask(self) -> None:
        now = time.monotonic()
        for kind in self._due:
            if now >= self._due[kind] and kind not in self._sent_at:
                self._sent_at[kind] = now
                self._connection.send(type=kind)
        while self._asked:
            request, future = self._asked.popleft()
            self._waiting[request["type"]].append(future)
            self._connection.send(**request)

    def _answer(self, message: dict[str, Any]) -> None:
        waiting = self._waiting[_ANSWERED[message["type"]]]
        if waiting:
            future = waiting.popleft()
            if future.set_running_or_notify_cancel():  # not if nobody waits any more
                future.set_result(message)

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        self._board.take(message)
        if kind in self._due:
            self._sent_at.pop(kind, None)
            spent = message["tree"].get("cpu", 0.0) if kind == "tree" else message.get("cpu", 0.0)
            usual = {"gauges": GAUGES_SECONDS, "tree": TREE_SECONDS}.get(
                kind, SUMMED_SECONDS if self._board.summed else ROSTER_SECONDS
            )
            self._due[kind] = time.monotonic() + max(usual, SHARE * float(spent))

    def _pace(self) -> None:
        """Sum instead of telling each step while there are very many tasks, so that the program is not burdened."""
        now = time.monotonic()
        if now - self._second < 1.0:
            return
        board, seconds = self._board, now - self._second
        steps = (board.moves_told - self._moves_before) / seconds
        self._second, self._moves_before = now, board.moves_told
        summed = board.rate * 4 > MOVES_MAX / 2 if board.summed else steps > MOVES_MAX
        if summed != board.summed:
            board.summed = summed
            self._subscribe()
            self._due["roster"] = 0.0


def _fail(future: Future[dict[str, Any]], note: str) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(CannotLook(note))


def is_alive(pid: int) -> bool:
    """Tell whether a process has not ended; one that only waits to be reaped has."""
    state = usage(pid).state
    if state:
        return state not in "ZX"
    return not os.path.exists("/proc/self/stat") and is_running(pid)
