"""A relay between two ends of TCP connections that adds delay, loses segments, and cuts them off from each other.

Above TCP, a lost segment is one that comes late, with all that follow it: after a retransmission timeout.
"""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from typing import Self

RETRANSMISSION = 0.2
CHUNK = 1 << 16


class TcpRelay:
    """Listens on a port of this machine, in a thread.

    Args:
        target: the port to which it connects.
        delay: seconds in each direction.
        loss: share of the chunks that come late.

    Attributes:
        port: on which it listens.
    """

    def __init__(self, target: int, delay: float = 0.0, loss: float = 0.0) -> None:
        self._target = target
        self._delay = delay
        self._loss = loss
        self._random = random.Random(target)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connected = asyncio.Event()
        self._connected.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Hold back everything from now on. No connection is closed, as when a cable is pulled."""
        self._loop.call_soon_threadsafe(self._connected.clear)

    def heal(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._connected.set)

    def reset(self) -> None:
        """Break the connections that there are, as a router does that has forgotten them."""
        asyncio.run_coroutine_threadsafe(self._end_connections(), self._loop).result()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._connected.wait()
            answers, other = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(other)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, other))
                group.create_task(self._pass(answers, writer))
        except* OSError:
            pass  # one end is gone: the other one is told
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction until it ends, then end the connection."""
        try:
            await self._pass_until_end(reader, writer)
        finally:
            writer.close()

    async def _pass_until_end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(chunks, writer))
            due = 0.0
            data = b"."
            while data:
                data = await reader.read(CHUNK)
                late = RETRANSMISSION if self._random.random() < self._loss else 0.0
                due = max(due, self._loop.time() + self._delay + late)
                await chunks.put((due, data))

    async def _deliver(self, chunks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(due - self._loop.time())
            await self._connected.wait()
            if not data:
                raise ConnectionError("it has ended")
            writer.write(data)
            await writer.drain()

    def close(self) -> None:
        """Close all connections and end the thread."""
        asyncio.run_coroutine_threadsafe(self._stop_listening(), self._loop).result()
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop_listening(self) -> None:
        self._server.close()

    async def _end_connections(self) -> None:
        writers, tasks = list(self._writers), list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            self._writers.discard(writer)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
