"""The connections from one lane to one agent, in a thread of their own: code that blocks the event loop loses nothing.

There are two: one for everything, and one for PING and PONG alone, which large arguments do not hold up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from .._pools.process.ask_where import forget_machine
from . import wire
from .engine import Comm, Engine
from .lane import ClusterLane
from .node import Node

HELD_MAX = 8
"""Tasks that wait for each other at most when they are sent ahead: a message costs more than a task."""
HOLD = 0.002
"""Seconds that they wait at most."""
ASK_AGAIN = 0.1
"""Seconds between two checks whether the process at a broken connection has exited."""
LAST_MOMENTS = 0.2
"""Seconds until the workers of a process that has exited have certainly exited, too."""


class Holding:
    """The links of one thread whose frames wait for more; see `HOLD`.

    Args:
        loop: of that thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.RLock()
        self._links: set[AgentLink] = set()

    def add(self, link: AgentLink) -> None:
        """Have a link flushed soon; in any thread."""
        with self._lock:
            self._links.add(link)
            if len(self._links) > 1:
                return
        try:
            self._loop.call_soon_threadsafe(self._loop.call_later, HOLD, self._flush, context=Context())
        except RuntimeError:
            pass  # the pool was closed

    def _flush(self) -> None:
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            self._loop.call_soon(link.flush)  # a step of its own: an error in one leaves the others alone


