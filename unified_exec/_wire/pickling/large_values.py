"""Large values of globals: their buffers travel in shared memory, and what cannot change is not compared."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import ref as weak

from . import shared_refs
from .c_pickle import PROTOCOL, LargeBuffers, PickleBuffer, dumps, marked
from .entry_pickler import EntryPickler
from .kinds import DEFINITIONS

P = TypeVar("P", bound=EntryPickler)
Callback = Callable[[PickleBuffer], bool]


def pickled(value: object, make: Callable[[io.BytesIO, Callback | None], P]) -> tuple[bytes, P]:
    """Pickle the value of a global; large buffers in it go into a block of shared memory that all workers map.

    Args:
        value: it. A definition stays in one piece.
        make: makes the pickler.

    Returns:
        its pickle, and the pickler.
    """
    large = LargeBuffers()
    place = None if isinstance(value, DEFINITIONS) else shared_refs.place_in_block
    with io.BytesIO() as file:
        pickler = make(file, None if place is None else large)
        pickler.dump(value if place is None else marked(value))
        data = file.getvalue()
    if place is None or not large.taken:
        return data, pickler
    try:
        return dumps(place(data, large.taken), PROTOCOL), pickler
    except OSError:  # no descriptor or no memory is left: in one piece
        with io.BytesIO() as file:
            pickler = make(file, None)
            pickler.dump(value)
            return file.getvalue(), pickler


def same_frozen(value: Any) -> Callable[[Any], bool] | None:
    """Return what tells whether a read-only array of NumPy is the same; ``None`` if others may write to its memory."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not getattr(numpy, "ndarray", None) or value.dtype.hasobject:
        return None
    if value.flags.writeable or not (value.flags.owndata or type(value.base) is bytes):
        return None
    ref: Callable[[], Any] = weak(value)
    return lambda now: now is not None and ref() is now and not now.flags.writeable
