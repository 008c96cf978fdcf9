"""The dashboard in a real Chromium: what a person sees, and that nothing leaves this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import installed, waiting
from tests.cli.bench.browser import chromium
from tests.observe.programs import ROOT, found, program
from tests.observe.shop import MARKUP

installed.needed("playwright", "playwright, which drives the browser, is not installed")
installed.needed("aiohttp", "aiohttp, which serves the dashboard, is not installed")

OPTIONS = (
    "--no-sandbox",  # it does not run as root otherwise; it opens nothing but our own page
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PICTURES = os.environ.get("UNIFIED_EXEC_PICTURES", "")
"""Where to leave pictures for a person to look at."""
IDLE = 10_000
PATIENT = 60_000


class Seen:
    """A page, and what went wrong in it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page: Any = browser.new_context(viewport={"width": 1400, "height": 950}, **options).new_page()
        self.page.set_default_timeout(PATIENT)
        self.wrong: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:")):
            self.foreign.append(request.url)

    def until(self, expression: str) -> None:
        """Wait until an expression holds in the page; the page's own policy forbids what playwright has for that."""
        assert waiting.until(lambda: self.page.evaluate(expression), PATIENT / 1000, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        self.page.wait_for_timeout(1000 * max(seconds, 0.1))

    @property
    def frames(self) -> int:
        return int(self.page.evaluate("document.documentElement.dataset.frames || 0"))

    def picture(self, name: str) -> None:
        if PICTURES:
            self.page.screenshot(path=os.path.join(PICTURES, f"{name}.png"))


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=[*OPTIONS], timeout=PATIENT)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def dashboard(pid: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    found(pid)
    viewer = subprocess.Popen(
        [sys.executable, "-m", "unified_exec", "dashboard", str(pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    try:
        assert viewer.stdout is not None
        yield viewer.stdout.readline().strip(), viewer
    finally:
        viewer.kill()
        viewer.communicate()


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_person_sees_ten_thousand_tasks_and_the_end_of_the_program() -> None:
    with browser() as opened, program("-m", "tests.observe.shop", "asyncio", str(IDLE)) as process:
        with dashboard(process.pid) as (address, viewer):
            seen = Seen(opened)
            page = seen.page
            page.goto(address)
            page.wait_for_selector(".row.stuck")
            assert address.partition("#")[2] not in page.url
            seen.until("document.getElementById('status').textContent === 'live'")
            assert "Deadlock: #1 left then right" in page.inner_text("#alerts")
            shows_all_tasks_as_few_rows(seen)
            shows_hostile_names_as_text(seen)
            looks_well_everywhere(seen)
            cancels_a_task(seen)
            says_that_the_key_is_missing(opened, address)
            says_that_the_viewer_has_gone(opened, process.pid)
            page.reload()  # the tab remembers the key
            page.wait_for_selector(".row.scope")
            process.kill()
            process.wait()
            page.wait_for_selector("main.gone")
            assert page.inner_text("#status").startswith("the program has ended at ")
            assert page.locator(".row").count() > 5  # its last state stays
            seen.picture("dashboard-ended")
            assert seen.wrong == []
            viewer.kill()
            assert page.inner_text("#status").startswith("the program has ended at ")
            assert seen.foreign == []


def shows_all_tasks_as_few_rows(seen: Seen) -> None:
    page = seen.page
    seen.until(f"tasks.size > {IDLE}")
    before = seen.frames
    seen.until(f"document.documentElement.dataset.frames > {before + 10}")
    assert page.locator(".row").count() < 100
    seen.until(f"(list.scrollTop = list.scrollHeight, rows.textContent.includes('waits {IDLE - 1}'))")
    seen.until("rows.textContent.includes('nothing: it sleeps for ever')")  # asked for the rows in view
    page.fill("#find", "waits 777")
    seen.until("order.length < 20 && rows.textContent.includes('waits 7770')")
    page.fill("#find", "")
    page.evaluate("list.scrollTop = 0")
    seen.until("rows.textContent.includes('left then right')")


def shows_hostile_names_as_text(seen: Seen) -> None:
    page = seen.page
    assert page.locator(".row", has_text=MARKUP).count() == 1
    assert page.locator("#page img, #page b:has-text('bold')").count() == 0
    assert page.title().startswith("shop.py")
    page.focus("#list")
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    seen.until("document.getElementById('detail').textContent.includes('onerror')")
    assert page.locator("#detail img").count() == 0
    seen.until("document.getElementById('failures').textContent.includes('ValueError')")


def looks_well_everywhere(seen: Seen) -> None:
    page = seen.page
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    seen.until("document.getElementById('detail').textContent.includes('held by')")
    seen.picture("dashboard")
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    seen.picture("dashboard-dark")
    for width in (360, 900, 2000):
        page.set_viewport_size({"width": width, "height": 900})
        seen.until(f"innerWidth === {width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        seen.picture(f"dashboard-{width}")
    page.set_viewport_size({"width": 1400, "height": 950})
    page.emulate_media(color_scheme="light")


def cancels_a_task(seen: Seen) -> None:
    page = seen.page
    page.click("#detail button")
    seen.until("!tasks.has(1)")
    seen.until("latest.outcomes.cancelled >= 1")


def says_that_the_key_is_missing(opened: Any, address: str) -> None:
    stranger = Seen(opened)
    stranger.page.goto(address.partition("#")[0])
    stranger.until("document.getElementById('status').textContent.includes('needs the key')")
    assert stranger.page.locator(".row").count() == 0
    assert stranger.wrong == []
    stranger.page.close()


def says_that_the_viewer_has_gone(opened: Any, pid: int) -> None:
    with dashboard(pid) as (address, viewer):
        seen = Seen(opened)
        seen.page.goto(address)
        seen.page.wait_for_selector(".row.scope")
        assert seen.wrong == []
        viewer.kill()
        seen.until("document.getElementById('status').textContent.includes('trying again')")
        seen.page.close()
