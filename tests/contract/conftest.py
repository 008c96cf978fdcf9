"""Each test of the contract runs at every place that makes the promise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from tests.contract import tasks
from tests.waiting import until_async
from unified_exec import TaskHandle, TaskScope, call
from unified_exec._platform import cpu_count


@pytest.fixture(autouse=True, scope="module")
def room_for_four() -> Iterator[None]:
    """As many workers as a test holds tasks at the same time, on any machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_count, "cpu_count", lambda: 4)
        yield


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """The GIL goes round as often as can be, so that a thread is often switched out while it holds a lock."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@dataclass(frozen=True)
class Place:
    """Where a task runs, and in which shape."""

    on: str
    coroutine: bool

    def fn(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself, or its async twin where coroutines run: one written for it, or else a coroutine that
        calls it."""
        if not self.coroutine:
            return plain
        written: Callable[..., Any] | None = getattr(tasks, f"a_{plain.__name__}", None)
        if written is not None:
            return written

        async def twin(*args: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            return plain(*args)

        return twin

    def spawn(self, scope: TaskScope, plain: Callable[..., Any], *args: Any, **options: Any) -> TaskHandle[Any]:
        handle: TaskHandle[Any] = scope.spawn(self.fn(plain), *args, on=self.on, **options)  # type: ignore[call-overload]
        return handle

    async def call(self, plain: Callable[..., Any], *args: Any, **options: Any) -> Any:
        untyped: Any = call
        return await untyped(self.fn(plain), *args, on=self.on, **options)


PLACES = {
    "loop": Place("loop", True),
    "thread": Place("thread", False),
    "process": Place("process", False),
    "process-coroutine": Place("process", True),
}
if sys.version_info >= (3, 14):
    PLACES["interpreter"] = Place("interpreter", False)


ONE_LOOP = [pytest.param(name, marks=pytest.mark.one_loop) for name in ("process", "process-coroutine")]
"""A worker does not know the event loop of its scope; files about that are marked `every_loop`, which goes first."""

INTERPRETERS = [pytest.param("interpreter", marks=pytest.mark.one_loop)] if "interpreter" in PLACES else []


@pytest.fixture(params=["loop", "thread", *ONE_LOOP, *INTERPRETERS])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "interpreter" and hasattr(request.module, "programs"):
        pytest.skip("the functions of this file need psutil, which does not load in an interpreter")
    return PLACES[request.param]


@pytest.fixture(params=["thread", *ONE_LOOP, *INTERPRETERS])
def remote_place(request: pytest.FixtureRequest) -> Place:
    """The places outside of the scope's own event loop."""
    return PLACES[request.param]


@pytest.fixture(params=ONE_LOOP)
def process_place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


class Folder:
    """The files the tasks tell about themselves in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def started(self, *names: str) -> None:
        for name in names:
            assert await until_async((self.path / f"{name}.started").exists, 60), f"{name} has not started"

    def has_started(self, name: str) -> bool:
        return (self.path / f"{name}.started").exists()

    def ended(self, name: str) -> bool:
        return (self.path / f"{name}.ended").exists()

    def release(self, *names: str) -> None:
        for name in names:
            (self.path / f"{name}.go").touch()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in this process is woken, or sleeps for ever: it does not look for the dead, nor for deadlocks."""
    from unified_exec._sync.channels import shared_form  # workers import this file, too
    from unified_exec._sync.deadlocks import look
    from unified_exec._sync.locks import permits, shared_meeting

    monkeypatch.setattr(look, "PERIOD", 3600.0)
    monkeypatch.setattr(permits, "LOOK_LATE", 3600.0)
    for module in (permits, shared_form, shared_meeting):
        monkeypatch.setattr(module, "LOOK", 3600.0)
        monkeypatch.setattr(module, "LOOK_AGAIN", 3600.0)
