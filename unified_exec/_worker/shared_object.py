"""An object placed once in shared memory and handed to any number of tasks: its handle, and how a worker finds it."""

from __future__ import annotations

import os
from _thread import allocate_lock
from weakref import WeakSet, WeakValueDictionary, finalize

from .._platform.shared_memory import close_all, open_block
from .._wire import frames
from .._wire.pickling.shared_refs import ByDescriptors, pickled_here, received
from . import context

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:
    T = object

    class Generic:
        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls


__all__ = ["Shared", "arrived", "channels", "on_channel", "on_drop", "on_share", "remember_own"]


class Shared(ByDescriptors, Generic[T]):
    """A handle on an object in shared memory; see `share`. It may be passed to tasks on every backend.

    Attributes:
        token: names it in every process.
        size: bytes of the block.
        holders: the workers that have it.
    """

    __slots__ = ("__weakref__", "_fd", "_lock", "_value", "holders", "size", "table", "token")

    def __init__(self, token: bytes, fd: int, table: bytes, size: int) -> None:
        self.token = token
        self.table = table
        self.size = size
        self.holders: WeakSet[Any] = WeakSet()
        self._fd = fd
        self._lock = allocate_lock()
        self._value: Any = None
        finalize(self, _release, token, fd, self.holders).atexit = False

    @property
    def value(self) -> T:
        """The object, rebuilt at the first use in each process. Its large buffers are read-only; do not change it."""
        with self._lock:
            if self._value is None:
                self._value = (open_block(os.dup(self._fd), self.table),)
            found: T = self._value[0]
            return found

    def fileno(self) -> int:
        """The descriptor of its block."""
        return self._fd

    def message(self) -> tuple[bytes, tuple[int, ...]]:
        return frames.pack_share(self.token, self.size, self.table), (self._fd,)

    def __reduce__(self) -> tuple[Any, ...]:
        pickled_here().append(self)
        return arrived, (self.token,)

    def __repr__(self) -> str:
        return f"<Shared {self.size} bytes>"


_received: dict[bytes, Shared[Any]] = {}
_own: WeakValueDictionary[bytes, Shared[Any]] = WeakValueDictionary()


def remember_own(shared: Shared[Any]) -> None:
    """Remember an object of this process while it lives: a task may return it."""
    _own[shared.token] = shared


def arrived(token: bytes) -> Shared[Any]:
    """Return the object of this token, in the worker it was sent to or in the process it comes from.

    Raises:
        LookupError: there is none.
    """
    if token not in _received and context.worker is not None:
        context.worker.signal.poll()
    found = _received.get(token) or _own.get(token)
    if found is None:
        raise LookupError("a shared object is no longer there: keep the Shared until its tasks are done")
    return found


def on_share(message: bytes, fds: list[int]) -> None:
    """The parent has sent a shared object, or a bare descriptor (SHARE)."""
    if fds:
        token, size, table = frames.unpack_share(memoryview(message))
        if not table:
            received[token] = fds[0]
            return
        _received[token] = Shared(token, fds[0], table, size)


channels: dict[bytes, Any] = {}
"""The channels the parent has sent: name and descriptors, or the channel itself once it was unpickled here."""


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
    _received.pop(token, None)
    if token in received:
        close_all([received.pop(token)])
    unused = channels.pop(token, None)
    if type(unused) is tuple:
        close_all(unused[1])


def _release(token: bytes, fd: int, holders: WeakSet[Any]) -> None:
    for holder in list(holders):
        holder.drop_share(token)
    try:
        os.close(fd)
    except OSError:
        pass  # a task has closed it
