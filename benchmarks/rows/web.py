"""A web application under load: requests that need nothing, next to requests that compute in a process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from .. import work
from ..child import environment
from ..row import OURS, Bar, Contender, Measure, Row, Settings

PROGRAM = Path(__file__).parents[1] / "programs" / "web_server.py"
CLIENTS = 32
HEAVY = 0.005
"""Seconds that a heavy request computes."""
LIGHT_EACH = 9
"""Light requests of a client for each heavy one."""
SECONDS = 4.0
COLD, RATE = "first heavy request", "requests in a second"
LIGHT, HEAVY_P99 = "p99, light", "p99, heavy"


def _served(kind: str) -> Measure:
    def measure(settings: Settings) -> dict[str, float]:
        command = [sys.executable, str(PROGRAM), kind]
        with subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            try:
                turns = work.turns_for(HEAVY, tries=20)
                port = int(server.stdout.readline())
                return asyncio.run(_load(port, turns, 1.0 if settings.quick else SECONDS))
            finally:
                server.stdin.close()

    return measure


async def _load(port: int, turns: int, seconds: float) -> dict[str, float]:
    first = await _client(port, turns, 0.0)
    await asyncio.gather(*(_client(port, turns, 0.5) for _ in range(CLIENTS)))
    began = perf_counter()
    found = await asyncio.gather(*(_client(port, turns, seconds) for _ in range(CLIENTS)))
    taken = perf_counter() - began
    light = sorted(value for lights, _ in found for value in lights)
    heavy = sorted(value for _, heavies in found for value in heavies)
    return {
        COLD: first[1][0],
        RATE: (len(light) + len(heavy)) / taken,
        LIGHT: light[int(len(light) * 0.99)],
        HEAVY_P99: heavy[int(len(heavy) * 0.99)],
    }


async def _client(port: int, turns: int, seconds: float) -> tuple[list[float], list[float]]:
    """Send one request after another over one connection; returns the seconds of the light and of the heavy ones."""
    light: list[float] = []
    heavy: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    until = perf_counter() + seconds
    while not heavy or perf_counter() < until:
        for path, kept in (*[("/", light)] * LIGHT_EACH, (f"/{turns}", heavy)):
            began = perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b": ")[2]))
            kept.append(perf_counter() - began)
    writer.close()
    return light, heavy


EXECUTOR, ANYIO = "run_in_executor", "anyio.to_process"

ROWS = [
    Row(
        "web",
        f"a web application: {CLIENTS} clients, each with {LIGHT_EACH} light requests for each one that computes 5 ms",
        "s",
        "Heavy requests compute in one of two processes. Each client waits for an answer before its next request. The "
        "first heavy request starts the workers; the others come after half a second of load.",
        (
            Contender(OURS, _served("ours")),
            Contender(EXECUTOR, _served("executor")),
            Contender(ANYIO, _served("anyio"), ("anyio",)),
        ),
        tuple(
            bar
            for peer in (EXECUTOR, ANYIO)
            for bar in (
                Bar(1.0, f"{OURS}: {RATE}", f"{peer}: {RATE}"),
                Bar(1.0, f"{peer}: {HEAVY_P99}", f"{OURS}: {HEAVY_P99}"),
            )
        ),
        units={f"{name}: {RATE}": "" for name in (OURS, EXECUTOR, ANYIO)},
        rounds_most=5,
    )
]
