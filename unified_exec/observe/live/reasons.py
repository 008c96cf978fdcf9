"""Why code waits, read from its frames. A guess is never told as a fact: what is not known is told as such."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from ..._handles.handle import TaskHandle
from ..._handles.open_scopes import OpenScope
from ..._stacks.lines import Line
from ..._sync.channels.core import ChannelCore
from ..._sync.limit import Gate, Limit
from ..._sync.shared.travel import Traveller

PACKAGE = os.path.dirname(sys.modules["unified_exec"].__file__ or "") + os.sep
STDLIB = os.path.dirname(os.__file__) + os.sep

Wait = dict[str, Any]
"""``kind``, ``text``, ``enders`` (ids of the tasks that can end it) and ``all`` (every one of them must)."""


def wait(kind: str, text: str, enders: Iterable[int] = (), every: bool = False) -> Wait:
    return {"kind": kind, "text": text, "enders": list(enders), "all": every}


def is_user_code(file: str) -> bool:
    """Tell whether a file is the user's, and not a library's."""
    foreign = file.startswith((PACKAGE, STDLIB, "<")) or "site-packages" in file or "dist-packages" in file
    return not foreign or file.startswith(("<stdin>", "<string>", "<ipython"))


def users_line(lines: Iterable[Line]) -> Line | None:
    """The innermost line of the user's, out of lines that begin with the innermost."""
    return next((line for line in lines if is_user_code(line[0])), None)


def of_coroutine(frames: list[FrameType], end: Any) -> Wait:
    """What a coroutine waits for: the outermost known call below the user's own frames.

    Args:
        frames: innermost first.
        end: what is awaited in the innermost one, if that is known.
    """
    what = "something it does not tell" if end is None else f"an object of type {type(end).__name__}"
    return of_thread(frames) or wait("unknown", what)


def of_lines(lines: list[Line]) -> Wait | None:
    """The same from the mere lines of a worker's stack."""
    part = _library_part(lines, lambda line: is_user_code(line[0]))
    if any(name.endswith("._run_once") or name == "unrolled_run" for _, _, name in part):
        return wait("foreign", "what its own event loop waits for")
    for file, _, name in reversed(part):
        text = _BY_NAME.get((os.path.basename(file), name))
        if text is not None:
            return wait("foreign", text)
        if file.startswith(os.path.join(PACKAGE, "_sync")):
            return wait("lock", name)
    return None


def of_suspended(lines: list[Line]) -> Wait:
    """The same of a coroutine that waits."""
    if (known := of_lines(lines)) is not None:
        return known
    part = _library_part(lines, lambda line: is_user_code(line[0]))
    if not part:
        return wait("unknown", "something it does not tell")
    file, _, name = part[-1]
    last = name.rpartition(".")[2]
    if last in ("sleep", "sleep_until", "sleep_forever"):
        return wait("sleep", "a sleep")
    if name in ("ScopeBlock.__aexit__", "TaskGroup.__aexit__", "NurseryManager.__aexit__"):
        return wait("scope", "the end of the tasks of its " + ("scope" if file.startswith(PACKAGE) else "task group"))
    module = os.path.splitext(file)[0].replace(STDLIB, "").rpartition("-packages" + os.sep)[2]
    return wait("foreign", f"{module.replace(os.sep, '.')} {name}")


def of_thread(frames: list[FrameType]) -> Wait | None:
    """What a thread waits for, as far as its frames tell; ``None`` if it runs, or waits in a call into C."""
    for frame in reversed(_library_part(frames, lambda frame: is_user_code(frame.f_code.co_filename))):
        try:
            found = _of_frame(frame)
        except Exception:  # objects of the user's, and state that moves
            continue
        if found is not None:
            return found
    return None


def _library_part(frames: list[Any], is_users: Callable[[Any], bool]) -> list[Any]:
    """What the innermost frame of the user's has called."""
    part: list[Any] = []
    for frame in frames:
        if is_users(frame):
            break
        part.append(frame)
    return part


