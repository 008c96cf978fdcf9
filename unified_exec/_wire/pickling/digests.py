"""Whether a mutable value has changed: by a digest of its pickle."""

from __future__ import annotations

import io
import pickle
from typing import Any

from .c_pickle import PROTOCOL, dumps, marked
from .entry_pickler import EntryPickler

_KEPT = 256
"""A pickle of at most this many bytes is its own digest."""


def digest(value: Any) -> tuple[int, bytes]:
    """Return the size of the pickle, and something that differs when `value` would be pickled differently.

    Pickled plainly, which finds what this process defines by its name; only what that refuses is pickled by value.
    """
    buffers: list[pickle.PickleBuffer] = []  # hashed where they are: a large array is not copied
    try:
        try:
            data = pickle.dumps(marked(value), 5, buffer_callback=buffers.append)
        except (MemoryError, RecursionError):
            raise
        except Exception:
            buffers.clear()
            with io.BytesIO() as file:
                EntryPickler(file, value, None, "").dump(value)
                data = file.getvalue()
        views = [buffer.raw() for buffer in buffers]
    finally:
        buffers.clear()  # an error's frames would keep them, see `without_export`
    size = len(data) + sum([view.nbytes for view in views])
    if size <= _KEPT:
        return size, b"".join((data, *views))
    import hashlib  # loaded with the first large one

    found = hashlib.sha1(data, usedforsecurity=False)
    for view in views:
        found.update(view)
    return size, found.digest()


def is_plain_pickle(value: Any, seen: bytes) -> bool:
    """Tell whether `seen`, the digest of `value`, is nothing but its plain pickle, which takes less time to make."""
    if len(seen) > _KEPT:
        return False
    try:
        return dumps(value, PROTOCOL) == seen
    except Exception:
        return False
