"""What holds for every test: the event loops it runs on, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import signal
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from tests import hangs, leaks
from tests import interpreters as other_interpreters

hypothesis.settings.register_profile("unified_exec", deadline=None, print_blob=True)
hypothesis.settings.load_profile("unified_exec")


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    return loop


LOOPS: dict[str, tuple[str, dict[str, Any]]] = {"asyncio": ("asyncio", {"use_uvloop": False})}
MISSING: list[str] = []

if importlib.util.find_spec("uvloop"):
    LOOPS["asyncio+uvloop"] = ("asyncio", {"use_uvloop": True})
else:
    MISSING.append("asyncio+uvloop (not installed)")
if sys.version_info >= (3, 12):
    LOOPS["asyncio+eager"] = ("asyncio", {"loop_factory": _eager_loop})
else:
    MISSING.append("asyncio+eager (needs Python 3.12)")
LOOPS["trio"] = ("trio", {})


def pytest_configure() -> None:
    leaks.mark_this_run()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it puts into the background so; the programs that the tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if importlib.util.find_spec("uvloop"):
        # The first loop opens a pipe that libuv keeps for the life of the process: no leak of the first test.
        import uvloop

        uvloop.new_event_loop().close()


def pytest_report_header() -> list[str]:
    missing = f"; left out: {', '.join(MISSING)}" if MISSING else ""
    return [f"event loops: {', '.join(LOOPS)}{missing}", f"watched for leaks: {leaks.WATCHED}"]


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Run every async test on every event loop, but for those that are asyncio's alone (`@pytest.mark.asyncio`)."""
    if not collector.istestfunction(obj, name):
        return
    test = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
    marks = {mark.name for mark in getattr(obj, "pytestmark", ())}
    if inspect.iscoroutinefunction(test) and "asyncio" not in marks and not collector.get_closest_marker("asyncio"):
        pytest.mark.anyio(obj)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Cancel an async test that hangs; see tests/hangs.py."""
    backend: Any = pyfuncitem.funcargs.get("anyio_backend")
    seconds = hangs.limit(pyfuncitem)
    if (
        backend
        and seconds
        and inspect.iscoroutinefunction(pyfuncitem.obj)
        and not hasattr(pyfuncitem.obj, "hypothesis")
    ):
        pyfuncitem.obj = hangs.guarded(pyfuncitem.obj, seconds, backend[0])


@pytest.fixture(scope="module", params=list(LOOPS.values()), ids=list(LOOPS))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loop a test runs on, as anyio's pytest plugin wants it."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After every test: end the shared pools, then fail if anything at all outlived it."""
    left = ""
    try:
        with leaks.watch():
            yield
            leaks.shared_files()  # what the workers hold is known as theirs only while they live
            _shut_down_pools()
    except leaks.LeakError as error:
        left = str(error)
    if left:
        pytest.fail(left, pytrace=False)


def _shut_down_pools() -> None:
    # Tests that never touched the engine pay nothing.
    if any(name.startswith(("unified_exec._pools", "unified_exec._scope")) for name in sys.modules):
        import unified_exec

        if hasattr(unified_exec, "shutdown_default_pools"):
            unified_exec.shutdown_default_pools()


@pytest.fixture(scope="session")
def interpreters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, other_interpreters.Interpreter]:
    """The other interpreters on this machine, by version ("3.12", "3.14t")."""
    lent = other_interpreters.lend(tmp_path_factory.mktemp("lent"))
    return other_interpreters.find(lent)


@pytest.fixture(params=other_interpreters.others())
def interpreter(
    request: pytest.FixtureRequest, interpreters: dict[str, other_interpreters.Interpreter]
) -> other_interpreters.Interpreter:
    """Each other interpreter in turn; a version that is not there skips the test and says where it was looked for."""
    if request.param not in interpreters:
        where = f"on PATH, in pyenv's and uv's folders, in ${other_interpreters.VARIABLE}"
        pytest.skip(f"no CPython {request.param} found ({where})")
    return interpreters[request.param]
