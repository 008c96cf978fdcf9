"""Tasks that run an event loop of their own, in every way there is. Files tell how far they came."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from tests.this_python import HAS_GIL

Main = Callable[[], Any]


def with_asyncio(main: Main) -> Any:
    return asyncio.run(main())


def with_anyio(main: Main) -> Any:
    return anyio.run(main, backend="asyncio")


def with_trio(main: Main) -> Any:
    return anyio.run(main, backend="trio")


def with_a_bare_loop(main: Main) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def with_uvloop(main: Main) -> Any:
    return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})


RUNNERS = [with_asyncio, with_anyio, with_trio, with_a_bare_loop]
if HAS_GIL and importlib.util.find_spec("uvloop"):  # it has no build without a GIL
    RUNNERS.append(with_uvloop)


class Inner:
    """What a process task does in its own event loop."""

    def __init__(self, folder: Path, name: str, run: Callable[[Main], Any], what: str) -> None:
        self.folder = folder
        self.name = name
        self.run = run
        self.what = what
        self.in_anyio = run in (with_anyio, with_trio, with_uvloop)

    def __call__(self) -> Any:
        return self.run(self.main)

    async def main(self) -> Any:
        try:
            (self.folder / f"{self.name}.started").touch()
            return await getattr(self, self.what)()
        finally:
            (self.folder / f"{self.name}.ended").touch()

    async def waits(self) -> None:
        await (anyio.sleep_forever() if self.in_anyio else asyncio.Event().wait())

    async def spins(self) -> None:
        on = True
        while on:
            pass

    async def goes_round(self) -> None:
        while True:
            await (checkpoint() if self.in_anyio else asyncio.sleep(0))

    async def waits_for_children(self) -> None:
        if self.in_anyio:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(self.goes_round)
        else:
            await asyncio.gather(*[self.goes_round() for _ in range(5)])

    async def keeps_its_value(self) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "kept"

    async def cancels_itself(self) -> None:
        raise asyncio.CancelledError

    async def returns(self) -> str:
        await (checkpoint() if self.in_anyio else asyncio.sleep(0))
        return self.name
