"""Functions travel once: the parent has an entry for each, a worker a table of those it has learnt."""

from __future__ import annotations

import types
from _functools import _lru_cache_wrapper, partial  # type: ignore[import-not-found, unused-ignore]
from _weakref import ref as weak
from itertools import count
from typing import NamedTuple

from ...errors import SerializationError
from .c_pickle import GLOBAL_TAIL, PROTOCOL, dumps, loads
from .codec import ATOMS, decode, encode_args, encode_call_args, found_by_name
from .shared_refs import pickled_here

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .closure_state import CaptureSnapshot

__all__ = [
    "EncodedCall",
    "FunctionEntry",
    "FunctionStats",
    "FunctionTable",
    "decode_call",
    "encode_call",
    "entry_for",
    "stats_for",
]

_numbers = count(1)
_NO_ARGUMENTS = dumps((), PROTOCOL)
new_tuple = tuple.__new__  # what `EncodedCall(...)` does, without a Python call


class FunctionStats:
    """What is known about the underlying function, whichever partial, method or closure it is called through.

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
        payload: its pickle, for `FunctionTable.learn`; empty if it is `volatile`.
        name: its name, for messages.
        volatile: it captures something mutable and must be pickled anew, with the arguments, at each call.
        stats: shared by all entries of the same underlying function.
        coroutine: it is a coroutine function, noted by the engine; None while unknown.
    """

    __slots__ = ("__weakref__", "_ref", "_snapshots", "coroutine", "id", "name", "payload", "stats", "volatile")

    def __init__(
        self,
        fn: Callable[..., object],
        payload: bytes,
        ref: weak[Any] | None,
        *,
        volatile: bool = False,
        snapshots: tuple[CaptureSnapshot, ...] = (),
    ) -> None:
        self.id = 0 if volatile else next(_numbers)
        self.payload = payload
        self.name = _name_of(fn)
        self.volatile = volatile
        self.stats = stats_for(fn)
        self.coroutine: bool | None = None
        self._ref = ref
        self._snapshots = snapshots


class EncodedCall(NamedTuple):
    """One call, ready to travel. Keep it, and the function, until the answer has been decoded.

    Attributes:
        entry: how the function travels; send ``entry.payload`` to a worker once, before its ``entry.id`` is used.
        data: the pickled arguments, or function and arguments if ``entry.volatile`` (then ``entry.id`` is 0).
        buffers: contiguous views of the caller's own memory that belong to the pickle, in order.
        keep: the classes and functions that went by value; see `codec.Packed`.
        shared: the shared objects among the arguments, which the worker must have first.
    """

    entry: FunctionEntry
    data: bytes
    buffers: tuple[memoryview, ...]
    keep: tuple[object, ...]
    shared: tuple[Any, ...]


class FunctionTable:
    """The functions a worker has learnt. They are unpickled at first use, so an error fails that task only.

    Attributes:
        loaded: those that have been unpickled, by number.
    """

    __slots__ = ("_payloads", "loaded")

    def __init__(self) -> None:
        self._payloads: dict[int, bytes] = {}
        self.loaded: dict[int, Callable[..., object]] = {}

    def learn(self, id: int, payload: bytes | bytearray | memoryview) -> None:
        """Note the pickle of function `id`; nothing is imported yet."""
        if id not in self.loaded:
            self._payloads[id] = bytes(payload)

    def get(self, id: int) -> Callable[..., object]:
        """Return function `id`.

        Raises:
            SerializationError: it cannot be rebuilt in this process, or it was never learnt.
        """
        fn = self.loaded.get(id)
        if fn is None:
            payload = self._payloads.get(id)
            if payload is None:
                raise SerializationError("the function", f"this worker has not learnt function {id}")
            fn = self.loaded[id] = decode(payload, (), "the function")  # type: ignore[assignment]
            del self._payloads[id]
        return fn  # type: ignore[return-value]

    def clear(self) -> None:
        """Forget every function."""
        self._payloads.clear()
        self.loaded.clear()


# By id: a dict with weak keys hashes and compares the user's objects, and is three times slower.
_entries: dict[int, FunctionEntry] = {}
_stats: dict[int, FunctionStats] = {}


def entry_for(fn: Callable[..., object]) -> FunctionEntry:
    """Return the entry of `fn`: the same one as long as its pickle is still true.

    Raises:
        SerializationError: `fn` goes by value and what it captures cannot travel.
    """
    entry = _entries.get(id(fn))
    if entry is not None and (entry._ref is None or entry._ref() is fn):
        for snapshot in entry._snapshots:
            if not snapshot.unchanged():
                break
        else:
            return entry
    return _new_entry(fn)


