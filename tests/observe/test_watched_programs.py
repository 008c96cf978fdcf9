"""Every viewer on programs with several event loops, and what a program leaves that ends while it is watched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.observe.patience import PATIENCE, until
from tests.observe.programs import found, program
from tests.observe.protobuf import Trace
from tests.observe.several import LOOPS
from unified_exec.cli.main import main
from unified_exec.observe.live.client import CannotLook, Connection
from unified_exec.observe.live.text import render
from unified_exec.observe.viewer.board import Board
from unified_exec.observe.viewer.feed import Feed
from unified_exec.observe.viewer.summary import summary


def loops() -> list[str]:
    """The loops that there are here: uvloop is not for every Python."""
    names = ["asyncio", "trio"]
    try:
        import uvloop
    except ImportError:
        return names
    return [*names, *(["uvloop"] if uvloop.__name__ in LOOPS else [])]


@pytest.fixture(scope="module")
def several() -> Iterator[subprocess.Popen[str]]:
    with program("-m", "tests.observe.several", *loops()) as process:
        found(process.pid)
        yield process


def extra_workers() -> str:
    """Each loop has a worker of a pool of one."""
    return f" and {len(loops()) - 1} extra"


def test_the_tree_shows_all_loops_and_why_their_tasks_wait(several: subprocess.Popen[str]) -> None:
    texts: list[str] = []

    def shows_all() -> bool:
        with Connection(found(several.pid)) as connection:
            texts.append(render(connection.tree()))
        return all(f"Lock(name='{loop}'), held by" in texts[-1] for loop in loops())

    until(shows_all)
    assert f"1 of 1{extra_workers()} busy" in texts[-1]
    for loop in loops():
        assert f" on {loop} [FailFast, {loop}]" in texts[-1]
        assert f"sleeps on {loop} (loop, " in texts[-1]
        assert f"computes for {loop} (process, " in texts[-1]
    assert "DEADLOCK" not in texts[-1]
    assert "HELD UP" not in texts[-1]


def test_top_shows_all_loops(several: subprocess.Popen[str]) -> None:
    test_top = pytest.importorskip("tests.observe.test_top", reason="textual, which draws `top`, is not installed")

    async def act(app: object, pilot: object) -> None:
        names = [f"{text} {loop}" for loop in loops() for text in ("sleeps on", "computes for", "wants on")]
        kinds = [f"FailFast, {loop}" for loop in loops()]
        await test_top.shows(app, pilot, *names, *kinds, f"1 of 1{extra_workers()} busy")

    test_top.drive(several.pid, act)


def test_the_dashboard_is_told_of_all_loops(several: subprocess.Popen[str]) -> None:
    feed = Feed(several.pid, Board())
    feed.start()
    try:
        until(lambda: len(feed.board.scopes) == len(loops()) and len(feed.board.tasks) == 3 * len(loops()))
        with feed.board.lock:
            told = summary(feed.board)
            assert {scope["loop"] for scope in feed.board.scopes.values()} == {*loops()}
        assert {(backend, count) for backend, _, count in told["states"]} == {
            (backend, len(loops())) for backend in ("loop", "thread", "process")
        }
    finally:
        feed.stop()


# -- a ring of waits over two processes and a thread


def test_each_wait_of_a_ring_over_two_processes_and_a_thread_is_told_with_its_line() -> None:
    texts: list[str] = []
    with program("-m", "tests.observe.in_a_ring") as process:

        def shows_all() -> bool:
            with Connection(found(process.pid)) as connection:
                texts.append(render(connection.tree()))
            return texts[-1].count("in_a_ring.py:14 in passes_on") == 3

        until(shows_all)
    for number, name in enumerate(("one", "two", "three"), 1):
        [line] = [line for line in texts[-1].splitlines() if f" {name} (" in line]
        assert f": waits for receive_sync on Channel(1, name='to {number}')" in line
    assert "DEADLOCK" not in texts[-1]  # anybody who has the channel could still send


# -- a web application under load


def ask(path: str, url: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(f"GET {url} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")[2]


@contextmanager
def load(path: str) -> Iterator[list[bytes]]:
    """Four clients that ask again and again; what they were answered."""
    answers: list[bytes] = []
    end = threading.Event()

    def client(url: str) -> None:
        while not end.is_set():
            answers.append(ask(path, url))

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(client, url) for url in ("/fibonacci", "/fibonacci", "/fibonacci", "/too-slow")]
        try:
            yield answers
        finally:
            end.set()
    for each in clients:
        each.result()


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_every_tool_shows_a_web_application_under_load_and_every_request_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tempfile.mkdtemp(prefix="uxe-")  # pytest's own have too long paths for a socket
    path, texts, file = f"{folder}/s", list[str](), tmp_path / "run.pftrace"
    try:
        with program("-m", "tests.observe.served", path) as process:
            pid = str(found(process.pid).pid)
            with load(path) as answers:

                def shows_both() -> bool:
                    with Connection(found(process.pid)) as connection:
                        texts.append(render(connection.tree()))
                    return all(f" {name} (process, " in texts[-1] for name in ("fibonacci", "endless"))

                until(shows_both)
                assert main(["ps", "--json"]) == 0
                assert any(each["pid"] == process.pid for each in json.loads(capsys.readouterr().out))
                feed = Feed(process.pid, Board())
                feed.start()
                try:
                    until(lambda: {"value", "timed_out"} <= feed.board.outcomes.keys())
                finally:
                    feed.stop()
                functions = {each["name"]: each for each in summary(feed.board)["functions"]}
                assert functions["web_app:endless"]["failed"]
                assert not functions["web_app:fibonacci"]["failed"]
                assert main(["top", pid, "--json"]) == 0
                assert "web_app:fibonacci" in capsys.readouterr().out
                assert main(["trace", pid, "--seconds", "0.5", "-o", str(file)]) == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert "fibonacci" in {name for name, *_ in Trace(file.read_bytes()).slices}
    assert {answer[:15] for answer in answers} == {b"6765", b"\"task 'endless'"}


# -- what a program leaves

ENDS = {
    "returns": "pass",
    "raises": "raise ValueError('wrong')",
    "crashes": "os.abort()",
    "is terminated": signal.SIGTERM,
    "is killed": signal.SIGKILL,
    "is stopped and killed": signal.SIGSTOP,
}
PROGRAM = """if True:
    import anyio, os, sys, time, resource
    from unified_exec import ProcessPool, TaskScope

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    async def main():
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
            task = scope.spawn(time.sleep, 1e6, on="process")
            while task.state.value != "running":
                await anyio.sleep(0.01)
            print("ready", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            {end}
            scope.cancel()

    anyio.run(main)
"""


@pytest.mark.parametrize("how", ENDS)
def test_a_program_that_ends_while_it_is_watched_leaves_nothing(how: str, tmp_path: Path) -> None:
    end = ENDS[how]
    folders = {"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    before = set(os.listdir("/dev/shm"))
    with program("-c", PROGRAM.format(end=end if isinstance(end, str) else "pass"), **folders) as process:
        board = Board()
        feed = Feed(found(process.pid).pid, board)
        feed.start()
        watching = Connection(found(process.pid))
        try:
            watching.send(type="events", moves=True)
            [worker] = [each["pid"] for pool in watching.tree()["pools"] for each in pool.get("workers", ())]
            if isinstance(end, str):
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            else:
                process.send_signal(end)
            if end == signal.SIGSTOP:
                until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
                process.kill()
            process.wait(60)
            until(lambda: board.ended)
            with pytest.raises(CannotLook):
                watching.tree()
        finally:
            watching.__exit__(None, None, None)
            feed.stop()
    until(lambda: not os.path.exists(f"/proc/{worker}") or is_zombie(worker))
    assert list(tmp_path.iterdir()) == []
    assert {name for name in set(os.listdir("/dev/shm")) - before if str(process.pid) in name} == set()


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


if sys.platform != "linux":
    pytestmark = pytest.mark.skip(reason="looks into /proc")
