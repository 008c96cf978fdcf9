"""A plug-in of pytest: when a test hangs, its report shows what every scope and task waits for.

``pytest --unified-exec-tree`` adds the tree to the report of a test that pytest-timeout ends, and to what faulthandler
writes; ``--unified-exec-tree=20`` also writes it to standard error when a test has run for 20 s.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

LOOKS = (0.5, 0.9)
"""When a test is looked at that may time out, as shares of its timeout. A busy machine may be late for the second."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("unified_exec").addoption(
        "--unified-exec-tree",
        nargs="?",
        const=0.0,
        default=None,
        type=float,
        metavar="SECONDS",
        help="show what every scope and task waits for when a test times out, or has run for SECONDS",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch the tests, if that is wanted."""
    seconds = config.getoption("--unified-exec-tree")
    if seconds is not None:
        config.pluginmanager.register(_Trees(seconds), "unified_exec_trees")


class _Trees:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tree = ""
        self._timers: list[threading.Timer] = []
        try:
            self._stderr = os.dup(sys.stderr.fileno())  # now: later it is captured
        except (OSError, ValueError):
            self._stderr = -1

    def pytest_unconfigure(self) -> None:
        if self._stderr >= 0:
            os.close(self._stderr)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._tree = ""
        if self._seconds > 0:
            self._call_later(self._seconds, self._show, item.nodeid)
        try:
            return (yield)
        finally:
            for timer in self._timers:
                timer.cancel()
                timer.join()
            self._timers.clear()

    def _call_later(self, seconds: float, fn: Callable[..., object], *args: object) -> None:
        timer = threading.Timer(seconds, fn, args)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _show(self, test: str) -> None:
        text = f"\n{test} has run for {self._seconds:g} s:\n{_dump()}\n"
        if self._stderr >= 0:
            os.write(self._stderr, text.encode("utf-8", "replace"))

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> None:
        """Look before pytest-timeout ends the test: afterwards nothing waits any more. The newest look counts."""
        for share in LOOKS if settings.timeout and settings.timeout > 0 else ():
            self._call_later(settings.timeout * share, self._keep)

    def _keep(self) -> None:
        self._tree = _dump()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        report = yield
        if report.failed and self._tree and "Timeout" in str(report.longrepr):
            report.sections.append(("unified_exec: what waited for what", self._tree))
        return report


def _dump() -> str:
    from .live.dump import dump

    try:
        return dump(stacks=True)
    except Exception as error:
        return f"the program could not be looked at: {error!r}"
