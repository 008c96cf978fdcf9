"""The C half of `pickle` alone: a worker must not pay for the imports of the Python half."""

from __future__ import annotations

__all__ = ["GLOBAL_TAIL", "PROTOCOL", "PickleBuffer", "Pickler", "Unpickler", "dumps", "loads"]

try:
    from _pickle import PickleBuffer, Pickler, Unpickler, dumps, loads
except ImportError:  # an interpreter without the accelerator
    from pickle import PickleBuffer, Pickler, Unpickler, dumps, loads

PROTOCOL = 5

# STACK_GLOBAL, MEMOIZE, STOP: a pickle that ends so is nothing but a name to look up.
GLOBAL_TAIL = b"\x93\x94."
