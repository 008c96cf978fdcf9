"""What passes through a gate unread: calls, functions, globals, answers; see `relay`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..._loops.adapter import LoopAdapter
from ..._tasks.task import Task
from ..._tasks.types import Outcome
from ..._wire import frames
from ..._wire.pickling.functions import FunctionEntry, FunctionStats
from ..._wire.pickling.sent_home import Entry, HomeFacts
from .decode_result import Decoding

Ended = Callable[["RelayTask", Outcome[Any]], object]
Reported = Callable[[int, frames.Bytes, Sequence[memoryview]], object]


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
        self.shared = self.needs = self.looked_up = ()


class RelayTask(Task):
    """A call of the program, as the pool has it.

    Args:
        ended: called with the task and its outcome.
        reported: called with the number of the call, and the pickle and the buffers of a message.

    Attributes:
        asked: it was requested to stop after it may have begun.
    """

    __slots__ = ("_ended", "_reported", "asked")

    def __init__(self, call: RelayCall, ended: Ended, reported: Reported) -> None:
        super().__init__(call.name, int, (), "process", None)
        self.id = call.id
        self.asked = False
        self._ended = ended
        self._reported = reported

    def mark_stopping(self, reason: str | None) -> bool:
        marked = super().mark_stopping(reason)
        self.asked = self.asked or marked
        return marked

    def on_message(self, message: Any) -> None:
        self._reported(self.id, *message)

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


NO_WAY_BACK = "from_task does not reach the scope from another node: return the value, or report it"
UNREAD = Decoding(_outcome_of, _settle, _message_of, NO_WAY_BACK)
"""Nothing is rebuilt in this process."""
