"""How channels and locks go to other processes: each is pickled as a token, and its descriptors are sent before it."""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from os.path import dirname, join
from types import FrameType
from typing import Any
from weakref import WeakSet, WeakValueDictionary, finalize

from ..._platform.shared_memory import close_all
from ..._tasks.loaded import in_interpreter
from ..._tasks.weak_sets import Registry, members
from ..._wire import frames
from ..._wire.pickling.shared_refs import ByDescriptors, pickled_here
from ..._worker import context, passing, received
from . import board, seats


class SharedFormBase:
    """What a `Traveller` needs of its shared form.

    Attributes:
        page: the memory that its processes have in common.
        seat: that of this process.
    """

    __slots__ = ()
    page: seats.Page
    seat: int

    def take_part(self) -> None:
        """Be told of forks, and give back the seat and the descriptors with the last reference."""
        _forms.add(self)
        finalize(self, _release, self.page, self.seat, os.getpid()).atexit = in_interpreter()

    def after_fork(self) -> None:
        """In a forked child: it is another participant, and takes a seat of its own."""
        raise NotImplementedError

    def descriptors(self) -> Sequence[int]:
        """The descriptors that another process needs."""
        raise NotImplementedError

    def look_for_dead(self) -> bool:
        """Give back what dead processes held; ``False`` if that must be tried again."""
        raise NotImplementedError

    def has_come(self, wait: int) -> bool:
        """Tell whether a wait that still sleeps can go on: see the kinds of form for what names it."""
        raise NotImplementedError

    def stop_reading(self) -> None:
        """Have every loop stop reading the descriptors, which will be closed: nobody waits any more."""
        raise NotImplementedError


_forms: WeakSet[SharedFormBase] = WeakSet()


def _release(page: seats.Page, seat: int, pid: int) -> None:
    if os.getpid() == pid:
        seats.free_seat(page, seat)
    close_all(page.fds)


def _before_fork() -> None:
    for form in list(_forms):
        form.page.words[seats.SPREAD] = 1


def _after_fork() -> None:
    seats.renew_lock()
    failed: Exception | None = None
    for form in list(_forms):
        try:
            form.after_fork()
        except Exception as exc:  # it has no seat left; the others must not stay at those of the parent
            failed = exc
    if failed is not None:
        raise failed


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


class Traveller(ByDescriptors):
    """A channel or a lock. The first time it is pickled towards a process it takes its shared form, for good.

    Attributes:
        token: names it in every process, once it is shared.
        board: where its processes tell what their tasks wait for, once it was sent to another process.
        holders: the workers that have been sent its descriptors.
    """

    __slots__ = ("__weakref__", "_name", "_shared", "board", "holders", "token")

    kind = "an object"
    passable = counts_holders = True

    def __init__(self, name: str | None) -> None:
        self._name = name if name is None else str(name)
        self._shared: SharedFormBase | None = None
        self.board: board.Board | None = None
        self.token = b""

    @abstractmethod
    def share(self) -> None:
        """Take the shared form with `become`, unless it has one.

        Raises:
            SerializationError: it cannot be shared. It stays local.
            OSError: no descriptor or no memory is left. It stays local.
        """

    @classmethod
    def from_descriptors(cls, name: str | None, fds: list[int]) -> tuple[Traveller, SharedFormBase]:
        """Make an object of this class, and its shared form, of what came from another process."""
        raise NotImplementedError

    def become(self, token: bytes, form: SharedFormBase) -> None:
        self.token = token
        self.holders: WeakSet[Any] = WeakSet()
        self._shared = form
        _known[token] = self
        shared_here.add(self)
        finalize(self, _let_go, token, form, self.holders).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        self.share()
        met = pickled_here()
        met.append(self)
        if met.in_item or not _is_of_call(sys._getframe(1)):
            self.spread()
        return (arrived_in_item if met.in_item else arrived), (type(self), self.token)

    def wait_words(self, call: str) -> str:
        """Say what `call`, a method of this object that does not return, waits for."""
        return repr(self)

    def message(self) -> tuple[bytes, Sequence[int]]:
        assert self._shared is not None
        self.board = self.board or board.current()
        fds = (*self._shared.descriptors(), self.board.fd)
        return frames.pack_channel(self.token, (self._name or "").encode()), fds

    def sent_to(self, worker: Any, ends: bool) -> None:
        super().sent_to(worker, ends)
        if not ends:
            self.spread()

    def spread(self) -> None:
        """Note for good that nobody can tell who may have it."""
        assert self._shared is not None
        self._shared.page.words[seats.SPREAD] = 1

    def passed(self, step: int) -> None:
        assert self._shared is not None
        seats.count_passed(self._shared.page, step)

    def held_elsewhere(self) -> bool:
        assert self._shared is not None
        return seats.held_elsewhere(self._shared.page, self._shared.seat)

    def tasks_of_workers(self) -> dict[Any, list[int]] | None:
        """Return the ids of the tasks of each worker of this process that was sent it; ``None`` if one is not known.

        Workers without a task are asked to let go of it: a later look may find that.
        """
        form = self._shared
        holders = members(self.holders)
        if form is None or len(holders) != len(self.holders):
            return None
        tasks = {each: list(each.tasks) for each in holders if not each.reaped}
        seated = seats.processes_elsewhere(form.page, form.seat)
        for each, ids in tasks.items():
            if seated and not ids and each.post(frames.pack_payload(frames.RECALL, self.token)):
                each.signal()
        return tasks

    def used_by(self, wait: int, nested: Iterable[int] = ()) -> tuple[dict[Any, list[int]], set[int]] | None:
        """Return who elsewhere may use this object, if nobody but them and this process could end a wait for it.

        Args:
            wait: names the wait, see `SharedFormBase.has_come`.
            nested: the processes to which workers have told that they have sent it.

        Returns:
            the ids of the tasks of each worker, and the processes that have the object itself; ``None`` if others could
            end the wait, or it has ended.
        """
        form = self._shared
        if form is None:
            return {}, set()
        # In this order: what a call brings is in the tasks, then in a seat; and who has the object has a seat, and says
        # that it passes the object on before it drops that.
        tasks = self.tasks_of_workers()
        page = form.page
        seated = set(seats.processes_elsewhere(page, form.seat))
        if context.worker is not None or tasks is None or not {*nested, *[each.pid for each in tasks]} >= seated:
            return None
        words = page.words
        if words[seats.PASSED] or words[seats.SPREAD] or seats.audit_is_due(page) or form.has_come(wait):
            return None
        return {each: ids for each, ids in tasks.items() if ids or each.pid in seated}, seated

    def unmade(self) -> tuple[bytes, list[int]]:
        """Return what it can be made of again in this process: name and descriptors.

        Raises:
            OSError: no descriptor is left.
        """
        message, fds = self.message()
        copies: list[int] = []
        try:
            copies.extend(map(os.dup, fds))
        except OSError:
            close_all(copies)
            raise
        return frames.unpack_channel(memoryview(message))[1], copies

    def holder_died(self) -> None:
        assert self._shared is not None
        self._shared.look_for_dead()


