"""How channels and locks go to other processes: each is pickled as a token, and its descriptors are sent before it."""

from __future__ import annotations

from _thread import allocate_lock
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet, WeakValueDictionary, finalize

from ..._wire import frames
from ..._wire.pickling.shared_refs import ByDescriptors, pickled_here
from ..._worker import context, shared_object

__all__ = ["SharedFormBase", "Traveller", "arrived"]


class SharedFormBase:
    """What a `Traveller` needs of its shared form."""

    __slots__ = ()

    def descriptors(self) -> Sequence[int]:
        """The descriptors that another process needs."""
        raise NotImplementedError

    def look_for_dead(self) -> bool:
        """Give back what dead processes held; ``False`` if that must be tried again."""
        raise NotImplementedError

    def stop_reading(self) -> None:
        """Have every loop stop reading the descriptors, which will be closed: nobody waits any more."""
        raise NotImplementedError


class Traveller(ByDescriptors):
    """A channel or a lock. The first time it is pickled towards a process it takes its shared form, for good.

    Attributes:
        token: names it in every process, once it is shared.
        holders: the workers that have been sent its descriptors.
    """

    __slots__ = ("__weakref__", "_name", "_shared", "holders", "token")

    kind = "an object"

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._shared: SharedFormBase | None = None
        self.token = b""

    @abstractmethod
    def share(self) -> None:
        """Take the shared form with `become`, unless it has one.

        Raises:
            SerializationError: it cannot be shared. It stays local.
            OSError: no descriptor or no memory is left. It stays local.
        """

    @classmethod
    @abstractmethod
    def from_descriptors(cls, name: str | None, fds: list[int]) -> tuple[Traveller, SharedFormBase]:
        """Make an object of this class, and its shared form, of what came from another process."""

    def become(self, token: bytes, form: SharedFormBase) -> None:
        """Take a shared form."""
        self.token = token
        self.holders: WeakSet[Any] = WeakSet()
        self._shared = form
        _known[token] = self
        finalize(self, _let_go, token, form, self.holders).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        self.share()
        pickled_here().append(self)
        return arrived, (type(self), self.token)

    def message(self) -> tuple[bytes, Sequence[int]]:
        assert self._shared is not None
        return frames.pack_channel(self.token, (self._name or "").encode()), self._shared.descriptors()

    def holder_died(self) -> None:
        assert self._shared is not None
        self._shared.look_for_dead()


_known: WeakValueDictionary[bytes, Traveller] = WeakValueDictionary()
_arriving = allocate_lock()


def arrived(cls: type[Traveller], token: bytes) -> Traveller:
    """Return the object of this token: always the same one in one process.

    Raises:
        LookupError: this process does not have it.
    """
    found = _known.get(token)
    if found is not None:
        return found
    if token not in shared_object.channels and context.worker is not None:
        context.worker.signal.poll()
    with _arriving:
        entry = shared_object.channels.get(token)
        if entry is None:
            raise LookupError(
                f"{cls.kind} is not known here: keep it until its tasks are done, and make it in the process that "
                "starts the tasks, for a worker cannot give one to its parent"
            )
        if type(entry) is tuple:
            name, fds = entry
            made, form = cls.from_descriptors(name.decode() or None, fds)
            made.become(token, form)
            entry = shared_object.channels[token] = made
    traveller: Traveller = entry
    return traveller


def _let_go(token: bytes, form: SharedFormBase, holders: WeakSet[Any]) -> None:
    for holder in list(holders):
        holder.drop_share(token)
    form.stop_reading()
