"""Ray as the engine of a cluster pool: seats are placement groups of one CPU, connections are calls of an actor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .engine import Comm, Engine
from .lane import ClusterLane
from .ray_agent import RayAgent
from .ray_comm import EndCall, HeartCalls, RayComm, check_connected

CALLS_MAX = 10_000
"""Methods of an agent that may run at the same time; each lane waits in one of them."""
LOOK = 0.05
"""Seconds between two checks where seats have been placed, while some wait."""
END_SECONDS = 5.0
"""Seconds that the agents have to end what runs on them when the pool is closed."""

_connecting = threading.Lock()


class RayEngine(Engine):
    """Args: see `RayPool`."""

    def __init__(
        self, address: str | None, resources: dict[str, float] | None, runtime_env: dict[str, Any] | None
    ) -> None:
        self._address = address
        self._bundle = {"CPU": 1.0, **(resources or {})}
        self._runtime_env = runtime_env
        self._kind: Any = ray.remote(RayAgent)
        self._options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": CALLS_MAX}
        self._on_seat: Callable[[str, str], object]
        self._own = False
        self._agents: dict[str, Any] = {}
        self._died: set[str] = set()
        self._seats: dict[str, dict[Any, str | None]] = {}  # by lane: the address of each seat, None while it waits
        self._asked: dict[asyncio.Future[list[Any]], str] = {}
        self._comms: dict[tuple[str, str], RayComm] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._leaving: set[asyncio.Future[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._error = ""

    async def start(self, on_seat: Callable[[str, str], object]) -> None:
        self._on_seat = on_seat
        self._own = await asyncio.to_thread(self._connect)
        if not self._own and self._runtime_env is not None:
            self._options["runtime_env"] = self._runtime_env
            self._kind.options(**self._options)  # Ray takes folders of this machine in `ray.init` only, and says so
        await self._look_at_nodes()

    def _connect(self) -> bool:
        """Connect this program to Ray; ``False`` if it was connected, such as by a pool that starts now, too."""
        with _connecting:
            if ray.is_initialized():
                return False
            ray.init(self._address, runtime_env=self._runtime_env)
            return True

    async def _look_at_nodes(self) -> None:
        check_connected()
        found = await asyncio.to_thread(ray.nodes)
        alive = [node for node in found if node["Alive"]]
        self._nodes = {f"ray://{node['NodeManagerAddress']}/{node['NodeID'][:12]}": node for node in alive}

    def note_error(self, exc: BaseException) -> None:
        """Keep the last thing that Ray has refused, for `status`."""
        self._error = f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}"

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._asked:
            await asyncio.wait(self._asked)  # nobody else would give them back
        for name in list(self._seats):
            await self.drop_lane(name)
        agents, self._agents = self._agents, {}
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=END_SECONDS)
        for agent in agents.values():
            try:
                check_connected()
                ray.kill(agent)
            except Exception as exc:
                self.note_error(exc)
        if self._own:
            await asyncio.to_thread(ray.shutdown)

    # -- seats

    async def request_seats(self, lane: ClusterLane, n: int) -> None:
        lane.seats += n
        self._seats.setdefault(lane.name, {})
        asked = asyncio.ensure_future(asyncio.to_thread(self._ask_for, n))
        self._asked[asked] = lane.name
        asked.add_done_callback(self._note_seats)  # also if the caller does not wait for it any more
        await asyncio.shield(asked)

    def _ask_for(self, n: int) -> list[Any]:
        groups = []
        try:
            check_connected()
            for _ in range(n):
                groups.append(placement_group([self._bundle]))  # noqa: PERF401  those before an error count
        except Exception as exc:  # the rest is asked for again
            self.note_error(exc)
        return groups

    def _note_seats(self, asked: asyncio.Future[list[Any]]) -> None:
        """Note seats that were asked for, unless their lane was given up meanwhile."""
        name = self._asked.pop(asked)
        for group in () if asked.cancelled() else asked.result():
            if name in self._seats:
                self._seats[name][group] = None
            else:
                self._give_back(group)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_while_waiting())

    async def _look_while_waiting(self) -> None:
        while any(None in seats.values() for seats in self._seats.values()):
            try:
                await self._look_at_seats()
            except Exception as exc:  # seats that wait are not forgotten because Ray did not answer once
                self.note_error(exc)
            await asyncio.sleep(LOOK)

    async def _look_at_seats(self) -> None:
        waiting = [(name, group) for name, seats in self._seats.items() for group, at in seats.items() if at is None]
        check_connected()
        tables = await asyncio.to_thread(lambda: [placement_group_table(group) for _, group in waiting])
        addresses = {node["NodeID"]: address for address, node in self._nodes.items()}
        for (name, group), table in zip(waiting, tables, strict=True):
            seats = self._seats.get(name, {})
            if table.get("state") != "CREATED" or group not in seats:
                continue
            node_id = next(iter(table["bundles_to_node_id"].values()))
            if node_id not in addresses:
                await self._look_at_nodes()
                addresses = {node["NodeID"]: address for address, node in self._nodes.items()}
            if node_id in addresses:
                seats[group] = addresses[node_id]
                self._seats_changed(name, addresses[node_id])

    def _seats_changed(self, name: str, address: str) -> None:
        comm = self._comms.get((name, address))
        if comm is None:
            self._on_seat(name, address)
        else:
            comm.set_seats(self.seats_at(name, address))

    def seats_at(self, name: str, address: str) -> int:
        """Return how many seats a lane has at a node."""
        return list(self._seats.get(name, {}).values()).count(address)

    async def withdraw_seats(self, lane: ClusterLane, n: int) -> int:
        waiting = [group for group, at in self._seats.get(lane.name, {}).items() if at is None][-n:]
        for group in waiting:
            self._remove(lane.name, group)
        lane.seats -= len(waiting)
        return len(waiting)

    def turn_away(self, lane: str, address: str) -> None:
        for group in [group for group, at in self._seats.get(lane, {}).items() if at == address]:
            self._remove(lane, group)

    async def check(self, lanes: Iterable[ClusterLane]) -> int:
        await self._look_at_nodes()
        for name, seats in self._seats.items():
            for group, address in list(seats.items()):
                if address is not None and address not in self._nodes:
                    self._remove(name, group)
        for lane in lanes:
            lane.seats = len(self._seats.get(lane.name, ()))
        return int(sum(node["Resources"].get("CPU", 0) for node in self._nodes.values()))

    def _remove(self, name: str, group: Any) -> None:
        self._seats.get(name, {}).pop(group, None)
        self._give_back(group)

    def _give_back(self, group: Any) -> None:
        try:
            check_connected()
            remove_placement_group(group)
        except Exception as exc:
            self.note_error(exc)

    def release_seats(self, name: str, address: str, n: int) -> None:
        """Give seats of a lane at a node back."""
        held = [group for group, at in self._seats.get(name, {}).items() if at == address]
        for group in held[:n]:
            self._remove(name, group)
        comm = self._comms.get((name, address))
        if comm is not None:
            comm.set_seats(self.seats_at(name, address))

    async def drop_lane(self, name: str) -> None:
        for group in list(self._seats.get(name, ())):
            self._remove(name, group)
        self._seats.pop(name, None)

    # -- connections

    async def open(self, address: str, first: dict[str, Any]) -> Comm:
        if "hello" in first:
            lane = first["hello"]["lane"]
            comm = self._comms[lane, address] = RayComm(self, self._agent(address), lane, address)
            try:
                await comm.connect(first["hello"], self.seats_at(lane, address))
            except BaseException:
                comm.abort()
                raise
            comm.set_seats(self.seats_at(lane, address))
            return comm
        agent = self._agents.get(address)
        if agent is None:
            raise ConnectionError(f"the agent on {address} has exited")
        return HeartCalls(agent, first["heart"]) if "heart" in first else EndCall(agent, first["end"])

    def _agent(self, address: str) -> Any:
        agent = self._agents.get(address)
        if agent is None:
            node = self._nodes.get(address)
            check_connected()
            if node is None:
                raise ConnectionError(f"Ray has lost {address}")
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            threads = int(node["Resources"].get("CPU", 1))
            agent = self._kind.options(scheduling_strategy=place, **self._options).remote(address, threads)
            self._agents[address] = agent
            self._died.discard(address)
        return agent

    def agent_died(self, address: str, agent: Any) -> None:
        """Note that the process of an agent has ended; its seats are given back."""
        if self._agents.get(address) is not agent:
            return  # it is known, and there may be another one
        del self._agents[address]
        self._died.add(address)
        for name in list(self._seats):
            self.release_seats(name, address, self.seats_at(name, address))

    def leaving(self, comm: RayComm) -> None:
        """Note that a connection is over; what ran there may not have ended yet."""
        key = comm.lane, comm.address
        if self._comms.get(key) is comm:
            del self._comms[key]
        ending = asyncio.ensure_future(comm.end())
        self._leaving.add(ending)
        ending.add_done_callback(self._leaving.discard)
        self.release_seats(comm.lane, comm.address, self.seats_at(comm.lane, comm.address))

    async def has_exited(self, address: str) -> bool:
        """Its process has ended, and with it the workers, if Ray says so and has not lost the whole node."""
        try:
            await self._look_at_nodes()
        except Exception as exc:
            self.note_error(exc)
            return False
        return address in self._died and address in self._nodes

    def has_ended(self) -> bool:
        return not ray.is_initialized()

    def check_blocking(self) -> None:
        pass

    def status(self) -> str:
        state = "connected" if ray.is_initialized() else "not connected"
        return f"this program is {state} to Ray{f'; {self._error}' if self._error else ''}"
