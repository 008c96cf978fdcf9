"""Two processes and a thread that wait for each other: each sends what it has received from the one before.

A channel may be sent to by anybody, so nothing can tell that this ring will not end; one must see it.
"""

from __future__ import annotations

import anyio

from unified_exec import Channel, TaskScope


def passes_on(inbox: Channel[int], outbox: Channel[int]) -> None:
    outbox.send_sync(inbox.receive_sync())


async def main() -> None:
    first, second, third = (Channel[int](1, name=f"to {number}") for number in (1, 2, 3))
    async with TaskScope("ring") as scope:
        scope.spawn(passes_on, first, second, on="process", name="one")
        scope.spawn(passes_on, second, third, on="process", name="two")
        scope.spawn(passes_on, third, first, on="thread", name="three")
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
