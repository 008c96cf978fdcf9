"""What a task must not leave to the next one: the state of the process, taken after the initializer and restored.

It is restored after the answer was sent, so that the parent does not wait for it, and before the next task is received.
To look at all of it takes many times as long as a short task. So after a task only what Python code can assign to is
looked at; the rest if the task has called a function that changes some of it (`noted_calls`), and every `LOOK_EVERY`
seconds what C code can change without these functions.
"""

from __future__ import annotations

import _signal
import os
import sys
from _io import FileIO
from _signal import alarm, getsignal, pthread_sigmask, set_wakeup_fd, setitimer
from _signal import signal as set_handler
from collections.abc import Callable
from gc import disable as gc_disable
from gc import enable as gc_enable
from gc import isenabled as gc_isenabled
from os import fchdir, get_blocking, getegid, geteuid, umask
from sys import getprofile, getrecursionlimit, gettrace, setprofile, setrecursionlimit, settrace

from .._platform.posix import CANCEL_SIGNAL
from .._tasks.on_import import when_imported
from .noted_calls import changes, note_calls
from .settings import CONTROL_FD, LIFELINE_FD

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

LOOK_EVERY = 0.005
"""Seconds after which what the system keeps is restored after the next task, whatever it has called."""
_SIGNALS = [
    number
    for number in sorted(_signal.valid_signals())
    if number < 32 and number not in (_signal.SIGKILL, _signal.SIGSTOP)
]
"""The signals that can be handled, without the real-time ones."""
_KEPT = {_signal.SIGTERM, _signal.SIGCHLD, CANCEL_SIGNAL}
"""Signals that others send to the worker; a pending one is not thrown away."""
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_LIMITS = [f"RLIMIT_{name}" for name in ("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "STACK")]
_SEARCHED = ("path", "meta_path", "path_hooks")
_modules = sys.modules
_monitoring: Any = getattr(sys, "monitoring", None)


class ProcessState:
    """The state of this process, as it was when `take` was called last.

    Args:
        in_loop: an event loop runs the tasks; the wakeup descriptor of signals is its own.

    Attributes:
        forget_handler: called with a signal that has another handler than before.
    """

    # Without, it has more attributes than the interpreter finds quickly: it is looked at after each task.
    __slots__ = (
        "_blocked", "_closable", "_collects", "_excepthook", "_folder", "_folder_path", "_group", "_handlers",
        "_in_loop", "_knew_watchdog", "_limits", "_limits_text", "_look_at", "_may_be_other", "_meta_path",
        "_monitors", "_needed", "_no_alarm", "_path", "_path_hooks", "_profile", "_profiled", "_recursion", "_root",
        "_stderr", "_stdin", "_stdin_is_open", "_stdout", "_timers", "_trace", "_umask", "_unraisablehook", "_user",
        "forget_handler",
    )  # fmt: skip

    def __init__(self, in_loop: bool = False) -> None:
        self._in_loop = in_loop
        self._folder: int | None = None
        self.forget_handler: Callable[[int], object] | None = None
        self.take()

    def take(self) -> None:
        """Take the state as it is now for what tasks must leave."""
        # Only such a process can change its user or its root folder.
        self._may_be_other = geteuid() == 0 or geteuid() != os.getuid() or getegid() != os.getgid()
        self._user, self._group = geteuid(), getegid()
        self._umask = umask(0o077)
        umask(self._umask)
        self._take_folder()
        self._limits: list[Any] | None = None
        self._limits_text = _limits_text()
        if self._limits_text is None:
            import resource  # noqa: F401

            self._limits = _limits()
        self._timers = [_signal.getitimer(timer) for timer in _TIMERS]
        self._no_alarm = not any(self._timers[0])
        self._handlers = list(map(getsignal, _SIGNALS))
        self._blocked = pthread_sigmask(_signal.SIG_BLOCK, ())
        self._knew_watchdog = "faulthandler" in _modules
        for name in ("faulthandler", "resource"):
            when_imported(name, changes.note)
        self._take_interpreter()

    def _take_interpreter(self) -> None:
        self._trace, self._profile = gettrace(), getprofile()
        self._monitors = [_monitoring.get_tool(number) for number in range(6)] if _monitoring is not None else []
        self._profiled = bool(self._monitors) and self._monitors[_monitoring.PROFILER_ID] is not None
        self._recursion, self._collects = getrecursionlimit(), gc_isenabled()
        self._excepthook, self._unraisablehook = sys.excepthook, sys.unraisablehook
        self._stdin, self._stdout, self._stderr = sys.stdin, sys.stdout, sys.stderr
        self._closable = all(hasattr(stream, "closed") for stream in (sys.stdin, sys.stdout, sys.stderr))
        self._stdin_is_open = _is_open(sys.stdin)
        self._needed = [list(getattr(sys, name)) for name in _SEARCHED]
        self._path, self._meta_path, self._path_hooks = map(list, self._needed)
        self._look_at = 0.0
        changes.made = True  # what the initializer has imported is noted after the first task

    def take_surroundings(self) -> None:
        """Take the folder and the import path as they are now: the program has changed its own."""
        self._take_folder()
        self._take_path()

    def _take_path(self) -> None:
        self._needed[0] = list(sys.path)
        self._path = list(sys.path)

    def quieten(self) -> None:
        """Stop what a task has set to interrupt it: its alarm, its trace and its profile function.

        Called as soon as its function has returned, for none of these may raise in the code that answers the task.
        """
        if changes.made and self._no_alarm and "signal" in _modules:
            alarm(0)
        if gettrace() is not self._trace:
            settrace(self._trace)
        if getprofile() is not self._profile:
            setprofile(self._profile)

    def restore(self, now: float) -> bool:
        """Restore everything, after `quieten`; ``False`` if that is impossible, so that the worker must exit.

        Args:
            now: when the task ended, on the clock of `time.monotonic`.
        """
        try:
            if (
                not changes.made
                and sys.stdin is self._stdin
                and sys.stdout is self._stdout
                and sys.stderr is self._stderr
                and self._stdin_is_open()  # the others were flushed
                and sys.excepthook is self._excepthook
                and sys.unraisablehook is self._unraisablehook
                and sys.path == self._path
                and sys.meta_path == self._meta_path
                and sys.path_hooks == self._path_hooks
            ):
                if now < self._look_at:
                    return True
                self._look_at = now + LOOK_EVERY
                return self._restore_process()
        except BaseException:
            pass  # a name is gone, or a signal handler of the task ran in here
        for _ in range(3):
            try:
                changes.made = False  # first: what another thread changes from here on is looked at after the next task
                self._look_at = now + LOOK_EVERY
                return self._restore()
            except BaseException:  # a signal handler of the task ran in here, for a signal that came just now
                changes.made = True
                self.quieten()
        return False

    def _restore(self) -> bool:
        self._restore_interpreter()
        if not self._restore_process() or ("signal" in _modules and not self._restore_handlers()):
            return False
        noted = True
        if "faulthandler" in _modules and not self._knew_watchdog:
            noted = note_calls(_modules["faulthandler"], ["dump_traceback_later"])
            _modules["faulthandler"].cancel_dump_traceback_later()
        if "resource" in _modules:
            noted = note_calls(_modules["resource"], ["setrlimit", "prlimit"]) and noted
        changes.made = changes.made or not noted
        return True

    def _restore_process(self) -> bool:
        """Restore what C code can change without a call that is noted; ``False`` if that is impossible."""
        umask(self._umask)
        if not self._may_be_other:
            if self._folder is not None:
                fchdir(self._folder)
        elif geteuid() != self._user or getegid() != self._group or self._has_other_root():
            return False
        get_blocking(CONTROL_FD)  # raises if it was closed
        get_blocking(LIFELINE_FD)
        self._restore_settings()
        if "signal" in _modules and not self._restore_signals():
            return False
        return "resource" not in _modules or self._limits_are_the_same()

    def _restore_settings(self) -> None:
        if getrecursionlimit() != self._recursion:
            setrecursionlimit(self._recursion)
        if gc_isenabled() is not self._collects:
            (gc_enable if self._collects else gc_disable)()
        if _monitoring is not None and not self._profiled and _monitoring.get_tool(2) is not None:
            self._free_monitors()

    def _restore_interpreter(self) -> None:
        sys.excepthook, sys.unraisablehook = self._excepthook, self._unraisablehook
        stdin, stdout, stderr = sys.stdin, sys.stdout, sys.stderr = self._stdin, self._stdout, self._stderr
        if self._closable and (stdin.closed or stdout.closed or stderr.closed):
            self._reopen()
        if sys.path != self._path or sys.meta_path != self._meta_path or sys.path_hooks != self._path_hooks:
            self._restore_search()

    # -- signals

    def _restore_signals(self) -> bool:
        """Restore timers, and the handlers if signals are blocked: what is pending must not meet a task's handler."""
        for timer, (left, interval) in zip(_TIMERS, self._timers, strict=True):
            if not left:
                setitimer(timer, 0)
            elif interval and _signal.getitimer(timer)[1] != interval:
                setitimer(timer, interval, interval)
        blocked = pthread_sigmask(_signal.SIG_BLOCK, ())
        if blocked == self._blocked:
            return True
        for number in (_signal.sigpending() & blocked) - self._blocked - _KEPT:
            set_handler(number, _signal.SIG_IGN)  # throws away what is pending
        whole = self._restore_handlers()
        pthread_sigmask(_signal.SIG_SETMASK, self._blocked)
        return whole

    def _restore_handlers(self) -> bool:
        if not self._in_loop:
            set_wakeup_fd(-1)
        whole = True
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if getsignal(number) is not handler:
                if self.forget_handler is not None:
                    self.forget_handler(number)
                if handler is None:  # it was not installed by Python
                    whole = False
                else:
                    set_handler(number, handler)
        return whole

    # -- the interpreter

    def _reopen(self) -> None:
        """Make closed streams anew: their descriptors are open, for a worker's streams do not own theirs."""
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            closed = getattr(self, f"_{name}")
            if getattr(closed, "closed", False):
                mode = "w" if fd else "r"
                stream = open(fd, mode, encoding=closed.encoding, errors=closed.errors, closefd=False)  # noqa: SIM115
                setattr(self, f"_{name}", stream)
                setattr(sys, name, stream)
        self._stdin_is_open = _is_open(self._stdin)

    def _restore_search(self) -> None:
        """Put back the entries that are missing from the lists that imports use. New ones stay."""
        for name, needed in zip(_SEARCHED, self._needed, strict=True):
            entries = getattr(sys, name)
            for place, entry in enumerate(needed):
                if entry not in entries:
                    entries.insert(place, entry)
            setattr(self, f"_{name}", list(entries))

    def _free_monitors(self) -> None:
        """Free the tools of `sys.monitoring` that a profiler or debugger of the task still holds."""
        for number, tool in enumerate(self._monitors):
            if tool is None and _monitoring.get_tool(number) is not None:
                _monitoring.set_events(number, 0)
                _monitoring.free_tool_id(number)

    # -- what the system keeps

    def _take_folder(self) -> None:
        """Keep a descriptor of the folder: to go back costs less than to look, and works when it was renamed."""
        if self._folder is not None:
            os.close(self._folder)
        try:
            self._folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._folder = None
        self._folder_path = _current_folder()
        self._root = _root()

    def _has_other_root(self) -> bool:
        """Return to our folder, and tell whether the root is another: then the path of our folder has changed, too."""
        path = self._folder_path
        if path != "/" and _current_folder() == path:
            return False
        if self._folder is not None:
            fchdir(self._folder)
        if _current_folder() == path:
            return False
        self._folder_path = _current_folder()  # it was renamed
        return _root() != self._root

    def _limits_are_the_same(self) -> bool:
        if self._limits is None:
            # Until a task imports `resource` the text serves: the import would cost each start of a worker.
            if _limits_text() != self._limits_text:
                return False
            self._limits = _limits()
        return _limits() == self._limits


def _is_open(stream: Any) -> Callable[[], object]:
    """Return what tells whether `stream` is open; of a file its innermost part raises soonest when it was closed."""
    raw = getattr(getattr(stream, "buffer", stream), "raw", stream)
    return raw.readable if type(raw) is FileIO else lambda: not getattr(raw, "closed", False)


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None  # it was removed


def _root() -> tuple[int, int]:
    found = os.stat("/")
    return found.st_dev, found.st_ino


def _limits_text() -> bytes | None:
    """The limits of this process as the system writes them; ``None`` where it does not."""
    try:
        with open("/proc/self/limits", "rb") as file:
            return file.read()
    except OSError:
        return None


def _limits() -> list[Any]:
    resource: Any = _modules["resource"]
    return [resource.getrlimit(getattr(resource, name)) for name in _LIMITS if hasattr(resource, name)]
