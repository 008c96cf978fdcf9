"""What the tests run on nodes. Light to import."""

from __future__ import annotations

import logging
import os
import time
import warnings
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from unified_exec import Channel, Lock, TaskScope, from_task, report


def spin(folder: str, name: str) -> None:
    """Run until cancelled, and leave files that tell when it began and that its `finally` ran."""
    try:
        Path(folder, f"{name}.pid").write_text(str(os.getpid()))
        Path(folder, f"{name}.begun").touch()
        while True:
            pass
    finally:
        Path(folder, f"{name}.ended").touch()


def tick(folder: str, name: str, seconds: float) -> str:
    """Write the time again and again, and note each start."""
    with open(os.path.join(folder, "starts"), "a") as file:
        file.write(f"{name}\n")
    Path(folder, f"{name}.pid").write_text(str(os.getpid()))
    Path(folder, f"{name}.begun").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        Path(folder, f"{name}.tick").write_text(str(time.monotonic()))
        time.sleep(0.01)
    return name


def telling(n: int) -> int:
    for i in range(n):
        report(i, n)
    return n


def count_to(n: int) -> Any:
    yield from range(n)


def slow_square(n: int) -> int:
    time.sleep(0.005)
    return n * n


async def a_nap(n: int) -> int:
    await anyio.sleep(0.01)
    return n


def fail_once(folder: str) -> str:
    try:
        os.mkdir(os.path.join(folder, "tried"))
    except FileExistsError:
        return "second try"
    raise OSError("first try")


async def meet(folder: str, n: int, all_of_them: int) -> int:
    """Wait until all of them are here."""
    Path(folder, f"met-{n}").touch()
    with anyio.fail_after(60):
        while len(os.listdir(folder)) < all_of_them:
            await anyio.sleep(0.01)
    return n


REQUEST: ContextVar[str] = ContextVar("request", default="none")
SEEN: ContextVar[list[int]] = ContextVar("seen")
log = logging.getLogger("tests.cluster.node")
loaded: Any = None


def request_id() -> tuple[str, list[int]]:
    """Return the values of two context variables, and change them for nobody else."""
    found = REQUEST.get(), list(SEEN.get())
    REQUEST.set("changed")
    SEEN.get().append(0)
    return found


async def a_request_id() -> str:
    await anyio.lowlevel.checkpoint()
    return REQUEST.get()


def write_log(text: str) -> int:
    log.debug("%s at debug", text, extra={"more": [1, 2]})
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("%s with an error", text)
    warnings.warn(f"{text}, a warning", UserWarning, stacklevel=1)
    return os.getpid()


async def doubled(n: int) -> tuple[int, int]:
    """What the program does for a task: it says where it ran."""
    await anyio.lowlevel.checkpoint()
    return 2 * n, os.getpid()


def ask_to_double(n: int) -> tuple[int, int, int]:
    return *from_task.run(doubled, n), os.getpid()


async def ask_to_double_async(n: int) -> tuple[int, int, int]:
    return *await from_task.run_async(doubled, n), os.getpid()


def ask_to_fail() -> str:
    try:
        from_task.run_sync(divmod, 1, 0)
    except ZeroDivisionError as error:
        return str(error)
    return ""


def spawn_and_wait(depth: int) -> list[int]:
    """Wait for another task of the pool, which waits for another one, and so on."""
    if depth:
        return [*from_task.spawn(spawn_and_wait, depth - 1, on="process").result(), os.getpid()]
    return [os.getpid()]


async def forever(folder: str) -> None:
    try:
        Path(folder, "asked.begun").touch()
        await anyio.sleep_forever()
    finally:
        Path(folder, "asked.ended").touch()


async def open_a_scope(folder: str) -> None:
    async with TaskScope() as scope:
        scope.spawn(forever, folder)
        Path(folder, "nested").touch()


def ask_forever(folder: str) -> None:
    from_task.run(forever, folder)


def make_a_channel() -> Any:
    return Channel(3)


def ask_for_a_lock() -> Any:
    return from_task.run_sync(Lock)


def set_up_opentelemetry() -> None:
    """Have the spans of this worker end somewhere: in a provider of its own."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())


def inner_span() -> tuple[int, int]:
    """Trace and parent of a span that the worker's own provider makes."""
    from opentelemetry import trace

    with trace.get_tracer("node").start_as_current_span("inner") as span:
        parent: Any = span
        return span.get_span_context().trace_id, parent.parent.span_id


async def a_inner_span() -> tuple[int, int]:
    await anyio.lowlevel.checkpoint()
    return inner_span()


def load(table: Any, fn: Any) -> None:
    """An initializer."""
    global loaded
    loaded = (int(table.value.sum()), fn(2))


def get_loaded() -> Any:
    return loaded


def seats(dask_worker: Any) -> int:
    """How many seats are taken on a Dask worker, whose plugin `client.run` hands over."""
    plugin = dask_worker.plugins.get("unified-exec-agent")
    return sum(map(len, plugin._seats.values())) if plugin else 0
