"""What the rounds of faults run on the nodes of a cluster. Light to import.

A job leaves in its folder how often it has started, and the instant at which it last ran.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from typing import Any

import anyio

INSTANT = struct.Struct("d")
PAUSE = 0.005


class Beats:
    """The files of one job."""

    def __init__(self, folder: str, name: str) -> None:
        with open(os.path.join(folder, f"starts-{name}"), "ab") as file:
            file.write(b".")
        self._fd = os.open(os.path.join(folder, f"beat-{name}"), os.O_RDWR | os.O_CREAT)

    def beat(self) -> float:
        """Note that the job runs; returns the instant."""
        now = time.monotonic()
        os.pwrite(self._fd, INSTANT.pack(now), 0)
        return now

    def __enter__(self) -> Beats:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)


def plain(folder: str, name: str, seconds: float) -> str:
    """Beat for a while."""
    with Beats(folder, name) as beats:
        end = beats.beat() + seconds
        while beats.beat() < end:
            time.sleep(PAUSE)
    return name


def failing(folder: str, name: str, seconds: float) -> str:
    """Beat for a while, then fail."""
    raise ValueError(plain(folder, name, seconds))


def stubborn(folder: str, name: str, seconds: float) -> str:
    """Beat for a while, and do not react to a request to stop."""
    with Beats(folder, name) as beats:
        end = beats.beat() + seconds
        while True:
            try:
                while beats.beat() < end:
                    time.sleep(PAUSE)
                return name
            except BaseException:
                pass


async def waiting(folder: str, name: str, seconds: float) -> str:
    """Beat for a while on an event loop."""
    with Beats(folder, name) as beats:
        end = beats.beat() + seconds
        while beats.beat() < end:  # noqa: ASYNC110  it beats
            await anyio.sleep(PAUSE)
    return name


def counting(folder: str, name: str, n: int) -> Iterator[int]:
    """Yield numbers."""
    with Beats(folder, name) as beats:
        for number in range(n):
            beats.beat()
            yield number
            time.sleep(PAUSE)


def square(n: int) -> int:
    time.sleep(PAUSE)
    return n * n


def size_of(data: Any) -> int:
    """Return the size of a large argument."""
    return len(data)


def starts_of(folder: str, name: str) -> int:
    """How often a job has started."""
    try:
        return os.stat(os.path.join(folder, f"starts-{name}")).st_size
    except FileNotFoundError:
        return 0


def last_beat_of(folder: str, name: str) -> float:
    """The instant at which a job last ran, 0 if it never did."""
    try:
        with open(os.path.join(folder, f"beat-{name}"), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return 0.0
    found: float = INSTANT.unpack(data)[0] if len(data) == INSTANT.size else 0.0
    return found
