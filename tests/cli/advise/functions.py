"""Functions of every kind, for the advisor to judge. Workers import this module by name."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from pathlib import Path
from typing import Any

# --- computing in Python


def primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def orbit(steps: int) -> float:
    x, y, vx, vy = 1.0, 0.0, 0.0, 1.0
    for _ in range(steps):
        pull = (x * x + y * y) ** -1.5
        vx, vy = vx - 0.01 * x * pull, vy - 0.01 * y * pull
        x, y = x + 0.01 * vx, y + 0.01 * vy
    return x


# --- computing in C that keeps the GIL


def through_json(rows: int) -> int:
    return len(json.loads(json.dumps([{"id": n, "text": str(n)} for n in range(rows)])))


def backtrack(length: int) -> bool:
    return re.fullmatch(r"(a|a)*b", "a" * length) is None


def sort(count: int) -> int:
    return sorted((n * 7919) % 1_000_003 for n in range(count))[0]


# --- computing in C that lets go of it


def digest(size: int) -> str:
    block, found = bytes(1 << 20), hashlib.sha256()
    for _ in range(size >> 20):
        found.update(block)
    return found.hexdigest()


def compress(size: int) -> int:
    return len(zlib.compress(bytes(range(256)) * (size // 256), 9))


def matrix(size: int) -> float:
    import numpy as np

    numbers = np.random.default_rng(1).random((size, size))
    return float(np.sort(numbers, axis=None)[0] + np.linalg.norm(numbers))


# --- waiting


def pause(seconds: float) -> None:
    time.sleep(seconds)


def read(path: str) -> int:
    return len(Path(path).read_bytes())


def query(path: str) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("select count(*) from t a, t b where a.n * b.n % 7 = 3").fetchone()
    connection.close()
    return int(found)


def request(url: str) -> int:
    with urllib.request.urlopen(url) as answer:
        return len(answer.read())


def run_program() -> int:
    return subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(0.05)"], check=True).returncode


async def request_async(host: str, port: int) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    size = len(await reader.read())
    writer.close()
    return size


# --- both


def fetch_and_parse(seconds: float, limit: int) -> int:
    time.sleep(seconds)
    return primes(limit)


# --- what bites


def add(a: int, b: int) -> int:
    return a + b


def with_lock(lock: Any, limit: int) -> int:
    return primes(limit)


def lock_and_limit() -> tuple[Any, int]:
    return threading.Lock(), 8_000


seen: list[int] = []
count = 0


def remembers(limit: int) -> int:
    seen.append(limit)
    return primes(limit)


def counts(limit: int) -> None:
    global count
    count += primes(limit)


def fills(found: list[int], limit: int) -> None:
    found.append(primes(limit))


def first_of_many(rows: list[str]) -> int:
    return sum(len(row) for row in rows)


def many_rows() -> tuple[list[str]]:
    return ([f"row {n}" for n in range(100_000)],)


async def naps_on_the_loop(seconds: float) -> None:
    time.sleep(seconds)


async def computes_on_the_loop(limit: int) -> int:
    return primes(limit)


# --- for the command itself


def fails(message: str) -> None:
    raise ValueError(message)


async def fails_on_the_loop(message: str) -> None:
    raise ValueError(message)


def fails_elsewhere(home: int) -> int:
    """Fails in any process but the one numbered `home`; computes there."""
    if os.getpid() != home:
        raise ValueError("not at home")
    return primes(20_000)


def prints(*, level: int) -> None:
    print("from the function")


async def naps_after_a_word() -> None:
    print("here", flush=True)
    time.sleep(0.3)


def generates() -> Any:
    yield 1


def no_tuple() -> int:
    return 3


def with_words() -> tuple[tuple[int, ...], dict[str, int]]:
    return (), {"level": 3}


class Shop:
    @staticmethod
    def total(prices: list[int]) -> int:
        return sum(prices)


not_a_function = 3
calls: list[int] = []


def logs_itself(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("called\n")


def uses_a_module_that_refuses(limit: int) -> int:
    import faulthandler

    faulthandler.is_enabled()
    return primes(limit)
