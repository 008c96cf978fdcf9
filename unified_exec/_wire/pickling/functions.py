"""Functions travel once: a card per function in the parent, a table of what it has learnt in the worker."""

from __future__ import annotations

import types
from _functools import _lru_cache_wrapper, partial  # type: ignore[import-not-found, unused-ignore]
from _weakref import ref as weak
from itertools import count
from typing import NamedTuple

from ...errors import SerializationError
from ..shared_object import outbox
from .c_pickle import GLOBAL_TAIL, PROTOCOL, dumps
from .codec import are_atoms, decode, encode_args, encode_call_args, found_by_name

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .closure_state import Watch

__all__ = [
    "EncodedCall",
    "FunctionEntry",
    "FunctionStats",
    "FunctionTable",
    "card_for",
    "decode_call",
    "encode_call",
    "stats_for",
]

_numbers = count(1)
_NO_ARGUMENTS = dumps((), PROTOCOL)
new_tuple = tuple.__new__  # what `EncodedCall(...)` does, without a Python call


class FunctionStats:
    """What is known about the underlying function, whatever partial, method or closure it is called through.

    Attributes:
        cost: estimated seconds per call, written by the engine; None while unknown.
    """

    __slots__ = ("__weakref__", "_ref", "cost")

    def __init__(self, ref: weak[Any] | None) -> None:
        self._ref = ref
        self.cost: float | None = None


class FunctionEntry:
    """How one function travels.

    Attributes:
        id: its number in this process, at least 1; 0 if it is `volatile`.
        blob: its pickle, for `FunctionTable.learn`; empty if it is `volatile`.
        name: its name, for messages.
        by_value: it has no importable name.
        volatile: it captures something mutable and must be pickled anew, with the arguments, at each call.
        stats: shared by all cards of the same underlying function.
        coroutine: it is a coroutine function, noted by the engine; None while unknown.
    """

    __slots__ = ("__weakref__", "_ref", "_watches", "blob", "by_value", "coroutine", "id", "name", "stats", "volatile")

    def __init__(
        self,
        fn: Callable[..., object],
        blob: bytes,
        ref: weak[Any] | None,
        *,
        by_value: bool,
        volatile: bool = False,
        watches: tuple[Watch, ...] = (),
    ) -> None:
        self.id = 0 if volatile else next(_numbers)
        self.blob = blob
        self.name = _name_of(fn)
        self.by_value = by_value
        self.volatile = volatile
        self.stats = stats_for(fn)
        self.coroutine: bool | None = None
        self._ref = ref
        self._watches = watches

    @property
    def cost(self) -> float | None:
        """Estimated seconds per call (`FunctionStats.cost`)."""
        return self.stats.cost

    @cost.setter
    def cost(self, seconds: float | None) -> None:
        self.stats.cost = seconds

    @property
    def gone(self) -> bool:
        """Whether this card will never be used again, so that workers may drop it: function dead or changed."""
        if self._ref is None:
            return False
        fn = self._ref()
        return fn is None or _cards.get(id(fn)) is not self


class EncodedCall(NamedTuple):
    """One call, ready to travel. Keep it, and the function, until the answer has been decoded.

    Attributes:
        card: how the function travels; send ``card.blob`` to a worker once, before its ``card.id`` is used.
        data: the pickled arguments, or function and arguments if ``card.volatile`` (then ``card.id`` is 0).
        buffers: contiguous views of the caller's own memory that belong to the pickle, in order.
        keep: the classes and functions that went by value; see `codec.Packed`.
        shared: the shared objects among the arguments, which the worker must have first.
    """

    card: FunctionEntry
    data: bytes
    buffers: tuple[memoryview, ...]
    keep: tuple[object, ...]
    shared: tuple[Any, ...]


class FunctionTable:
    """The functions a worker has learnt. They are unpickled at first use, so an error is that task's own."""

    __slots__ = ("_blobs", "_functions")

    def __init__(self) -> None:
        self._blobs: dict[int, bytes] = {}
        self._functions: dict[int, Callable[..., object]] = {}

    def learn(self, id: int, blob: bytes | bytearray | memoryview) -> None:
        """Note the pickle of function `id`; nothing is imported yet."""
        if id not in self._functions:
            self._blobs[id] = bytes(blob)

    def get(self, id: int) -> Callable[..., object]:
        """Return function `id`.

        Raises:
            SerializationError: it cannot be rebuilt in this process, or it was never learnt.
        """
        fn = self._functions.get(id)
        if fn is None:
            blob = self._blobs.get(id)
            if blob is None:
                raise SerializationError("the function", f"this worker has not learnt function {id}")
            fn = self._functions[id] = decode(blob, (), "the function")  # type: ignore[assignment]
            del self._blobs[id]
        return fn  # type: ignore[return-value]

    def clear(self) -> None:
        """Forget every function."""
        self._blobs.clear()
        self._functions.clear()

    def drop(self, id: int) -> None:
        """Forget function `id`; unknown numbers are ignored."""
        self._blobs.pop(id, None)
        self._functions.pop(id, None)


# By id: a dict with weak keys hashes and compares the user's objects, and is three times slower.
_cards: dict[int, FunctionEntry] = {}
_stats: dict[int, FunctionStats] = {}


