"""``on="auto"``: what was seen of each function in this process, and where its next call goes."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .._platform.cpu_count import cpu_count
from .._pools import default_pools
from .._pools.thread import call
from .._rules.dispatch import is_async, unwrap
from .._tasks.messages import Measurement
from ..abc import Backend
from ..errors import SerializationError
from .captured_state import rebinds
from .cost_model import PER_BYTE
from .placement_model import NO_GIL, ON_LOOP, PlacementModel, Sample
from .profile_call import run_measured

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._scope.scope import TaskScope

REMEMBERED = 1000
"""Functions that are remembered; the one that came first is forgotten."""
AT_ONCE = 4
"""Calls of a function that are measured at the same time."""

_records: dict[int, Record] = {}
_batched: dict[int, Record] = {}
call._OWN_CODE.add(run_measured.__code__)  # no line of ours in the tracebacks of users


class Record:
    """What is known about one function; any number of loops share it.

    Attributes:
        key: what stands for the function; held, so that no other takes its id.
        course: where its calls go.
        crowd: tasks of the scope that were under way when its latest call was spawned.
        flying: its calls that are measured now.
        watched: one of them has a watch on the interpreter's lock: two would see each other.
    """

    __slots__ = ("_lock", "course", "crowd", "flying", "key", "watched")

    def __init__(self, fn: Callable[..., Any], key: object, batched: bool) -> None:
        self.key = key
        self.course = PlacementModel(cpu_count(), batched)
        self.crowd = self.flying = 0
        self.watched = False
        self._lock = allocate_lock()
        culprit = rebinds(fn)
        if culprit:
            self.course.pin(f"{culprit}() assigns to a global or captured variable, which no other process would see")

    def note(self, items: int, figures: Any) -> None:
        """Learn from a measured call; in whatever thread."""
        cpu, wall, blocked, others, weight = figures
        with self._lock:
            cost = None
            if weight is not None:
                sent, back, seconds, changed, refusal = weight
                if changed:
                    self.course.pin(f"it changes {changed}, which no other process would see")
                elif refusal:
                    self.course.refuse(refusal)
                else:
                    cost = seconds + (sent + back) * PER_BYTE
            self.course.note(Sample(cpu, wall, blocked, others, cost, items, self.crowd))

    def refuse(self, error: SerializationError) -> None:
        with self._lock:
            self.course.refuse(str(error))

    def landed(self, watched: bool) -> None:
        """A measured call has ended, however it did."""
        with self._lock:
            self.flying -= 1
            self.watched = self.watched and not watched

    def measure(self, handle: TaskHandle[Any], items: int) -> Callable[[], None] | None:
        """Have this call measured, unless enough are; returns what is to be called at its end."""
        course = self.course
        with self._lock:
            if self.flying >= AT_ONCE:
                return None
            self.flying += 1
            watch = not self.watched and course.watchable
            self.watched = self.watched or watch
        note = partial(self.note, items)
        if handle.backend == "process":
            handle.listener = partial(_heard, note, handle.listener)
            told = None
        else:
            told = note
        assert handle.fn is not None
        handle.fn = partial(run_measured, handle.fn, told, watch, course.to_be_weighed())
        return partial(self.landed, watch)


def _heard(note: Callable[[Any], object], listener: Callable[[Any], object] | None, message: Any) -> None:
    if type(message) is Measurement:
        note(message.figures)
    elif listener is not None:
        listener(message)


def record_of(fn: Callable[..., Any], batched: bool = False) -> Record:
    """The record of a function, whatever partial, method or closure it is called through."""
    key: object = fn.__code__ if type(fn) is FunctionType else _what_stands_for(fn)
    records = _batched if batched else _records
    record = records.get(id(key))
    if record is None:
        record = Record(fn, key, batched)
        while len(records) >= REMEMBERED:
            records.pop(next(iter(records)), None)
        records[id(key)] = record
    return record


def _what_stands_for(fn: Any) -> object:
    inner: object = unwrap(fn)
    code: object = getattr(inner, "__code__", None)
    if code is None:  # a callable object: its class stands for it
        code = getattr(type(inner).__call__, "__code__", None)
    return inner if code is None else code


def forget() -> None:
    """Begin anew, as in a fresh process."""
    _records.clear()
    _batched.clear()


def resolve(scope: TaskScope, fn: Callable[..., Any]) -> tuple[str, Backend | None]:
    """Return the place and the pool for the next call of `fn`, ``None`` for the event loop."""
    record = _records.get(id(fn.__code__)) if type(fn) is FunctionType and not fn.__dict__ else None
    if record is None:  # else it was looked at before
        if is_async(fn):
            return "loop", None
        record = record_of(fn)
    if record.course.place == "thread" or default_pools.gil_is_off():
        return "thread", scope._threads or default_pools.default_threads()
    return "process", _processes(scope)


def launch(scope: TaskScope, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> None:
    """Start a task in the place that `resolve` found."""
    assert handle.fn is not None
    if backend is None:
        handle.decision = ON_LOOP
        scope.launch(handle, None, timeout)
    elif default_pools.gil_is_off():
        handle.decision = NO_GIL
        scope.launch(handle, backend, timeout)
    else:
        fn = handle.fn
        record = _records.get(id(fn.__code__)) if type(fn) is FunctionType else None
        if record is None:
            record = record_of(fn)
        due = record.course.due()
        if due or handle.backend != "thread":
            start(scope, handle, backend, timeout, record, 1, due)
        else:  # nothing can be refused here: the short way
            handle.decision = record.course.decision
            record.crowd = len(scope._remote.tasks)
            scope.launch(handle, backend, timeout)


def start(
    scope: TaskScope,
    handle: TaskHandle[Any],
    backend: Backend,
    timeout: float | None,
    record: Record,
    items: int,
    due: bool,
) -> None:
    """Start a task in its pool, measured if it is `due`; in a thread if it cannot travel."""
    course, fn, listener = record.course, handle.fn, handle.listener
    handle.decision = course.decision
    record.crowd = len(scope._remote.tasks)
    landed = record.measure(handle, items) if due else None
    try:
        scope.launch(handle, backend, timeout)
    except SerializationError as error:
        if landed is not None:
            landed()
        record.refuse(_own_words(fn, handle.args, error))
        handle.fn, handle.listener = fn, listener
        handle.backend, handle.decision = "thread", course.decision
        scope.launch(handle, _threads(scope), timeout)
    except BaseException:
        if landed is not None:
            landed()
        raise
    else:
        if landed is not None:
            handle.when_done(landed)


def _own_words(fn: Any, args: Any, error: SerializationError) -> SerializationError:
    """The same error about the user's own function, not about what measures it."""
    from .._wire.pickling.functions import encode_call

    try:
        encode_call(fn, args)
    except SerializationError as own:
        return own
    return error


