"""Blocks of shared memory whose objects are gone, kept a moment for what this process sends next.

To find and clear the pages of a large block costs the kernel more than to copy the data into it. A block has one owner
at a time: who sends it keeps nothing of it, who receives it may write into it once nothing built on it is left. So
blocks go back and forth between a parent and its workers without a word about them.

Nothing is written into a block that anybody can still read: not after a fork, whose child has the mapping, and not into
a descriptor that a task has closed and that is something else by now.
"""

from __future__ import annotations

import os
from mmap import ACCESS_COPY, mmap
from time import monotonic
from weakref import ReferenceType, WeakSet, ref

from .posix import UNTRACKED

SIZE_MIN = 1024 * 1024
"""A smaller block is made anew in no time."""
SIZE_MAX = 128 * 1024 * 1024
FREE_MAX = 2
"""Blocks that are kept when another comes."""
LIVE_MAX = 8
"""Mapped blocks whose descriptors are kept to have them back; descriptors are scarce."""
KEEP = 0.5
"""Seconds after which a block is not kept, or waited for, any longer. Who sends less often does not feel what a new one
costs."""

_forks = 0
_all: WeakSet[BlockCache] = WeakSet()


class CachedBlock:
    """A descriptor with what it stands for, and when it came."""

    __slots__ = ("came", "device", "fd", "inode", "size")

    def __init__(self, fd: int, found: os.stat_result) -> None:
        self.fd = fd
        self.size = found.st_size
        self.device, self.inode = found.st_dev, found.st_ino
        self.came = monotonic()

    def is_still(self) -> bool:
        """Tell whether the descriptor is what it was; a task may have closed it, and opened something else."""
        try:
            now = os.fstat(self.fd)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (self.device, self.inode)

    def close(self) -> None:
        if self.is_still():
            os.close(self.fd)


class BlockCache:
    """The blocks one end of a conversation may write into, now or when what is built on them is dropped.

    A block may be dropped in any thread, by a finalizer at any instruction, and a cancellation may hit that finalizer
    at any of its own. So there is no lock (who takes an entry out of a dictionary has it), and what is dropped only
    changes its place: the rest is done when the next block comes, or by `forget`.
    """

    __slots__ = ("__weakref__", "_came", "_free", "_live", "_wanted")

    def __init__(self) -> None:
        self._live: dict[int, CachedBlock] = {}
        self._free: dict[int, CachedBlock] = {}
        self._came = self._wanted = -KEEP
        _all.add(self)

    def __bool__(self) -> bool:
        return bool(self._live or self._free)

    def keeps_for(self) -> float:
        """Seconds until what is here is to be forgotten, unless another block comes."""
        return self._came + KEEP - monotonic()

    def map(self, fd: int, found: os.stat_result) -> mmap | None:
        """Map a block that came, privately, and see to its descriptor.

        Returns:
            the mapping, or ``None`` if the block is none to keep: then the descriptor remains the caller's.

        Raises:
            OSError: no memory is left, or there are too many mappings; the descriptor remains the caller's.
        """
        if not SIZE_MIN <= found.st_size <= SIZE_MAX:
            return None
        now = monotonic()
        self._tidy(now - KEEP)
        if now - self._wanted > KEEP or len(self._live) >= LIVE_MAX:
            return None
        forks = _forks
        block = Block(fd, found.st_size, access=ACCESS_COPY, **UNTRACKED)
        self._live[fd] = block.kept = CachedBlock(fd, found)
        block.blocks = ref(self)
        self._came = now
        if forks != _forks:
            let_go(self._live, fd)
        return block

    def _tidy(self, since: float) -> None:
        for fd, kept in self._live.copy().items():
            if kept.came < since:
                let_go(self._live, fd)
        for fd in list(self._free)[:-FREE_MAX]:
            let_go(self._free, fd)

    def dropped(self, block: Block) -> None:
        """Nothing is built on a block any more."""
        kept = block.kept
        fd = kept.fd
        if self._live.get(fd) is not kept:
            return
        try:
            block.close()
        except BufferError:  # something in a cycle is still to be finalized
            let_go(self._live, fd)
            return
        self._free[fd] = kept
        self._live.pop(fd, None)

    def take(self, size: int) -> int | None:
        """A block to write `size` bytes into, if one is at hand: its descriptor, which the caller closes."""
        if not SIZE_MIN <= size <= SIZE_MAX:
            return None
        self._wanted = monotonic()
        while at_hand := self._free.copy():
            # The smallest that is large enough, or else the largest.
            fd = min(at_hand, key=lambda fd: (at_hand[fd].size < size, abs(at_hand[fd].size - size)))
            kept = self._free.pop(fd, None)
            self._live.pop(fd, None)
            if kept is not None and kept.is_still():
                return fd
        return None

    def forget(self) -> None:
        """Free what is kept, and keep nothing of what is mapped now."""
        for entries in (self._free, self._live):
            for fd in entries.copy():
                let_go(entries, fd)

    def __del__(self) -> None:
        self.forget()


class Block(mmap):
    """A private mapping that gives its block back when it is dropped."""

    __slots__ = ("blocks", "kept")

    blocks: ReferenceType[BlockCache]  # what is built on a block must not keep an event loop alive
    kept: CachedBlock

    def __del__(self) -> None:
        try:
            blocks = self.blocks()
        except AttributeError:
            return  # it could not be made
        if blocks is not None:
            blocks.dropped(self)


def let_go(entries: dict[int, CachedBlock], fd: int) -> None:
    """Close a descriptor unless somebody else has taken it meanwhile."""
    if (kept := entries.pop(fd, None)) is not None:
        kept.close()


def _before_fork() -> None:
    global _forks
    _forks += 1
    for blocks in list(_all):
        blocks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
