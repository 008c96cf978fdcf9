"""Where a payload and its buffers lie in a shared block."""

from __future__ import annotations

from _struct import Struct
from _struct import error as struct_error  # type: ignore[attr-defined]

from .frames import Bytes, ProtocolError

_COUNT = Struct("<I")
_SIZE = Struct("<Q")
ALIGN = 64


def shared_layout(data: int, buffers: list[int]) -> tuple[bytes, list[int], int]:
    """Lay a payload and its buffers out in one shared block.

    Args:
        data: bytes of the in-band payload.
        buffers: bytes of each out-of-band buffer.

    Returns:
        the table that tells the receiver the layout, the offset of each part (payload first), and the total size.
    """
    table = _COUNT.pack(len(buffers)) + b"".join(_SIZE.pack(size) for size in (data, *buffers))
    offsets, at = [], 0
    for size in (data, *buffers):
        offsets.append(at)
        at += -(-size // ALIGN) * ALIGN
    return table, offsets, max(at, 1)


def read_layout(table: Bytes) -> tuple[list[int], list[int]]:
    """Read a table of `shared_layout`: offsets and sizes, payload first.

    Raises:
        ProtocolError: the table is incomplete.
    """
    try:
        (count,) = _COUNT.unpack_from(table)
        if len(table) != _COUNT.size + (count + 1) * _SIZE.size:
            raise ProtocolError("the table of a shared block is incomplete")
        sizes = [_SIZE.unpack_from(table, _COUNT.size + i * _SIZE.size)[0] for i in range(count + 1)]
    except struct_error:
        raise ProtocolError("the table of a shared block is incomplete") from None
    offsets, at = [], 0
    for size in sizes:
        offsets.append(at)
        at += -(-size // ALIGN) * ALIGN
    return offsets, sizes
