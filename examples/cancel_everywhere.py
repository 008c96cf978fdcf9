"""One failure stops a coroutine, a thread and a process; each cleans up, and nothing is left over.

python examples/cancel_everywhere.py
"""

import tempfile
from pathlib import Path

import anyio

from unified_exec import TaskScope, call, check_cancelled, shutdown_default_pools


async def coroutine(folder):
    try:
        (folder / "coroutine.started").touch()
        await anyio.sleep_forever()
    finally:
        (folder / "coroutine.cleaned").touch()


def thread(folder):
    try:
        (folder / "thread.started").touch()
        while True:
            check_cancelled()  # a thread is stopped where it checks
    finally:
        (folder / "thread.cleaned").touch()


def process(folder):
    try:
        (folder / "process.started").touch()
        while True:  # a process is stopped wherever it is
            pass
    finally:
        (folder / "process.cleaned").touch()


def cleaned_up(folder):
    return sorted(path.stem for path in folder.glob("*.cleaned"))


async def watchdog(folder):
    while len(list(folder.glob("*.started"))) < 3:  # noqa: ASYNC110 - other processes make it true
        await anyio.sleep(0.01)
    raise RuntimeError("something is wrong")


async def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            async with TaskScope("everything") as scope:
                handles = [
                    scope.spawn(coroutine, folder),
                    scope.spawn(thread, folder),
                    scope.spawn(process, folder, on="process"),
                ]
                scope.spawn(watchdog, folder)
        except* RuntimeError as group:
            print("failed:", *group.exceptions)
        for handle in handles:
            print(f"{handle.name} on {handle.backend}: cancelled {handle.cancelled()}")
        print("cleaned up:", *await call(cleaned_up, folder))


anyio.run(main)
shutdown_default_pools()  # not needed: workers exit with the program
