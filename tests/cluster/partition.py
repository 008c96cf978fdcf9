"""A cluster and a program in a network of their own, whose one interface is taken down for some seconds.

``unshare --net python -m tests.cluster.partition FOLDER SECONDS`` prints what became of the tasks, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from tests.cluster.processes import DaskCluster
from tests.cluster.tasks import tick
from tests.waiting import until_async
from unified_exec import Collect, TaskScope
from unified_exec.cluster import DaskPool

TASKS = 2
LONG = 30.0
"""Seconds that the tasks take."""


def link(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


async def settled(handle: Any) -> dict[str, Any]:
    await handle.wait()
    error = handle.exception()
    return {"at": time.monotonic(), "error": error and type(error).__name__, "value": error is None and handle.result()}


async def main(address: str, folder: str, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with DaskPool(address) as pool:
        async with TaskScope(policy=Collect()) as scope, anyio.create_task_group() as group:
            untyped: Any = scope

            async def run(name: str) -> None:
                found[name] = await settled(untyped.spawn(tick, folder, name, LONG, on=pool))

            for number in range(TASKS):
                group.start_soon(run, f"task-{number}")
            assert await until_async(lambda: len(list(Path(folder).glob("*.begun"))) == TASKS, 60)
            link("down")
            await anyio.sleep(seconds)
            link("up")
        for name, end in found.items():
            end["last"] = float(Path(folder, f"{name}.tick").read_text() or 0)
        async with TaskScope() as scope:
            untyped = scope
            again = [untyped.spawn(tick, folder, f"again-{n}", 0.1, on=pool) for n in range(10)]
            found["again"] = await scope.gather(*again)
    found["starts"] = Path(folder, "starts").read_text().split()
    return found


if __name__ == "__main__":
    link("up")
    with DaskCluster(2) as cluster:
        cluster.wait_until_up()
        print(json.dumps(anyio.run(main, cluster.address, sys.argv[1], float(sys.argv[2]))))
