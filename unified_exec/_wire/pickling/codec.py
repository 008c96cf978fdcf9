"""Encoding and decoding the values that travel between two processes, in both directions.

Plain C pickling first. Only what it refuses, or what it would look up in ``__main__`` (which is another module in
each process), is pickled again by value. Results and errors go up, arguments go down: see `identity`.
"""

from __future__ import annotations

from io import BytesIO
from sys import modules
from types import FunctionType

from ...errors import SerializationError
from . import homes, identity, module_names
from .c_pickle import OOB_MIN, PROTOCOL, LargeBuffers, PickleBuffer, Pickler, dumps, loads, marked

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

ATOMS = frozenset({int, float, str, bool, complex, type(None)})
"""Types whose values need nothing but plain pickling, in every process."""
_FLAT = frozenset({bytes, bytearray, memoryview})


class Packed:
    """One value as bytes.

    Attributes:
        data: the pickle.
        buffers: contiguous views of the sender's own memory that belong to the pickle, in order.
        keep: the classes and functions that went by value. Keep them until the answer has been decoded, or a
            token in it finds no original.
        needs: entries of the globals it refers to, which the receiver must have first.
    """

    __slots__ = ("buffers", "data", "keep", "needs")

    def __init__(
        self,
        data: bytes,
        buffers: tuple[memoryview, ...] = (),
        keep: tuple[object, ...] = (),
        needs: tuple[Any, ...] = (),
    ) -> None:
        self.data = data
        self.buffers = buffers
        self.keep = keep
        self.needs = needs


def encode_args(args: tuple[object, ...], fn: Callable[..., object] | None = None) -> Packed:
    """Pack the arguments of a call, on their way down; `fn` is only named in the error.

    Raises:
        SerializationError: one of them cannot travel; says which one, where in it, and why.
    """
    for arg in args:
        kind = type(arg)
        if kind not in ATOMS and (kind is not bytes or len(arg) >= OOB_MIN):  # type: ignore[arg-type]
            break
    else:
        return Packed(dumps(args, PROTOCOL))
    try:
        return pack(args if _FLAT.isdisjoint(map(type, args)) else tuple([marked(arg) for arg in args]), False)
    except Exception as error:
        from . import pickle_errors

        raise pickle_errors.refused_args(fn, args, error) from error


def encode_call_args(fn: Callable[..., object], args: tuple[object, ...]) -> Packed:
    """Pack a function together with its arguments, which may share objects with it; decodes to ``(fn, args)``.

    Raises:
        SerializationError: the function or an argument cannot travel.
    """
    try:
        # An importable function would have travelled alone: looking for its name is useless.
        return pack((fn, tuple([marked(arg) for arg in args])), False, plainly=type(fn) is not FunctionType)
    except Exception as error:
        from . import pickle_errors

        raise pickle_errors.refused_call(fn, args, error) from error


def encode_value(value: object, what: str = "the result") -> Packed:
    """Pack a result, on its way up; `what` names it in the error.

    Raises:
        SerializationError: it cannot travel.
    """
    kind = type(value)
    if kind in ATOMS:
        return Packed(dumps(value, PROTOCOL))
    try:
        return pack(marked(value), True)
    except Exception as error:
        from . import pickle_errors

        raise pickle_errors.refused(what, value, error, upward=True) from error


def decode(data: bytes | bytearray | memoryview, buffers: Iterable[memoryview] = (), what: str = "the value") -> object:
    """Unpack what `encode_args`, `encode_call_args` or `encode_value` packed; `what` names it in the error.

    Raises:
        SerializationError: it cannot be rebuilt in this process.
    """
    try:
        value: object = loads(data, buffers=buffers) if buffers else loads(data)
        if homes.wanted:
            homes.settle()
        return value
    except SerializationError:
        raise
    except Exception as error:
        from . import pickle_errors

        raise pickle_errors.not_rebuilt(what, error) from error


def decode_alone(data: bytes) -> Any:
    """Rebuild what `globals_sent.encode_alone` made."""
    parts, value_data, others = loads(data)
    homes.receive(parts)
    homes.receive(others, for_now=True)
    value = loads(value_data)
    homes.settle()
    return value


def pack(value: object, upward: bool, plainly: bool = True, main_is_imported: bool = False) -> Packed:
    """Pack `value`, by name where possible (if `plainly`), by value where not; raises what pickling raises.

    Args:
        value: what is sent.
        upward: towards the parent.
        plainly: try plain pickling first.
        main_is_imported: the receiver finds by name what the main file defines.
    """
    large = LargeBuffers()
    buffers = large.taken
    try:
        if plainly:
            data = dumps(value, PROTOCOL, buffer_callback=large)
            if large.read_only:
                from . import writable

                buffers.clear()
                data = writable.dumps(value, large)
            if not module_names.in_pickle(data, main_is_imported) and not _tells_too_little(data, main_is_imported):
                return Packed(data, tuple(buffers)) if buffers else Packed(data)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # a second try by value tells whether it really cannot travel
        pass
    buffers.clear()
    if upward and not large.read_only and (data := _sent_back(value, large)) and not large.read_only:
        return Packed(data, tuple(buffers))
    from . import globals_sent

    buffers.clear()
    sent = globals_sent.encode(value, upward=upward, buffer_callback=large)
    return Packed(sent.data, tuple(buffers), sent.keep, sent.needs.entries)


class _SentBack(Pickler):
    """Classes and functions that came from above go back as tokens."""

    reducer_override = staticmethod(identity.reduce_known_above)


def _sent_back(value: object, buffer_callback: Callable[[PickleBuffer], bool]) -> bytes:
    """Pickle a value all of whose classes and functions have a name or came from above; empty if there are others.

    Most results that hold something of ``__main__`` are such. It takes no cloudpickle.
    """
    with BytesIO() as file:
        try:
            _SentBack(file, PROTOCOL, buffer_callback=buffer_callback).dump(value)
        except (MemoryError, RecursionError):
            raise
        except Exception:
            return b""
        data = file.getvalue()
    return b"" if module_names.in_pickle(data) or _tells_too_little(data, False) else data


def _tells_too_little(data: bytes, main_is_imported: bool) -> bool:
    """Tell whether a plain pickle may hold a connection of `multiprocessing`, as the bare number of its descriptor, or
    an instance of a Django model, as the names of its app and class, of which only the pickler by value can say more.
    """
    if "multiprocessing.connection" in modules and data.find(b"multiprocessing.connection") >= 0:
        return True
    return "django.db.models.base" in modules and data.find(b"model_unpickle") >= 0 and not main_is_imported