def card_for(fn: Callable[..., object]) -> FunctionEntry:
    """Return the card of `fn`: the same one as long as its pickle is still true.

    Raises:
        SerializationError: `fn` goes by value and what it captures cannot travel.
    """
    card = _cards.get(id(fn))
    if card is not None and (card._ref is None or card._ref() is fn):
        for watch in card._watches:
            if not watch.unchanged():
                break
        else:
            return card
    return _new_card(fn)


def encode_call(fn: Callable[..., object], args: tuple[object, ...]) -> EncodedCall:
    """Pickle the call ``fn(*args)``.

    Raises:
        SerializationError: names what cannot travel, such as ``argument 2 ('conn') of parse()``.
    """
    card = card_for(fn)
    if not card.volatile:
        if not args:
            return new_tuple(EncodedCall, (card, _NO_ARGUMENTS, (), (), ()))
        if are_atoms(args):
            return new_tuple(EncodedCall, (card, dumps(args, PROTOCOL), (), (), ()))
    box = outbox()
    box.clear()
    packed = encode_call_args(fn, args) if card.volatile else encode_args(args, fn)
    shared = tuple(box)
    box.clear()
    return EncodedCall(card, packed.data, packed.buffers, packed.keep, shared)


def decode_call(
    table: FunctionTable,
    card_id: int,
    data: bytes | bytearray | memoryview,
    buffers: Iterable[memoryview] = (),
    name: str = "the call",
) -> tuple[Callable[..., object], tuple[object, ...]]:
    """Rebuild in the worker what `encode_call` packed; `card_id` is the card's, 0 if it was volatile.

    `name` is the call's, for the error.

    Raises:
        SerializationError: the function or the arguments cannot be rebuilt in this process.
    """
    if card_id:
        fn = table.get(card_id)
        return fn, decode(data, buffers, f"an argument of {name}")  # type: ignore[return-value]
    return decode(data, buffers, f"the function or an argument of {name}")  # type: ignore[return-value]


def stats_for(fn: Callable[..., object]) -> FunctionStats:
    """Return the record of the function underneath `fn`, the same one for as long as that function's code lives."""
    key = _underlying(fn)
    found = _stats.get(id(key))
    if found is not None and (found._ref is None or found._ref() is key):
        return found
    number = id(key)
    try:
        ref = weak(key, lambda _: _stats.pop(number, None))
    except TypeError:  # a descriptor of a type written in C: its card is kept, and with it this record
        return FunctionStats(None)
    stats = _stats[number] = FunctionStats(ref)
    return stats


def _new_card(fn: Callable[..., object]) -> FunctionEntry:
    if _may_have_a_name(fn):
        try:
            blob = dumps(fn, PROTOCOL)
        except Exception:  # what has no name goes by value
            blob = b""
        if (blob.endswith(GLOBAL_TAIL) or (blob and _is_descriptor(fn))) and found_by_name(blob):
            return _cached(fn, blob, by_value=False, watches=())
    from . import by_value, closure_state, pickle_errors

    watches = closure_state.watches_of(fn) if _may_be_watched(fn) else None
    if watches is None:
        return FunctionEntry(fn, b"", None, by_value=True, volatile=True)
    try:
        blob, _ = by_value.dumps(fn, upward=False)
    except Exception as error:
        raise pickle_errors.refused_call(fn, (), error) from error
    return _cached(fn, blob, by_value=True, watches=watches)


def _cached(fn: Callable[..., object], blob: bytes, *, by_value: bool, watches: tuple[Watch, ...]) -> FunctionEntry:
    number = id(fn)
    ref: weak[Any] | None
    try:
        ref = weak(fn, lambda _: _cards.pop(number, None))
    except TypeError:
        ref = None
        _unweakable.append(fn)
    card = _cards[number] = FunctionEntry(fn, blob, ref, by_value=by_value, watches=watches)
    return card


# Descriptors of C types, which live as long as their type; kept so that their ids stay theirs.
_unweakable: list[object] = []


def _may_have_a_name(fn: Any) -> bool:
    if isinstance(fn, types.BuiltinFunctionType):
        return fn.__self__ is None or isinstance(fn.__self__, types.ModuleType)
    return not isinstance(fn, types.MethodType) and hasattr(fn, "__qualname__")


def _is_descriptor(fn: object) -> bool:
    return isinstance(fn, (types.MethodDescriptorType, types.WrapperDescriptorType))


def _may_be_watched(fn: Any) -> bool:
    return type(fn) in (types.FunctionType, partial, _lru_cache_wrapper)


def _underlying(fn: Any) -> Any:
    fn = _without_partial(fn)
    if isinstance(fn, types.MethodType):
        fn = _without_partial(fn.__func__)
    if isinstance(fn, _lru_cache_wrapper):
        fn = vars(fn).get("__wrapped__", fn)
    if isinstance(fn, types.FunctionType):
        return fn.__code__
    if isinstance(fn, (type, types.BuiltinFunctionType)) or _is_descriptor(fn):
        return fn
    return type(fn)


def _without_partial(fn: Any) -> Any:
    while isinstance(fn, partial):
        fn = fn.func
    return fn


def _name_of(fn: Any) -> str:
    fn = _without_partial(fn)
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return str(name).rpartition("<locals>.")[2]
