"""An object placed once in shared memory and handed to any number of tasks: its handle, and how a worker finds it."""

from __future__ import annotations

import os
from _thread import allocate_lock
from weakref import WeakSet, finalize

from .._platform.shared_memory import open_block, read_block, write_block
from .._tasks.loaded import in_interpreter
from .._tasks.weak_sets import members
from .._wire import frames
from .._wire.pickling import homes
from .._wire.pickling.shared_refs import ByDescriptors, pickled_here
from . import context, passing
from .received import made_here, shares

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:
    from .._tasks.light_typing import Generic

    T = object


class Shared(ByDescriptors, Generic[T]):
    """A handle on an object in shared memory; see `share`. It may be passed to tasks on every backend.

    Attributes:
        token: names it in every process.
        size: bytes of the block.
        holders: the workers that have it.
    """

    passable = True
    __slots__ = ("__weakref__", "_fd", "_lock", "_value", "holders", "size", "table", "token")

    def __init__(self, token: bytes, fd: int, table: bytes, size: int) -> None:
        self.token = token
        self.table = table
        self.size = size
        self.holders: WeakSet[Any] = WeakSet()
        self._fd = fd
        self._lock = allocate_lock()
        self._value: Any = None
        finalize(self, _release, token, fd, self.holders).atexit = in_interpreter()

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


_arriving = allocate_lock()


def remember_own(shared: Shared[Any]) -> None:
    """Remember an object of this process while it lives: a task may return it."""
    made_here[shared.token] = shared


def arrived(token: bytes) -> Shared[Any]:
    """Return the object of this token, in the worker it was sent to or in the process it comes from.

    Raises:
        LookupError: there is none.
    """
    if token not in shares and context.worker is not None:
        context.worker.signal.poll()
    found = shares.get(token) or made_here.get(token)
    if found is None and passing.ask(token) is not None:
        found = shares.get(token)  # it came before the answer
    if type(found) is tuple:
        with _arriving:
            found = shares.get(token)
            if type(found) is tuple:
                fds, table, size = found
                found = shares[token] = Shared(token, fds[0], table, size)
    if found is None:
        raise LookupError("a shared object is no longer there: keep the Shared until its tasks are done")
    passing.unpin(token)
    shared: Shared[Any] = found
    return shared


class _Placed:
    """Stands for a value in a block; each process that unpickles it gets a writable copy of its own."""

    __slots__ = ("_block",)

    def __init__(self, block: Shared[Any]) -> None:
        self._block = block

    def __reduce__(self) -> tuple[Any, ...]:
        return _own_copy, (self._block,)


def place(data: bytes, buffers: Sequence[memoryview]) -> object:
    """Put the pickle of a large value and its buffers into shared memory, once for all workers.

    Returns:
        what is to be pickled in its place.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    fd, table = write_block(data, buffers)
    return _Placed(Shared(os.urandom(16), fd, table, os.fstat(fd).st_size))


def _own_copy(block: Shared[Any]) -> object:
    data, buffers = read_block(os.dup(block.fileno()), block.table)
    return homes.rebuild(data, buffers)


def _release(token: bytes, fd: int, holders: WeakSet[Any]) -> None:
    for holder in members(holders):  # a loop in another thread may send it
        holder.drop_share(token)
    passing.dropped(token)
    try:
        os.close(fd)
    except OSError:
        pass  # a task has closed it
