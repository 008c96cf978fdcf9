"""Objects with descriptors inside items and results, which bring none: every process above knows them before.

Who sends such a value offers the object to its parent, which passes the offer on, and waits for the answer; so the
program at the root knows every object that is under way, and keeps it. Who receives a token that it does not know asks
its parent, which asks its own.
"""

from __future__ import annotations

import itertools
import os
from _thread import allocate_lock, get_ident

from .._platform.posix import DONTWAIT, wait_for_room
from .._platform.shared_memory import close_all
from .._tasks.weak_sets import OwnRef, Registry, members
from .._wire import frames
from .._wire.pickling.c_pickle import PROTOCOL, dumps, loads
from .._wire.pickling.shared_refs import pickled_here
from ..errors import SerializationError
from . import received
from .connection import fd_message

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .._wire.pickling.shared_refs import ByDescriptors

    Reply = Callable[[bool, bytes, list[int]], object]

_SWEEP_MIN = 4
_POLL_MS = 50

_parent: Any = None
"""The `WorkerContext` of this worker; ``None`` in any other process."""
_relayed = False
_pid = 0

_ids = itertools.count(1)
_replies: dict[int, Reply] = {}
_offered = Registry()
_offered_tokens: set[bytes] = set()

_home: dict[bytes, ByDescriptors] = {}
"""At the root: the objects that were sent inside a value, while another process has them or an item contains them."""
_pinned: dict[OwnRef, dict[tuple[bytes, bool], ByDescriptors]] = {}
"""At the root, by worker: what a result brings (true) until it is unpickled; shared objects until they are dropped."""
_sweep_at = _SWEEP_MIN


def connect(parent: Any, relayed: bool) -> None:
    """Note that this process is a worker, with its `WorkerContext`; `relayed` if its program is elsewhere."""
    global _parent, _pid, _relayed
    _parent, _pid, _relayed = parent, os.getpid(), relayed


def offer(objects: Iterable[ByDescriptors], result: bool) -> None:
    """Have every process above know the objects in a value that is about to be sent; returns when they do.

    Args:
        objects: the objects.
        result: the value goes to the parent, not into a channel.

    Raises:
        OSError: the parent is gone, or has no descriptor left.
        SerializationError: the parent is on another machine.
    """
    worker = _parent
    for one in objects:
        if not one.passable:
            continue
        if result and _relayed and not received.is_of_parent(one.token):
            raise SerializationError(f"{one!r}", "it shares memory within this machine, and the program is on another")
        if worker is None:
            hold(one)
        elif result and received.is_of_parent(one.token):
            continue
        elif result or one not in _offered:
            message, fds = one.message()
            waiter = _Waiter()
            pickled = _pickled(one)
            _send(waiter, lambda id: frames.pack_offer(id, result, one.token, message, pickled), fds)  # noqa: B023
            if not waiter.wait()[0]:
                raise OSError("the parent has no descriptor left for a channel or shared object in a value")
            _offered.add(one)
            if not one.counts_holders:
                _offered_tokens.add(one.token)


def _pickled(one: ByDescriptors) -> bytes:
    """Pickle an object by its token, apart from the value that is being pickled in this thread."""
    met = pickled_here()
    before, in_item, met.in_item = len(met), met.in_item, False
    try:
        return dumps(one, PROTOCOL)
    finally:
        met.in_item = in_item
        del met[before:]


def ask(token: bytes) -> tuple[bytes, list[int]] | None:
    """Get what brings an object to this process from the processes above; ``None`` if none of them knows it."""
    if _parent is None:
        return None
    waiter = _Waiter()
    _send(waiter, lambda id: frames.pack_ask(id, token), ())
    known, message, fds = waiter.wait()
    return (message, fds) if known else None


def on_found(message: bytes, fds: list[int]) -> None:
    """The parent has answered (FOUND)."""
    known, id, rest = frames.unpack_report(memoryview(message))
    reply = _replies.pop(id, None)
    if reply is not None:
        reply(bool(known), bytes(rest), fds)
    else:
        close_all(fds)


def forward(pack: Callable[[int], bytes], fds: Sequence[int], reply: Reply) -> None:
    """Pass a request of a worker of this worker on; `reply` is called with the answer, in the main thread."""
    _send(reply, pack, fds)


