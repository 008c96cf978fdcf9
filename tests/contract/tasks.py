"""What the contract's tests run, at each place: a plain function for threads and processes, its async twin for loops.

They tell about themselves in files, which every place can write and read: `name.started`, `name.ended`. They are
held until `name.go` exists.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio

from unified_exec import check_cancelled, current_task, time_left


def value(x: int) -> int:
    return x


async def a_value(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    return x


def fail(message: str) -> None:
    raise ValueError(message)


async def a_fail(message: str) -> None:
    await anyio.lowlevel.checkpoint()
    raise ValueError(message)


class Failure(Exception):
    """Can be referred to weakly, as built-in exceptions cannot."""


def fail_weakly() -> None:
    raise Failure


async def a_fail_weakly() -> None:
    await anyio.lowlevel.checkpoint()
    raise Failure


def hold(folder: Path, name: str) -> str:
    try:
        (folder / f"{name}.started").touch()
        while not (folder / f"{name}.go").exists():
            check_cancelled()
            time.sleep(0.002)
        return name
    finally:
        (folder / f"{name}.ended").touch()


async def a_hold(folder: Path, name: str) -> str:
    try:
        (folder / f"{name}.started").touch()
        while not (folder / f"{name}.go").exists():
            await anyio.sleep(0.002)
        return name
    finally:
        (folder / f"{name}.ended").touch()


def hold_and_tell(folder: Path, name: str) -> str:
    """Notes what it was told when it was asked to stop."""
    try:
        return hold(folder, name)
    except BaseException as ask:
        _tell(folder, name, ask)
        raise


async def a_hold_and_tell(folder: Path, name: str) -> str:
    try:
        return await a_hold(folder, name)
    except BaseException as ask:
        _tell(folder, name, ask)
        raise


def _tell(folder: Path, name: str, ask: BaseException) -> None:
    (folder / f"{name}.asked").write_text(str(getattr(ask, "reason", ask.args[0] if ask.args else None)))


def keep_value(folder: Path, name: str) -> str:
    """Goes on after the ask, and returns a value."""
    try:
        return hold(folder, name)
    except BaseException:
        return "kept"


async def a_keep_value(folder: Path, name: str) -> str:
    try:
        return await a_hold(folder, name)
    except BaseException:
        return "kept"


def fail_when_asked(folder: Path, name: str) -> None:
    try:
        hold(folder, name)
    except BaseException:
        raise ValueError(name) from None


async def a_fail_when_asked(folder: Path, name: str) -> None:
    try:
        await a_hold(folder, name)
    except BaseException:
        raise ValueError(name) from None


def seconds_left() -> float:
    return time_left()


async def a_seconds_left() -> float:
    return time_left()


def who_am_i() -> tuple[str, str, int]:
    task = current_task()
    assert task is not None
    return task.name, task.backend, os.getpid()


async def a_who_am_i() -> tuple[str, str, int]:
    return who_am_i()
