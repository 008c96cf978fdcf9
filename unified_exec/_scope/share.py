"""Placing an object in shared memory."""

from __future__ import annotations

import secrets
from typing import Any, TypeVar

from .._platform.shared_memory import write_block
from .._wire.pickling import codec, pickle_errors
from .._wire.pickling.c_pickle import marked
from .._wire.pickling.shared_refs import pickled_here
from .._worker.shared_object import Shared, remember_own
from ..errors import SerializationError

T = TypeVar("T")


def share(obj: T) -> Shared[T]:
    """Place `obj` once in anonymous shared memory, to hand it to any number of tasks.

    Args:
        obj: anything that can be pickled; NumPy arrays and other objects with large buffers are mapped in the
            tasks without a copy.

    Returns:
        a handle: pass it as an argument (or inside one) and read its ``value`` in the task. The value is rebuilt
        once in each process and must not be changed; its large buffers are read-only. The memory is freed when the
        handle is dropped here and the value is dropped in the workers.

    Raises:
        SerializationError: `obj` cannot travel.
        OSError: no memory or no descriptor is left.

    Example:
        table = share(numpy.arange(1e8))
        async for total in scope.map(partial(sum_slice, table), slices, on="process"):
            ...
    """
    met = pickled_here()
    met.clear()
    try:
        packed = codec.pack(marked(obj), False)
    except Exception as error:
        raise pickle_errors.refused("the shared object", obj, error) from error
    if met:
        met.clear()
        raise SerializationError(
            "the shared object",
            "it contains a channel, a shared object, a socket or a connection, whose descriptors would not go along",
            "pass that as an argument of the tasks that need it",
        )
    fd, layout = write_block(packed.data, packed.buffers)
    size = len(packed.data) + sum(view.nbytes for view in packed.buffers)
    shared: Shared[Any] = Shared(secrets.token_bytes(16), fd, layout, size)
    remember_own(shared)
    return shared
