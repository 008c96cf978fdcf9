"""Batches of frames over a connection of Dask's own, so that protocol and TLS are those of the cluster."""

from __future__ import annotations

from typing import Any

from distributed.comm import CommClosedError
from distributed.protocol import to_serialize

from . import wire
from .engine import Comm

OPERATION = "unified_exec"
RELEASE = "release"
_AS_FRAMES = ("dask", "error")
"""How large buffers may arrive: never as pickles."""


class DaskComm(Comm):
    """One connection, at either end."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        comm.allow_offload = False  # then `write` only appends to the stream's buffer

    async def read(self) -> list[wire.Frame]:
        batch = await self.read_or_release()
        if batch is None:
            raise ConnectionError("it was let go")
        return batch

    async def read_or_release(self) -> list[wire.Frame] | None:
        """Return the next batch; ``None`` if the program lets the agent go.

        Raises:
            ConnectionError: it was closed.
        """
        try:
            message = await self._comm.read(_AS_FRAMES)
        except CommClosedError as exc:
            raise ConnectionError(str(exc)) from None
        return None if message == RELEASE else _unpack(message)

    def write(self, batch: list[wire.Frame]) -> None:
        self._write(_pack(batch))

    def write_release(self) -> None:
        self._write(RELEASE)

    def _write(self, message: Any) -> None:
        write = self._comm.write(message)
        try:
            write.send(None)
        except StopIteration:
            return
        except CommClosedError:
            return
        raise RuntimeError("Comm.write has suspended; please report this bug")

    def abort(self) -> None:
        self._comm.abort()


def _pack(batch: list[wire.Frame]) -> Any:
    """Return a batch as a message: heads in one list, and each large buffer as a frame of its own, not copied."""
    if not any(buffers for _, buffers in batch):
        return [head for head, _ in batch]
    return {
        "heads": [head for head, _ in batch],
        "counts": [len(buffers) for _, buffers in batch],
        "buffers": [to_serialize(memoryview(buffer)) for _, buffers in batch for buffer in buffers],
    }


def _unpack(message: Any) -> list[wire.Frame]:
    if type(message) is dict:
        buffers = iter(message["buffers"])
        pairs = zip(message["heads"], message["counts"], strict=True)
        return [(head, [memoryview(next(buffers)) for _ in range(n)]) for head, n in pairs]
    return [(head, ()) for head in message]
