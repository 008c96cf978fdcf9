"""Computing: in Python, in C that releases the GIL, in C that holds it; tiny tasks; large arrays."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import zlib
from collections.abc import Sequence
from typing import Any

from ..models.model import Kind
from .workload import Group, Setting, Workload

PLANETS = 5
MIB = 1 << 20
_NO_INTERPRETERS = frozenset({Kind.INTERPRETER})
"""NumPy can be imported only in the main interpreter."""


def primes(limit: int) -> int:
    """Counts the primes below `limit` by trial division."""
    return sum(all(k % d for d in range(2, int(k**0.5) + 1)) for k in range(2, limit))


def nbody(steps: int) -> float:
    """Moves five bodies under their mutual gravity; returns their energy, which should hardly change.

    Leapfrog integration (Verlet, Physical Review 159, 1967).
    """
    bodies = [[float(n), n * 0.5, 0.1 * n, 0.1, 0.3 / (n + 1), 0.0, 1.0 / (n + 1)] for n in range(PLANETS)]
    for _ in range(steps):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1 :]:
                dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
                pull = 1e-3 / (dx * dx + dy * dy + dz * dz + 0.01) ** 1.5
                for axis, d in enumerate((dx, dy, dz)):
                    a[3 + axis] -= d * b[6] * pull
                    b[3 + axis] += d * a[6] * pull
        for body in bodies:
            for axis in range(3):
                body[axis] += 1e-3 * body[3 + axis]
    return sum(0.5 * b[6] * (b[3] ** 2 + b[4] ** 2 + b[5] ** 2) for b in bodies)


@functools.cache
def _document() -> str:
    rows = [{"id": n, "name": f"row {n}", "tags": ["a", "b", str(n % 7)], "value": n * 0.25} for n in range(300)]
    return json.dumps(rows)


def json_sums(rounds: int) -> float:
    """Parses a document of 300 rows, changes it in Python and serializes it, `rounds` times."""
    total = 0.0
    for _ in range(rounds):
        rows = json.loads(_document())
        for row in rows:
            row["value"] += len(row["name"]) + len(row["tags"])
            total += row["value"]
        total += len(json.dumps(rows))
    return total


@functools.cache
def _block(size: int) -> bytes:
    return random.Random(7).randbytes(size // 2) + bytes(size // 2)


def hashing(size: int) -> str:
    """Computes the SHA-256 of a block of `size` bytes four times."""
    return "".join(hashlib.sha256(_block(size)).hexdigest()[:8] for _ in range(4))


def packing(size: int) -> int:
    """Compresses a block of `size` bytes with zlib."""
    return len(zlib.compress(_block(size), 6))


def numpy_sort(size: int) -> float:
    """Sorts `size` random doubles with NumPy and sums their sines."""
    import numpy

    values = numpy.random.default_rng(7).random(size)
    values.sort()
    return float(numpy.sin(values).sum())


def powers(bits: int) -> int:
    """Computes a modular power of `bits`-bit integers: one call into C that holds the GIL."""
    base, modulus = (1 << bits) - 159, (1 << bits) - 189
    return pow(base, modulus - 2, modulus) % 1_000_003


def tiny(number: int) -> int:
    return number + 1


def halves(array: Any) -> Any:
    """Return an array as large as the given one."""
    return array * 0.5


def _arrays(setting: Setting) -> Sequence[Any]:
    import numpy

    size = (8 if setting.quick else 32) * MIB // 8
    return [numpy.full(max(1000, int(size * setting.scale)), float(n)) for n in range(4 if setting.quick else 8)]


def _all_like(fn: Any) -> Any:
    """Return a check for tasks with equal items: there is one result per item, and each is the expected one."""

    def right(items: Sequence[Any], results: Sequence[Any]) -> bool:
        return len(results) == len(items) and all(result == _expected(fn, items[0]) for result in results)

    return right


@functools.cache
def _expected(fn: Any, item: Any) -> Any:
    return fn(item)


def _compute(
    key: str, title: str, group: Group, fn: Any, item: int, tasks: int, needs: tuple[str, ...] = ()
) -> Workload:
    about = (fn.__doc__ or "").strip().splitlines()[0].replace("`limit`", f"{item:,}").replace("`size`", f"{item:,}")
    about = about.replace("`bits`", f"{item:,}").replace("`rounds` times", f"{item} times")
    return Workload(
        key,
        title,
        group,
        about,
        fn,
        lambda setting: [item] * setting.count(tasks, tasks * 2 // 5),
        _all_like(fn),
        needs=needs,
        left_out_of=_NO_INTERPRETERS if "numpy" in needs else frozenset(),
    )


WORKLOADS = (
    _compute("primes", "primes", Group.PYTHON, primes, 2_500, 200),
    _compute("nbody", "n-body", Group.PYTHON, nbody, 120, 200),
    _compute("json", "JSON", Group.PYTHON, json_sums, 3, 200),
    _compute("hashing", "SHA-256", Group.RELEASING, hashing, MIB, 100),
    _compute("zlib", "zlib", Group.RELEASING, packing, 160 << 10, 100),
    _compute("numpy", "NumPy", Group.RELEASING, numpy_sort, 80_000, 100, ("numpy",)),
    _compute("powers", "big integers", Group.HOLDING, powers, 1_000, 100),
    Workload(
        "tiny",
        "tiny tasks",
        Group.TINY,
        "Does one addition, so that the time is that of the model itself.",
        tiny,
        lambda setting: range(setting.count(10_000, 2_000)),
        lambda items, results: list(results) == [item + 1 for item in items],
    ),
    Workload(
        "arrays",
        "large arrays",
        Group.ARRAYS,
        "Sends a NumPy array to a worker and receives another of the same size (quick: 8 MiB, else 32 MiB).",
        halves,
        _arrays,
        lambda items, results: [r[-1] for r in results] == [i[-1] * 0.5 for i in items],
        needs=("numpy",),
        left_out_of=_NO_INTERPRETERS,
    ),
)
