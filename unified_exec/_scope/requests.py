"""What a scope does for its running tasks: the other end of `unified_exec.from_task`."""

from __future__ import annotations

from contextvars import Context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol

from .._handles.cancelled import TaskCancelled
from .._handles.handle import TaskHandle
from .._handles.validation import close_coroutine, unknown_keywords
from .._rules.dispatch import call_name
from .._tasks.current import current
from .._tasks.loaded import loaded
from .._tasks.requests import CALL, CANCEL, DEEPEST, RUN, RUN_SYNC, SPAWN, STOP, Request, chain_of
from .._tasks.types import Outcome
from .._wire.errors.nodes import as_outcome_error
from .coroutine import LoopTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._handles.owner import Launcher
    from .._tasks.task import Task

    class Serving(Launcher, Protocol):
        """An open scope, as far as its tasks ask for something."""

        is_open: bool
        context: Context
        priority: int

        @property
        def spawn(self) -> Callable[..., TaskHandle[Any]]:
            """Start a task of the scope."""


_DEFAULTS: dict[str, Any] = {
    "on": None,
    "timeout": None,
    "name": None,
    "interrupt": False,
    "abandon": False,
    "retry": None,
    "limit": None,
    "progress": None,
    "priority": None,
}


class TaskRequests:
    """What one task has asked of its scope.

    Attributes:
        running: the functions that run for it on the loop, by the number of the request.
        spawned: the tasks that it has spawned, and its calls of actors, by the number of the request.
        awaited: those of them that it waits for, by the number of the request to wait.
    """

    __slots__ = ("awaited", "running", "spawned")

    def __init__(self) -> None:
        self.running: dict[int, TaskHandle[Any]] = {}
        self.spawned: dict[int, TaskHandle[Any]] = {}
        self.awaited: dict[int, TaskHandle[Any]] = {}

    def stop(self, reason: str | None) -> None:
        """Cancel the functions that run for it."""
        for handle in list(self.running.values()):
            handle.cancel(reason)


def serve(scope: Serving, task: Task, request: Request) -> None:
    """Do what a running task asks for, and answer."""
    if task.outcome is not None or not scope.is_open:
        request.answer(Outcome(error=RuntimeError(f"task {task.name!r} has ended: nothing can be asked of its scope")))
        return
    asked: Any = task.requests
    if asked is None:
        asked = task.requests = TaskRequests()
    request.context = _context(scope, request.context)
    request.asker = task
    request.late = task.cancel_requested
    verb = request.verb
    if verb == RUN:
        _run(scope, task, request, asked)
    elif verb == RUN_SYNC:
        _run_sync(scope, task, request)
    elif verb == SPAWN:
        _spawn(scope, request, asked)
    elif verb == CALL:
        from .actor_calls import start_call  # loaded with the first one

        _start(scope, request, asked, partial(start_call, scope, scope.context, request), request.args[1])
    elif verb == STOP:
        handle = asked.running.get(request.args[0])
        if handle is not None:
            handle.cancel(f"task {task.name!r} does not wait for it any more")
    else:
        handle = asked.spawned[request.args[0]]
        if verb == CANCEL:
            handle.cancel(request.options)
        else:
            asked.awaited[request.number] = handle
            handle.when_done(partial(_spawned_ended, scope, request, handle, asked))


def _context(scope: Serving, asked_in: Context | None) -> Context:
    """Return what a function runs in: the context of the thread that asks, or that of the scope; at its event loop."""
    context = scope.context.copy() if asked_in is None else asked_in
    if (sniffio := loaded("sniffio")) is not None:
        # We are in a callback, where nothing else says it: `asyncio.run` sets no variable.
        library = "trio" if scope.adapter.kind == "trio" else "asyncio"
        context.run(sniffio.current_async_library_cvar.set, library)
    return context


def _run(scope: Serving, task: Task, request: Request, asked: TaskRequests) -> None:
    chain = chain_of(task)
    if len(chain) > DEEPEST:
        text = f"{len(chain)} tasks wait for each other through from_task, which is too deep: {' -> '.join(chain)}"
        _answer(request, Outcome(error=RecursionError(text)))
        return
    handle = asked.running[request.number] = _function(scope, task, request)
    handle.when_done(partial(_ran, scope, task, request, handle, asked))
    context: Any = request.context
    context.run(scope.launch, handle, None, None)
    if request.late:
        handle.cancel(task.stop_reason)  # does nothing if it has ended


