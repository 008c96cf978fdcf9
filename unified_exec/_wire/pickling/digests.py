"""Whether a mutable value has changed: by a digest of its pickle."""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import Any

from .entry_pickler import EntryPickler

__all__ = ["digest"]

_KEPT = 256
"""A pickle of at most this many bytes is its own digest."""


def digest(value: Any) -> tuple[int, bytes]:
    """Return the size of the pickle, and something that differs when `value` would be pickled differently.

    Pickled plainly, which finds what this process defines by its name; only what that refuses is pickled by value.
    """
    try:
        data = pickle.dumps(value, 5)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        with io.BytesIO() as file:
            EntryPickler(file, value, None, "").dump(value)
            data = file.getvalue()
    return len(data), data if len(data) <= _KEPT else hashlib.sha1(data, usedforsecurity=False).digest()
