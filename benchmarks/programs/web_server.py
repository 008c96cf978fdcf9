"""A web application on asyncio whose heavy requests compute in one of two processes.

``python web_server.py KIND``, KIND one of ours, executor, anyio. It prints its port and serves until its stdin ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from web_tasks import compute

WORKERS = 2
Call = Callable[[int], Awaitable[object]]


@asynccontextmanager
async def ours() -> AsyncIterator[Call]:
    from unified_exec import ProcessPool, TaskScope

    async with ProcessPool(WORKERS) as pool, TaskScope() as scope:
        yield lambda turns: scope.spawn(compute, turns, on=pool)


@asynccontextmanager
async def executor() -> AsyncIterator[Call]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("forkserver")) as pool:
        yield lambda turns: loop.run_in_executor(pool, compute, turns)


@asynccontextmanager
async def anyio() -> AsyncIterator[Call]:
    from anyio import CapacityLimiter
    from anyio.to_process import run_sync

    limiter = CapacityLimiter(WORKERS)
    yield lambda turns: run_sync(compute, turns, limiter=limiter)


async def serve(kind: str) -> None:
    opened = {"ours": ours, "executor": executor, "anyio": anyio}[kind]
    async with opened() as call:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while line := await reader.readline():
                    _, _, turns = line.decode().split()[1].rpartition("/")
                    while await reader.readline() != b"\r\n":
                        pass
                    body = b"%d" % (await call(int(turns)) if turns else 0)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
