"""A whole program on unified_exec; with the argument "prestart" it starts its worker before its other imports."""

import sys

if sys.argv[1:] == ["prestart"]:
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
