"""The relay that stands in for a slow, lossy or cut line: what the tests of far nodes rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster.tcp_relay import TcpRelay

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_it_delays_each_direction_and_keeps_the_order(echo: int) -> None:
    with TcpRelay(echo, delay=0.02, loss=0.5) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        begun = asyncio.get_running_loop().time()
        data = bytes(range(256)) * 2000
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert asyncio.get_running_loop().time() - begun >= 0.04
        writer.close()


async def test_nothing_passes_a_cut_and_everything_arrives_when_it_heals(echo: int) -> None:
    with TcpRelay(echo) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        relay.cut()
        writer.write(b"during")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        relay.heal()
        assert await reader.readexactly(6) == b"during"
        writer.close()


async def test_a_reset_ends_the_connections_that_there_are(echo: int) -> None:
    with TcpRelay(echo) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        relay.reset()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()
