"""A batch of computations of very different length, with progress as each of them ends.

python examples/batch.py
"""

import anyio

from unified_exec import Collect, TaskScope


def collatz(start):
    """How many steps it takes from `start` down to 1."""
    steps = 0
    n = start
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def longest_below(limit):
    if limit % 1000:
        raise ValueError(f"{limit} is not a round number")
    return max(range(1, limit), key=collatz)


async def main():
    limits = (20_000, 1_000, 10_000, 1_234, 5_000, 2_000)
    # Collect: if one computation fails, the others go on.
    async with TaskScope(policy=Collect()) as scope:
        handles = [
            scope.spawn(longest_below, limit, on="cpu", name=f"below {limit}")
            for limit in limits
        ]
        done = 0
        async for handle in scope.as_completed(handles):
            done += 1
            print(
                f"{done}/{len(handles)} {handle.name}: {'failed' if handle.exception() else 'done'}"
            )

    for handle in handles:
        error = handle.exception()
        print(handle.name, "->", handle.result() if error is None else repr(error))


anyio.run(main)  # no main guard: a worker does not import this file again
