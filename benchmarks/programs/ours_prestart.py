"""A whole program on unified_exec that starts its worker before its other imports."""

# ruff: noqa: E402  the worker starts meanwhile
from unified_exec import prestart

prestart()

import anyio

from unified_exec import TaskScope


def double(number: int) -> int:
    return 2 * number


async def main() -> None:
    async with TaskScope() as scope:
        assert await scope.spawn(double, 21, on="process") == 42


if __name__ == "__main__":
    anyio.run(main)
