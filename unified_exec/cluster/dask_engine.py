"""Dask as the engine of a cluster pool: seats are Dask tasks, connections are Dask's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

import dask
from distributed import Client
from distributed.comm import connect, parse_host_port
from distributed.diagnostics.plugin import UploadDirectory

from .._rules.arguments import LONGEST
from .dask_agent import AgentPlugin, topic_of, unified_exec_seat
from .dask_comm import OPERATION, DaskComm
from .engine import Comm, Engine
from .lane import ClusterLane

T = TypeVar("T")
LAST_MESSAGES = 0.02
"""Seconds until a client has sent what it gathers; Dask logs an error if it is closed before."""
CLOSE_SECONDS = 1.0
"""What closing a client may take that never connected."""
HINT = (
    'write the address as the scheduler prints it, such as "tcp://10.0.0.1:8786"; '
    "for tls:// pass a distributed.Client that has its security="
)
SEAT = unified_exec_seat.__name__
SEAT_SECONDS = 3600
OVER = ("finished", "error", "cancelled", "lost")


class DaskEngine(Engine):
    """Args: see `DaskPool`."""

    def __init__(
        self,
        cluster: Any,
        upload: tuple[str, ...],
        priority: int,
        resources: dict[str, float] | None,
        connect_timeout: float | None,
        pool: str,
    ) -> None:
        if not isinstance(cluster, str | Client) and not hasattr(cluster, "scheduler_address"):
            raise ValueError(
                f"cluster must be an address, a distributed.Client or a cluster object, got {cluster!r}: "
                'write DaskPool("tcp://10.0.0.1:8786"), or DaskPool(LocalCluster())'
            )
        self._cluster = cluster
        self._own = not isinstance(cluster, Client)
        self._client: Any = cluster
        self._opening: Any = None
        self._on_seat: Callable[[str, str], object] | None = None
        self._upload = upload
        self._options = {"priority": priority, **({"resources": resources} if resources else {})}
        self._connect_timeout = LONGEST if connect_timeout is None else connect_timeout
        self._pool = pool
        self._numbers = count()
        self._seats: dict[str, dict[str, Any]] = {}
        self._started: set[str] = set()  # keys of those
        self._leaving: set[asyncio.Future[None]] = set()
        self._threads = 0
        self._errors: list[str] = []

    async def start(self, on_seat: Callable[[str, str], object]) -> None:
        loop = asyncio.get_running_loop()
        self._on_seat = on_seat
        if self._own:
            self._client = await self._connect()

        def on_event(event: tuple[Any, dict[str, str]]) -> None:
            told = self._on_seat  # read once: the thread of the connections sets it to None
            if told is not None:
                self._started.add(event[1]["key"])
                loop.call_soon_threadsafe(told, event[1]["lane"], event[1]["address"])

        await self._on_client(self._start_client(on_event))

    async def _connect(self) -> Any:
        address, options = self._cluster, {}
        if not isinstance(address, str):  # a LocalCluster, or any other cluster object
            address, options = self._cluster.scheduler_address, {"security": self._cluster.security}
        options |= {"timeout": self._connect_timeout, "set_as_default": False, "asynchronous": True}
        client = self._opening = Client(address, **options)
        try:
            return await client
        except Exception as exc:
            with suppress(Exception):
                await client.close(CLOSE_SECONDS)  # else its finalizer complains when this loop has ended
            where = f"{address!r} cannot be used as a Dask cluster: "
            if isinstance(exc, OSError):
                raise OSError(
                    f"{where}{exc}; is `dask scheduler` running there, and is its port open to this machine?"
                ) from exc
            raise ValueError(f"{where}{exc}; {HINT}") from exc

    async def _start_client(self, on_event: Callable[[Any], None]) -> None:
        client = self._client
        for path in self._upload:
            if path.endswith((".py", ".egg", ".zip", ".pyz")):
                await client.upload_file(path)
            else:
                await client.register_plugin(UploadDirectory(path, update_path=True, restart_workers=False))
        client.subscribe_topic(topic_of(self._pool), on_event)
        try:
            await client.run_on_scheduler(expect_long_seats)
        except Exception:
            pass  # it lacks this package, or does not allow it: then an adaptive cluster grows by less
        await client.register_plugin(AgentPlugin())

    async def _on_client(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread of the client's loop."""
        loop = self._client.loop.asyncio_loop
        if loop is asyncio.get_running_loop():
            return await work
        if loop.is_closed():
            work.close()
            raise ConnectionError("the event loop of the Dask client has ended")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    async def stop(self) -> None:
        try:
            await self._stop()
        finally:
            self._on_seat = None  # Tornado remembers one closed loop, its client and what that calls: not the pool, too

    async def _stop(self) -> None:
        if not isinstance(self._client, Client):  # it never connected
            if self._opening is not None:
                with suppress(Exception):
                    await self._opening.close(CLOSE_SECONDS)
            return
        await self._on_client(self._stop_client())
        await asyncio.sleep(LAST_MESSAGES)
        if self._leaving:  # seats that have started meanwhile
            await asyncio.wait(self._leaving)
        if self._own:
            await self._client.close()
        else:
            await self._on_client(self._unsubscribe())

    async def _stop_client(self) -> None:
        futures = [future for seats in self._seats.values() for future in seats.values()]
        self._seats.clear()
        if self._client.status == "running":
            waiting = [future for future in futures if future.status == "pending"]
            if waiting:
                await self._client.cancel(waiting)

    async def _unsubscribe(self) -> None:
        if self._client.status == "running":
            self._client.unsubscribe_topic(topic_of(self._pool))

    async def request_seats(self, lane: ClusterLane, n: int) -> None:
        lane.seats += n
        await self._on_client(self._submit(lane.name, n))

    async def _submit(self, lane: str, n: int) -> None:
        seats = self._seats.setdefault(lane, {})
        for _ in range(n):
            key = f"{SEAT}-{lane}-{next(self._numbers)}"
            seats[key] = self._client.submit(
                unified_exec_seat, self._pool, lane, key, pure=False, key=key, **self._options
            )

    async def withdraw_seats(self, lane: ClusterLane, n: int) -> int:
        withdrawn = await self._on_client(self._withdraw(lane.name, n))
        lane.seats -= withdrawn
        return withdrawn

    async def _withdraw(self, lane: str, n: int) -> int:
        seats = self._seats.get(lane, {})
        waiting = [key for key, seat in seats.items() if seat.status == "pending" and key not in self._started][-n:]
        if waiting:
            await self._client.cancel([seats.pop(key) for key in waiting])
        return len(waiting)

    def turn_away(self, lane: str, address: str) -> None:
        leaving = asyncio.ensure_future(self._turn_away(lane, address))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _turn_away(self, lane: str, address: str) -> None:
        with suppress(OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                comm = await self.open(address, {"over": lane})
                try:
                    await comm.read()
                finally:
                    comm.abort()

    async def check(self, lanes: Iterable[ClusterLane]) -> int:
        counts, threads = await self._on_client(self._check())
        for lane in lanes:
            lane.seats = counts.get(lane.name, 0)
        return threads

    async def _check(self) -> tuple[dict[str, int], int]:
        for seats in self._seats.values():
            for key, future in list(seats.items()):
                if future.status in OVER:
                    if future.status == "error":
                        self._errors.append(str(await future.exception()))
                    del seats[key]
        self._started.intersection_update([key for seats in self._seats.values() for key in seats])
        threads = await self._client.nthreads()
        self._threads = sum(threads.values())
        return {lane: len(seats) for lane, seats in self._seats.items()}, self._threads

    async def drop_lane(self, name: str) -> None:
        await self._on_client(self._drop(name))

    async def _drop(self, name: str) -> None:
        seats = self._seats.pop(name, {})
        waiting = [future for future in seats.values() if future.status == "pending"]
        if waiting and self._client.status == "running":
            await self._client.cancel(waiting)

    async def open(self, address: str, first: dict[str, Any]) -> Comm:
        comm = await connect(address, deserialize=True, **self._client.connection_args)
        ours = DaskComm(comm)
        await comm.write({"op": OPERATION, "reply": False, **first})
        return ours

    async def has_exited(self, address: str) -> bool:
        """Nobody listens there: the process has exited, and its workers with it, through their lifelines."""
        host, port = parse_host_port(address.partition("://")[2])
        try:
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError):
            return False
        writer.close()
        return False

    def has_ended(self) -> bool:
        return bool(self._client.status == "closed" or self._client.loop.asyncio_loop.is_closed())

    def check_blocking(self) -> None:
        if self._own:
            return
        try:
            if asyncio.get_running_loop() is not self._client.loop.asyncio_loop:
                return
        except RuntimeError:
            return
        raise RuntimeError(
            "the Client lives on the event loop of this thread, which must not block: "
            "write `async with DaskPool(client)`, or await pool.aclose()"
        )

    def status(self) -> str:
        status = self._client.status if isinstance(self._client, Client) else "not connected"
        last = f"; a seat failed: {self._errors[-1]}" if self._errors else ""
        needed = self._options.get("resources")
        needs = f"; does any Dask worker have the resources {needed}?" if needed else ""
        return f"the Dask client is {status}, the Dask workers have {self._threads} threads{last}{needs}"


def expect_long_seats(dask_scheduler: Any) -> None:
    """Have a scheduler expect that seats take long: it assumes half a second, so an adaptive cluster would not grow."""
    durations = {**dask.config.get("distributed.scheduler.default-task-durations", {}), SEAT: f"{SEAT_SECONDS} s"}
    dask.config.set({"distributed.scheduler.default-task-durations": durations})
    known = dask_scheduler.task_prefixes.get(SEAT)
    if known is not None:
        known.duration_average = SEAT_SECONDS
