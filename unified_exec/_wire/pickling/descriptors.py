"""Sockets and connections of `multiprocessing` as arguments: their descriptor goes along with the call."""

from __future__ import annotations

import os
from sys import modules
from typing import Any
from weakref import WeakSet, finalize

from ..._tasks.loaded import in_interpreter
from ..._tasks.weak_sets import members
from .. import frames
from .shared_refs import ByDescriptors, pickled_here, received_descriptor

_CONNECTIONS = "multiprocessing.connection"
_ABOVE_STANDARD = 3


class PassedDescriptor(ByDescriptors):
    """A duplicate of a descriptor, for the call that it goes along with. When it dies, the receiver closes its own."""

    __slots__ = ("__weakref__", "fd", "holders", "token")

    def __init__(self, fd: int) -> None:
        import fcntl  # there is none where there are no workers

        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD)
        self.token = os.urandom(16)
        self.holders: WeakSet[Any] = WeakSet()
        finalize(self, _release, self.token, self.fd, self.holders).atexit = in_interpreter()

    def message(self) -> tuple[bytes, tuple[int, ...]]:
        return frames.pack_share(self.token, 0, b""), (self.fd,)

    def __reduce__(self) -> tuple[Any, ...]:
        pickled_here().append(self)
        return received_descriptor, (self.token,)


def _release(token: bytes, fd: int, holders: WeakSet[Any]) -> None:
    for holder in members(holders):
        holder.drop_share(token)
    os.close(fd)


def has_descriptor(obj: object) -> bool:
    """Tell whether this is a socket, or something of `multiprocessing.connection`."""
    kind = type(obj)
    return kind.__module__ == _CONNECTIONS or kind is getattr(modules.get("socket"), "socket", None)


def reduce(obj: Any) -> tuple[Any, ...]:
    """Reduce a socket or connection to its descriptor, which goes along, and what its own kind makes of that.

    Raises:
        TypeError: it is another object of `multiprocessing.connection`.
        ValueError: it is closed.
        OSError: no descriptor is left.
    """
    kind = type(obj)
    if kind.__module__ != _CONNECTIONS:
        if obj.fileno() < 0:
            raise ValueError("it is closed")
        passed = PassedDescriptor(obj.fileno())
        return _socket, (kind, passed, int(obj.family), int(obj.type), obj.proto, obj.gettimeout())
    if kind.__name__ != "Connection":
        raise cannot_pickle(obj)
    if obj.closed:
        raise ValueError("it is closed")
    return _connection, (kind, PassedDescriptor(obj.fileno()), obj.readable, obj.writable)


def cannot_pickle(obj: object) -> TypeError:
    """Make the error that pickle itself raises for what cannot be pickled."""
    return TypeError(f"cannot pickle {type(obj).__qualname__!r} object")


def _socket(kind: Any, fd: int, family: int, type: int, proto: int, timeout: float | None) -> object:
    made = kind(family, type, proto, fileno=os.dup(fd))
    if timeout is not None:  # the system knows only whether it blocks
        made.settimeout(timeout)
    return made


def _connection(kind: Any, fd: int, readable: bool, writable: bool) -> object:
    return kind(os.dup(fd), readable=readable, writable=writable)
