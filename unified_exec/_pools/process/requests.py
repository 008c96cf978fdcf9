"""What workers ask of their parent: to know an object that goes up inside a value, or to send one by its token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..._loops.adapter import LoopAdapter
from ..._platform.posix import is_full
from ..._platform.shared_memory import close_all
from ..._wire import frames, protocol
from ..._wire.pickling.shared_refs import ByDescriptors
from ..._worker import context, passing, received
from ..._worker.connection import fd_message
from .mailbox_signal import signal_until_read
from .worker import Worker

_AGAIN = 0.001


def on_offer(adapter: LoopAdapter, worker: Worker, offer: protocol.Offer, fds: list[int], unread: bool) -> None:
    """A worker sends an object inside a value: keep it, or have our own parent keep it, before that is sent.

    Args:
        unread: nothing is rebuilt in this process, so it is refused.
    """
    if unread:
        close_all(fds)
        _answer(adapter, worker, offer.id, False)
    elif context.worker is None:
        try:
            passing.take(offer.token, offer.pin, offer.message, offer.pickled, fds, worker)
        except OSError:  # no descriptor is left, or none came for want of them
            _answer(adapter, worker, offer.id, False)
            return
        _answer(adapter, worker, offer.id, True)
    else:
        try:
            passing.forward(
                lambda id: frames.pack_offer(id, offer.pin, offer.token, offer.message, offer.pickled),
                fds,
                partial(_reply, adapter, worker, offer.id, offer.token),
            )
        finally:
            close_all(fds)


def on_ask(adapter: LoopAdapter, worker: Worker, ask: protocol.Ask) -> None:
    """A worker has met a token that it does not know."""
    one = passing.find(ask.token)
    if one is not None:
        _send_object(adapter, worker, ask.id, one)
    elif context.worker is None:
        _answer(adapter, worker, ask.id, False)
    else:
        passing.forward(
            lambda id: frames.pack_ask(id, ask.token), (), partial(_reply, adapter, worker, ask.id, ask.token)
        )


def _send_object(adapter: LoopAdapter, worker: Worker, id: int, one: ByDescriptors) -> None:
    if one.counts_holders:
        message, fds = one.message()
        _answer(adapter, worker, id, True, message, fds, one)
    elif worker.reaped or worker.send_shares([one]):
        _answer(adapter, worker, id, True)
    else:
        adapter.call_later(_AGAIN, _send_object, adapter, worker, id, one)


def _reply(
    adapter: LoopAdapter, worker: Worker, id: int, token: bytes, known: bool, message: bytes, fds: list[int]
) -> None:
    """Our parent has answered what we passed on; in the main thread, maybe in the signal handler."""
    if not adapter.call_threadsafe(_pass_on, adapter, worker, id, token, known, message, fds):
        close_all(fds)


def _pass_on(
    adapter: LoopAdapter, worker: Worker, id: int, token: bytes, known: bool, message: bytes, fds: list[int]
) -> None:
    entry = received.shares.get(token)
    if type(entry) is tuple:
        from ..._worker.shared_object import arrived

        entry = arrived(token)
    if known and entry is not None:
        _send_object(adapter, worker, id, entry)
        return
    _answer(adapter, worker, id, known, message, fds, _Descriptors(fds))


class _Descriptors:
    """Descriptors that are closed when they have been sent."""

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def __del__(self) -> None:
        close_all(self._fds)


def _answer(
    adapter: LoopAdapter,
    worker: Worker,
    id: int,
    known: bool,
    message: bytes = b"",
    fds: Sequence[int] = (),
    keep: object = None,
) -> None:
    """Answer a request, as soon as there is room in the mailbox; `keep` keeps the descriptors open until then."""
    if worker.reaped:
        return
    try:
        worker.child.control.sendmsg([frames.pack_found(id, known, message)], fd_message(*fds) if fds else ())
    except OSError as exc:
        if not is_full(exc):
            return  # its exit will be noticed
        adapter.call_later(_AGAIN, _answer, adapter, worker, id, known, message, fds, keep)
    signal_until_read(adapter, worker)
