"""Blocks of anonymous shared memory: written once by the sender, mapped privately by the receiver.

Only the receiver keeps a block alive: when the last object built on it is dropped, it is freed or used again (see
`shm_cache`). No block has a name, so nothing is left if either side dies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from mmap import ACCESS_COPY, ACCESS_READ, mmap

from .._wire import block_layout, frames
from .._wire.pickling import codec
from . import posix
from .shm_cache import BlockCache

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_PIECE = 1 << 30  # one pwrite moves at most 2 GiB - 4 KiB on Linux


def write_block(
    data: frames.Bytes, buffers: Sequence[memoryview], blocks: BlockCache | None = None
) -> tuple[int, bytes]:
    """Write a payload and its buffers into a block: one of `blocks`, or a new one.

    Returns:
        the block's descriptor, which the caller closes, and the table that `read_block` needs.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    table, offsets, total = block_layout.shared_layout(len(data), [buffer.nbytes for buffer in buffers])
    fd = blocks.take(total) if blocks is not None else None
    if fd is None:
        fd = posix.anonymous_memory()
    try:
        os.ftruncate(fd, total)
        for offset, part in zip(offsets, (data, *buffers), strict=True):
            _write_at(fd, memoryview(part).cast("B"), offset)
    except BaseException:
        os.close(fd)
        raise
    return fd, table


def copy_block(content: memoryview) -> int:
    """Write the content of a block that was made elsewhere into a new one; returns its descriptor.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    fd = posix.anonymous_memory()
    try:
        os.ftruncate(fd, content.nbytes)
        _write_at(fd, content.cast("B"), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        # Copying through the page cache in the kernel: no page fault per page, half the time of a mapping.
        written = posix.write_at(fd, view[:_PIECE], offset)
        view = view[written:]
        offset += written


def read_block(
    fd: int, table: frames.Bytes, access: int = ACCESS_COPY, blocks: BlockCache | None = None
) -> tuple[memoryview, list[memoryview]]:
    """Map a block and close its descriptor: the payload and the buffers, writable and private unless said otherwise.

    Args:
        blocks: where the block goes when nothing is built on it any more.

    Raises:
        ProtocolError: the table does not fit the block.
        OSError: no memory is left.
    """
    kept = None
    try:
        offsets, sizes = block_layout.read_layout(table)
        found = os.fstat(fd)
        if offsets[-1] + sizes[-1] > found.st_size:
            raise frames.ProtocolError("a shared block is shorter than its table says")
        if blocks is not None:
            kept = blocks.map(fd, found)
        view = _map(fd, found.st_size, access) if kept is None else memoryview(kept)
    finally:
        if kept is None:
            os.close(fd)
    parts = [view[at : at + size] for at, size in zip(offsets, sizes, strict=True)]
    return parts[0], parts[1:]


def _map(fd: int, size: int, access: int) -> memoryview:
    """Map a block; where a mapping would hold a scarce descriptor, or there can be no more of them, copy it."""
    if posix.UNTRACKED or fd < posix.descriptors_max() // 2:
        try:
            with posix.StandardTaken(not posix.UNTRACKED):
                return memoryview(mmap(fd, size, access=access, **posix.UNTRACKED))
        except OSError:
            pass
    copy = memoryview(bytearray(size))
    at = 0
    while at < size:
        got = os.preadv(fd, [copy[at : at + _PIECE]], at)
        if not got:
            raise OSError("a shared block ended early")
        at += got
    return copy if access == ACCESS_COPY else copy.toreadonly()


def open_block(fd: int, table: frames.Bytes) -> Any:
    """Map a block read-only, close its descriptor and rebuild the object in it.

    Raises:
        ProtocolError, SerializationError, OSError: as `read_block` and `codec.decode`.
    """
    data, buffers = read_block(fd, table, ACCESS_READ)
    return codec.decode(data, buffers, "a shared object")


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors, each once."""
    for fd in set(fds):
        try:
            os.close(fd)
        except OSError:
            pass  # a task may have closed it under us
