"""What a task costs the parent does not grow with the number of workers: bytecodes are counted, no time is taken."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

import pytest

import unified_exec
from unified_exec._loops.adapter import LoopAdapter, Timer
from unified_exec._pools.process.admission import Admission
from unified_exec._pools.process.child import Child
from unified_exec._pools.process.lane import ProcessLane
from unified_exec._pools.process.worker import Worker
from unified_exec._pools.process.worker_registry import WorkerRegistry
from unified_exec._pools.process.worker_spec import WorkerSpec, make_spec
from unified_exec._tasks.task import Task
from unified_exec._wire import frames
from unified_exec._worker.settings import STATUS_SIZE, WorkerKind

ROOT = str(Path(unified_exec.__file__).parent)
FEW, MANY = 2, 64
GROWS = 1.3
TASKS = 130
SHORT, MIDDLE, LONG = 0.0001, 0.0012, 0.05


class Loop(LoopAdapter):
    """An event loop that a test turns by hand."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()
        self.readers: dict[int, Callable[[], object]] = {}

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        self.soon.append(lambda: fn(*args))

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        self.call_soon(fn, *args)
        return True

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        return Never()

    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        self.readers[fd] = fn

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def ended(self) -> bool:
        return False

    def elsewhere(self) -> bool:
        return False

    def on_end(self, fn: Callable[[], object]) -> None: ...

    def waiter(self) -> Any: ...

    def turn(self) -> None:
        while self.soon:
            self.soon.popleft()()


class Never(Timer):
    def cancel(self) -> None: ...


class Socket:
    """Our end of a socket of a worker that is no process.

    Attributes:
        sent: the ids of the tasks that were sent and not answered.
        answers: messages that can be read.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.sent: deque[int] = deque()
        self.answers: deque[bytes] = deque()

    def fileno(self) -> int:
        return self.fd

    def send(self, message: bytes) -> int:
        if message[0] == frames.TASK:
            self.sent.append(frames.unpack_task(memoryview(message)).id)
        return len(message)

    def recv_into(self, buffer: bytearray, size: int = 0, flags: int = 0) -> int:
        if not self.answers:
            raise BlockingIOError
        message = self.answers.popleft()
        buffer[: len(message)] = message
        return len(message)

    def close(self) -> None: ...


class Owner:
    """Tasks belong to one; it is only compared."""


class Spec(NamedTuple):
    """Starts workers that are no processes."""

    real: WorkerSpec
    sockets: list[Socket]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def start(self, kind: WorkerKind, templates: object) -> Worker:
        tasks, claims, control, lifeline = (Socket(4 * len(self.sockets) + at + 1000) for at in range(4))
        self.sockets.append(tasks)
        sockets: Any = (tasks, claims, control, lifeline)
        return Worker(Child(1 << 30, *sockets, mmap(-1, STATUS_SIZE), None), kind)


class Pool:
    """A lane of a pool whose workers are up."""

    def __init__(self, workers: int) -> None:
        self.loop = Loop()
        self.sockets: list[Socket] = []
        spec: Any = Spec(make_spec(workers, None, (), None, None, None, None, None), self.sockets)
        self.registry: WorkerRegistry[Any] = WorkerRegistry(spec, 1.0, "<pool>")
        self.lane = ProcessLane(self.registry, Admission("<pool>"), self.loop)
        for _ in range(workers):
            self.submit(LONG)
        self.loop.turn()
        for socket in self.sockets:
            self.read(socket, frames.pack_payload(frames.READY))
        self.answer_all(LONG)

    def submit(self, seconds: float) -> Task:
        task = Task("task", FUNCTIONS[seconds], ("x",), "process", OWNER)
        self.lane.submit(task)
        return task

    def read(self, socket: Socket, message: bytes) -> None:
        socket.answers.append(message)
        self.loop.readers[socket.fd]()
        self.loop.turn()

    def answer(self, seconds: float) -> int:
        """Have each worker answer the oldest of its tasks, which has taken so long."""
        busy = [socket for socket in self.sockets if socket.sent]
        now = monotonic()
        for socket in busy:
            done = frames.pack_done(socket.sent.popleft(), frames.VALUE, now, now + seconds, NONE)
            self.read(socket, done)
        return len(busy)

    def answer_all(self, seconds: float) -> None:
        while self.answer(seconds):
            pass


OWNER = Owner()
NONE = b"\x80\x05N."
FUNCTIONS: dict[float, Callable[..., object]] = {SHORT: len, MIDDLE: ord, LONG: repr}


def bytecodes(run: Callable[[], object]) -> int:
    """Count the bytecodes of the package that `run` executes."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        if event == "call":
            if not frame.f_code.co_filename.startswith(ROOT):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


@pytest.fixture(scope="module")
def pools() -> tuple[Pool, Pool]:
    return Pool(FEW), Pool(MANY)


def burst(pool: Pool, seconds: float) -> None:
    """Submit all tasks at once."""
    for _ in range(TASKS):
        pool.submit(seconds)
    pool.loop.turn()
    pool.answer_all(seconds)


def calls(pool: Pool, seconds: float) -> None:
    """Submit each task after the end of the one before."""
    for _ in range(TASKS):
        pool.submit(seconds)
        pool.answer_all(seconds)


@pytest.mark.parametrize(("work", "seconds"), [(burst, SHORT), (burst, MIDDLE), (burst, LONG), (calls, SHORT)])
def test_a_task_costs_the_parent_as_much_with_many_workers_as_with_two(
    pools: tuple[Pool, Pool], work: Callable[[Pool, float], None], seconds: float
) -> None:
    for pool in pools:
        work(pool, seconds)  # the functions are known to the workers, and how long they take
    few, many = (bytecodes(lambda pool=pool: work(pool, seconds)) for pool in pools)  # type: ignore[misc]
    assert few > 100 * TASKS
    assert many <= GROWS * few
    assert [len(pool.sockets) for pool in pools] == [FEW, MANY]


def test_a_worker_costs_the_parent_as_much_to_start_among_many_as_among_few() -> None:
    few, many = (bytecodes(lambda number=number: Pool(number)) / number for number in (MANY // 8, MANY))  # type: ignore[misc]
    assert many <= GROWS * few
