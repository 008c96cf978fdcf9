"""Connections to the agents on the nodes of a Ray cluster: calls of their methods."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, Protocol

import ray
from ray.exceptions import ActorDiedError, ActorUnschedulableError, RuntimeEnvSetupError

from . import wire
from .engine import Comm
from .ray_agent import Call, pack_call, unpack, writable

GONE = (ActorDiedError, ActorUnschedulableError, RuntimeEnvSetupError)
"""What Ray raises if the process of an agent has exited, or never started."""


def check_connected() -> None:
    """Raise `ConnectionError` if this program has left Ray: most of Ray's functions would start another one."""
    if not ray.is_initialized():
        raise ConnectionError("this program was disconnected from Ray by ray.shutdown()")


class Seats(Protocol):
    """What a connection needs of its engine."""

    def agent_died(self, address: str, agent: Any) -> None:
        """Note that the process of an agent has ended."""

    def release_seats(self, name: str, address: str, n: int) -> None:
        """Give seats of a lane at a node back."""

    def leaving(self, comm: RayComm) -> None:
        """Note that a connection is over, and have the agent end what runs there."""

    def note_error(self, exc: BaseException) -> None:
        """Keep the last thing that Ray has refused."""


class _RayCalls(Comm):
    """Calls of one agent's methods."""

    def __init__(self, agent: Any, lane: str) -> None:
        self._agent = agent
        self.lane = lane
        self._over = False

    async def call(self, method: Any, *args: Any) -> Any:
        """Call a method and wait for it.

        Raises:
            ConnectionError: the agent cannot be reached.
        """
        try:
            check_connected()
            return await method.remote(*args)
        except Exception as exc:  # Ray raises errors of its own and others, such as when it is shut down
            self.failed(exc)
            raise ConnectionError(str(exc).partition("\n")[0]) from None

    def failed(self, exc: BaseException) -> None:
        """Note why the agent cannot be reached."""

    def write(self, batch: list[wire.Frame]) -> None:
        raise NotImplementedError

    def write_release(self) -> None:
        pass

    def abort(self) -> None:
        self._over = True


class RayComm(_RayCalls):
    """One event loop's connection to an agent. Each call brings a batch, and waits for one of the agent.

    Ray repeats a call that was lost on the way. The calls are numbered: the agent takes each in once, and keeps its
    answer until it has come.

    Attributes:
        lane, address: the event loop and the node.
    """

    _connections = count()

    def __init__(self, engine: Seats, agent: Any, lane: str, address: str) -> None:
        super().__init__(agent, lane)
        self.address = address
        self._engine = engine
        self._deliver = agent.deliver.options(max_task_retries=-1)
        self._connection = next(self._connections)
        self._number = self._read = 0  # the calls below were made, and their answers read
        self._answers: dict[int, Future[Any]] = {}
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._failure: BaseException | None = None
        self._seats = 0
        self._connected = False

    async def connect(self, hello: dict[str, Any], seats: int) -> None:
        """Have the agent serve the lane."""
        self._seats = seats
        await self.call(self._agent.connect, hello, seats, self._connection)
        self._connected = True

    async def read(self) -> list[wire.Frame]:
        if self._read == self._number and not self._over:
            self._send([])
        while (answer := self._answers.pop(self._read, None)) is None or answer.exception() is not None:
            if self._failure is not None or self._over:
                raise ConnectionError(str(self._failure or "it was let go").partition("\n")[0])
            self._news.clear()
            await self._news.wait()
        self._read += 1
        packed = answer.result()
        if packed is None:
            raise ConnectionError("its agent has given it up")
        if type(packed) is bytes:
            return unpack(packed)
        self._send([])  # the agent keeps the buffers until it knows that they have come
        # What comes out of Ray's object store is read-only; a value must be as writable as one of this machine.
        return [(head, [writable(buffer) for buffer in buffers]) for head, buffers in unpack(*packed)]

    def _send(self, batch: list[wire.Frame]) -> None:
        call = Call(self.lane, self._connection, self._number, self._read, self._seats)
        data, buffers = pack_call(call, batch)
        try:
            check_connected()
            answer = self._deliver.remote(data, buffers) if buffers else self._deliver.remote(data)
            answer.future().add_done_callback(partial(self._tell_answered, self._number))
        except Exception as exc:  # what follows would wait for it at the agent
            self._failure = exc
            self._engine.note_error(exc)
            self.abort()
            return
        self._number += 1

    def _tell_answered(self, number: int, answer: Future[Any]) -> None:  # in a thread of Ray's
        try:
            self._loop.call_soon_threadsafe(self._answered, number, answer)
        except RuntimeError:
            pass  # the pool was closed

    def _answered(self, number: int, answer: Future[Any]) -> None:
        self._answers[number] = answer
        exc = answer.exception()
        if exc is not None and self._failure is None and not self._over:
            self._failure = exc
            self.failed(exc)
        self._news.set()

    def failed(self, exc: BaseException) -> None:
        self._engine.note_error(exc)
        if isinstance(exc, GONE):
            self._engine.agent_died(self.address, self._agent)

    def set_seats(self, seats: int) -> None:
        """Tell the agent how many seats the lane has there."""
        if self._connected and seats != self._seats:
            self._seats = seats
            self.write([])

    def write(self, batch: list[wire.Frame]) -> None:
        if self._over:
            return
        released = [wire.unpack_numbers(head)[0] for head, _ in batch if wire.kind_of(head) == wire.RELEASE]
        rest = [frame for frame in batch if wire.kind_of(frame[0]) != wire.RELEASE]
        if rest or not batch:
            self._send(rest)
        for n in released:
            self._engine.release_seats(self.lane, self.address, n)

    def write_release(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._over:
            super().abort()
            self._news.set()
            self._engine.leaving(self)

    async def end(self) -> None:
        """Have the agent end what the lane has there; returns when that is done, or the agent is gone."""
        try:
            await self.call(self._agent.let_go, self.lane)
        except ConnectionError:
            pass


class HeartCalls(_RayCalls):
    """PING and PONG: calls of their own, which large arguments do not hold up."""

    _ping = b""

    def write(self, batch: list[wire.Frame]) -> None:
        ((self._ping, _),) = batch

    async def read(self) -> list[wire.Frame]:
        pong = await self.call(self._agent.ping, self.lane, self._ping)
        if pong is None:
            raise ConnectionError("its agent has given it up")
        return [(pong, ())]


class EndCall(_RayCalls):
    """Asks the agent to end what a lane has there."""

    async def read(self) -> list[wire.Frame]:
        await self.call(self._agent.let_go, self.lane)
        return [(b"", ())]
