"""What a test may leave behind: nothing.

`watch()` compares what is there before and after a block: child processes (running, or dead and never reaped),
processes that lost their parent, threads, file descriptors, files in /dev/shm, mappings of anonymous memory, and
asyncio tasks that a loop had to cancel as it closed. What the system ends in its own time is waited for. Only what
this process and those it started own counts: a neighbour on the machine breaks no test.
Descriptors, shared memory and orphans are looked for on Linux alone; the header of a test run says so.
"""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Container, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import psutil

from tests import holders, process_tree
from tests.waiting import PATIENCE, until
from unified_exec.observe.live import keeper
from unified_exec.observe.live.door import Door

LINUX = sys.platform == "linux"
WATCHED = "processes, threads, asyncio tasks" + (", descriptors, shared memory" if LINUX else " (the rest: Linux only)")


class LeakError(AssertionError):
    """Something outlived the block that was watched; the text names each thing."""


Look = dict[Hashable, Any]


class Kind(NamedTuple):
    """One kind of thing: `look` finds all there are now, by identity; `describe` tells about one."""

    look: Callable[[], Look]
    describe: Callable[[Any], str]


# --- threads -----------------------------------------------------------------------------------------------------


def threads() -> dict[Hashable, Any]:
    """All threads that run Python code, also those that the threading module has never seen."""
    running = {ident: frame for ident, frame in sys._current_frames().items() if not _is_door(frame)}
    idle = _idle_trio_threads()
    # pytest-timeout's own thread lives from the start of a test to the end of its teardown.
    known = [each for each in threading.enumerate() if each not in idle and not each.name.startswith("pytest_timeout")]
    timers = {each.ident for each in threading.enumerate() if each.name.startswith("pytest_timeout")}
    found: dict[Hashable, Any] = {thread: thread for thread in known if thread.ident in running}
    for ident in running.keys() - {thread.ident for thread in known} - {thread.ident for thread in idle} - timers:
        found["raw", ident] = ident
    return found


def _is_door(frame: FrameType) -> bool:
    """Tell whether it is the thread that lets viewers look at this process; it lives as long as the process."""
    while (outer := frame.f_back) is not None:  # read once: the thread runs on meanwhile
        frame = outer
    return frame.f_code is Door._run.__code__


def _idle_trio_threads() -> set[threading.Thread]:
    """Threads that trio keeps ten seconds for the next call: they hold nothing and end by themselves."""
    module = sys.modules.get("trio._core._thread_cache")
    return {worker._thread for worker in list(module.THREAD_CACHE._idle_workers)} if module else set()


def describe_thread(thread: threading.Thread | int) -> str:
    ident = thread if isinstance(thread, int) else thread.ident
    name = "not started by threading" if isinstance(thread, int) else repr(thread.name)
    frame = sys._current_frames().get(ident or 0)
    place = f" in {frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
    return f"thread {ident} ({name}){place}"


# --- descriptors and memory ---------------------------------------------------------------------------------------


def descriptors() -> dict[Hashable, Any]:
    found: dict[Hashable, Any] = {}
    for name in os.listdir("/proc/self/fd") if LINUX else ():
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor that listed the folder
            continue
        found[int(name), target] = (int(name), target)
    door = keeper.current_door()  # opened by the first scope, for as long as the process lives
    return {key: each for key, each in found.items() if door is None or each[0] not in door.descriptors}


def describe_descriptor(descriptor: tuple[int, str]) -> str:
    number, target = descriptor
    return f"file descriptor {number}: {target}{_socket_kind(number)}"


def _socket_kind(number: int) -> str:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return ""
        with socket.socket(fileno=os.dup(number)) as copy:
            return f" {copy.family.name} {copy.type.name} {copy.getsockname() or ''}".rstrip()
    except OSError:
        return ""


# Files in /dev/shm that this process tree was seen to hold, and those that were another's when they were first seen.
_held: set[tuple[str, int]] = set()
_of_others: set[tuple[str, int]] = set()


