"""What passes through a gate unread: calls, functions, globals, answers; see `relay`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..._loops.adapter import LoopAdapter
from ..._tasks.requests import Request
from ..._tasks.task import Task
from ..._tasks.types import Outcome
from ..._wire import frames
from ..._wire.pickling.functions import FunctionEntry, FunctionStats
from ..._wire.pickling.sent_home import Entry, HomeFacts
from ..._wire.pickling.surroundings import Snapshot, snapshot
from .decode_result import Decoding
from .filled_block import FilledBlock
from .inbox import LogPipeEnd
from .task_requests import UnreadRequest
from .worker_logs import LogReader, LogSource

Logged = Callable[[int, bytes], object]
Ended = Callable[["RelayTask", Outcome[Any]], object]
Reported = Callable[[int, frames.Bytes, Sequence[memoryview]], object]
Asked = Callable[[UnreadRequest, int], object]


class RelayCall(NamedTuple):
    """One call of the program.

    Attributes:
        id: its number; the program uses none twice, but for a call that was returned.
        function: the number of its function, which was learnt before; 0 if the function travels with the arguments.
        data: the pickled arguments.
        buffers: the large buffers of that pickle.
        globals: numbers of the globals that the arguments refer to, which were learnt before.
        shared: tokens of the shared objects it uses, which were placed before.
        coroutine: the function is a coroutine function.
        left: seconds to its deadline; ``None`` for no deadline.
        in_context: it runs with the context variables that were learnt last.
        block: the block in which `data` and `buffers` are already; see `Gate.room`.
    """

    id: int
    name: str
    function: int
    data: bytes
    buffers: Sequence[memoryview] = ()
    globals: Sequence[int] = ()
    shared: Sequence[bytes] = ()
    coroutine: bool = False
    left: float | None = None
    in_context: bool = False
    block: FilledBlock | None = None


class RelayAnswer(NamedTuple):
    """The end of a call.

    Attributes:
        kind: ``frames.VALUE``, ``ERROR`` or ``STOPPED``.
        data: the pickled value or error.
        buffers: the large buffers of that pickle. They keep a block of shared memory until they are dropped.
        started, finished: instants of this machine's `time.monotonic`, 0 if they are not known.
        pid: the worker, 0 if there was none.
    """

    id: int
    kind: int
    data: frames.Bytes
    buffers: Sequence[memoryview]
    started: float
    finished: float
    pid: int


class RelayedFunction(FunctionEntry):
    """A function on its way through: its pickle, never the function."""

    __slots__ = ()

    def __init__(self, id: int, name: str, payload: bytes, coroutine: bool) -> None:
        self.id = id
        self.name = name
        self.payload = payload
        self.coroutine = coroutine
        self.volatile = not id
        self.stats = FunctionStats(None)
        self.needs = self.shared = self._snapshots = ()
        self._ref = None


class RelayedHome(HomeFacts):
    """A module of the program: its token, its name, and what it says of itself."""

    __slots__ = ("_attributes",)

    def __init__(self, token: str, name: str, attributes: dict[str, Any]) -> None:
        super().__init__(token, name, None)
        self._attributes = attributes

    def attributes(self) -> dict[str, Any]:
        return self._attributes


class RelayedGlobal(Entry):
    """The value of one global of the program, pickled; see `Entry`."""

    __slots__ = ()

    def __init__(
        self,
        home: RelayedHome,
        name: str,
        id: int,
        data: bytes | None,
        wire_needs: tuple[tuple[str, str, str], ...],
        why: str,
        group: tuple[str, ...],
    ) -> None:
        self.home = home
        self.name = name
        self.id = id
        self.data = data
        self.wire_needs = wire_needs
        self.why = why
        self.group = group
        self.is_replaced = False
        self.shared = self.needs = self.looked_up = ()


class RelayTask(Task):
    """A call of the program, as the pool has it.

    Args:
        ended: called with the task and its outcome.
        reported: called with the number of the call, and the pickle and the buffers of a message.
        asked_for: called with each request of the call, and the number of the call.

    Attributes:
        asked: it was requested to stop after it may have begun.
        open_requests: its requests that were not answered, by their numbers.
    """

    __slots__ = ("_asked_for", "_ended", "_reported", "asked", "open_requests")

    def __init__(self, call: RelayCall, ended: Ended, reported: Reported, asked_for: Asked) -> None:
        super().__init__(call.name, int, (), "process", None)
        self.id = call.id
        self.asked = False
        self._ended = ended
        self._reported = reported
        self._asked_for = asked_for
        self.open_requests: dict[int, UnreadRequest] = {}

    def mark_stopping(self, reason: str | None) -> bool:
        marked = super().mark_stopping(reason)
        self.asked = self.asked or marked
        return marked

    def on_message(self, message: Any) -> None:
        self._reported(self.id, *message)

    def on_request(self, request: Request) -> None:
        assert isinstance(request, UnreadRequest)
        self.open_requests[request.number] = request
        self._asked_for(request, self.id)
        request.data, request.buffers = b"", ()  # passed on; the rest waits for the reply

    def settled(self) -> None:
        assert self.outcome is not None
        self._ended(self, self.outcome)


class UnreadOutcome(Outcome[Any]):
    """What a worker has answered, as it came."""

    __slots__ = ("buffers", "data", "kind")

    def __init__(self, kind: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> None:
        super().__init__(cancelled=kind in (frames.STOPPED, frames.UNSTARTED))
        self.kind = kind
        self.data = data
        self.buffers = buffers


def _outcome_of(name: str, kind: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> Outcome[Any]:
    return UnreadOutcome(kind, bytes(data), buffers)


def _settle(adapter: LoopAdapter, task: Task, kind: int, data: frames.Bytes, buffers: list[memoryview]) -> None:
    task.settle(UnreadOutcome(kind, data, buffers))


def _message_of(data: frames.Bytes, buffers: list[memoryview]) -> object:
    return bytes(data), buffers


class UnreadLogReader(LogReader):
    """Passes log records and warnings on as they came.

    Args:
        logged: called with the process id of a worker, and one pickled tuple of `log_frames`.
    """

    __slots__ = ("_logged",)

    def __init__(self, adapter: LoopAdapter, logged: Logged) -> None:
        super().__init__(adapter)
        self._logged = logged

    def open(self, fd: int) -> LogPipeEnd:
        return LogPipeEnd(fd, bytes)

    def handle(self, worker: LogSource, items: Any) -> None:
        self._logged(worker.pid, items)


class RelaySurroundings:
    """What the workers of a gate take over from this process, but with the levels of the program's loggers."""

    __slots__ = ("_here", "_latest", "_levels", "_number")

    def __init__(self) -> None:
        self._levels: dict[str, Any] | None = None
        self._number = 0
        self._here: Snapshot | None = None
        self._latest: Snapshot

    def set_levels(self, levels: dict[str, Any] | None) -> None:
        """Take over the levels; see `log_levels`."""
        self._levels = levels
        self._here = None

    def now(self) -> Snapshot:
        """Return them; the same object while nothing has changed."""
        here = snapshot()
        if here is not self._here:
            self._here = here
            self._number += 1
            kept = here.path, here.folder, here.environment, here.authkey
            self._latest = Snapshot(self._number, *kept, self._levels)
        return self._latest


def unread(logged: Logged) -> Decoding:
    """Return how a gate reads what workers send: nothing is rebuilt in this process."""
    return Decoding(_outcome_of, _settle, _message_of, True, lambda adapter: UnreadLogReader(adapter, logged))
