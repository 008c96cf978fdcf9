"""The parent's end of the conversation as a state machine without I/O: it knows which tasks a worker has not answered.

The worker's end is in `worker_protocol`. Two ends can run against each other in memory.
"""

from __future__ import annotations

from . import frames
from .frames import ProtocolError

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from .._tasks.light_typing import NamedTuple

# States of the parent's end, and what may come in each.
STARTING, UP, LEAVING, OVER = "starting", "up", "leaving", "over"
_ASKS = frozenset({frames.OFFER, frames.ASK, frames.DROP, frames.LOGS})
_OF_TASKS = frozenset({frames.REPORT, frames.REQUEST, frames.HERE, frames.WAITS})
_EXPECTED: dict[str, frozenset[int]] = {
    STARTING: frozenset({frames.READY, frames.FAILED, *_ASKS}),
    UP: frozenset({frames.DONE, frames.AGAIN, frames.RETIRED, *_OF_TASKS, *_ASKS}),
    LEAVING: frozenset({frames.READY, frames.FAILED, frames.DONE, frames.AGAIN, frames.RETIRED, *_OF_TASKS, *_ASKS}),
    OVER: frozenset(),
}


class Answer(NamedTuple):
    """A task was answered."""

    id: int
    outcome: int
    started: float
    finished: float
    payload: memoryview
    shared: bool


class Ready(NamedTuple):
    """The worker is up."""


class StartFailed(NamedTuple):
    """The worker cannot start; `error` is an encoded exception."""

    error: memoryview


class SignalAgain(NamedTuple):
    """The cancellation of this task was swallowed: send the signal again."""

    id: int


class Leaving(NamedTuple):
    """The worker takes no more tasks; those it has not claimed must be taken back."""


class Report(NamedTuple):
    """A message of a task; the payload is pickled. If the task has ended, a thread that it left running sent it."""

    id: int
    payload: memoryview
    shared: bool


class Offer(NamedTuple):
    """An object goes up inside a value: the parent must know it before; see `frames.pack_offer`."""

    id: int
    pin: bool
    token: bytes
    message: bytes
    pickled: bytes


class Ask(NamedTuple):
    """A token came inside an item: the worker needs the object."""

    id: int
    token: bytes


class Dropped(NamedTuple):
    """A shared object that the worker had offered was dropped there."""

    token: bytes


class Here(NamedTuple):
    """What the worker is doing, as JSON; see `WHERE`."""

    payload: memoryview


class TaskAsks(NamedTuple):
    """A task asks for something on the event loop of its scope; the payload is pickled."""

    id: int
    number: int
    flags: int
    payload: memoryview
    shared: bool


class Logs(NamedTuple):
    """The pipe of the worker's log records has come with the message."""


class Waits(NamedTuple):
    """A task has waited for long; the mark names the wait."""

    mark: bytes


Event = (
    Waits
    | Answer
    | Ready
    | StartFailed
    | SignalAgain
    | Leaving
    | Report
    | Offer
    | Ask
    | Dropped
    | Here
    | TaskAsks
    | Logs
)


_UNKNOWN = -1  # no function has this number
_new_tuple = tuple.__new__


class ParentConnection:
    """What the parent knows of one conversation.

    Attributes:
        pending: ids of tasks sent and neither answered nor taken back, oldest first, each with the number of the
            function that was sent with it, or all numbers if values of globals came along.
        known: numbers of the functions and of the values of globals that the worker has learnt for certain; below 0
            stands the number of the surroundings it has taken over.
    """

    __slots__ = ("known", "pending", "state")

    def __init__(self) -> None:
        self.state = STARTING
        self.pending: dict[int, int | tuple[int, ...] | None] = {}
        self.known: set[int] = set()

    def receive(self, message: memoryview) -> Event:
        """Read one message of the worker.

        Raises:
            ProtocolError: no correct worker sends this now; the conversation is over.
        """
        try:
            kind = message[0] if message else 0
            if kind not in _EXPECTED[self.state]:
                raise ProtocolError(f"a message of kind {kind} while it is {self.state}")
            if kind != frames.DONE:
                return self._other(kind, message)
            flags, outcome, id, started, finished, payload = frames.unpack_done(message)
            function = self.pending.pop(id, _UNKNOWN)
            if function is not None:
                if function == _UNKNOWN:
                    raise ProtocolError(f"an answer for task {id}, which it was not given")
                # Known only now: until the answer, the task could be taken back, and its function with it.
                if type(function) is tuple:
                    self.known.update(function)
                else:
                    self.known.add(function)  # type: ignore[arg-type]
            if flags & frames.RETIRING:
                self.state = LEAVING
            # What `Answer(...)` does, without a Python call in between.
            return _new_tuple(Answer, (id, outcome, started, finished, payload, flags & frames.IN_SHARED != 0))
        except ProtocolError:
            self.state = OVER
            raise

    def _other(self, kind: int, message: memoryview) -> Event:
        if kind == frames.READY:
            if self.state is STARTING:
                self.state = UP
            return Ready()
        if kind == frames.FAILED:
            self.state = OVER
            return StartFailed(frames.unpack_payload(message)[1])
        if kind == frames.RETIRED:
            self.state = LEAVING
            return Leaving()
        if kind == frames.REPORT:
            flags, id, payload = frames.unpack_report(message)
            return Report(id, payload, bool(flags & frames.IN_SHARED))
        if kind == frames.OFFER:
            return Offer(*frames.unpack_offer(message))
        if kind == frames.ASK:
            _, id, token = frames.unpack_report(message)
            return Ask(id, bytes(token))
        if kind == frames.DROP:
            return Dropped(bytes(frames.unpack_payload(message)[1]))
        if kind == frames.WAITS:
            return Waits(bytes(frames.unpack_payload(message)[1]))
        if kind == frames.HERE:
            return Here(frames.unpack_payload(message)[1])
        if kind == frames.REQUEST:
            flags, id, number, payload = frames.unpack_request(message)
            return TaskAsks(id, number, flags, payload, bool(flags & frames.IN_SHARED))
        if kind == frames.LOGS:
            return Logs()
        return SignalAgain(frames.unpack_id(message)[0])

    def sent(self, id: int, function: int | tuple[int, ...] | None) -> None:
        """Note that a task was sent; `function` is the number of the function that was included, or all numbers."""
        self.pending[id] = function

    def taken_back(self, id: int) -> None:
        """Note that an unclaimed task was taken back, and with it the function it carried."""
        self.pending.pop(id, None)

    def forget_functions(self) -> None:
        """Note that the worker is told to forget what it has learnt, or will have learnt by then."""
        self.known.clear()
        self.pending = dict.fromkeys(self.pending)

    def dismissed(self) -> None:
        """Note that the worker was told to exit."""
        if self.open:
            self.state = LEAVING

    @property
    def open(self) -> bool:
        """Tell whether tasks may be sent."""
        return self.state is STARTING or self.state is UP
