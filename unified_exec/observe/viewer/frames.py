"""What a page is sent: everything once, and then only what has changed."""

from __future__ import annotations

import time
from typing import Any

from .board import Board, TaskRow
from .summary import TEXT_MAX, summary

SUMMARY_SECONDS = 0.5


class Frames:
    """Makes the frames for one page.

    Args:
        board: the state, which the frames bring the page to.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._version = 0
        self._summary_at = 0.0
        self._scopes: dict[int, dict[str, Any]] = {}
        self._ended = False

    def next(self) -> dict[str, Any]:
        """Return what has changed since the last frame. A slow page takes fewer frames, with more in each."""
        board, now = self._board, time.monotonic()
        with board.lock:
            frame: dict[str, Any] = {"now": now}
            if self._version <= board.gone_before:  # at first, and if more has ended meanwhile than is remembered
                frame["reset"] = True
                tasks, gone = list(board.tasks.values()), list[int]()
                self._scopes = {}
            elif self._version == board.version:
                tasks, gone = [], []
            else:
                tasks = [task for task in board.tasks.values() if task.version > self._version]
                gone = self._gone()
            self._version = board.version
            if tasks:
                frame["tasks"] = [_row(task) for task in tasks]
            if gone:
                frame["gone"] = gone
            if board.scopes != self._scopes:
                self._scopes = dict(board.scopes)
                frame["scopes"] = [_scope(scope) for scope in self._scopes.values()]
            if now - self._summary_at >= SUMMARY_SECONDS or board.ended != self._ended:
                self._summary_at, self._ended = now, board.ended
                frame["summary"] = summary(board)
            return frame

    def _gone(self) -> list[int]:
        found: list[int] = []
        for version, id in reversed(self._board.gone):
            if version <= self._version:
                break
            found.append(id)
        return found


def _row(task: TaskRow) -> list[Any]:
    return [
        task.id,
        task.name[:TEXT_MAX],
        task.fn,
        task.backend,
        task.scope,
        task.items,
        task.spawned,
        task.started,
        task.worker,
        task.state,
        task.asked,
        task.wait[:TEXT_MAX],
    ]


def _scope(scope: dict[str, Any]) -> list[Any]:
    return [scope["id"], scope["name"][:TEXT_MAX], scope["policy"], scope["opener"], scope["loop"], scope["opened"]]
