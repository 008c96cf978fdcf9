"""The tree of this program, in code and on a signal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO

LINES_MAX = 10_000
STACKS = "none", "mine", "all"


def look(*, stacks: str = "mine") -> dict[str, Any]:
    """Look at this program: its scopes and tasks, where each is and why it waits. Returns plain data, as for JSON.

    Args:
        stacks: ``"none"``, ``"mine"`` (the lines of your own code) or ``"all"``.

    Called in the thread of an event loop it does not wait for what busy workers say of themselves; elsewhere it does,
    for a quarter of a second at most.

    Raises:
        ValueError: `stacks` is not one of these.
    """
    if stacks not in STACKS:
        raise ValueError(f"stacks must be one of {', '.join(map(repr, STACKS))}, got {stacks!r}")
    from ..._tasks.current import on_event_loop
    from .look import Look

    return Look(stacks, 0.0 if on_event_loop() else 0.25).make()


def dump(*, stacks: bool = False) -> str:
    """Return the tree of this program as text: every scope and task, where each is and why it waits.

    Args:
        stacks: show the stack of each task too.

    Example::

        from unified_exec import observe

        print(observe.dump())
    """
    from .text import render

    tree = look(stacks="mine" if stacks else "none")
    lines = render(tree, stacks=stacks).splitlines()
    more = len(lines) - LINES_MAX
    return "\n".join(lines[:LINES_MAX] + ([f"... and {more} more lines"] if more > 0 else []))


def dump_on(signum: int, file: TextIO | None = None) -> Callable[[], None]:
    """Write the tree, with stacks, whenever this process gets a signal, as `faulthandler.register` does with threads.

    Args:
        signum: the signal, for example ``signal.SIGUSR1``.
        file: where to, standard error by default.

    Returns:
        a function that ends this.

    Raises:
        TypeError: `signum` is not the number of a signal.
        ValueError: called outside of the main thread, or the signal has a handler already.
        OSError: no process can handle that signal, such as SIGKILL.
    """
    import signal

    if not isinstance(signum, int):
        raise TypeError(f"dump_on() takes a signal, such as signal.SIGUSR1, got {signum!r}")
    default = signal.getsignal(signum)
    if default is not signal.SIG_DFL and default is not signal.SIG_IGN:
        raise ValueError(f"signal {signum} has a handler already: {default!r}")
    read, write = os.pipe()
    os.set_blocking(write, False)

    def on_signal(number: int, frame: FrameType | None) -> None:
        try:
            os.write(write, b"d")
        except OSError:
            pass  # there are enough requests in the pipe

    try:
        signal.signal(signum, on_signal)
    except (OSError, ValueError):
        os.close(read)
        os.close(write)
        raise
    threading.Thread(target=_write_dumps, args=(read, file), name="unified_exec dump", daemon=True).start()
    open_ends = [write]

    def end() -> None:
        if open_ends:
            if signal.getsignal(signum) is on_signal:
                signal.signal(signum, default)
            os.close(open_ends.pop())

    return end


def _write_dumps(read: int, file: TextIO | None) -> None:
    try:
        while os.read(read, 4096):
            out = file or sys.stderr
            try:
                print(dump(stacks=True), file=out, flush=True)
            except Exception as error:
                print(f"the program could not be looked at: {error!r}", file=out, flush=True)
    finally:
        os.close(read)