def shared_files() -> dict[Hashable, Any]:
    """Files in /dev/shm that are this process tree's: held by it now or at an earlier look, or named after one of
    its processes. The folder is the whole machine's, and neighbours come and go in it."""
    try:
        there = {(entry.name, entry.inode()): entry.path for entry in os.scandir("/dev/shm")}
    except OSError:
        return {}
    _of_others.intersection_update(there)
    new = there.keys() - _held - _of_others
    if new:
        ours = [os.getpid(), *(process.pid for process in process_tree.processes().values())]
        held = {path for pid in ours for path in _shared_paths_of(pid)}
        numbers = {str(pid) for pid in ours}
        for key in new:
            is_ours = there[key] in held or not numbers.isdisjoint(re.split(r"[^a-z0-9]", key[0], flags=re.I))
            (_held if is_ours else _of_others).add(key)
    return {key: path for key, path in there.items() if key in _held}


def _shared_paths_of(pid: int) -> Iterator[str]:
    """Paths in /dev/shm that a process has open or mapped."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = (folder / "maps").read_text(errors="replace").splitlines()
        names = os.listdir(folder / "fd")
    except OSError:  # it has ended
        return
    yield from (line[line.index("/dev/shm/") :] for line in lines if "/dev/shm/" in line)
    for name in names:
        try:
            yield os.readlink(folder / "fd" / name)
        except OSError:  # the descriptor that listed the folder
            pass


def describe_shared_file(path: str) -> str:
    return f"shared memory file {path}"


def mappings() -> dict[Hashable, Any]:
    """Shared memory that is still mapped, though its descriptor may be closed."""
    maps = Path("/proc/self/maps").read_bytes() if LINUX else b""
    if b"/memfd:" not in maps and b"/dev/shm/" not in maps:
        return {}
    lines = maps.decode(errors="replace").splitlines()
    return {line: line for line in lines if "/memfd:" in line or "/dev/shm/" in line}


def touched_mappings() -> Look:
    """`mappings`, but none if this process has touched no shared memory: that is known in a hundredth of the time."""
    return mappings() if shared_memory_used() != 0 else {}


def shared_memory_used() -> int | None:
    """KiB of shared memory that this process has touched, as far as the system tells."""
    status = Path("/proc/self/status").read_bytes() if LINUX else b""
    used = re.search(rb"^RssShmem:\s+(\d+) kB", status, re.MULTILINE)
    return int(used[1]) if used else None


def counts_each_page() -> bool:
    """Whether a page of shared memory that is touched shows at once; many kernels count dozens of pages together."""
    before = shared_memory_used()
    if before is None:
        return False
    with mmap.mmap(-1, mmap.PAGESIZE) as page:  # shared, as all that have no file
        page[0] = 1
        return shared_memory_used() == before + mmap.PAGESIZE // 1024


def describe_mapping(line: str) -> str:
    return f"mapped shared memory: {line}"


def who_holds(mapped: Iterable[Hashable]) -> list[str]:
    """What keeps shared memory mapped, by the keys of `mappings`."""
    sizes: set[int] = set()
    for line in mapped:
        start, end = str(line).split()[0].split("-")
        sizes.add(int(end, 16) - int(start, 16))
    return [f"mapped shared memory, held: {way}" for way in holders.of_mappings(sizes)] if sizes else []


KINDS = (
    Kind(process_tree.processes, process_tree.describe),
    Kind(threads, describe_thread),
    Kind(descriptors, describe_descriptor),
    Kind(shared_files, describe_shared_file),
    Kind(mappings, describe_mapping),
)
QUICK_KINDS = (*KINDS[:-1], Kind(touched_mappings if counts_each_page() else mappings, describe_mapping))
"""For each test; with the last one of its module, all is looked at."""


# --- asyncio tasks -----------------------------------------------------------------------------------------------

# One list for each block being watched; tasks belong to the innermost.
_left_tasks: list[list[str]] = []
_close_runner = asyncio.Runner.close


def _close_and_note(runner: asyncio.Runner) -> None:
    loop: asyncio.AbstractEventLoop | None = getattr(runner, "_loop", None)
    if _left_tasks and loop is not None and not loop.is_closed():
        _left_tasks[-1].extend(f"asyncio task {task!r}" for task in asyncio.all_tasks(loop) if _is_left(task))
    _close_runner(runner)


def _is_left(task: asyncio.Task[Any]) -> bool:
    name = getattr(task.get_coro(), "__qualname__", None)
    # No name: the loop closing an async generator. The other: anyio's test runner, which its own loop ends.
    return name is not None and name != "TestRunner._run_tests_and_fixtures"


# --- the watch ---------------------------------------------------------------------------------------------------


def nothing() -> Container[Hashable]:
    return ()


def forget_others() -> None:
    """What was seen to belong to other programs of the machine is looked at again."""
    process_tree.forget_others()
    _of_others.clear()


class Seen:
    """What the last look after a block has found, for the next block to compare with: forget it where anything happens
    between the two. What a test leaves in the number of a descriptor that was forgotten so is found with its module."""

    kinds: list[Look] | None = None

    def forget(self) -> None:
        self.kinds = None


@contextmanager
def watch(
    patience: float = PATIENCE,
    pause: Callable[[float], object] = time.sleep,
    spared: Callable[[], Container[Hashable]] = nothing,
    since: Seen | None = None,
) -> Iterator[None]:
    """Raise `LeakError` if the block leaves anything behind that is not gone after `patience` seconds.

    Processes that were left are killed once they are reported, so that one test's leak is not the next one's.
    If the block itself fails, its exception goes on with the leaks in a note.

    Args:
        patience: seconds.
        pause: between two looks.
        spared: tells what may be left, by the keys of `KINDS`.
        since: where the look after this block is kept, and the one of the block before it is used again.
    """
    kinds = KINDS if since is None else QUICK_KINDS
    before = (since.kinds if since else None) or [kind.look() for kind in kinds]
    if since is not None:
        since.kinds = None
    tasks: list[str] = []
    _left_tasks.append(tasks)
    asyncio.Runner.close = _close_and_note  # type: ignore[method-assign, assignment]
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        _left_tasks.remove(tasks)
        if not _left_tasks:
            asyncio.Runner.close = _close_runner  # type: ignore[method-assign]
        after = [kind.look() for kind in kinds]
        unknown = [(kind, old) for kind, old, now in zip(kinds, before, after, strict=True) if _new(now, old, spared)]
        left = tasks + (_what_is_left(unknown, patience, pause, spared) if unknown else [])
        if since is not None and not unknown:
            since.kinds = after
        if left and failure is not None:
            failure.add_note("It also left behind:\n" + _listed(left))
        elif left:
            raise LeakError("left behind:\n" + _listed(left))


def _listed(left: list[str]) -> str:
    return "\n".join(f"  - {line}" for line in left)


def _new(now: Look, old: Look, spared: Callable[[], Container[Hashable]]) -> Look:
    found = {key: thing for key, thing in now.items() if key not in old}
    if found:
        may_stay = spared()
        found = {key: thing for key, thing in found.items() if key not in may_stay}
    return found


def _what_is_left(
    waiting: list[tuple[Kind, Look]],
    patience: float,
    pause: Callable[[float], object],
    spared: Callable[[], Container[Hashable]],
) -> list[str]:
    seen: list[set[Hashable]] = []

    def gone() -> bool:
        now = [set(_new(kind.look(), old, spared)) for kind, old in waiting]
        if now != seen:
            # A cycle, such as an exception with its traceback, may hold the last reference; and what has ended since
            # (a thread) may have held the cycle until then.
            gc.collect()
            seen[:] = now
            now = [set(_new(kind.look(), old, spared)) for kind, old in waiting]
        return not any(now)

    if until(gone, patience, pause=pause):
        return []  # what comes now is not the block's: a thread of an earlier one that begins late, and its descriptor
    left = []
    for kind, old in waiting:
        found = _new(kind.look(), old, spared)
        for thing in found.values():
            left.append(kind.describe(thing))
            if isinstance(thing, psutil.Process):
                process_tree.kill(thing)
        if kind.look in (mappings, touched_mappings):
            left += who_holds(found)
    return left
