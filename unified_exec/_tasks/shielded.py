"""Where a cancellation must not land: inside a channel or a lock, where what it passes on may be in nobody's hands, and
inside the pipe of log records, where half of one may have been written.

The canceller reads the stack, so an operation that is not cancelled pays nothing for its shield.
"""

from __future__ import annotations

from os.path import dirname, join
from types import FrameType

_SHIELDED = tuple(
    [
        join(dirname(dirname(__file__)), *folder, "")
        for folder in (("_sync", "channels"), ("_sync", "locks"), ("_sync", "shared"), ("_worker", "logs"))
    ]
)
_MAY_RAISE = "__interruptible__"
"""A local variable of the functions that sleep: they hold nothing, and the raise is what ends their sleep."""


def in_primitive(frame: FrameType | None) -> bool:
    """Tell whether `frame` is, or was called by, code of a channel or a lock."""
    return _shielded_frame(frame) is not None


def in_shield(frame: FrameType | None) -> bool:
    """Tell whether `frame` runs code of a channel or a lock that must not be interrupted; its sleep may be."""
    found = _shielded_frame(frame)
    return found is not None and _MAY_RAISE not in found.f_code.co_varnames


def _shielded_frame(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not frame.f_code.co_filename.startswith(_SHIELDED):
        frame = frame.f_back
    return frame
