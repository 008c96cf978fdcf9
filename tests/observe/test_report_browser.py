"""The report in a real Chromium, from disk: what a reader sees, with the network cut."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests import installed
from tests.observe import workloads
from tests.observe.shop import MARKUP
from tests.observe.test_dashboard_browser import Seen, browser
from unified_exec import Collect, Limit, ProcessPool, TaskScope, observe
from unified_exec.observe.output.recorder import Recording
from unified_exec.observe.output.report_page import page

installed.needed("playwright", "playwright, which drives the browser, is not installed")
pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

LARGE = 100_000
TEN_FRAMES = """async () => {
    const began = performance.now(), canvas = document.querySelector("canvas");
    for (let turn = 0; turn < 10; turn++) {
        canvas.dispatchEvent(new KeyboardEvent("keydown", {key: turn % 2 ? "-" : "+"}));
        await new Promise(requestAnimationFrame);
    }
    return (performance.now() - began) / 10;
}"""
"""Zoom ten times; milliseconds for each."""


async def record(file: Path) -> None:
    limit = Limit(1)

    async def waits() -> None:
        async with limit:
            await anyio.sleep(0.01)

    with observe.report(file):
        async with ProcessPool(2) as pool, TaskScope("shop", policy=Collect(), processes=pool) as scope:
            for _ in range(12):
                scope.spawn(waits)
                scope.spawn(workloads.value, on="process", name=MARKUP)
                scope.spawn(workloads.value, on="thread")
            scope.spawn(workloads.fails, on="process", name=MARKUP)


def test_a_reader_sees_the_report_as_text_in_light_and_dark_and_on_a_phone(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    anyio.run(record, file)
    with browser() as opened:
        seen = Seen(opened)
        seen.page.goto(file.as_uri())
        seen.until("!!document.querySelector('canvas')")
        text = seen.page.inner_text("#page")
        assert "value" in text
        assert "ValueError: wrong" in seen.page.text_content("#page")
        assert MARKUP in seen.page.text_content("#page")
        assert seen.page.locator("#page img").count() == 0
        backgrounds = set()
        for scheme in ("dark", "light"):
            seen.page.emulate_media(color_scheme=scheme)
            backgrounds.add(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            seen.picture(f"report-{scheme}")
        assert len(backgrounds) == 2
        for width in (360, 900, 2000):
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.until(f"innerWidth === {width}")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            seen.picture(f"report-{width}")
        assert seen.wrong == []
        assert seen.foreign == [file.as_uri()]


def test_a_report_of_a_hundred_thousand_tasks_can_be_read_and_zoomed(tmp_path: Path) -> None:
    recording = Recording(began=1000.0, ended=2000.0)
    for n in range(LARGE):
        at = 1000.0 + n * 0.009
        times = (at - 0.001, at - 0.0005, 4711 + n % 2, 1, "value", "", at, at + 0.0085, 100, 50, "")
        recording.rows.append((n, "task.settled", at + 0.009, n, f"t{n}", f"m:f{n % 9}", "process", 1, 0, 1, *times))
    file = tmp_path / "run.html"
    file.write_text(page(recording), encoding="utf-8")
    with browser() as opened:
        seen = Seen(opened)
        seen.page.goto(file.as_uri())
        seen.until("!!document.querySelector('canvas')")
        paint = "performance.getEntriesByName('first-contentful-paint')"
        seen.until(f"{paint}.length > 0")
        first, frame = seen.page.evaluate(f"{paint}[0].startTime"), seen.page.evaluate(TEN_FRAMES)
        print(f"{file.stat().st_size / 1e6:.1f} MB, first paint after {first:.0f} ms, {frame:.0f} ms a zoom")
        seen.picture("report-large")
        assert "100,000" in seen.page.inner_text("#page")
        assert seen.wrong == []
        assert seen.foreign == [file.as_uri()]
