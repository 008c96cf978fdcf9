"""What the parent has sent of shared objects, channels and locks, until tasks unpickle it, and what is made here."""

from __future__ import annotations

import sys
from weakref import WeakValueDictionary

from .._platform.shared_memory import close_all
from .._wire import frames
from .._wire.pickling.shared_refs import received as descriptors

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

shares: dict[bytes, Any] = {}
"""The shared objects the parent has sent: descriptors, table and size, or the object once it was unpickled here."""
channels: dict[bytes, Any] = {}
"""The channels the parent has sent: name and descriptors, or the channel itself once it was unpickled here."""
made_here: WeakValueDictionary[bytes, Any] = WeakValueDictionary()
"""The shared objects of this process while they live: a task may return them."""
_ALONE = 2
"""References to what only a table refers to: that one, and the argument of the call that counts."""


def on_share(message: bytes, fds: list[int]) -> None:
    """The parent has sent a shared object, which is made when it is first unpickled, or a bare descriptor (SHARE)."""
    token, size, table = frames.unpack_share(memoryview(message))
    if fds and not table:
        descriptors[token] = fds[0]
    elif token in shares or token in made_here or not fds:
        close_all(fds)
    else:
        shares[token] = fds, table, size


def on_channel(message: bytes, fds: list[int]) -> None:
    """The parent has sent a channel (CHANNEL). It is made when it is first unpickled."""
    token, name = frames.unpack_channel(memoryview(message))
    if token in channels:
        close_all(fds)
    else:
        channels[token] = name, fds


def on_drop(message: bytes, fds: list[int]) -> None:
    """The parent needs a shared object or a channel no more (DROP). Tasks that still hold it keep it."""
    token = bytes(frames.unpack_payload(memoryview(message))[1])
    close_unused(shares.pop(token, None), 0)
    if token in descriptors:
        close_all([descriptors.pop(token)])
    close_unused(channels.pop(token, None), 1)


def on_recall(message: bytes, fds: list[int]) -> None:
    """End a channel that only this table refers to (RECALL). It is made again when a call brings it."""
    token = bytes(frames.unpack_payload(memoryview(message))[1])
    if type(channels.get(token, ())) is not tuple and sys.getrefcount(channels[token]) == _ALONE:
        try:
            channels[token] = channels[token].unmade()
        except OSError:
            pass  # no descriptor is left


def close_unused(entry: Any, at: int) -> None:
    """Close the descriptors of what was never unpickled; they are item `at` of its entry."""
    if type(entry) is tuple:
        close_all(entry[at])


def is_of_parent(token: bytes) -> bool:
    """Tell whether the parent has sent the object of this token, and still has it."""
    return token in shares or token in channels
