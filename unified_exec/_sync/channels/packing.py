"""Items of a shared channel as bytes: small ones lie in a slot, others in the spill region, with their buffers."""

from __future__ import annotations

import os
from struct import Struct
from typing import TYPE_CHECKING, Any

from ..._wire import block_layout
from ..._wire.pickling import codec
from ..._wire.pickling.c_pickle import PROTOCOL, dumps, marked
from ..._wire.pickling.shared_refs import ByDescriptors, pickled_here
from ..._worker import passing
from ...errors import SerializationError
from .memory import PARTS, SPILL_STRIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

_TABLE = Struct("<I")
_PIECE = 1 << 30


class PackedItem:
    """A pickle with its buffers.

    Attributes:
        parts: what is written into the spill region, one after another; empty for a pickle without buffers.
        data: the pickle.
        size: bytes of all parts.
        brings: the channels, locks and shared objects in it.
    """

    __slots__ = ("brings", "data", "parts", "size")

    def __init__(
        self,
        data: bytes,
        parts: Sequence[bytes | memoryview] = (),
        size: int = 0,
        brings: tuple[ByDescriptors, ...] = (),
    ) -> None:
        self.data = data
        self.parts = parts
        self.size = size
        self.brings = brings

    def unsent(self) -> None:
        for one in self.brings:
            one.passed(-1)


def pack(item: object) -> PackedItem:
    """Pickle an item.

    Raises:
        SerializationError: it cannot travel.
    """
    if type(item) in codec.ATOMS:
        return PackedItem(dumps(item, PROTOCOL))
    met = pickled_here()
    before, outer = len(met), met.in_item
    met.in_item = True
    try:
        packed = codec.pack(marked(item), False)
    except Exception as error:
        from ..._wire.pickling import pickle_errors

        raise pickle_errors.refused("the item of a channel", item, error) from error
    finally:
        met.in_item = outer
        brings: tuple[ByDescriptors, ...] = met.taken(before)
    if brings:
        if not all(one.passable for one in brings):
            raise SerializationError(
                "the item of a channel",
                "it contains a socket or a connection, and an item brings no descriptor",
                "pass that as an argument of the tasks that need it",
            )
        _announce(brings)
    if not packed.buffers:
        return PackedItem(packed.data, brings=brings)
    table, offsets, total = block_layout.shared_layout(len(packed.data), [view.nbytes for view in packed.buffers])
    head = _TABLE.pack(len(table)) + table
    head += bytes(-len(head) % block_layout.ALIGN)
    parts: list[bytes | memoryview] = [head]
    at = 0
    whole: list[bytes | memoryview] = [packed.data, *packed.buffers]
    for offset, part in zip(offsets, whole, strict=True):
        if offset > at:
            parts.append(bytes(offset - at))
        view = memoryview(part).cast("B")
        parts.append(view)
        at = offset + view.nbytes
    size = len(head) + total
    if size > SPILL_STRIDE:
        raise SerializationError("the item of a channel", f"it has {size} bytes, and {SPILL_STRIDE} are the most")
    return PackedItem(packed.data, parts, len(head) + at, brings)


def _announce(brings: tuple[ByDescriptors, ...]) -> None:
    """Have every process above know what an item brings, so that its receiver can ask for it."""
    for one in brings:
        one.passed(1)
    try:
        passing.offer(brings, False)
    except BaseException as error:
        for one in brings:
            one.passed(-1)
        if isinstance(error, OSError):
            raise SerializationError("the item of a channel", f"what it brings: {error}") from error
        raise


def unpack(data: bytes | bytearray, state: int) -> Any:
    """Rebuild an item; `state` is that of its slot's header.

    Raises:
        SerializationError: it cannot be rebuilt in this process. It has been taken all the same.
    """
    if state != PARTS:
        return codec.decode(data, (), "the item of a channel")
    (length,) = _TABLE.unpack_from(data)
    view = memoryview(data)
    offsets, sizes = block_layout.read_layout(view[_TABLE.size : _TABLE.size + length])
    begin = -(-(_TABLE.size + length) // block_layout.ALIGN) * block_layout.ALIGN
    first, *others = (view[begin + at : begin + at + size] for at, size in zip(offsets, sizes, strict=True))
    return codec.decode(first, others, "the item of a channel")


def spill(fd: int, at: int, packed: PackedItem) -> int:
    """Write an item into the spill region; returns its bytes.

    Raises:
        OSError: no memory is left.
    """
    if not packed.parts:
        _write(fd, memoryview(packed.data), at)
        return len(packed.data)
    for part in packed.parts:
        view = memoryview(part)
        _write(fd, view, at)
        at += view.nbytes
    return packed.size


def _write(fd: int, view: memoryview, at: int) -> None:
    while view:
        written = os.pwrite(fd, view[:_PIECE], at)
        view = view[written:]
        at += written


def unspill(fd: int, at: int, size: int) -> bytearray:
    """Read an item from the spill region.

    Raises:
        MemoryError: it does not fit into memory.
    """
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = os.preadv(fd, [view[:_PIECE]], at)
        view = view[got:]
        at += got
    return data


def free_pages(fd: int, at: int, size: int) -> None:
    """Give the memory of a large item back to the system, where that is possible."""
    import mmap

    if hasattr(mmap, "MADV_REMOVE"):
        try:
            with mmap.mmap(fd, size, offset=at) as pages:
                pages.madvise(mmap.MADV_REMOVE)
        except (OSError, ValueError):
            pass  # a file system without holes
