"""Functions travel once: the parent has an entry for each. What a worker has learnt is in `function_table`."""

from __future__ import annotations

import types
from _functools import _lru_cache_wrapper, partial  # type: ignore[import-not-found, unused-ignore]
from _weakref import ref as weak

from . import module_names
from .c_pickle import GLOBAL_TAIL, PROTOCOL, dumps
from .carried import carried_of
from .codec import ATOMS, encode_args, encode_call_args, pack
from .issuer import next_number
from .shared_refs import pickled_here, shared_of

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any, NamedTuple

    from .carried import Carried
else:
    from ..._tasks.light_typing import NamedTuple

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
        payload: its pickle, for `function_table.FunctionTable.learn`; empty if it is `volatile`.
        shared: the objects in that pickle that travel by descriptors; the worker must have them first.
        name: its name, for messages.
        volatile: it captures something mutable and must be pickled anew, with the arguments, at each call.
        stats: shared by all entries of the same underlying function.
        coroutine: it is a coroutine function, noted by the engine; None while unknown.
        needs: entries of the globals that a worker must have before it.
    """

    __slots__ = (
        "__weakref__", "_ref", "_snapshots", "coroutine", "id", "name", "needs", "payload", "shared", "stats",
        "volatile",
    )  # fmt: skip

    def __init__(
        self,
        fn: Callable[..., object],
        payload: bytes,
        ref: weak[Any] | None,
        *,
        volatile: bool = False,
        snapshots: tuple[Any, ...] = (),
        needs: tuple[Any, ...] = (),
        shared: tuple[Any, ...] = (),
    ) -> None:
        self.id = 0 if volatile else next_number()
        self.payload = payload
        self.shared = shared
        self.name = _name_of(fn)
        self.volatile = volatile
        self.stats = stats_for(fn)
        self.coroutine: bool | None = None
        self._ref = ref
        self._snapshots = snapshots
        self.needs = needs


class EncodedCall(NamedTuple):
    """One call, ready to travel. Keep it, and the function, until the answer has been decoded.

    Attributes:
        entry: how the function travels; send ``entry.payload`` to a worker once, before its ``entry.id`` is used.
        data: the pickled arguments, or function and arguments if ``entry.volatile`` (then ``entry.id`` is 0).
        buffers: contiguous views of the caller's own memory that belong to the pickle, in order.
        keep: the classes and functions that went by value; see `codec.Packed`.
        shared: the objects in function and arguments that travel by descriptors; the worker must have them first.
        needs: entries of the globals that the arguments refer to, which the worker must have first.
        carried: what travels of the spawner's context.
        context: that context; ``None`` if no variable of the program's is set in it.
        block: the block of shared memory in which `data` and `buffers` are already.
    """

    entry: FunctionEntry
    data: bytes
    buffers: tuple[memoryview, ...]
    keep: tuple[object, ...]
    shared: tuple[Any, ...]
    needs: tuple[Any, ...]
    carried: Carried | None = None
    context: Context | None = None
    block: Any = None

    @property
    def size(self) -> int:
        """The bytes of arguments that travel."""
        size = len(self.data)
        for buffer in self.buffers:  # few calls have any
            size += buffer.nbytes
        return size


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
            return new_tuple(EncodedCall, (entry, _NO_ARGUMENTS, (), (), entry.shared, (), None, None, None))
        if ATOMS.issuperset(map(type, args)):
            return new_tuple(EncodedCall, (entry, dumps(args, PROTOCOL), (), (), entry.shared, (), None, None, None))
    met = pickled_here()
    met.clear()
    packed = encode_call_args(fn, args) if entry.volatile else encode_args(args, fn)
    shared = (*entry.shared, *met, *shared_of(packed.needs))
    met.clear()
    return EncodedCall(entry, packed.data, packed.buffers, packed.keep, shared, packed.needs)


def encode_call_by_name(fn: Callable[..., object], args: tuple[object, ...]) -> EncodedCall:
    """Pickle the call for a worker that has imported the main file: all that has a name there travels by it.

    Raises:
        SerializationError: names what cannot travel.
    """
    met = pickled_here()
    met.clear()
    try:
        packed = pack((fn, args), False, main_is_imported=True)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return encode_call(fn, args)  # refused there with the words for it
    shared = (*met, *shared_of(packed.needs))
    met.clear()
    entry = FunctionEntry(fn, b"", None, volatile=True)
    return EncodedCall(entry, packed.data, packed.buffers, packed.keep, shared, packed.needs)


def in_context(call: EncodedCall, context: Context) -> EncodedCall:
    """Return the call with what it carries of its spawner's context, in which a variable is set."""
    carried = carried_of(context)
    entry, data, buffers, keep, shared, needs, _, _, block = call
    if carried is not None and (carried.shared or carried.keep):
        shared, keep = (*shared, *carried.shared), (*keep, *carried.keep)
    return new_tuple(EncodedCall, (entry, data, buffers, keep, shared, needs, carried, context, block))


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
        if (payload.endswith(GLOBAL_TAIL) or (payload and _is_descriptor(fn))) and not (
            module_names.in_pickle(payload) or module_names.goes_by_value(getattr(fn, "__module__", None))
        ):
            return _cached(fn, payload, snapshots=())
    from . import closure_state, globals_sent, kinds

    snapshots: tuple[Any, ...] | None = None
    place = kinds.place_in_module(fn)
    if place is not None and "." not in place[1]:
        snapshots = ()  # the entry of its name is watched
    elif type(fn) in (types.FunctionType, partial, _lru_cache_wrapper):
        snapshots = closure_state.snapshots_of(fn)
    if snapshots is None and place is not None:
        snapshots = ()
    if snapshots is None:
        return FunctionEntry(fn, b"", None, volatile=True)
    met = pickled_here()
    met.clear()
    try:
        sent = globals_sent.encode(fn, upward=False)
    except Exception as error:
        from . import pickle_errors

        raise pickle_errors.refused_call(fn, (), error) from error
    needed = sent.needs.entries
    shared = (*met, *shared_of(needed))
    met.clear()
    return _cached(fn, sent.data, snapshots=(*snapshots, *sent.needs.snapshots), needs=needed, shared=shared)


def _cached(
    fn: Callable[..., object],
    payload: bytes,
    *,
    snapshots: tuple[Any, ...],
    needs: tuple[Any, ...] = (),
    shared: tuple[Any, ...] = (),
) -> FunctionEntry:
    number = id(fn)
    ref: weak[Any] | None
    try:
        ref = weak(fn, lambda _: _entries.pop(number, None))
    except TypeError:
        ref = None
        _unweakable.append(fn)
    entry = _entries[number] = FunctionEntry(fn, payload, ref, snapshots=snapshots, needs=needs, shared=shared)
    return entry


# Descriptors of C types, which live as long as their type; kept so that their ids stay theirs.
_unweakable: list[object] = []


def _may_have_a_name(fn: Any) -> bool:
    if isinstance(fn, types.BuiltinFunctionType):
        return fn.__self__ is None or isinstance(fn.__self__, types.ModuleType)
    return not isinstance(fn, types.MethodType) and hasattr(fn, "__qualname__")


def _is_descriptor(fn: object) -> bool:
    return isinstance(fn, (types.MethodDescriptorType, types.WrapperDescriptorType))


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
