"""A whole program on asyncio and ProcessPoolExecutor with the forkserver."""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def double(number: int) -> int:
    return 2 * number


async def main() -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver")) as executor:
        assert await asyncio.get_running_loop().run_in_executor(executor, double, 21) == 42


if __name__ == "__main__":
    asyncio.run(main())
