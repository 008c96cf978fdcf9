"""The exception tree: one class for each decision the caller can take."""

from __future__ import annotations

__all__ = [
    "BrokenBarrier",
    "Cancelled",
    "ChannelClosed",
    "LockAbandoned",
    "NodeLost",
    "PoolClosed",
    "RemoteError",
    "SerializationError",
    "TaskTimeout",
    "UnifiedExecError",
    "WorkerCrashed",
    "WorkerStartError",
]


class Cancelled(BaseException):
    """Raised inside a thread or process task that was requested to stop.

    It is a `BaseException`, so ``except Exception`` does not swallow it. Do not suppress it: ``finally`` blocks
    run and the task ends as cancelled.

    Args:
        reason: why the task was requested to stop, or ``None``.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the task was cancelled: {self.reason}" if self.reason else "the task was cancelled"


class UnifiedExecError(Exception):
    """Base class of all errors of this package."""


class WorkerCrashed(UnifiedExecError):
    """A worker died while it ran the task; the pool replaces it and goes on.

    Args:
        task: name of the task that had started in the worker.
        pid: process id of the worker that died.
        exitcode: exit status, negative for a signal (as in `subprocess`), ``None`` if unknown.
        detail: what else is known about its death, or ``None``.
    """

    def __init__(self, task: str, pid: int, exitcode: int | None = None, detail: str | None = None) -> None:
        super().__init__(task, pid, exitcode, detail)
        self.task = task
        self.pid = pid
        self.exitcode = exitcode
        self.detail = detail

    def __str__(self) -> str:
        text = f"the worker (pid {self.pid}) running task {self.task!r} died {_how(self.exitcode)}"
        if self.detail:
            text += f" ({self.detail})"
        return text + "; only this task failed, the pool goes on"


class NodeLost(WorkerCrashed):
    """A node of a cluster was lost while it had the task. Nothing of the task runs there any more.

    The task is not run again by itself, as it may have begun. ``Retry(3, on=NodeLost)`` runs it again, and may so run
    it more than once.

    Args:
        task: name of the task.
        address: the node.
        begun: ``True`` if the task had begun there, ``None`` if that is not known.
        why: how the node was lost.
    """

    def __init__(self, task: str, address: str, begun: bool | None, why: str) -> None:
        super().__init__(task, 0)
        self.args = (task, address, begun, why)
        self.address = address
        self.begun = begun
        self.why = why

    def __str__(self) -> str:
        had = "had begun there" if self.begun else "may have begun there"
        return f"node {self.address} was lost with task {self.task!r}, which {had}: {self.why}; the pool goes on"


class WorkerStartError(UnifiedExecError):
    """A worker could not start: its initializer failed, or it died before it was ready.

    Args:
        what: what happened, in words.
        exitcode: exit status of the worker if it died, negative for a signal.
    """

    def __init__(self, what: str, exitcode: int | None = None) -> None:
        super().__init__(what, exitcode)
        self.what = what
        self.exitcode = exitcode

    def __str__(self) -> str:
        text = f"a worker could not start: {self.what}"
        if self.exitcode is not None:
            text += f" (it died {_how(self.exitcode)})"
        return text


class RemoteError(UnifiedExecError):
    """Stands for an exception of a task that cannot be raised as itself in the caller.

    Either its type could not be rebuilt here, or it is not an `Exception` (`SystemExit`, `KeyboardInterrupt`, ...)
    and would end the program; in the second case the original is the ``__cause__``.

    Args:
        type_name: qualified name of the original type.
        message: ``str()`` of the original.
        traceback_text: the traceback as formatted where it was raised ("" if there is none).
    """

    def __init__(self, type_name: str, message: str = "", traceback_text: str = "") -> None:
        super().__init__(type_name, message, traceback_text)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        text = f"{self.type_name}: {self.message}" if self.message else self.type_name
        if self.traceback_text:
            text += f"\n\nTraceback of the task:\n{self.traceback_text.rstrip()}"
        return text


class SerializationError(UnifiedExecError):
    """An argument or a result cannot travel between processes.

    Args:
        what: what cannot travel, e.g. ``"argument 2 ('conn') of parse()"`` or ``"the result of parse()"``.
        why: the reason, with the path of the attribute that cannot travel, if it is known.
        hint: what to do now, or ``None``.
        sent: it was pickled and sent, and could not be rebuilt where it arrived.
    """

    def __init__(self, what: str, why: str, hint: str | None = None, *, sent: bool = False) -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint
        self.sent = sent

    def __str__(self) -> str:
        text = f"{self.what} cannot travel to another process: {self.why}"
        return f"{text}; {self.hint}" if self.hint else text


class TaskTimeout(UnifiedExecError, TimeoutError):
    """A task, or a whole scope, did not end within its ``timeout``.

    Args:
        what: ``"task 'crunch'"`` or ``"scope 'ingest'"``.
        seconds: the timeout that was exceeded, in seconds.
    """

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what} did not end within its timeout of {self.seconds:g} s"


class DeadlockError(UnifiedExecError):
    """Tasks wait for one another and none of them can ever go on. The one that began to wait last raises this.

    Its ``with`` blocks release what it holds, so the others go on. Acquire locks in the same order everywhere; close a
    channel when nothing more comes, or give `Channel.sender` to those who send.

    Args:
        ring: for each task: its name, what it holds and where it was acquired, what it waits for and where. The
            first is the one that raises.
        advice: what to do.
    """

    def __init__(self, ring: tuple[str, ...], advice: str = "acquire locks in one order") -> None:
        super().__init__(ring, advice)
        self.ring = ring
        self.advice = advice

    def __str__(self) -> str:
        return f"these wait for one another for ever; {self.advice}:\n  " + "\n  ".join(self.ring)


class PoolClosed(UnifiedExecError):
    """Work was submitted to a closed pool.

    Args:
        pool: name of the pool.
    """

    def __init__(self, pool: str) -> None:
        super().__init__(pool)
        self.pool = pool

    def __str__(self) -> str:
        return f"{self.pool} is closed and takes no more work; spawn inside its `with` block, or use the default pool"


class ChannelClosed(UnifiedExecError):
    """A channel was closed: it takes no item, or will never give one.

    Args:
        channel: the channel, as its ``repr`` names it.
        sending: an item was to be sent; otherwise one was to be received, and none is left.
    """

    def __init__(self, channel: str, sending: bool = False) -> None:
        super().__init__(channel, sending)
        self.channel = channel
        self.sending = sending

    def __str__(self) -> str:
        if self.sending:
            return f"{self.channel} is closed and takes no more items; close it after its last sender has ended"
        return f"{self.channel} is closed and every item has been received; iterate over it to end with the last item"


class BrokenBarrier(UnifiedExecError):
    """A barrier is broken: a task that waited was cancelled, timed out or died with its process, or `abort` was called.

    Args:
        barrier: the barrier, as its ``repr`` names it.
    """

    def __init__(self, barrier: str) -> None:
        super().__init__(barrier)
        self.barrier = barrier

    def __str__(self) -> str:
        return f"{self.barrier} is broken: not all of its parties will come; make a new one"


class LockAbandoned(UnifiedExecError):
    """A lock was acquired whose last holder had ended without releasing it. The caller holds the lock.

    Raised if the lock was made with ``on_abandoned="raise"``. What the lock protects may be half done: put it right and
    go on, or release the lock. A ``with`` or ``async with`` that raises this has released it already.

    Args:
        lock: the lock, as its ``repr`` names it.
        holder: who held it, and where it had acquired it, if that is known.
    """

    def __init__(self, lock: str, holder: str) -> None:
        super().__init__(lock, holder)
        self.lock = lock
        self.holder = holder

    def __str__(self) -> str:
        return (
            f"{self.lock} was abandoned: {self.holder} ended without releasing it; you hold it now: check "
            "what it protects"
        )


def _how(exitcode: int | None) -> str:
    if exitcode is None:
        return "for an unknown reason"
    if exitcode >= 0:
        return f"with exit code {exitcode}"
    import signal  # not at the top: a worker must stay light

    try:
        return f"by signal {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"by signal {-exitcode}"