def _of_frame(frame: FrameType) -> Wait | None:
    code, names = frame.f_code, frame.f_locals
    name, file = code.co_qualname, code.co_filename
    me = names.get("self")
    if isinstance(me, TaskHandle):
        return wait("task", f"the end of #{me.id} {me.name!r}", [me.id])
    if isinstance(me, Gate):
        return of_gate(me, names.get("waiter"))
    if isinstance(me, OpenScope):
        return of_scope(me)
    if file.startswith(PACKAGE):
        return _of_ours(name, me)
    last = name.rpartition(".")[2]
    if last == "sleep_forever":
        return wait("sleep", "nothing: it sleeps for ever")
    if last in ("sleep", "sleep_until"):
        return wait("sleep", f"a sleep of {names.get('delay', names.get('seconds', '?'))} s")
    if name.endswith(("TaskGroup.__aexit__", "NurseryManager.__aexit__")):
        return wait("scope", "the end of the tasks of its task group")
    if last in ("run_sync", "run_sync_in_worker_thread", "to_thread") and "func" in names:
        return wait("to_thread", f"a thread that is not ours: {getattr(names['func'], '__qualname__', '?')}")
    text = _BY_NAME.get((os.path.basename(file), name))
    if text is not None:
        return wait("foreign", text)
    if me is not None and type(me).__module__.partition(".")[0] in ("anyio", "trio", "asyncio"):
        return wait("foreign", _statistics(me, last))
    return None


def _of_ours(name: str, me: Any) -> Wait | None:
    if name == "MapEngine.more":
        return wait("stream", f"the next result of {getattr(me, 'name', 'a map')}")
    if isinstance(me, Traveller):  # the detector of the locks finds their rings, and ends them
        return wait(*of_shared(me, name))
    return None


def of_shared(me: Traveller, name: str) -> tuple[str, str]:
    """The kind and the text of a wait for a lock or a channel, in a method of that qualified name."""
    kind = "channel" if isinstance(me, ChannelCore) else "lock"
    return kind, me.wait_words(name.rpartition(".")[2])[:300]


def of_gate(gate: Gate, waiter: Any) -> Wait:
    """The wait for a limit or a rate; its holders can end it, any one of them."""
    place, waiting = gate.place_of(waiter) if waiter is not None else (0, 0)
    text = repr(gate) + (f", number {place} of {waiting}" if place else "")
    held_by = gate.held_by()
    text += f", held by {held_by}" if held_by else ""
    return wait("limit" if isinstance(gate, Limit) else "rate", text, gate.holders())


def of_scope(scope: OpenScope) -> Wait:
    """The wait for the end of a scope's tasks."""
    ids = [handle.id for handle, _ in scope.lanes()]
    name = f" {scope.name!r}" if scope.name else ""
    return wait("scope", f"the end of {len(ids)} task{'s' * (len(ids) != 1)} of its scope{name}", ids, True)


def _statistics(me: Any, call: str) -> str:
    kind = f"{type(me).__module__.partition('.')[0]} {type(me).__name__.lstrip('_')}.{call}"
    statistics = getattr(me, "statistics", None)
    if callable(statistics):
        told = statistics()
        owner = getattr(told, "owner", None)
        if owner is not None:
            return f"{kind}, held by {getattr(owner, 'name', owner)!r}"
        waiting = getattr(told, "tasks_waiting", None)
        if isinstance(waiting, int):
            return f"{kind}, {waiting} wait"
    return kind


_BY_NAME = {
    ("threading.py", "Condition.wait"): "a threading.Condition",
    ("threading.py", "Condition.wait_for"): "a threading.Condition",
    ("threading.py", "Event.wait"): "a threading.Event",
    ("threading.py", "Semaphore.acquire"): "a threading.Semaphore",
    ("threading.py", "Barrier.wait"): "a threading.Barrier",
    ("threading.py", "Thread.join"): "the end of a thread",
    ("queue.py", "Queue.get"): "an item of a queue.Queue",
    ("queue.py", "Queue.put"): "room in a queue.Queue",
    ("subprocess.py", "Popen.wait"): "the end of a process",
    ("subprocess.py", "Popen._wait"): "the end of a process",
    ("subprocess.py", "Popen.communicate"): "the output of a process",
    ("_base.py", "Future.result"): "a concurrent.futures.Future",
    ("_base.py", "wait"): "concurrent.futures.wait",
    ("connection.py", "_ConnectionBase.recv"): "a multiprocessing connection",
    ("socket.py", "SocketIO.readinto"): "data of a socket",
    ("ssl.py", "SSLSocket.read"): "data of a TLS socket",
    ("selectors.py", "EpollSelector.select"): "a descriptor (select)",
    ("from_thread.py", "run"): "a call on the event loop",
    ("from_thread.py", "run_sync"): "a call on the event loop",
}
"""What some calls of the standard library wait for, by file and function."""
