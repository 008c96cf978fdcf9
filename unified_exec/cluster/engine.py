"""What a cluster pool needs of an engine, such as Dask: seats on its nodes, and connections to the agents there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from . import wire
from .lane import ClusterLane


class Comm(ABC):
    """One connection to an agent, in the thread of the pool's connections."""

    @abstractmethod
    async def read(self) -> list[wire.Frame]:
        """Return the next batch.

        Raises:
            ConnectionError: it was closed.
        """

    @abstractmethod
    def write(self, batch: list[wire.Frame]) -> None:
        """Send a batch without waiting. Does nothing if it was closed."""

    @abstractmethod
    def write_release(self) -> None:
        """Tell the agent that the program lets it go."""

    @abstractmethod
    def abort(self) -> None:
        """Close it at once."""


class Engine(ABC):
    """Places seats. Every method is called in the thread of the pool's connections.

    A seat is a task of the engine's that holds one of its threads for one lane. While it runs, the lane has one slot on
    that node: so the engine knows what is in use, and other users of the cluster get their share.
    """

    @abstractmethod
    async def start(self, on_seat: Callable[[str, str], object]) -> None:
        """Connect. `on_seat` is called, in this thread, with the lane's name and the address of each seat that starts.

        Raises:
            OSError: the cluster cannot be reached.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Give all seats back and disconnect."""

    @abstractmethod
    async def request_seats(self, lane: ClusterLane, n: int) -> None:
        """Ask for `n` more seats, and count them in ``lane.seats``."""

    @abstractmethod
    async def withdraw_seats(self, lane: ClusterLane, n: int) -> int:
        """Withdraw at most `n` requests for seats that have not started, and subtract them from ``lane.seats``; return
        how many they were."""

    @abstractmethod
    def turn_away(self, lane: str, address: str) -> None:
        """End a seat that has started although its lane has ended."""

    @abstractmethod
    async def check(self, lanes: Iterable[ClusterLane]) -> int:
        """Count out the seats that have ended; return how many threads the cluster has."""

    @abstractmethod
    async def drop_lane(self, name: str) -> None:
        """Give back the seats of a lane."""

    @abstractmethod
    async def open(self, address: str, first: dict[str, Any]) -> Comm:
        """Connect to the agent at an address and send the first message.

        Raises:
            OSError: it does not answer.
        """

    @abstractmethod
    async def has_exited(self, address: str) -> bool:
        """Tell whether the process at an address is certainly gone, and its workers with it."""

    @abstractmethod
    def has_ended(self) -> bool:
        """Tell whether the engine's own connection was closed by somebody else: it grants no seat any more."""

    @abstractmethod
    def check_blocking(self) -> None:
        """Check that this thread may block until the engine has started or stopped.

        Raises:
            RuntimeError: the engine needs the event loop of this thread.
        """

    @abstractmethod
    def status(self) -> str:
        """Return what is known of the engine's own connection, for errors."""
