"""What this worker is doing, told to its parent when that asks: the stacks of its task, its threads and coroutines.

This is loaded and run by a signal handler, maybe in the midst of an import: it imports only what the worker has loaded.
"""

from __future__ import annotations

import os
import sys
from _json import encode_basestring_ascii
from _thread import get_ident

from .._platform.posix import DONTWAIT
from .._stacks.lines import Line, coroutine_frames, line_of, thread_frames
from .._tasks.loaded import loaded
from .._wire import frames
from .cancel_signal import CancelSignal
from .connection import WorkerConnection
from .settings import resident_bytes

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

COROUTINES_MAX = 50
THREADS_MAX = 20
_SHARED = "unified_exec._sync.shared.travel"
_SYNC = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_sync") + os.sep
_OWN = os.path.dirname(__file__) + os.sep

nested_look: Callable[[], object] | None = None
"""Looks at the scopes that are open in this worker; set when the first one is."""


class Whereabouts:
    """Answers the parent's question. Everything runs in the signal handler, between two bytecodes of the task.

    Args:
        connection: the sockets.
        signal: knows which tasks run.
    """

    def __init__(self, connection: WorkerConnection, signal: CancelSignal) -> None:
        self._connection = connection
        self._signal = signal

    def answer(self, message: bytes, fds: list[int]) -> None:
        """Send what is going on here. If there is no room for it in the socket, nothing is sent."""
        try:
            packed = frames.pack_payload(frames.HERE, self._describe())
            if len(packed) <= frames.INLINE_MAX:
                self._connection.control.send(packed, DONTWAIT)
        except Exception:  # the task must not suffer, whatever state it was interrupted in
            return

    def _describe(self) -> bytes:
        interrupted: FrameType | None = sys._getframe()
        while interrupted is not None and interrupted.f_code.co_filename.startswith(_OWN):
            interrupted = interrupted.f_back  # the handler, and what the task has called of the worker's own
        here = get_ident()
        others = [(ident, frame) for ident, frame in sys._current_frames().items() if ident != here]
        told: dict[str, Any] = {
            "running": self._signal.running,
            "turn": next((id for id, each in self._signal.coroutines().items() if each.cr_running), 0),
            "stack": [line_of(frame) for frame in thread_frames(interrupted)],
            "threads": [[line_of(frame) for frame in thread_frames(frame)] for _, frame in others[:THREADS_MAX]],
            "rss": resident_bytes(),
            "importing": _importing(interrupted),
            "coroutines": self._coroutines(),
            "waits": self._waits(interrupted),
        }
        if nested_look is not None:
            told["look"] = nested_look()
        text = to_json(told)
        if len(text) > frames.INLINE_MAX - 64:
            text = to_json({key: told[key] for key in ("running", "stack", "rss", "importing", "waits")})
        return text.encode("ascii")

    def _coroutines(self) -> dict[int, list[Line]]:
        found: dict[int, list[Line]] = {}
        for id, coroutine in list(self._signal.coroutines().items())[:COROUTINES_MAX]:
            found[id] = [line_of(frame) for frame in coroutine_frames(coroutine)[0]]
        return found

    def _waits(self, interrupted: FrameType | None) -> dict[int, str]:
        """What tasks wait for, by their ids, if it is a lock or a channel."""
        stacks = {id: coroutine_frames(each)[0] for id, each in list(self._signal.coroutines().items())}
        if self._signal.running:
            stacks[self._signal.running] = thread_frames(interrupted)
        found = {id: _waits_for(stack) for id, stack in list(stacks.items())[:COROUTINES_MAX]}
        return {id: text for id, text in found.items() if text}


def _waits_for(stack: list[FrameType]) -> str:
    """The lock or channel that the innermost frames wait for, in words; "" for none."""
    travel = loaded(_SHARED)
    text = ""
    for frame in stack if travel is not None else ():
        if not frame.f_code.co_filename.startswith(_SYNC):
            break
        me = frame.f_locals.get("self")
        if isinstance(me, travel.Traveller):
            text = me.wait_words(frame.f_code.co_name)[:300]
    return text


def _importing(frame: FrameType | None) -> str:
    """The module whose import, the outermost, is going on in a stack; "" for none."""
    found = ""
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename.startswith("<frozen importlib"):
            found = str(frame.f_locals.get("name", ""))
        frame = frame.f_back
    return found


def to_json(value: Any) -> str:
    """Encode plain data; `json` may be the very module whose import was interrupted."""
    if isinstance(value, str):
        return str(encode_basestring_ascii(value))
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if value - value == 0 else "null"
    if isinstance(value, dict):
        return "{" + ",".join([f"{to_json(str(key))}:{to_json(inner)}" for key, inner in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([to_json(inner) for inner in value]) + "]"
    return to_json(repr(value))
