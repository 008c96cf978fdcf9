"""The dining philosophers over threads and processes: deadlocked, found, and mended.

Five philosophers sit around a table, with one fork between any two. Each takes the fork on the left, then the one on
the right. Here all take the left one before anyone takes the right one, so all wait for ever. After a second or two the
one that began to wait last gets a `DeadlockError` and puts its fork back; the others eat. Then they take their forks in
one order, the smaller number first, and nobody waits for ever.

    python examples/philosophers.py
"""

from __future__ import annotations

from typing import Literal

import anyio

from unified_exec import (
    Barrier,
    Collect,
    DeadlockError,
    Lock,
    ProcessPool,
    SharedValue,
    TaskScope,
)

SEATS = 5


def dine_badly(
    forks: list[Lock], seat: int, all_have_one: Barrier, meals: SharedValue[int]
) -> None:
    with forks[seat]:
        all_have_one.wait_sync()
        with forks[(seat + 1) % SEATS]:
            meals.add(1)


def dine(forks: list[Lock], seat: int, meals: SharedValue[int]) -> None:
    first, second = sorted((seat, (seat + 1) % SEATS))
    for _ in range(3):
        with forks[first], forks[second]:
            meals.add(1)


async def main() -> None:
    forks = [Lock(name=f"fork {n}") for n in range(SEATS)]
    places: list[Literal["thread", "process"]] = [
        "thread",
        "process",
        "thread",
        "process",
        "thread",
    ]
    async with ProcessPool(2) as processes:
        meals, all_have_one = SharedValue(0), Barrier(SEATS)
        async with TaskScope(policy=Collect(), processes=processes) as scope:
            handles = []
            for seat, place in enumerate(places):
                args = forks, seat, all_have_one, meals
                handles.append(scope.spawn(dine_badly, *args, on=place))
        for handle in handles:
            error = handle.exception()
            if isinstance(error, DeadlockError):
                print(f"a ring of {len(error.ring)}; {error.advice}")
        print(meals.get(), "meals")

        meals = SharedValue(0)
        async with TaskScope(processes=processes) as scope:
            for seat, place in enumerate(places):
                scope.spawn(dine, forks, seat, meals, on=place)
        print(meals.get(), "meals")


if __name__ == "__main__":
    anyio.run(main)
