"""Frames over connections of Dask's own: large buffers arrive in memory of the receiver's choice, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import pytest_asyncio

from tests import installed

if TYPE_CHECKING:
    from unified_exec.cluster.dask_comm import DaskComm

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]
LARGE = bytes(range(256)) * 4096 * 9  # 9 MiB: more than one step
Ends: TypeAlias = "tuple[DaskComm, DaskComm]"


@pytest_asyncio.fixture(params=["tcp://127.0.0.1:0", "inproc://"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    """Both ends of a connection: over TCP, and over a protocol that has no stream."""
    from distributed.comm import connect, listen

    from unified_exec.cluster.dask_comm import DaskComm

    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def on_connect(comm: Any) -> None:
        accepted.set_result(comm)

    listener = await listen(request.param, on_connect, deserialize=True)
    ours = await connect(listener.contact_address, deserialize=True)
    theirs = await accepted
    yield DaskComm(ours), DaskComm(theirs)
    ours.abort()
    theirs.abort()
    listener.stop()


def content(batch: Any) -> list[tuple[bytes, list[bytes]]]:
    return [(head, [bytes(buffer) for buffer in buffers]) for head, buffers in batch]


async def test_batches_with_large_buffers_and_without_arrive_in_order(ends: Ends) -> None:
    one, other = ends
    batches: list[Any] = [
        [(b"first", ())],
        [(b"second", [memoryview(LARGE), memoryview(b"")]), (b"third", ()), (b"fourth", [memoryview(b"short")])],
        [(b"fifth", [memoryview(LARGE)])],
        [(b"last", ())],
    ]
    for writer, reader in ((one, other), (other, one)):
        for batch in batches:
            writer.write(batch)
        for batch in batches:
            assert content(await reader.read()) == content(batch)
    one.write_release()
    assert await other.read_or_release() is None


async def test_buffers_arrive_where_the_receiver_has_room_for_them(ends: Ends) -> None:
    one, other = ends
    asked: list[tuple[bytes, list[int]]] = []
    rooms: list[list[memoryview]] = []

    def room(head: bytes, sizes: Any) -> list[memoryview] | None:
        asked.append((head, list(sizes)))
        if head == b"anywhere":
            return None
        rooms.append([memoryview(bytearray(size)) for size in sizes])
        return rooms[-1]

    one.write([(b"none", ()), (b"anywhere", [memoryview(b"abc")]), (b"here", [memoryview(LARGE), memoryview(b"xy")])])
    batch = await other.read_or_release(room)
    assert batch is not None
    if one.carries_raw:
        assert asked == [(b"anywhere", [3]), (b"here", [len(LARGE), 2])]
        assert batch[2][1] is rooms[0]
    assert content(batch)[1:] == [(b"anywhere", [b"abc"]), (b"here", [LARGE, b"xy"])]


async def test_a_connection_that_breaks_within_a_large_buffer_is_told_as_broken(ends: Ends) -> None:
    one, other = ends
    reading = asyncio.ensure_future(other.read())
    if one.carries_raw:
        one._write({"heads": [b"cut"], "sizes": [[len(LARGE)]]})  # and the buffer never comes
        await asyncio.sleep(0)
    one.abort()
    with pytest.raises(ConnectionError):
        await reading
    one.write([(b"late", [memoryview(LARGE)])])  # does nothing
