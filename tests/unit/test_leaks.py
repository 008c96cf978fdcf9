"""The leak checks catch each kind of leak, name it, and let pass what ends by itself."""

from __future__ import annotations

import _thread
import asyncio
import mmap
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from tests import leaks, waiting
from tests.this_python import needs_usual_references
from tests.waiting import has_ended, until

linux = pytest.mark.skipif(not leaks.LINUX, reason="watched on Linux only")
NO_PATIENCE = 0.0
# Lives until its stdin is closed.
WAITING = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@contextmanager
def leak_named(*patterns: str) -> Iterator[ExitStack]:
    """The block must leave a leak whose report holds each pattern; what it pushes on the stack cleans up after that."""
    with ExitStack() as cleanup:
        with pytest.raises(leaks.LeakError) as caught, leaks.watch(NO_PATIENCE):
            yield cleanup
        for pattern in patterns:
            assert re.search(pattern, str(caught.value)), str(caught.value)


def test_a_block_that_leaves_nothing_passes() -> None:
    with leaks.watch(NO_PATIENCE):
        with Path(__file__).open():
            pass
        subprocess.run([sys.executable, "-c", ""], check=True)
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


def test_a_child_process_is_caught_named_and_killed() -> None:
    with leak_named(r"child process \d+ \(\w+\): .*sys\.stdin\.read") as cleanup:
        process = cleanup.enter_context(subprocess.Popen(WAITING, stdin=subprocess.PIPE))
    assert process.returncode != 0


@linux
def test_a_child_that_was_never_reaped_is_caught() -> None:
    with leak_named(r"child process \d+: dead, but never reaped") as cleanup:
        process = cleanup.enter_context(subprocess.Popen([sys.executable, "-c", ""]))
        assert until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)


@linux
def test_a_grandchild_that_lost_its_parent_is_caught_and_killed() -> None:
    script = (
        "import subprocess\n"
        f"orphan = subprocess.Popen({WAITING}, start_new_session=True, stdout=subprocess.DEVNULL)\n"
        "print(orphan.pid)"
    )
    read, write = os.pipe()
    with leak_named(r"orphaned process \d+ \(\w+\): .*sys\.stdin\.read") as cleanup:
        cleanup.callback(os.close, write)
        cleanup.callback(os.close, read)
        done = subprocess.run([sys.executable, "-c", script], stdin=read, stdout=subprocess.PIPE, check=True)
        orphan = psutil.Process(int(done.stdout))
        cleanup.callback(assert_dead, orphan)  # before its stdin is closed
        assert until(orphan.cmdline)  # it has none while it calls exec


def assert_dead(process: psutil.Process) -> None:
    assert until(lambda: has_ended(process))


def test_a_thread_is_caught_and_named() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    with leak_named(r"thread \d+ \('forgotten'\) in .*wait") as cleanup:
        thread.start()
        cleanup.callback(thread.join)
        cleanup.callback(stop.set)


def test_a_thread_unknown_to_threading_is_caught() -> None:
    lock, done = _thread.allocate_lock(), _thread.allocate_lock()
    lock.acquire()
    done.acquire()

    def wait_for_the_lock() -> None:
        with lock:
            done.release()

    with leak_named(r"thread \d+ \(not started by threading\) in .*wait_for_the_lock") as cleanup:
        ident = _thread.start_new_thread(wait_for_the_lock, ())
        cleanup.callback(done.acquire, timeout=30)
        cleanup.callback(lock.release)
        assert until(lambda: ident in sys._current_frames())


def open_file(cleanup: ExitStack) -> int:
    return os.open(__file__, os.O_RDONLY)


def open_pipe(cleanup: ExitStack) -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def open_socket(cleanup: ExitStack) -> int:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach()


def open_memory(cleanup: ExitStack) -> int:
    return os.memfd_create("forgotten-memory")


@linux
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (open_file, r"test_leaks\.py"),
        (open_pipe, r"pipe:\[\d+\]"),
        (open_socket, r"socket:\[\d+\] AF_INET SOCK_STREAM"),
        (open_memory, r"memfd:forgotten-memory"),
    ],
)
def test_a_descriptor_is_caught_and_what_it_points_at_is_named(make: Callable[[ExitStack], int], name: str) -> None:
    with leak_named(rf"file descriptor \d+: .*{name}") as cleanup:
        cleanup.callback(os.close, make(cleanup))


@linux
def test_a_descriptor_closed_and_opened_again_for_something_else_is_caught() -> None:
    first = os.open(os.devnull, os.O_RDONLY)
    with leak_named(rf"file descriptor {first}: .*test_leaks\.py") as cleanup:
        os.close(first)
        again = os.open(__file__, os.O_RDONLY)
        cleanup.callback(os.close, again)
        assert again == first


@linux
def test_a_shared_memory_file_is_caught() -> None:
    path = Path(f"/dev/shm/unified-exec-test-{os.getpid()}")
    with leak_named(rf"shared memory file {path}") as cleanup:
        cleanup.callback(path.unlink)
        path.touch()


@linux
def test_a_shared_memory_file_that_a_child_held_is_caught_when_the_child_has_ended() -> None:
    path = Path("/dev/shm/unified-exec-held-by-a-child")
    holding = f"file = open({str(path)!r}, 'w'); print(flush=True); input()"
    with leak_named(rf"shared memory file {path}") as cleanup:
        cleanup.callback(path.unlink)
        child = subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            leaks.shared_files()
            child.communicate(b"\n")


@linux
def test_a_shared_memory_file_of_a_neighbour_is_none_of_ours() -> None:
    path = Path(f"/dev/shm/unified-exec-neighbour-h{os.getpid()}zy")  # a number by chance, as in names that are drawn
    with leaks.watch(NO_PATIENCE):
        subprocess.run(["sh", "-c", f"echo > {path}"], check=True)
    path.unlink()


