"""Blocks of shared memory whose objects were dropped, kept for a moment to be used for what this process sends next.

For a large block, the kernel takes longer to find and clear the pages than to copy the data. A block has one owner at a
time: the sender keeps nothing of it, and the receiver may write into it once every object built on it was dropped. So
blocks go back and forth between a parent and its workers without any message about them.

A block that another process can still read is never written: not after a fork, as the child has the mapping, and not if
a task has closed the descriptor, whose number may belong to something else by now.
"""

from __future__ import annotations

import os
from _weakref import ref
from mmap import ACCESS_COPY, mmap
from time import monotonic

from .._tasks.weak_sets import Registry
from .posix import UNTRACKED, StandardTaken

SIZE_MIN = 1024 * 1024
"""Smaller blocks are not kept: a new one costs little."""
SIZE_MAX = 128 * 1024 * 1024
FREE_MAX = 2
"""How many free blocks are kept when another one arrives."""
LIVE_MAX = 8
"""How many mapped blocks keep their descriptor, to be used again; descriptors are scarce."""
KEEP = 0.5
"""Seconds for which a block is kept. For less frequent senders the cost of a new block is negligible."""

_forks = 0
_all = Registry()


class CachedBlock:
    """The descriptor of a block, with its identity and the instant of its arrival."""

    __slots__ = ("came", "device", "fd", "inode", "size")

    def __init__(self, fd: int, found: os.stat_result) -> None:
        self.fd = fd
        self.size = found.st_size
        self.device, self.inode = found.st_dev, found.st_ino
        self.came = monotonic()

    def is_still(self) -> bool:
        """Tell whether the descriptor is still that of the block: a task may have closed it and opened another file."""
        try:
            now = os.fstat(self.fd)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (self.device, self.inode)

    def close(self) -> None:
        if self.is_still():
            os.close(self.fd)


class BlockCache:
    """The blocks that a process may write into, now or once every object built on them was dropped.

    A block may be dropped in any thread, by a finalizer at any instruction, and a cancellation may interrupt that
    finalizer at any of its own. So there is no lock (an entry belongs to the code that pops it from a dictionary), and
    a dropped block only moves from one dictionary to the other: the rest is done when the next block arrives, or by
    `forget`.
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
        """Return the seconds until the blocks are due to be forgotten, unless another one arrives."""
        return self._came + KEEP - monotonic()

    def map(self, fd: int, found: os.stat_result) -> mmap | None:
        """Map a block that has arrived, privately, and keep its descriptor.

        Returns:
            the mapping, or ``None`` if the block is not to be kept: then the descriptor remains the caller's.

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
        with StandardTaken(not UNTRACKED):
            block = Block(fd, found.st_size, access=ACCESS_COPY, **UNTRACKED)
        self._live[fd] = block.kept = CachedBlock(fd, found)
        block.blocks = ref(self)
        self._came = now
        if forks != _forks:
            let_go(self._live, fd)
        return block

    def give(self, fd: int) -> None:
        """Keep a block that its last owner has handed over, to be written."""
        self._came = monotonic()
        self._tidy(self._came - KEEP)
        self._free[fd] = CachedBlock(fd, os.fstat(fd))

    def _tidy(self, since: float) -> None:
        for fd, kept in self._live.copy().items():
            if kept.came < since:
                let_go(self._live, fd)
        for fd in list(self._free)[:-FREE_MAX]:
            let_go(self._free, fd)

    def dropped(self, block: Block) -> None:
        """Free a block: the last object built on it was dropped."""
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
        """Return the descriptor of a free block for `size` bytes, which the caller closes, or ``None``."""
        if not SIZE_MIN <= size <= SIZE_MAX:
            return None
        self._wanted = monotonic()
        while free := self._free.copy():
            # The smallest that is large enough, or else the largest.
            fd = min(free, key=lambda fd: (free[fd].size < size, abs(free[fd].size - size)))
            kept = self._free.pop(fd, None)
            self._live.pop(fd, None)
            if kept is not None and kept.is_still():
                return fd
        return None

    def forget(self) -> None:
        """Close the free blocks, and keep none of those that are mapped now."""
        for entries in (self._free, self._live):
            for fd in entries.copy():
                let_go(entries, fd)

    def __del__(self) -> None:
        if hasattr(self, "_free"):  # else a signal handler has raised while it was made
            self.forget()


class Block(mmap):
    """A private mapping that gives its block back when it is dropped."""

    __slots__ = ("blocks", "kept")

    blocks: ref[BlockCache]  # weak: an object in a block must not keep an event loop alive
    kept: CachedBlock

    def __del__(self) -> None:
        try:
            blocks = self.blocks()
        except AttributeError:
            return  # mapping it failed
        if blocks is not None:
            blocks.dropped(self)


def let_go(entries: dict[int, CachedBlock], fd: int) -> None:
    """Close the descriptor of an entry, unless other code has popped it meanwhile."""
    if (kept := entries.pop(fd, None)) is not None:
        kept.close()


def _before_fork() -> None:
    global _forks
    _forks += 1
    for blocks in _all:
        blocks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