def encode_call(fn: Callable[..., object], args: tuple[object, ...]) -> EncodedCall:
    """Pickle the call ``fn(*args)``.

    Raises:
        SerializationError: names what cannot travel, such as ``argument 2 ('conn') of parse()``.
    """
    entry = entry_for(fn)
    if not entry.volatile:
        if not args:
            return new_tuple(EncodedCall, (entry, _NO_ARGUMENTS, (), (), ()))
        if ATOMS.issuperset(map(type, args)):
            return new_tuple(EncodedCall, (entry, dumps(args, PROTOCOL), (), (), ()))
    met = pickled_here()
    met.clear()
    packed = encode_call_args(fn, args) if entry.volatile else encode_args(args, fn)
    shared = tuple(met)
    met.clear()
    return EncodedCall(entry, packed.data, packed.buffers, packed.keep, shared)


def decode_call(
    table: FunctionTable,
    function_id: int,
    data: bytes | bytearray | memoryview,
    buffers: Iterable[memoryview] = (),
    name: str = "",
) -> tuple[Callable[..., object], tuple[object, ...]]:
    """Rebuild in the worker what `encode_call` packed.

    Args:
        table: the functions this worker has learnt.
        function_id: the entry's; 0 if it was volatile.
        data: the pickle.
        buffers: its buffers.
        name: the call's, for the error.

    Raises:
        SerializationError: the function or the arguments cannot be rebuilt in this process.
    """
    fn = None
    if function_id:
        fn = table.loaded.get(function_id) or table.get(function_id)
    try:
        value: Any = loads(data, buffers=buffers) if buffers else loads(data)
    except SerializationError:
        raise
    except Exception as error:
        from . import pickle_errors

        what = "an argument of" if function_id else "the function or an argument of"
        raise pickle_errors.not_rebuilt(f"{what} {name}()" if name else f"{what} the call", error) from error
    return value if fn is None else (fn, value)


def stats_for(fn: Callable[..., object]) -> FunctionStats:
    """Return the record of the function underneath `fn`, the same one for as long as that function's code lives."""
    key = _underlying(fn)
    found = _stats.get(id(key))
    if found is not None and (found._ref is None or found._ref() is key):
        return found
    number = id(key)
    try:
        ref = weak(key, lambda _: _stats.pop(number, None))
    except TypeError:  # a descriptor of a type written in C: its entry is kept, and with it this record
        return FunctionStats(None)
    stats = _stats[number] = FunctionStats(ref)
    return stats


def _new_entry(fn: Callable[..., object]) -> FunctionEntry:
    if _may_have_a_name(fn):
        try:
            payload = dumps(fn, PROTOCOL)
        except Exception:  # what has no name goes by value
            payload = b""
        if (payload.endswith(GLOBAL_TAIL) or (payload and _is_descriptor(fn))) and found_by_name(payload):
            return _cached(fn, payload, snapshots=())
    from . import by_value, closure_state, pickle_errors

    snapshots = closure_state.snapshots_of(fn) if _may_be_cached(fn) else None
    if snapshots is None:
        return FunctionEntry(fn, b"", None, volatile=True)
    try:
        payload, _ = by_value.dumps(fn, upward=False)
    except Exception as error:
        raise pickle_errors.refused_call(fn, (), error) from error
    return _cached(fn, payload, snapshots=snapshots)


def _cached(fn: Callable[..., object], payload: bytes, *, snapshots: tuple[CaptureSnapshot, ...]) -> FunctionEntry:
    number = id(fn)
    ref: weak[Any] | None
    try:
        ref = weak(fn, lambda _: _entries.pop(number, None))
    except TypeError:
        ref = None
        _unweakable.append(fn)
    entry = _entries[number] = FunctionEntry(fn, payload, ref, snapshots=snapshots)
    return entry


# Descriptors of C types, which live as long as their type; kept so that their ids stay theirs.
_unweakable: list[object] = []


def _may_have_a_name(fn: Any) -> bool:
    if isinstance(fn, types.BuiltinFunctionType):
        return fn.__self__ is None or isinstance(fn.__self__, types.ModuleType)
    return not isinstance(fn, types.MethodType) and hasattr(fn, "__qualname__")


def _is_descriptor(fn: object) -> bool:
    return isinstance(fn, (types.MethodDescriptorType, types.WrapperDescriptorType))


def _may_be_cached(fn: Any) -> bool:
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