@linux
def test_shared_memory_that_is_only_mapped_is_caught() -> None:
    with leak_named(r"mapped shared memory: .*memfd:forgotten-mapping") as cleanup:
        descriptor = os.memfd_create("forgotten-mapping")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        # A mapping of Python's own keeps a duplicate of the descriptor; the raw one stands in for C code.
        cleanup.enter_context(mapped_without_a_descriptor(descriptor))
        os.close(descriptor)


@linux
@needs_usual_references
def test_who_holds_mapped_shared_memory_is_named() -> None:
    way = r"mmap.* <- dict of 1 <- .*<- <module 'tests\."
    with leak_named(r"mapped shared memory: .*memfd:held", way) as cleanup:
        descriptor = os.memfd_create("held")
        os.ftruncate(descriptor, 3 * mmap.PAGESIZE)
        waiting.until.holds = {"block": mmap.mmap(descriptor, 0)}  # type: ignore[attr-defined]
        os.close(descriptor)
        cleanup.callback(delattr, waiting.until, "holds")


@linux
def test_what_a_thread_that_ends_in_time_held_in_a_cycle_is_no_leak() -> None:
    """A garbage collection while the thread still holds it frees nothing."""
    stop = threading.Event()

    def hold() -> None:
        failure = ValueError()
        failure.__context__ = circle = RuntimeError()
        circle.block = mmap.mmap(descriptor, 0)  # type: ignore[attr-defined]
        circle.__cause__ = failure
        ready.set()
        stop.wait()

    ready = threading.Event()
    descriptor = os.memfd_create("held")
    os.ftruncate(descriptor, mmap.PAGESIZE)
    thread = threading.Thread(target=hold)

    def pause(seconds: float) -> None:
        stop.set()
        thread.join()

    with leaks.watch(pause=pause):
        thread.start()
        ready.wait()
        os.close(descriptor)


@contextmanager
def mapped_without_a_descriptor(descriptor: int) -> Iterator[None]:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    address = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    yield
    assert libc.munmap(address, mmap.PAGESIZE) == 0


async def leave_a_task() -> None:
    asyncio.create_task(asyncio.Event().wait(), name="forgotten task")  # noqa: RUF006


@pytest.mark.parametrize(
    "run", [asyncio.run, lambda coroutine: anyio.run(lambda: coroutine)], ids=["asyncio.run", "anyio.run"]
)
def test_an_asyncio_task_that_the_loop_had_to_cancel_is_caught(run: Callable[..., None]) -> None:
    with leak_named(r"asyncio task .*forgotten task"):
        run(leave_a_task())


def test_tasks_that_ended_are_no_leak() -> None:
    async def finish_all() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    with leaks.watch(NO_PATIENCE):
        asyncio.run(finish_all())


def test_idle_threads_that_trio_keeps_for_later_are_no_leak() -> None:
    async def call_in_a_thread() -> None:
        await anyio.to_thread.run_sync(int)

    with leaks.watch():
        anyio.run(call_in_a_thread, backend="trio")


def test_what_ends_within_the_patience_is_no_leak() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        stop.set()
        thread.join()

    with leaks.watch(pause=pause):
        thread.start()
    assert len(pauses) == 1


@linux
def test_what_only_a_reference_cycle_holds_is_no_leak() -> None:
    class Holder:
        def __init__(self) -> None:
            self.itself = self
            self.descriptor = os.open(__file__, os.O_RDONLY)

        def __del__(self) -> None:
            os.close(self.descriptor)

    with leaks.watch(NO_PATIENCE):
        Holder()


@linux
def test_the_look_after_a_block_serves_the_next_one_unless_it_is_forgotten() -> None:
    seen = leaks.Seen()
    with ExitStack() as cleanup:
        with leaks.watch(NO_PATIENCE, since=seen):
            pass
        with pytest.raises(leaks.LeakError, match="file descriptor"), leaks.watch(NO_PATIENCE, since=seen):
            cleanup.callback(os.close, open_file(cleanup))
        with leaks.watch(NO_PATIENCE, since=seen):  # what the one before it left is no leak of this one
            pass
        cleanup.callback(os.close, open_file(cleanup))
        with pytest.raises(leaks.LeakError, match="file descriptor"), leaks.watch(NO_PATIENCE, since=seen):
            pass
        cleanup.callback(os.close, open_file(cleanup))
        seen.forget()
        with leaks.watch(NO_PATIENCE, since=seen):
            pass


@linux
def test_memory_that_is_mapped_and_was_used_is_caught_at_the_quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "who_holds", lambda mapped: [])  # a look through the whole heap: seconds
    with (
        pytest.raises(leaks.LeakError, match=r"mapped shared memory: .*memfd:used"),
        leaks.watch(NO_PATIENCE, since=leaks.Seen()),
    ):
        descriptor = os.memfd_create("used")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        memory = mmap.mmap(descriptor, 0)
        memory[0] = 1
        os.close(descriptor)
    memory.close()


def test_a_failing_block_raises_its_own_error_with_the_leak_in_a_note() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten", daemon=True)
    with pytest.raises(ValueError, match="its own") as caught, leaks.watch(NO_PATIENCE):
        thread.start()
        raise ValueError("its own")
    assert "'forgotten'" in caught.value.__notes__[0]
    stop.set()
    thread.join()


def test_the_inner_of_two_watches_reports_alone() -> None:
    with leaks.watch(NO_PATIENCE), leak_named("forgotten task"):
        asyncio.run(leave_a_task())
