"""What runs in a Dask worker: a plugin that keeps the agent, and the Dask task that is a seat."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from distributed import get_worker
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

from . import wire
from .agent import Connection
from .dask_comm import OPERATION, DaskComm
from .keeper import Keeper

NAME = "unified-exec-agent"
PATIENCE = 30.0
"""Seconds that a seat waits for its program to connect."""
SETUP_SECONDS = 5.0
"""Seconds that a seat, which may start on a new worker before its plugins are there, waits for the agent."""
POLL = 0.01
CLOSE_MARGIN = 0.5
"""Seconds a closing Dask worker gives its tasks after their grace."""


def topic_of(pool: str) -> str:
    """Return Dask's topic in which the seats of a pool announce themselves."""
    return f"unified-exec-{pool}"


class AgentPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Serves programs: one `Connection` for each event loop that has connected."""

    name = NAME
    idempotent = True

    async def setup(self, worker: Any) -> None:
        self._worker = worker
        self._connections: dict[str, Connection] = {}
        self._seats: dict[str, list[asyncio.Event]] = {}
        self._keepers: dict[float, Keeper] = {}
        self._let_go: set[str] = set()  # lanes that their programs have ended: no seat waits for them
        self._beating = asyncio.create_task(self._beat())
        worker.handlers[OPERATION] = self._serve

    async def teardown(self, worker: Any) -> None:
        """Close this place: return what has not begun, let the rest finish for a while, then stop it."""
        worker.handlers.pop(OPERATION, None)
        connections = list(self._connections.values())
        for connection in connections:
            connection.drain()
        await _until_idle(connections, max((each.drain_time for each in connections), default=0.0))
        for connection in connections:
            connection.stop("its Dask worker is closing")
        await _until_idle(connections, max((each.grace for each in connections), default=0.0) + CLOSE_MARGIN)
        for connection in connections:
            connection.flush()
            connection.kill()
        self._beating.cancel()
        for keeper in self._keepers.values():
            keeper.close()

    async def _beat(self) -> None:
        while True:
            for keeper in list(self._keepers.values()):
                keeper.beat()
            await asyncio.sleep(wire.HEARTBEAT)

    # -- connections

    async def _serve(self, comm: Any, **first: Any) -> Status:
        """Dask's handler of a new connection, which is ours until it ends."""
        ours = DaskComm(comm)
        try:
            if "hello" in first:
                await self._serve_program(ours, first["hello"])
            elif "heart" in first:
                await self._serve_heart(ours, first["heart"])
            else:
                await self._tell_end(ours, first["end"])
        except OSError:
            pass
        finally:
            ours.abort()
        return Status.dont_reply

    async def _serve_program(self, comm: DaskComm, hello: dict[str, Any]) -> None:
        lane, lease = hello["lane"], hello["lease"]
        keeper = self._keepers.get(lease)
        if keeper is None:
            keeper = self._keepers[lease] = Keeper(lease)
        where = f"{self._worker.address} (pid {os.getpid()})"
        threads = self._worker.state.nthreads
        connection = Connection(comm.write, hello, keeper, where, threads, dict(os.environ))
        self._connections[lane] = connection
        connection.set_slots(len(self._seats.get(lane, ())))
        connection.on_over = comm.abort
        ended = asyncio.Event()
        connection.on_ended = ended.set
        try:
            while (batch := await comm.read_or_release()) is not None:
                for frame in batch:
                    if wire.kind_of(frame[0]) == wire.RELEASE:
                        self._release_seats(lane, wire.unpack_numbers(frame[0])[0])
                connection.receive(batch)
            self._let_go.add(lane)
        finally:
            connection.end()
            comm.abort()
            for seat in self._seats.get(lane, ()):
                seat.set()
            # Until then it is known here: the program may ask when all has ended.
            await ended.wait()
            if self._connections.get(lane) is connection:
                del self._connections[lane]

    async def _serve_heart(self, comm: DaskComm, lane: str) -> None:
        while (connection := self._connections.get(lane)) is not None:
            for head, _ in await comm.read():
                theirs, echo, _ = wire.unpack_times(head)
                comm.write([(connection.pong(theirs, echo), ())])

    async def _tell_end(self, comm: DaskComm, lane: str) -> None:
        """Answer as soon as nothing of a lane runs here."""
        connection = self._connections.get(lane)
        if connection is not None:
            connection.end("its connection broke")
        while connection is not None and self._connections.get(lane) is connection:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        comm.write([(b"", ())])

    # -- seats

    async def sit(self, pool: str, lane: str) -> None:
        """Hold one thread of this Dask worker for a lane."""
        if lane in self._let_go:
            return
        seat = asyncio.Event()
        self._seats.setdefault(lane, []).append(seat)
        self._seats_changed(lane)
        self._worker.log_event(topic_of(pool), {"lane": lane, "address": self._worker.address})
        try:
            while not seat.is_set():
                try:
                    await asyncio.wait_for(seat.wait(), PATIENCE)
                except TimeoutError:
                    if lane not in self._connections:
                        return
        finally:
            seats = self._seats[lane]
            if seat in seats:
                seats.remove(seat)
                self._seats_changed(lane)
            if not seats:
                self._seats.pop(lane, None)

    def _release_seats(self, lane: str, n: int) -> None:
        seats = self._seats.get(lane, [])
        for seat in seats[:n]:
            seat.set()
        del seats[:n]
        self._seats_changed(lane)

    def _seats_changed(self, lane: str) -> None:
        connection = self._connections.get(lane)
        if connection is not None:
            connection.set_slots(len(self._seats.get(lane, ())))


async def _until_idle(connections: list[Connection], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while any(len(connection) for connection in connections) and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(POLL)


async def unified_exec_seat(pool: str, lane: str, number: int) -> None:
    """The Dask task that is a seat."""
    plugins = get_worker().plugins
    for _ in range(int(SETUP_SECONDS / POLL)):
        if NAME in plugins:
            break
        await asyncio.sleep(POLL)
    await plugins[NAME].sit(pool, lane)
