"""An object placed once in shared memory and handed to any number of tasks."""

from __future__ import annotations

import os
from _thread import _local, allocate_lock
from weakref import WeakSet, finalize

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:
    T = object

    class Generic:
        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls


__all__ = ["Shared", "arrive", "arrived", "forget", "outbox"]


class Shared(Generic[T]):
    """A handle on an object in shared memory; see `share`. It may be passed to tasks on every backend.

    Attributes:
        token: names it in every process.
        size: bytes of the block.
        holders: the workers that have it.
    """

    __slots__ = ("__weakref__", "_fd", "_lock", "_open", "_value", "holders", "size", "table", "token")

    def __init__(self, token: bytes, fd: int, table: bytes, size: int, open: Callable[[int, bytes], Any]) -> None:
        self.token = token
        self.table = table
        self.size = size
        self.holders: WeakSet[Any] = WeakSet()
        self._fd = fd
        self._open = open
        self._lock = allocate_lock()
        self._value: Any = None
        finalize(self, _gone, token, fd, self.holders).atexit = False

    @property
    def value(self) -> T:
        """The object, rebuilt at the first use in each process. Its large buffers are read-only; do not change it."""
        with self._lock:
            if self._value is None:
                self._value = (self._open(os.dup(self._fd), self.table),)
            found: T = self._value[0]
            return found

    def fileno(self) -> int:
        """The descriptor of its block."""
        return self._fd

    def __reduce__(self) -> tuple[Any, ...]:
        outbox().append(self)
        return arrived, (self.token,)

    def __repr__(self) -> str:
        return f"<Shared {self.size} bytes>"


_here = _local()
_known: dict[bytes, Shared[Any]] = {}
look: Callable[[], object] = int  # in a worker: reads what the parent has sent


def outbox() -> list[Shared[Any]]:
    """What was pickled in this thread since the list was emptied last."""
    try:
        box: list[Shared[Any]] = _here.box
    except AttributeError:
        box = _here.box = []
    return box


def arrive(shared: Shared[Any]) -> None:
    """Note an object that the parent has sent."""
    _known[shared.token] = shared


def forget(token: bytes) -> None:
    """The parent has no use for it any more; who holds it here keeps it."""
    _known.pop(token, None)


def arrived(token: bytes) -> Shared[Any]:
    """The object of this token, in the worker it was sent to or in the process it comes from.

    Raises:
        LookupError: there is none.
    """
    if token not in _known:
        look()
    found = _known.get(token) or _own.get(token)
    if found is None:
        raise LookupError("a shared object is no longer there: keep the Shared until its tasks are done")
    return found


def own(shared: Shared[Any]) -> None:
    """Remember an object of this process, as long as it lives, for when a task gives it back."""
    _own[shared.token] = shared


def _gone(token: bytes, fd: int, holders: WeakSet[Any]) -> None:
    for holder in list(holders):
        holder.drop_share(token)
    try:
        os.close(fd)
    except OSError:
        pass  # a task has closed it


def _owned() -> Any:
    from weakref import WeakValueDictionary

    return WeakValueDictionary()


_own: Any = _owned()