class AgentLink:
    """Connects, keeps the lease of the agent, and decides when the node is lost.

    Args:
        holding: the links of this thread whose frames wait for more.
        hello: what the agent is told first.
        silence_max: seconds without a sign of life after which nothing of this program can still run there.
        on_refused: called with the reason if the agent does not serve this program.
        on_over: called, in this thread, when the node is lost or was let go.
    """

    def __init__(
        self,
        engine: Engine,
        lane: ClusterLane,
        node: Node,
        holding: Holding,
        hello: dict[str, Any],
        silence_max: float,
        on_refused: Callable[[str], object],
        on_over: Callable[[AgentLink], object],
    ) -> None:
        self.lane = lane
        self.node = node
        self._engine = engine
        self._holding = holding
        self._hello = hello
        self._silence_max = silence_max
        self._on_refused = on_refused
        self._on_over = on_over
        self._lock = threading.RLock()  # the collector may end a shared object meanwhile, which sends
        self._out: list[wire.Frame] = []
        self._ringing = False
        self._comm: Comm | None = None
        self._loop = asyncio.get_running_loop()
        self._context = Context()  # a stream keeps the context in which it was written to
        self._tasks = [self._loop.create_task(self._run()), self._loop.create_task(self._heart())]
        self._welcome = asyncio.Event()
        self._over = False

    # -- in any thread

    def send(self, frame: wire.Frame, hold: bool = False) -> None:
        with self._lock:
            self._out.append(frame)
            if self._ringing or self._over:
                return
            hold = hold and len(self._out) < HELD_MAX
            if hold and len(self._out) > 1:
                return  # they are held already
            self._ringing = not hold
        if hold:
            self._holding.add(self)
            return
        try:
            self._loop.call_soon_threadsafe(self.flush, context=self._context)
        except RuntimeError:
            pass  # the pool was closed

    # -- in the thread of the connections

    def flush(self) -> None:
        """Send what has gathered."""
        if self._comm is None:
            return  # it is done when the connection is there
        with self._lock:
            out, self._out, self._ringing = self._out, [], False
        if out:
            self._comm.write(out)

    def let_go(self, release: bool) -> None:
        """Give the node up. With `release`, the agent is told, after all that was sent before."""
        if self._over:
            return
        if release and self._comm is not None:
            self.flush()
            self._comm.write_release()
        else:
            self._abort()
        self._finish()

    def _finish(self) -> None:
        self._over = True
        forget_machine(self.node)
        current = asyncio.current_task(self._loop)
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._on_over(self)

    def _abort(self) -> None:
        if self._comm is not None:
            self._comm.abort()

    def _lost(self, why: str) -> None:
        if not self._over:
            self._abort()
            self.lane.adapter.call_threadsafe(self.lane.lost, self.node, why)
            self._finish()

    async def _run(self) -> None:
        try:
            self._comm = await self._engine.open(self.node.address, self._hello)
            while True:
                self._receive(await self._comm.read())
        except OSError as exc:
            if not self._over:
                await self._after_break(f"the connection broke ({exc})")
        finally:
            if self._comm is not None and not self._over:
                self._comm.abort()

    def _receive(self, batch: list[wire.Frame]) -> None:
        self.node.seen = time.monotonic()
        rest = []
        for frame in batch:
            kind = wire.kind_of(frame[0])
            if kind == wire.PONG:
                self._pong(frame[0])
            elif kind == wire.WELCOME:
                # Answered before the first task leaves: the agent begins nothing without a lease.
                _, self.node.echo, self.node.where = wire.unpack_times(frame[0])
                self.node.offset = self.node.echo - self.node.seen
                assert self._comm is not None
                self._comm.write([self._ping()])
                self.flush()
                self._welcome.set()
            elif kind == wire.HERE:
                self.node.here(wire.unpack_text(frame[0]))
            elif kind == wire.REFUSED:
                self._on_refused(wire.unpack_text(frame[0]))
            else:
                rest.append(frame)
        if rest and not self.lane.adapter.call_threadsafe(self.lane.received, self.node, rest):
            self.let_go(True)  # the loop has ended

    def _ping(self) -> wire.Frame:
        return wire.pack_times(wire.PING, time.monotonic(), self.node.echo), ()

    def _pong(self, head: bytes) -> None:
        node = self.node
        sent, node.echo, _ = wire.unpack_times(head)
        now = node.seen = time.monotonic()
        took = now - sent
        node.rtt = min(0.8 * (node.rtt or took) + 0.2 * took, took)
        node.offset = node.echo - (sent + now) / 2

    async def _heart(self) -> None:
        """Exchange PING and PONG, and give the node up when it has been silent for too long."""
        comm: Comm | None = None
        patience = self._silence_max / 2  # the agent has just answered, but a thousand others may connect as well
        try:
            while True:
                try:
                    if self._welcome.is_set():
                        if comm is None:
                            assert self._comm is not None
                            self._comm.write([self._ping()])  # the lease does not wait for the connection
                            comm = await self._open_in_time({"heart": self.lane.name}, patience)
                            patience = wire.HEARTBEAT
                        comm.write([self._ping()])
                        async with asyncio.timeout(wire.HEARTBEAT):
                            (frame,) = await comm.read()
                        self._pong(frame[0])
                except (OSError, TimeoutError):
                    if comm is None:
                        patience = min(2 * patience, self._silence_max / 2)
                    else:
                        comm.abort()  # what was read of a message is lost
                    comm = None
                if time.monotonic() - self.node.seen > self._silence_max:
                    self._lost(f"nothing was heard of it for {self._silence_max:g} s")
                await asyncio.sleep(wire.HEARTBEAT)
        finally:
            if comm is not None:
                comm.abort()

    async def _open_in_time(self, first: dict[str, Any], seconds: float) -> Comm:
        async with asyncio.timeout(seconds):
            return await self._engine.open(self.node.address, first)

    async def _after_break(self, why: str) -> None:
        """Find out when nothing of this program runs there any more: the process has exited, or its agent says so.

        If nothing can be found out, the heart ends the wait.
        """
        self.lane.adapter.call_threadsafe(setattr, self.node, "slots", 0)
        while not self._over:
            if await self._engine.has_exited(self.node.address):
                await asyncio.sleep(LAST_MOMENTS)
                self._lost(why)
            elif await self._has_ended_there():
                self._lost(why)
            else:
                await asyncio.sleep(ASK_AGAIN)

    async def _has_ended_there(self) -> bool:
        """Ask the agent to tell when what it had of this lane has ended; ``False`` if it could not be asked."""
        try:
            comm = await self._open_in_time({"end": self.lane.name}, wire.HEARTBEAT)
        except (OSError, TimeoutError):
            return False
        try:
            await comm.read()
        except OSError:
            return False
        finally:
            comm.abort()
        return True

    async def until_ended(self) -> None:
        """Return when nothing of the lane runs at the node any more; it was let go."""
        try:
            async with asyncio.timeout(self._silence_max):
                while not (await self._has_ended_there() or await self._engine.has_exited(self.node.address)):  # noqa: ASYNC110
                    await asyncio.sleep(ASK_AGAIN)
        except TimeoutError:
            pass  # its lease has ended
