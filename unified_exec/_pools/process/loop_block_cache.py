"""The blocks of shared memory that one event loop received, freed a moment after the last one arrived."""

from __future__ import annotations

import os
from mmap import mmap

from ..._loops.adapter import LoopAdapter, Timer, call_later_apart
from ..._platform.shm_cache import KEEP, Block, BlockCache


class LoopBlockCache(BlockCache):
    """Keeps the blocks in which answers arrived for the arguments that are sent next."""

    __slots__ = ("_adapter", "_timer")

    def __init__(self, adapter: LoopAdapter) -> None:
        super().__init__()
        self._adapter = adapter
        self._timer: Timer | None = None

    def map(self, fd: int, found: os.stat_result) -> mmap | None:
        block = super().map(fd, found)
        if block is not None and self._timer is None:
            self._timer = call_later_apart(self._adapter, KEEP, self._check)
        return block

    def dropped(self, block: Block) -> None:
        super().dropped(block)
        if self._adapter.ended():
            self.forget()

    def _check(self) -> None:
        seconds = self.keeps_for()
        if seconds > 0:
            self._timer = call_later_apart(self._adapter, seconds, self._check)
        else:
            self._timer = None
            self.forget()
