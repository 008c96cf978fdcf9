"""Batches of frames over a connection of Dask's own, so that protocol and TLS are those of the cluster.

Over TCP and TLS, the large buffers of a batch follow its message on the same stream: Dask reads a message into memory
that it allocates, and we want them in shared memory. Other protocols carry them in the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed.comm import CommClosedError
from distributed.comm.tcp import TCP
from distributed.protocol import to_serialize
from distributed.protocol.utils import host_array
from tornado.iostream import StreamClosedError

from . import wire
from .engine import Comm

OPERATION = "unified_exec"
RELEASE = "release"
_AS_FRAMES = ("dask", "error")
"""How large buffers may arrive: never as pickles."""
_PIECE = 4 << 20
"""Bytes that are read or written in one step."""

Room = Callable[[bytes, Sequence[int]], Sequence[memoryview] | None]
"""Returns memory for the buffers of a frame, of which the head and the sizes are known; ``None`` if any will do."""


def _anywhere(head: bytes, sizes: Sequence[int]) -> None:
    return None


class DaskComm(Comm):
    """One connection, at either end.

    Attributes:
        carries_raw: large buffers follow their message.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.carries_raw = isinstance(comm, TCP)
        comm.allow_offload = False  # then `write` only appends to the stream's buffer

    async def read(self) -> list[wire.Frame]:
        batch = await self.read_or_release()
        if batch is None:
            raise ConnectionError("it was let go")
        return batch

    async def read_or_release(self, room: Room = _anywhere) -> list[wire.Frame] | None:
        """Return the next batch; ``None`` if the program lets the agent go.

        Raises:
            ConnectionError: it was closed.
        """
        try:
            message = await self._comm.read(_AS_FRAMES)
            if message == RELEASE:
                return None
            if type(message) is not dict:
                return [(head, ()) for head in message]
            if not self.carries_raw:
                return list(_unpack(message))
            pairs = zip(message["heads"], message["sizes"], strict=True)
            return [(head, await self._read_raw(head, sizes, room) if sizes else ()) for head, sizes in pairs]
        except (CommClosedError, StreamClosedError) as exc:
            self._comm.abort()
            raise ConnectionError(str(exc)) from None

    async def _read_raw(self, head: bytes, sizes: Sequence[int], room: Room) -> Sequence[memoryview]:
        buffers = room(head, sizes)
        if buffers is None:
            buffers = [host_array(size) for size in sizes]
        try:
            for piece in _pieces(buffers):
                if self._comm.stream is None:
                    raise StreamClosedError
                await self._comm.stream.read_into(piece)
        except BaseException:
            self._comm.abort()  # nobody knows where the next message begins
            raise
        return buffers

    def write(self, batch: list[wire.Frame]) -> None:
        heads = [head for head, _ in batch]
        if not any(buffers for _, buffers in batch):
            self._write(heads)
        elif self.carries_raw:
            views = [[memoryview(buffer).cast("B") for buffer in buffers] for _, buffers in batch]
            self._write({"heads": heads, "sizes": [[view.nbytes for view in each] for each in views]})
            try:
                for each in views:
                    for piece in _pieces(each):
                        self._comm.stream.write(piece)
            except (StreamClosedError, AttributeError):
                pass  # it has closed; the reader is told
        else:
            self._write(
                {
                    "heads": heads,
                    "counts": [len(buffers) for _, buffers in batch],
                    "buffers": [to_serialize(memoryview(buffer)) for _, buffers in batch for buffer in buffers],
                }
            )

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


def _pieces(views: Sequence[memoryview]) -> Iterator[memoryview]:
    return (view[at : at + _PIECE] for view in views for at in range(0, view.nbytes, _PIECE))


def _unpack(message: Any) -> Iterator[wire.Frame]:
    buffers = iter(message["buffers"])
    for head, n in zip(message["heads"], message["counts"], strict=True):
        yield head, [memoryview(next(buffers)) for _ in range(n)]
