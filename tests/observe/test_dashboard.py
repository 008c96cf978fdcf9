"""The dashboard: who gets in, what is sent, and that only a program that says so can be controlled through it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from tests import installed
from tests.observe.patience import until
from tests.observe.programs import found, program
from unified_exec import Collect, TaskScope, observe
from unified_exec.cli.main import main
from unified_exec.observe.live.client import CannotLook, Connection
from unified_exec.observe.live.protocol import BadMessage
from unified_exec.observe.viewer.board import Board
from unified_exec.observe.viewer.feed import Feed
from unified_exec.observe.viewer.frames import Frames
from unified_exec.observe.viewer.summary import summary

installed.needed("aiohttp", "aiohttp, which serves the dashboard, is not installed")


def spawned(id: int, n: int = 1, name: str = "task") -> list[Any]:
    return [n, "task.spawned", 1.0, id, name, "m:f", "process", 1, 0, 1, None]


def settled(id: int, outcome: str = "value") -> list[Any]:
    life = ["task", "m:f", "process", 1, 0, 1, 1.0, 1.1, 77, 1, outcome, "", 1.2, 1.5, 10, 20, ""]
    return [2, "task.settled", 1.5, id, *life]


def events(*rows: list[Any]) -> dict[str, Any]:
    return {"type": "events", "rows": list(rows)}


# -- who gets in


def serving(act: Callable[[Any, str, str], Awaitable[None]], board: Board | None = None) -> None:
    """Serve a board of no program, and call ``act(session, address, key)``."""
    import aiohttp

    from unified_exec.observe.viewer.server import Dashboard

    async def main() -> None:
        dashboard = Dashboard(Feed(os.getpid(), board or Board()))
        runner, address = await dashboard.start()
        try:
            assert [host for host, _ in runner.addresses] == ["127.0.0.1"]
            async with aiohttp.ClientSession() as session:
                await act(session, address.partition("/#")[0], dashboard.key)
        finally:
            await runner.cleanup()

    asyncio.run(main())


async def status(session: Any, url: str, method: str = "GET", **headers: str) -> int:
    async with session.request(method, url, headers={**headers, "Connection": "close"}) as answer:
        code: int = answer.status
        return code


def test_nothing_is_told_without_the_key() -> None:
    async def act(session: Any, address: str, key: str) -> None:
        for path in ("/stream", "/tasks?ids=1", "/nowhere"):
            assert await status(session, address + path) == 401
            for wrong in (f"Bearer {key}x", f"Bearer {key[:-1]}", "Bearer ", f"Basic {key}", "Bearer \u00e9"):
                assert await status(session, address + path, Authorization=wrong) == 401
        right = f"Bearer {key}"
        assert await status(session, address + "/stream", Authorization=right) == 200
        assert await status(session, address + "/tasks?ids=1,2", Authorization=right) == 200
        assert await status(session, address + "/tasks?ids=1;2", Authorization=right) == 400
        assert await status(session, address + "/") == 200  # the page itself has nothing in it
        assert len(key) >= 43  # 256 bits

    board = Board()
    board.end()
    serving(act, board)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=lambda headers: "-".join([*headers, *headers.values()]),
)
def test_a_page_of_another_site_is_refused_even_with_the_key(headers: dict[str, str]) -> None:
    async def act(session: Any, address: str, key: str) -> None:
        assert await status(session, f"{address}/tasks?ids=1", Authorization=f"Bearer {key}", **headers) == 403
        if "Host" in headers:
            assert await status(session, f"{address}/", **headers) == 403

    board = Board()
    board.end()
    serving(act, board)


def test_control_needs_an_origin_and_a_program_that_is_there() -> None:
    async def act(session: Any, address: str, key: str) -> None:
        right = {"Authorization": f"Bearer {key}"}
        assert await status(session, f"{address}/cancel", "POST", **right) == 403
        async with session.post(f"{address}/cancel", json={"task": 1}, headers={**right, "Origin": address}) as answer:
            assert answer.status == 410
            assert "has ended" in await answer.text()

    board = Board()
    board.end()
    serving(act, board)


def test_the_page_is_one_file_that_asks_nobody_and_allows_no_foreign_script() -> None:
    async def act(session: Any, address: str, key: str) -> None:
        async with session.get(f"{address}/") as answer:
            text = await answer.text()
            headers = answer.headers
        assert not re.findall(r"https?://|src=|@import|innerHTML|outerHTML|insertAdjacentHTML", text)
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Content-Security-Policy"].count("sha256-") == 2
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"

    serving(act)


# -- what is sent


def test_only_what_has_changed_is_sent() -> None:
    board = Board()
    board.take(events(*[spawned(id) for id in range(1, 1001)]))
    frames = Frames(board)
    first = frames.next()
    assert first["reset"]
    assert len(first["tasks"]) == 1000
    assert "summary" in first
    again = frames.next()
    assert again.keys() <= {"now", "summary"}
    board.take(events([3, "task.sent", 1.1, 5, 77, 100, 0], settled(6), spawned(2000)))
    board.take(events([4, "task.returned", 1.2, 5, 77]))
    changed = frames.next()
    assert [(row[0], row[9]) for row in changed["tasks"]] == [(5, "queued"), (2000, "queued")]
    assert changed["gone"] == [6]
    assert "reset" not in changed


def test_a_function_counts_no_run_of_a_task_that_never_began() -> None:
    board = Board()
    never = settled(6)
    never[14:18] = ["timed_out", "TaskTimeout", None, 1.5]
    board.take(events(spawned(6), never))
    [told] = summary(board)["functions"]
    assert (told["count"], told["failed"], told["run_p50"], told["total"]) == (1, 1, None, 0.0)
    board.take(events(spawned(7), settled(7)))
    assert summary(board)["functions"][0]["run_p50"] is not None


def test_a_page_that_fell_far_behind_is_told_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unified_exec.observe.viewer.board.SETTLED_KEPT", 10)
    board = Board()
    frames = Frames(board)
    frames.next()
    for id in range(1, 30):
        board.take(events(spawned(id), settled(id)))
    board.take(events(spawned(100)))
    frame = frames.next()
    assert frame["reset"]
    assert [row[0] for row in frame["tasks"]] == [100]


def test_a_task_that_settled_before_the_roster_came_does_not_come_back() -> None:
    board = Board()
    board.take(events(settled(1)))
    row = ["task", "m:f", "process", 1, 0, 1, 1.0, None, 0, False]
    board.take({"type": "roster", "at": 2.0, "scopes": [], "tasks": [[1, *row], [2, *row]], "more": 0})
    assert [*board.tasks] == [2]
    board.take({"type": "roster", "at": 3.0, "scopes": [], "tasks": [], "more": 0})
    assert not board.tasks


@pytest.mark.parametrize(
    "message",
    [
        {"type": "events", "rows": [[1]]},
        {"type": "events", "rows": 7},
        {"type": "events", "rows": [[1, "task.settled", 2.0, {}]]},
        {"type": "events", "rows": [[1, 5, 2.0, 3]]},
        {"type": "roster"},
        {"type": "roster", "at": "x", "scopes": [], "tasks": []},
        {"type": "gauges", "memory": 1, "pools": [{"workers": [{}]}]},
        {"type": "tree"},
    ],
    ids=str,
)
def test_nonsense_of_a_program_is_told_as_such(message: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        Board().take(message)


# -- a program that is looked at, and that ends


@pytest.fixture
def fed() -> Iterator[Callable[[int], Feed]]:
    feeds: list[Feed] = []

    def start(pid: int) -> Feed:
        found(pid)
        feed = Feed(pid, Board())
        feed.start()
        feeds.append(feed)
        return feed

    yield start
    for feed in feeds:
        feed.stop()


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_the_board_follows_a_program_until_it_has_ended(loop: str, fed: Callable[[int], Feed]) -> None:
    with program("-m", "tests.observe.shop", loop, "50") as process:
        feed = fed(process.pid)
        board = feed.board

        def everything_was_seen() -> bool:
            with board.lock:
                states = {task.state for task in board.tasks.values()}
                ended = board.outcomes["value"] > 10 and board.outcomes["error"]
                return bool(ended and board.tree.get("rings") and states >= {"loop", "queued", "runs"})

        until(everything_was_seen)
        with board.lock:
            names = {task.name for task in board.tasks.values()}
            assert {f"waits {number}" for number in range(50)} <= names
            assert {scope["name"] for scope in board.scopes.values()} == {"shop", "idle"}
            assert {totals.name for totals in board.functions.values()} >= {"__main__:parse"}
        process.kill()
        process.wait()
        until(lambda: board.ended)
        with pytest.raises(CannotLook, match="has ended"):
            feed.ask(type="tasks", ids=[1]).result(30)


def test_a_program_that_is_stopped_is_told_as_silent(
    fed: Callable[[int], Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unified_exec.observe.viewer.feed.SILENT_SECONDS", 0.3)
    with program("-m", "tests.observe.shop") as process:
        board = fed(process.pid).board
        until(lambda: board.tree)
        process.send_signal(signal.SIGSTOP)
        until(lambda: board.note.startswith("no answer for"))
        process.send_signal(signal.SIGCONT)
        until(lambda: board.note == "")
        assert not board.ended


@pytest.mark.anyio
async def test_a_program_is_controlled_only_if_it_has_said_so() -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(anyio.sleep_forever)
        other = scope.spawn(anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()

        def cancel(**what: Any) -> tuple[bool, dict[str, Any]]:
            with Connection(found(os.getpid())) as connection:
                connection.send(type="cancel", **what)
                answer = connection.receive()
                return connection.hello["control"], answer

        control, answer = await anyio.to_thread.run_sync(lambda: cancel(task=handle.id))
        assert (control, answer["type"]) == (False, "refused")
        assert "allow_control" in answer["what"]
        assert not handle.cancel_requested
        observe.allow_control()
        try:
            control, answer = await anyio.to_thread.run_sync(lambda: cancel(task=handle.id, reason="enough"))
            assert (control, answer) == (True, {"type": "done"})
            await handle.wait()
            assert handle.cancelled()
            assert "enough" in str(handle.cancellation())
            _, answer = await anyio.to_thread.run_sync(lambda: cancel(task=handle.id))
            assert answer == {"type": "refused", "what": "it has ended already"}
            _, answer = await anyio.to_thread.run_sync(lambda: cancel(task="x", reason=7))
            assert answer["type"] == "refused"
            assert not other.done()
        finally:
            observe.allow_control(False)
        scope.cancel()


def test_the_command_serves_until_it_is_interrupted() -> None:
    with program("-m", "tests.observe.shop") as process:
        found(process.pid)
        viewer = subprocess.Popen(
            [sys.executable, "-m", "unified_exec", "dashboard", str(process.pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert viewer.stdout is not None
            address, _, key = viewer.stdout.readline().strip().partition("/#")
            line = asyncio.run(first_line(address, key))
            assert line["summary"]["pid"] == process.pid
            viewer.send_signal(signal.SIGINT)
            _, told = viewer.communicate(timeout=60)
            assert viewer.returncode == 130
            assert "Traceback" not in told
        finally:
            viewer.kill()
            viewer.communicate()


async def first_line(address: str, key: str) -> dict[str, Any]:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        async with session.get(f"{address}/stream", headers={"Authorization": f"Bearer {key}"}) as answer:
            line: dict[str, Any] = json.loads(await answer.content.readline())
            return line


def test_a_process_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert main(["dashboard", str(process.pid)]) == 1
    assert "there is no process" in capsys.readouterr().err
