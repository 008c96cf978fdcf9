"""Objects that travel by descriptors. A worker must have those that are met in a call before the call."""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

_thread = _local()

received: dict[bytes, int] = {}
"""In a worker: the descriptors that go along with calls, by token."""

read_mailbox: Callable[[], object] | None = None
"""In a worker: reads what the parent has sent, such as descriptors. Set once, in `main`."""

place_in_block: Callable[[bytes, Sequence[memoryview]], object] | None = None
"""In a program with workers: puts a pickle and its large buffers into shared memory, and returns what is pickled in
their place. Set once, in `make_spec`."""


class Unchanging:
    """What is the same object for good wherever it is captured: a function that refers to it need be sent only once."""

    __slots__ = ()


class ByDescriptors(Unchanging):
    """What is pickled as a token. Its descriptors are sent to each worker once, before the first call that needs them.

    Attributes:
        token: names it in every process.
        holders: the workers that have it.
        passable: an item of a channel may contain it.
        counts_holders: it knows whether any other process has it; see `held_elsewhere`.
    """

    __slots__ = ()
    passable = counts_holders = False
    token: bytes
    holders: Any

    def message(self) -> tuple[bytes, Sequence[int]]:
        """The message that brings it to a worker, and the descriptors that go with it."""
        raise NotImplementedError

    def holder_died(self) -> None:
        """A process that had it was reaped."""

    def sent_to(self, worker: Any, ends: bool) -> None:
        """Note that a worker has it, and whether a task ends there that is forgotten here."""
        self.holders.add(worker)

    def passed(self, step: int) -> None:
        """Count the items under way that contain it: 1 before one is sent, -1 when one was received or not sent."""

    def held_elsewhere(self) -> bool:
        """Tell whether another process has it, or an item under way contains it."""
        return False


class Met(list):  # type: ignore[type-arg]
    """The shared objects that were met in pickles.

    Attributes:
        in_item: the pickle is an item of a channel, which brings no descriptors.
    """

    in_item = False

    def taken(self, start: int = 0) -> tuple[Any, ...]:
        """Take out those that were met since it had `start`, each once."""
        found = tuple(dict.fromkeys(self[start:]))
        del self[start:]
        return found


def pickled_here() -> Met:
    """Return the list of shared objects pickled in this thread since the list was last cleared."""
    try:
        found: Met = _thread.found
    except AttributeError:
        found = _thread.found = Met()
    return found


def shared_of(entries: Iterable[Any]) -> list[Any]:
    """Return the objects that travel by descriptors in the pickles of these globals."""
    return [found for entry in entries for found in entry.shared]


def received_descriptor(token: bytes) -> int:
    """Return a descriptor that was sent to this worker. It stays the worker's.

    Raises:
        LookupError: there is none.
    """
    if token not in received and read_mailbox is not None:
        read_mailbox()
    try:
        return received[token]
    except KeyError:
        raise LookupError("the descriptor of a socket or connection is not there") from None
