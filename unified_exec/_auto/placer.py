"""``on="auto"``: what is known about each function in this process, and where its next call runs."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .._platform.cpu_count import cpu_count
from .._rules.dispatch import is_async, unwrap
from .._tasks import loaded
from .._tasks.messages import Measurement
from ..abc import Backend
from ..errors import SerializationError
from .captured_state import rebinding_function
from .cost_model import PER_BYTE
from .placement_model import NO_GIL, ON_LOOP, PlacementModel, Sample
from .profile_call import run_measured

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._handles.owner import Launcher

REMEMBERED = 1000
"""Functions to keep records of; beyond that the oldest record is dropped."""
AT_ONCE = 4
"""Calls of one function that may be measured at the same time."""

_records: dict[int, FunctionRecord] = {}
_batched: dict[int, FunctionRecord] = {}


class FunctionRecord:
    """What is known about one function. Any number of event loops share it.

    Attributes:
        key: the object that identifies the function; kept alive, so that its id is not reused.
        model: decides where its calls run.
        in_flight: tasks of the scope in flight when its latest call was spawned.
        measuring: how many of its calls are being measured.
        monitored: one of them has a GIL monitor; two would disturb each other.
    """

    __slots__ = ("_lock", "in_flight", "key", "measuring", "model", "monitored")

    def __init__(self, fn: Callable[..., Any], key: object, batched: bool) -> None:
        self.key = key
        self.model = PlacementModel(cpu_count(), batched)
        self.in_flight = self.measuring = 0
        self.monitored = False
        self._lock = allocate_lock()
        culprit = rebinding_function(fn)
        if culprit:
            self.model.pin(f"{culprit}() assigns to a global or captured variable, which no other process would see")

    def note(self, items: int, figures: Any) -> None:
        """Add what a measured call took. From any thread."""
        cpu, wall, blocked, others, carried = figures
        with self._lock:
            pickle_cost = None
            if carried is not None:
                sent, returned, seconds, changed, error = carried
                if changed:
                    self.model.pin(f"it changes {changed}, which no other process would see")
                elif error:
                    self.model.refuse(error)
                else:
                    pickle_cost = seconds + (sent + returned) * PER_BYTE
            self.model.add(Sample(cpu, wall, blocked, others, pickle_cost, items, self.in_flight))

    def refuse(self, error: SerializationError) -> None:
        with self._lock:
            self.model.refuse(str(error))

    def measured(self, monitored: bool) -> None:
        """Note that a measured call has ended, with whatever outcome."""
        with self._lock:
            self.measuring -= 1
            self.monitored = self.monitored and not monitored

    def measure(self, handle: TaskHandle[Any], isolated: bool, items: int) -> Callable[[], None] | None:
        """Have this call measured unless enough are; returns a function to call when it has ended.

        Args:
            handle: the call.
            isolated: it runs in another process, which sends its figures as a message.
            items: how many items of a map it is called for.
        """
        model = self.model
        with self._lock:
            if self.measuring >= AT_ONCE:
                return None
            self.measuring += 1
            monitor = not self.monitored and model.can_monitor_gil
            self.monitored = self.monitored or monitor
        note = partial(self.note, items)
        if isolated:
            handle.listener = partial(_on_message, note, handle.listener)
            in_thread = None
        else:
            in_thread = note
        assert handle.fn is not None
        handle.fn = partial(run_measured, handle.fn, in_thread, monitor, model.payload_bytes())
        return partial(self.measured, monitor)


def _on_message(note: Callable[[Any], object], listener: Callable[[Any], object] | None, message: Any) -> None:
    if type(message) is Measurement:
        note(message.figures)
    elif listener is not None:
        listener(message)


def record_of(fn: Callable[..., Any], batched: bool = False) -> FunctionRecord:
    """Return the record of a function; partials, bound methods and closures of it share one."""
    key: object = fn.__code__ if type(fn) is FunctionType else _key_of(fn)
    records = _batched if batched else _records
    record = records.get(id(key))
    if record is None:
        record = FunctionRecord(fn, key, batched)
        while len(records) >= REMEMBERED:
            records.pop(next(iter(records)), None)
        records[id(key)] = record
    return record


def _key_of(fn: Any) -> object:
    inner: object = unwrap(fn)
    code: object = getattr(inner, "__code__", None)
    if code is None:  # a callable object: take its class
        code = getattr(type(inner).__call__, "__code__", None)
    return inner if code is None else code


def forget() -> None:
    """Drop all records."""
    _records.clear()
    _batched.clear()


def resolve(scope: Launcher, fn: Callable[..., Any]) -> tuple[str, Backend | None]:
    """Return where the next call of `fn` runs, and its pool; ``None`` for the event loop."""
    record = _records.get(id(fn.__code__)) if type(fn) is FunctionType and not fn.__dict__ else None
    if record is None:  # else it was examined before
        if is_async(fn):
            return "loop", None
        record = record_of(fn)
    in_thread = record.model.place == "thread" or loaded.gil_is_off()
    pool = scope.thread_pool() if in_thread else scope.process_pool()
    return pool.kind, pool


def launch(scope: Launcher, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> None:
    """Start a task where `resolve` said."""
    assert handle.fn is not None
    if backend is None:
        handle.decision = ON_LOOP
        scope.launch(handle, None, timeout)
    elif loaded.gil_is_off():
        handle.decision = NO_GIL
        scope.launch(handle, backend, timeout)
    else:
        fn = handle.fn
        record = _records.get(id(fn.__code__)) if type(fn) is FunctionType else None
        if record is None:
            record = record_of(fn)
        due = record.model.due()
        if due or backend.capabilities.copies:
            start(scope, handle, backend, timeout, record, 1, due)
        else:  # it takes any call: the short way
            handle.decision = record.model.decision
            record.in_flight = len(scope.remote_tasks)
            scope.launch(handle, backend, timeout)


def start(
    scope: Launcher,
    handle: TaskHandle[Any],
    backend: Backend,
    timeout: float | None,
    record: FunctionRecord,
    items: int,
    due: bool,
) -> None:
    """Start a task in its pool, measured if it is `due`; in a thread if it cannot be pickled."""
    model, fn, listener = record.model, handle.fn, handle.listener
    handle.decision = model.decision
    record.in_flight = len(scope.remote_tasks)
    ended = record.measure(handle, backend.capabilities.isolated, items) if due else None
    try:
        scope.launch(handle, backend, timeout)
    except SerializationError as error:
        if ended is not None:
            ended()
        record.refuse(_own_error(fn, handle.args, error))
        handle.fn, handle.listener = fn, listener
        threads = scope.thread_pool()
        handle.backend, handle.decision = threads.kind, model.decision
        scope.launch(handle, threads, timeout)
    except BaseException:
        if ended is not None:
            ended()
        raise
    else:
        if ended is not None:
            handle.when_done(ended)


def _own_error(fn: Any, args: Any, error: SerializationError) -> SerializationError:
    """Return the same error about the user's function instead of the function that measures it."""
    from .._wire.pickling.functions import encode_call

    try:
        encode_call(fn, args)
    except SerializationError as own:
        return own
    return error


class AdaptivePlacement:
    """Decides where each chunk of a map runs."""

    __slots__ = ("_record", "_scope")

    def __init__(self, scope: Launcher, fn: Callable[..., Any]) -> None:
        self._scope = scope
        self._record = record_of(fn, True)

    def choose(self) -> tuple[Backend, int]:
        """Return the pool for the next chunk, and how many may run in it at the same time.

        They are few while nothing is known about the function, since chunks in flight cannot move.
        """
        gil_is_off = loaded.gil_is_off()
        model = self._record.model
        pool = self._scope.thread_pool() if gil_is_off or model.place == "thread" else self._scope.process_pool()
        workers = pool.max_workers
        return pool, workers if gil_is_off or model.settled else min(workers, cpu_count())

    def launch(self, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None, items: int) -> None:
        assert backend is not None
        if items > 1:
            handle.items = items
        start(self._scope, handle, backend, timeout, self._record, items, self._record.model.due())
