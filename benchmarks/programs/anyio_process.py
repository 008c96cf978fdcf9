"""A whole program on anyio.to_process."""

import anyio
from anyio import to_process


def double(number: int) -> int:
    return 2 * number


async def main() -> None:
    assert await to_process.run_sync(double, 21) == 42


if __name__ == "__main__":
    anyio.run(main)