class _Waiter:
    """Waits for one answer."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._answer: tuple[bool, bytes, list[int]] = (False, b"", [])
        self._given_up = False

    def __call__(self, known: bool, message: bytes, fds: list[int]) -> None:
        self._answer = known, message, fds
        self._lock.release()
        if self._given_up:
            close_all(fds)

    def wait(self) -> tuple[bool, bytes, list[int]]:
        try:
            return self._wait()
        except BaseException:  # the task was requested to stop: the answer is nobody's when it comes
            self._given_up = True
            close_all(self._answer[2])
            raise

    def _wait(self) -> tuple[bool, bytes, list[int]]:
        worker = _parent
        assert worker is not None
        if get_ident() != worker.thread:
            self._lock.acquire()  # the main thread is signalled, and reads the answer
        else:
            import select

            poll = select.poll()
            poll.register(worker.connection.control, select.POLLIN)
            while not self._lock.acquire(False):
                poll.poll(_POLL_MS)
                worker.signal.read()
        return self._answer


def _send(reply: Reply, pack: Callable[[int], bytes], fds: Sequence[int]) -> None:
    worker = _parent
    if worker is None or os.getpid() != _pid:
        raise OSError("a child that a task forked cannot pass a channel or a shared object on")
    id = next(_ids)
    _replies[id] = reply
    while True:
        try:
            worker.connection.control.sendmsg([pack(id)], fd_message(*fds) if fds else ())
            return
        except OSError as exc:
            wait_for_room(exc)


# -- at the root


def take(token: bytes, pin: bool, message: bytes, pickled: bytes, fds: list[int], worker: object) -> None:
    """Keep an object that a worker offers.

    Args:
        token: of the object.
        pin: keep it until a value with it was unpickled here.
        message: what brings it to a worker.
        pickled: the object.
        fds: its descriptors.
        worker: the worker.
    """
    (received.on_share if message[0] == frames.SHARE else received.on_channel)(message, fds)
    try:
        one: ByDescriptors = loads(pickled)
    finally:
        received.close_unused(received.shares.pop(token, None), 0)
        received.close_unused(received.channels.pop(token, None), 1)
    if one.counts_holders:
        hold(one)
    else:
        received.made_here[token] = one
    if pin or not one.counts_holders:
        _pinned.setdefault(OwnRef(worker, lambda ref: _pinned.pop(ref, None)), {})[token, pin] = one


def hold(one: ByDescriptors) -> None:
    """Keep an object that is sent inside a value, and let go of those that nobody else has."""
    if not one.counts_holders:
        return  # whoever made it keeps it
    _home[one.token] = one
    if len(_home) >= _sweep_at:
        sweep(one)


def sweep(but: ByDescriptors | None = None) -> int:
    """Let go of what nobody else has, except `but`; returns how many objects are left."""
    global _sweep_at
    for token, one in list(_home.items()):
        if one is but:
            continue
        if not one.held_elsewhere():
            _home.pop(token, None)
        for holder in members(one.holders):  # they were sent it with a call, and keep it for the next one
            one.holders.discard(holder)
            holder.drop_share(token)
    _sweep_at = max(_SWEEP_MIN, 2 * len(_home))
    return len(_home)


def unpin(token: bytes) -> None:
    """A value with this object was unpickled here."""
    for pinned in list(_pinned.values()):
        pinned.pop((token, True), None)


def dropped(token: bytes, worker: object = None) -> None:
    """A shared object was dropped here, or in a worker that had offered it. A finalizer may call this."""
    if worker is not None:
        _pinned.get(OwnRef(worker), {}).pop((token, False), None)
    if _parent is not None and (worker is not None or token in _offered_tokens):
        _offered_tokens.discard(token)
        try:
            _parent.connection.control.send(frames.pack_payload(frames.DROP, token), DONTWAIT)
        except OSError:
            pass  # then it is kept until this worker exits


def find(token: bytes) -> ByDescriptors | None:
    """Return an object that a worker asks for."""
    found = _home.get(token) or received.shares.get(token) or received.made_here.get(token)
    return None if type(found) is tuple else found
