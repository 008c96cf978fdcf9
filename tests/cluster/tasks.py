"""What the tests run on nodes. Light to import."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import anyio

from unified_exec import from_task, report


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


def ask_the_scope() -> Any:
    return from_task.run(abs, -1)
