"""A block of shared memory that is filled while data arrives from elsewhere, and is given to a worker as it is."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from mmap import mmap

from ..._platform import posix
from ..._platform.shm_cache import BlockCache
from ..._wire import block_layout, frames

SIZE_MIN = 1024 * 1024
"""Smaller data is copied into a block later: to map one costs more."""
_POPULATE_MAX = 128 * 1024 * 1024
"""The pages of a larger block are found one by one, as data arrives: all at once would block the loop for too long."""
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14


class FilledBlock(list[memoryview]):
    """The parts of a block that arrive, to be written once.

    It is closed when it is dropped. The worker that was given the block may write into it when its task has ended, so
    nothing is read from it after that.

    Args:
        sizes: bytes of each part that arrives.
        payload: what is there already and lies before them; ``None`` if the first part is the payload.
        blocks: memory that may be used again.

    Attributes:
        fd: the descriptor of the block.
        table: where its parts are, see `block_layout`.

    Raises:
        OSError: no descriptor or no memory is left.
    """

    __slots__ = ("fd", "table")

    def __init__(self, sizes: Sequence[int], payload: frames.Bytes | None, blocks: BlockCache | None = None) -> None:
        lengths = [*sizes] if payload is None else [len(payload), *sizes]
        table, offsets, total = block_layout.shared_layout(lengths[0], lengths[1:])
        fd = blocks.take(total) if blocks is not None else None
        if fd is None:
            fd = posix.anonymous_memory()
        try:
            os.ftruncate(fd, total)
            if payload:
                posix.write_at(fd, memoryview(payload), 0)
            with posix.StandardTaken(not posix.UNTRACKED):
                mapping = mmap(fd, total, **posix.UNTRACKED)
            _populate(mapping, total)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd
        self.table = table
        whole = memoryview(mapping)
        parts = [whole[at : at + size] for at, size in zip(offsets, lengths, strict=True)]
        super().__init__(parts if payload is None else parts[1:])

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


def _populate(mapping: mmap, size: int) -> None:
    """Find all pages of a mapping in one step, where the system can."""
    if sys.platform != "linux" or size > _POPULATE_MAX:
        return
    try:
        mapping.madvise(_POPULATE_WRITE)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise  # no memory is left: writing would kill this process