def _threads(scope: TaskScope) -> Backend:
    return scope._threads or default_pools.default_threads()


def _processes(scope: TaskScope) -> Backend:
    return scope._processes or default_pools.default_processes()


class Steering:
    """Chooses the place of each chunk of a map."""

    __slots__ = ("_record", "_scope")

    def __init__(self, scope: TaskScope, fn: Callable[..., Any]) -> None:
        self._scope = scope
        self._record = record_of(fn, True)

    def backend(self) -> Backend:
        """The pool for the next chunk."""
        in_thread = default_pools.gil_is_off() or self._record.course.place == "thread"
        return _threads(self._scope) if in_thread else _processes(self._scope)

    def workers(self, backend: Backend) -> int:
        """How many chunks may run at the same time: few as long as nothing is known, else they could not move."""
        most: int = backend.max_workers
        return most if self._record.course.settled or default_pools.gil_is_off() else min(most, cpu_count())

    def launch(self, handle: TaskHandle[Any], backend: Backend, timeout: float | None, items: int) -> None:
        start(self._scope, handle, backend, timeout, self._record, items, self._record.course.due())


def steering(scope: TaskScope, fn: Callable[..., Any]) -> Steering | None:
    """What steers a map; ``None`` for an async function, which has its place."""
    return None if is_async(fn) else Steering(scope, fn)