def _is_of_call(frame: FrameType | None) -> bool:
    """Tell whether this code pickles a call: whatever is pickled in other ways may be kept, and rebuilt at any time."""
    while frame is not None and frame.f_code.co_filename.startswith(_SYNC):
        frame = frame.f_back
    while frame is not None and frame.f_code.co_filename.startswith(_WIRE):
        if context.worker is None or frame.f_code.co_name in _CALLS:  # a worker also pickles what goes up
            return True
        frame = frame.f_back
    return False


_CALLS = frozenset({"encode_call", "encode_call_by_name"})
_SYNC = dirname(dirname(__file__))
_WIRE = join(dirname(_SYNC), "_wire")

shared_here = Registry()
"""The channels and locks of this process that have their shared form."""

_known: WeakValueDictionary[bytes, Traveller] = WeakValueDictionary()
_arriving = allocate_lock()


def arrived(cls: type[Traveller], token: bytes) -> Traveller:
    """Return the object of this token: always the same one in one process.

    Raises:
        LookupError: this process does not have it, nor do those above it.
    """
    found = _known.get(token)
    if found is None:
        if token not in received.channels and context.worker is not None:
            context.worker.signal.poll()
        with _arriving:
            found = received.channels.get(token)
            if type(found) is tuple:
                found = received.channels[token] = _make(cls, token, *found)
        found = found or _asked_for(cls, token)
    passing.unpin(token)
    return found


def arrived_in_item(cls: type[Traveller], token: bytes) -> Traveller:
    """Return the object of this token, which came inside an item."""
    found = arrived(cls, token)
    found.passed(-1)
    return found


def _asked_for(cls: type[Traveller], token: bytes) -> Traveller:
    answer = passing.ask(token)
    if answer is None:
        raise LookupError(f"{cls.kind} is not known here: keep it until its tasks are done")
    message, fds = answer
    with _arriving:
        found = _known.get(token)  # another thread has asked, too
        if found is None:
            return _make(cls, token, frames.unpack_channel(memoryview(message))[1], fds)
    close_all(fds)
    return found


def _make(cls: type[Traveller], token: bytes, name: bytes, fds: list[int]) -> Traveller:
    found = board.adopt(fds.pop())
    made, form = cls.from_descriptors(name.decode() or None, fds)
    made.board = found
    made.become(token, form)
    return made


def _let_go(token: bytes, form: SharedFormBase, holders: WeakSet[Any]) -> None:
    for holder in members(holders):
        holder.drop_share(token)
    form.stop_reading()