def _function(scope: Serving, task: Task, request: Request) -> TaskHandle[Any]:
    """Make the task of the loop that the function is run as; its outcome is the asking task's alone."""
    fn = request.fn
    assert fn is not None
    handle: TaskHandle[Any] = TaskHandle(call_name(fn), fn, request.args, "loop", scope)
    handle.private = True
    handle.deadline = task.deadline
    handle.asked_by = request
    return handle


def _ran(scope: Serving, task: Task, request: Request, handle: TaskHandle[Any], asked: TaskRequests) -> None:
    del asked.running[request.number]
    outcome = handle.outcome
    assert outcome is not None
    if outcome.cancelled and request.cancelled_by_itself and not request.late and _is_stopping(scope):
        request.asker = None  # the task's own cancellation is under way
        return
    if outcome.error is not None:
        outcome = Outcome(error=as_outcome_error(outcome.error))
    _answer(request, outcome)


def _is_stopping(scope: Serving) -> bool:
    """Tell whether every task of the scope is cancelled, or about to be."""
    return scope.decided or scope.is_cancelled()


def _answer(request: Request, outcome: Outcome[Any]) -> None:
    request.asker = None
    request.answer(outcome)


def _run_sync(scope: Serving, task: Task, request: Request) -> None:
    view = LoopTask(_function(scope, task, request))
    context: Any = request.context
    outcome: Outcome[Any]
    try:
        value = context.run(_call, view, request.fn, request.args)
    except Exception as error:
        outcome = Outcome(error=error)
    except BaseException as error:
        outcome = Outcome(error=as_outcome_error(error))
        if isinstance(error, KeyboardInterrupt):
            _answer(request, outcome)
            raise
    else:
        outcome = Outcome(value)
    _answer(request, outcome)


def _call(view: LoopTask, fn: Any, args: tuple[Any, ...]) -> Any:
    current.set(view)
    value = fn(*args)
    if isawaitable(value):
        close_coroutine(value)
        name = call_name(fn)
        raise TypeError(f"{name}() returned an awaitable: write from_task.run({name}, ...)")
    return value


def _spawn(scope: Serving, request: Request, asked: TaskRequests) -> None:
    fn, args, options, asker = request.fn, request.args, request.options, request.asker
    assert fn is not None
    if asker is not None and asker.priority != scope.priority:
        options = {"priority": asker.priority, **options}

    def spawn() -> TaskHandle[Any]:
        unknown = {name: value for name, value in options.items() if name not in _DEFAULTS}
        if unknown:
            raise TypeError(unknown_keywords(fn, unknown))
        return scope.spawn(fn, args, **(_DEFAULTS | options))

    _start(scope, request, asked, spawn, call_name(fn))


def _start(
    scope: Serving, request: Request, asked: TaskRequests, start: Callable[[], TaskHandle[Any]], name: str
) -> None:
    """Start a task or call on behalf of a task.

    A refusal is raised there, or, if it does not wait now, by what it asked for: a task fails the scope then, a call of
    an actor fails for its caller alone.
    """
    context: Any = request.context
    try:
        asked.spawned[request.number] = context.run(start)
    except Exception as error:
        if request.waits:
            _answer(request, Outcome(error=error))
            return
        fn: Any = request.fn
        handle = asked.spawned[request.number] = TaskHandle(name, fn, request.args, "loop", scope)
        handle.private = request.verb == CALL
        handle.settle(Outcome(error=error))
    else:
        if request.waits:
            _answer(request, Outcome(None))


def _spawned_ended(scope: Serving, request: Request, handle: TaskHandle[Any], asked: TaskRequests) -> None:
    """Answer a task that waits for one that it has spawned."""
    asked.awaited.pop(request.number, None)
    outcome = handle.outcome
    assert outcome is not None
    if outcome.cancelled:
        if request.cancelled_by_itself and not request.late and handle.by_scope and _is_stopping(scope):
            request.asker = None
            return
        error = handle.cancellation()
        outcome = Outcome(error=TaskCancelled(error.task, error.reason) if request.cancelled_by_itself else error)
    elif outcome.error is not None:
        outcome = Outcome(error=as_outcome_error(outcome.error))
    _answer(request, outcome)
