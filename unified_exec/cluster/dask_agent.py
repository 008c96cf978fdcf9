"""What runs in a Dask worker: a plugin that keeps the agent, and the Dask task that is a seat."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from distributed import get_worker
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

from . import wire
from .agent_host import AgentHost
from .dask_comm import OPERATION, DaskComm

NAME = "unified-exec-agent"
PATIENCE = 30.0
"""Seconds that a seat waits for its program to connect."""
SETUP_SECONDS = 5.0
"""Seconds that a seat, which may start on a new worker before its plugins are there, waits for the agent."""
POLL = 0.01
LET_GO = 1000
"""Ended lanes that are remembered. A seat of an older one, which starts even later, waits for its program in vain."""


def topic_of(pool: str) -> str:
    """Return Dask's topic in which the seats of a pool announce themselves."""
    return f"unified-exec-{pool}"


class AgentPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Serves programs: one `Connection` for each event loop that has connected."""

    name = NAME
    idempotent = True

    async def setup(self, worker: Any) -> None:
        self._worker = worker
        self._host = AgentHost(worker.address, lambda: worker.state.nthreads)
        self._seats: dict[str, dict[str, asyncio.Event]] = {}
        self._let_go: deque[str] = deque(maxlen=LET_GO)  # lanes that their programs have ended: no seat waits for them
        worker.handlers[OPERATION] = self._serve

    async def teardown(self, worker: Any) -> None:
        worker.handlers.pop(OPERATION, None)
        await self._host.close("its Dask worker is closing")

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
                if "over" in first:
                    self._let_go.append(first["over"])
                    self._end_seats(first["over"])
                else:
                    await self._host.until_ended(first["end"])
                ours.write([(b"", ())])
        except OSError:
            pass
        finally:
            ours.abort()
        return Status.dont_reply

    async def _serve_program(self, comm: DaskComm, hello: dict[str, Any]) -> None:
        lane = hello["lane"]
        connection = self._host.connect(comm.write, hello, len(self._seats.get(lane, ())))
        connection.on_over = comm.abort
        try:
            while (batch := await comm.read_or_release(connection.room)) is not None:
                for frame in batch:
                    if wire.kind_of(frame[0]) == wire.RELEASE:
                        self._release_seats(lane, wire.unpack_numbers(frame[0])[0])
                connection.receive(batch)
            self._let_go.append(lane)
        finally:
            comm.abort()
            self._end_seats(lane)
            await self._host.disconnect(lane, connection)

    async def _serve_heart(self, comm: DaskComm, lane: str) -> None:
        while True:
            for head, _ in await comm.read():
                pong = self._host.pong(lane, head)
                if pong is None:
                    return
                comm.write([(pong, ())])

    # -- seats

    def transition(self, key: str, start: str, finish: str, **_: Any) -> None:
        """Dask's hook. It does not stop a seat that is cancelled as it starts, which would wait for its program."""
        if finish == "released":
            for lane, seats in self._seats.items():
                if key in seats and lane not in self._host.connections:
                    seats[key].set()

    def _end_seats(self, lane: str) -> None:
        for seat in self._seats.get(lane, {}).values():
            seat.set()

    async def sit(self, pool: str, lane: str, key: str) -> None:
        """Hold one thread of this Dask worker for a lane."""
        task = self._worker.state.tasks.get(key)
        if lane in self._let_go or (task is not None and task.state == "cancelled"):
            return
        seats = self._seats.setdefault(lane, {})
        seat = seats[key] = asyncio.Event()
        self._seats_changed(lane)
        self._worker.log_event(topic_of(pool), {"key": key, "lane": lane, "address": self._worker.address})
        try:
            while not seat.is_set():
                try:
                    await asyncio.wait_for(seat.wait(), PATIENCE)
                except TimeoutError:
                    if lane not in self._host.connections:
                        return
        finally:
            if seats.pop(key, None) is not None:
                self._seats_changed(lane)
            if not seats and self._seats.get(lane) is seats:
                del self._seats[lane]

    def _release_seats(self, lane: str, n: int) -> None:
        seats = self._seats.get(lane, {})
        for key in list(seats)[:n]:
            seats.pop(key).set()
        self._seats_changed(lane)

    def _seats_changed(self, lane: str) -> None:
        connection = self._host.connections.get(lane)
        if connection is not None:
            connection.set_slots(len(self._seats.get(lane, ())))


async def unified_exec_seat(pool: str, lane: str, key: str) -> None:
    plugins = get_worker().plugins
    for _ in range(int(SETUP_SECONDS / POLL)):
        if NAME in plugins:
            break
        await asyncio.sleep(POLL)
    await plugins[NAME].sit(pool, lane, key)
