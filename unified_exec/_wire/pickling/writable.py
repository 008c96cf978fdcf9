"""Read-only arrays arrive writable: what travels is a copy, and the copy belongs to the receiver.

Pickle protocol 5 marks the buffer of a read-only array as read-only. Code that works in place on its argument would
fail in a worker, although nobody else sees that memory. Only arrays are treated so: `bytes` stay immutable, and an
object placed with `share` is mapped read-only whatever its pickle says.
"""

from __future__ import annotations

import io
from sys import modules

from .c_pickle import PROTOCOL, PickleBuffer, Pickler

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def is_read_only_array(obj: object) -> bool:
    """Tell whether `obj` is a NumPy array that may not be written to."""
    numpy = modules.get("numpy")
    array = getattr(numpy, "ndarray", None)  # not there yet while it is imported
    return array is not None and isinstance(obj, array) and not obj.flags.writeable


def reduce_writable(array: Any) -> Any:
    """Reduce a read-only array as pickle does, with a writable copy of its buffer."""
    reduced = array.__reduce_ex__(PROTOCOL)
    make, args, *rest = reduced
    copied = tuple([PickleBuffer(bytearray(arg)) if type(arg) is PickleBuffer else arg for arg in args])
    return (make, copied, *rest)


def dumps(value: object, buffer_callback: Callable[[PickleBuffer], object]) -> bytes:
    """Pickle `value` plainly, with writable buffers in place of read-only ones of arrays."""
    with io.BytesIO() as file:
        _WritablePickler(file, PROTOCOL, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


class _WritablePickler(Pickler):
    def reducer_override(self, obj: object) -> Any:
        return reduce_writable(obj) if is_read_only_array(obj) else NotImplemented
