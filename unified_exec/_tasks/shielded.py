"""Where a cancellation must not land: inside a channel, where an item may be neither in it nor in the caller's hands.

The canceller reads the stack, so an operation that is not cancelled pays nothing for its shield.
"""

from __future__ import annotations

from os.path import dirname, join, sep
from types import FrameType

_CHANNELS = join(dirname(dirname(__file__)), "_sync", "channels") + sep
_MAY_RAISE = "__interruptible__"
"""A local variable of the functions that sleep: they hold nothing, and the raise is what ends their sleep."""


def in_channel(frame: FrameType | None) -> bool:
    """Tell whether `frame` is, or was called by, code of a channel."""
    return _channel_frame(frame) is not None


def in_shield(frame: FrameType | None) -> bool:
    """Tell whether `frame` runs code of a channel that must not be interrupted; its sleep may be."""
    found = _channel_frame(frame)
    return found is not None and _MAY_RAISE not in found.f_code.co_varnames


def _channel_frame(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not frame.f_code.co_filename.startswith(_CHANNELS):
        frame = frame.f_back
    return frame
