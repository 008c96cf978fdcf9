"""Plain pickling: the C half of `pickle` alone, and the flat buffers at the top level.

A worker must not pay for the imports of the Python half. Top-level buffers are the only place where `bytes` leave the
pickle.
"""

from __future__ import annotations

__all__ = [
    "GLOBAL_TAIL",
    "OOB_MIN",
    "OOB_MOST",
    "PROTOCOL",
    "LargeBuffers",
    "PickleBuffer",
    "Pickler",
    "Unpickler",
    "dumps",
    "loads",
    "marked",
    "reduce_view",
    "without_export",
]

try:
    from _pickle import PickleBuffer, Pickler, Unpickler, dumps, loads
except ImportError:  # an interpreter without the accelerator
    from pickle import PickleBuffer, Pickler, Unpickler, dumps, loads

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 5

# STACK_GLOBAL, MEMOIZE, STOP: a pickle that ends so is nothing but a name to look up.
GLOBAL_TAIL = b"\x93\x94."

OOB_MIN = 64 * 1024
"""Buffers of at least this many bytes travel outside the pickle."""
OOB_MOST = 4000
"""So many at most: the table that tells where they are must fit into a message, see `frames.INLINE_MAX`."""

# What `memoryview.cast` can restore; structured and byte-swapped formats it cannot.
_FORMATS = frozenset("cbB?hHiIlLqQnNfdP")

_Reduced = tuple[object, ...]


class _Marked:
    """Stands for a top-level buffer and pickles as instructions to rebuild it."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> _Reduced:
        value = self._value
        return reduce_view(value) if type(value) is memoryview else (type(value), (PickleBuffer(value),))


def marked(value: object) -> object:
    """Return `value`, or what has to be pickled in its place so that its buffer stays outside the pickle."""
    kind = type(value)
    if kind is memoryview or ((kind is bytes or kind is bytearray) and len(value) >= OOB_MIN):  # type: ignore[arg-type]
        return _Marked(value)
    return value


def reduce_view(view: memoryview) -> _Reduced:
    """Reduce a memoryview, which plain pickle refuses; one that is not contiguous is copied.

    Raises:
        TypeError: its format has no counterpart that `memoryview.cast` could restore.
    """
    code = view.format.lstrip("@")
    if code not in _FORMATS:
        raise TypeError(f"cannot pickle a memoryview of format {view.format!r}")
    flat = view if view.c_contiguous else view.tobytes()
    return _as_view, (PickleBuffer(flat), code, view.shape)


def without_export(raw: memoryview) -> memoryview:
    """Return the same memory as `PickleBuffer.raw` gives, but not as an export of another view.

    CPython before 3.12.7 crashes when it collects a view that still has exports (gh-77894).
    """
    owner = raw.obj
    if type(owner) is not memoryview:
        return raw
    try:
        return owner.cast("B")
    except TypeError:  # not contiguous in the order of C, or of a format that `cast` does not know
        return memoryview(raw.tobytes())


class LargeBuffers:
    """The `buffer_callback` of a pickler that takes large buffers out of the pickle.

    Attributes:
        taken: those buffers.
        read_only: some buffer, large or not, is read-only and not that of `bytes`.
    """

    __slots__ = ("read_only", "taken")

    def __init__(self) -> None:
        self.taken: list[memoryview] = []
        self.read_only = False

    def __call__(self, buffer: PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        finally:
            del buffer  # an error's frames would keep it, see `without_export`
        if view.readonly and type(view.obj) is not bytes:
            self.read_only = True
        if view.nbytes < OOB_MIN or len(self.taken) >= OOB_MOST:
            return True  # it stays inside
        self.taken.append(without_export(view))
        return False


def _as_view(flat: memoryview | bytes | bytearray, code: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(flat).cast("B")
    if code == "B" and len(shape) == 1:
        return view
    if 0 in shape:  # `cast` refuses empty dimensions; one dimension is all that can be kept
        return view.cast(code)  # type: ignore[call-overload, no-any-return]
    return view.cast(code, shape)  # type: ignore[call-overload, no-any-return]
