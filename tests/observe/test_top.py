"""`unified-exec top`, driven by textual's own pilot, against a real program."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import installed
from tests.observe.patience import PATIENCE
from tests.observe.programs import found, program
from tests.profiles import examples
from unified_exec.cli.main import main
from unified_exec.observe.viewer.board import Board
from unified_exec.observe.viewer.feed import Feed

installed.needed("textual", "textual, which draws `top`, is not installed")
PICTURES = os.environ.get("UNIFIED_EXEC_PICTURES", "")


def drive(pid: int, act: Callable[[Any, Any], Awaitable[None]], size: tuple[int, int] = (140, 40)) -> None:
    """Run the application in a terminal that is not there, and call ``act(app, pilot)``."""
    from unified_exec.observe.viewer.top import Top

    found(pid)
    feed = Feed(pid, Board())
    feed.start()
    try:

        async def main() -> None:
            app = Top(feed)
            async with app.run_test(size=size) as pilot:
                await act(app, pilot)

        asyncio.run(main())
    finally:
        feed.stop()


def screen(app: Any) -> str:
    """The characters on the screen."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


async def shows(app: Any, pilot: Any, *wanted: str) -> None:
    """Wait until the screen shows all of `wanted`."""
    try:
        await holds(pilot, lambda: all(text in screen(app) for text in wanted))
    except TimeoutError:
        raise AssertionError(f"{[text for text in wanted if text not in screen(app)]} not in\n{screen(app)}") from None


async def holds(pilot: Any, condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(2 * PATIENCE):
        while not condition():
            await pilot.pause(0.1)


@pytest.mark.parametrize("loop", examples(["trio"], nightly=["asyncio", "trio"]))
def test_a_person_sees_scopes_tasks_workers_and_functions(loop: str) -> None:
    async def act(app: Any, pilot: Any) -> None:
        await shows(app, pilot, "DEADLOCK: #1 left then right", "scope 1 shop", "scope 2 idle", "parse (process)")
        await shows(app, pilot, "2 of 2 busy", "% cpu", "MiB", "failed", "Limit(1)", "tasks/s", "page (loop)")
        shown = screen(app)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "[red]bold[/red]" in shown  # text, not markup
        if PICTURES:
            Path(PICTURES, f"top-{loop}.svg").write_text(app.export_screenshot(title="unified-exec top"))
        await pilot.press("slash", *"left then", "enter")
        await shows(app, pilot, "left then right")
        await holds(pilot, lambda: "waits 1" not in shown_tree(app))
        await pilot.press("p")
        await shows(app, pilot, "PAUSED")
        await pilot.press("p", "home", "down")
        await shows(app, pilot, "shop.py:")  # the line of the chosen task
        await pilot.press("c", "c")
        await holds(pilot, lambda: app.feed.board.outcomes["cancelled"])
        process.kill()
        process.wait()
        await shows(app, pilot, "ENDED at ")
        await pilot.press("q")

    with program("-m", "tests.observe.shop", loop, "30") as process:
        drive(process.pid, act)


def test_scopes_that_end_with_their_tasks_leave_the_tree() -> None:
    async def act(app: Any, pilot: Any) -> None:
        await shows(app, pilot, "scope 1 shop", "left then right")
        app._draw_tree({"stuck": ()}, {})  # between two looks everything has ended
        assert app._tree_nodes == {}
        await shows(app, pilot, "scope 1 shop", "left then right")

    with program("-m", "tests.observe.shop", "asyncio") as process:
        drive(process.pid, act)


def test_a_scope_whose_task_is_filtered_out_moves_to_the_top_and_back() -> None:
    def task(id: int, name: str) -> dict[str, Any]:
        why = {"kind": "sleep", "text": "a sleep"}
        return {"id": id, "name": name, "backend": "loop", "worker": 0, "why": why}

    def scope(id: int, opener: int, task: int) -> dict[str, Any]:
        told = {"id": id, "name": f"s{id}", "policy": "FailFast", "loop": "asyncio", "age": 1.0, "opener": opener}
        return told | {"tasks": [task], "more": 0, "queued": {}}

    tree = {"scopes": [scope(1, 0, 5), scope(2, 5, 6)], "tasks": {"5": task(5, "outer"), "6": task(6, "inner")}}
    top, below = [("scope", 1), ("scope", 2)], [("scope", 1)]

    async def main() -> None:
        from unified_exec.observe.viewer.top import Top

        app: Any = Top(SimpleNamespace(board=Board()))
        async with app.run_test():
            for wanted, expected in (("", below), ("inner", top), ("inner", top), ("", below)):
                app._wanted = wanted
                app._draw_tree({"stuck": ()}, tree)
                assert [node.data for node in app.query_one("#tree").root.children] == expected
                assert ("task", 6) in app._tree_nodes

    asyncio.run(main())


def shown_tree(app: Any) -> str:
    return "\n".join(str(node.label) for node in app._tree_nodes.values())


def test_it_fits_a_small_terminal_and_a_program_that_forbids_control() -> None:
    code = """if True:
        import anyio
        from unified_exec import TaskScope

        async def main():
            async with TaskScope(name="mine") as scope:
                scope.spawn(anyio.sleep_forever, name="sleeper")
                print("ready", flush=True)
                await anyio.sleep_forever()

        anyio.run(main)
    """

    async def act(app: Any, pilot: Any) -> None:
        await shows(app, pilot, "sleeper", "1 open")
        assert not app.query_one("#side").display
        await pilot.press("s")
        await shows(app, pilot, "failed wait")
        told: list[str] = []
        app.notify = lambda text, **options: told.append(text) if "press" not in text else None
        await pilot.press("home", "down", "c", "c")
        await holds(pilot, lambda: told)
        assert "allows no control" in told[0]
        app._chosen = lambda: ("more", 1)  # the row that stands for the tasks which are not shown
        app.feed.ask = None
        await pilot.press("c", "c")
        assert len(told) == 1
        await pilot.press("ctrl+c")
        await holds(pilot, lambda: app.return_code == 0)

    with program("-c", code) as process:
        drive(process.pid, act, size=(60, 20))


def test_json_is_one_snapshot(capsys: pytest.CaptureFixture[str]) -> None:
    with program("-m", "tests.observe.shop") as process:
        found(process.pid)
        assert main(["top", str(process.pid), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
    assert told["pid"] == process.pid
    assert told["open"] > 5
    assert {pool["kind"] for pool in told["pools"]} >= {"process"}
    assert told["tree"]["scopes"][0]["name"] == "shop"


def test_a_process_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert main(["top", str(process.pid)]) == 1
    assert "there is no process" in capsys.readouterr().err
