"""The kinds of tasks and the outcomes that each may have."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unified_exec import RemoteError, SerializationError

from . import jobs

PROCESS, THREAD, LOOP = "process", "thread", "loop"


@dataclass(frozen=True)
class Kind:
    """One kind of task.

    Attributes:
        weight: how often it is drawn, relative to the others.
        more: makes the arguments after path and token.
        error: the type or types of the intended failure, ``None`` for a value.
        check: tells whether a value is the right one.
        endless: it ends only when it is cancelled.
        keeps_value: when it is cancelled, it may still return its value.
        crashes: it kills its worker.
        deaf: only killing its worker stops it.
        coroutine: it is a coroutine function.
        options: options of `spawn`.
        by_value: it is sent as a closure.
    """

    name: str
    on: str
    fn: Callable[..., Any]
    weight: float
    more: Callable[[random.Random, int], tuple[Any, ...]] = lambda rng, token: ()
    error: type[BaseException] | tuple[type[BaseException], ...] | None = None
    check: Callable[[Any, int], bool] = lambda value, token: value == jobs.value_of(token)
    endless: bool = False
    keeps_value: bool = False
    crashes: bool = False
    deaf: bool = False
    coroutine: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    by_value: bool = False

    def call(self, rng: random.Random, path: str, token: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return the function and the arguments for `spawn`."""
        more = self.more(rng, token)
        if not self.by_value:
            return self.fn, (path, token, *more)
        fn = self.fn
        return (lambda: fn(path, token, *more)), ()


def _seconds(rng: random.Random, token: int) -> tuple[float]:
    return (rng.choice((0.0, 0.0002, 0.001, 0.005, 0.02)),)


def _turns(rng: random.Random, token: int) -> tuple[int]:
    return (int(10 ** rng.uniform(1, 5.5)),)


def _size(rng: random.Random, token: int) -> tuple[int]:
    return (rng.choice((0, 1000, 60_000, 70_000, 300_000, 1_100_000, 3_000_000)),)


def _block(rng: random.Random, token: int) -> tuple[Any]:
    (size,) = _size(rng, token)
    block = bytes([token & 255]) * size
    return (rng.choice((bytes, bytearray))(block),)


def _array(rng: random.Random, token: int) -> tuple[Any]:
    try:
        import numpy
    except ImportError:
        return _block(rng, token)
    return (numpy.full(_size(rng, token)[0], token & 255, "uint8"),)


def _is_large(value: Any, token: int) -> bool:
    return not len(value) or bool(value[0] == value[-1] == token & 255)


def _target(rng: random.Random, token: int) -> tuple[str]:
    return (rng.choice(("thread", "process")),)


_QUICK_WEIGHT = 8.0

KINDS: tuple[Kind, ...] = (
    Kind("quick", PROCESS, jobs.quick, _QUICK_WEIGHT),
    Kind("naps", PROCESS, jobs.naps, 6, _seconds),
    Kind("works", PROCESS, jobs.works, 6, _turns),
    Kind("closure", PROCESS, jobs.quick, 4, by_value=True),
    Kind("fails", PROCESS, jobs.fails, 2, error=jobs.Planned),
    Kind("unbuildable", PROCESS, jobs.fails_unbuildable, 0.5, error=(RemoteError, jobs.Stubborn)),
    Kind("exits", PROCESS, jobs.exits, 0.5, error=RemoteError),
    Kind("lock", PROCESS, jobs.returns_a_lock, 0.5, error=SerializationError),
    Kind("large", PROCESS, jobs.large, 2, _size, check=_is_large),
    Kind("takes large", PROCESS, jobs.takes_large, 2, _block),
    Kind("array", PROCESS, jobs.same, 2, _array, check=_is_large),
    Kind("nested", PROCESS, jobs.nested, 0.1, _target),
    Kind("spins", PROCESS, jobs.spins, 3, endless=True),
    Kind("naps forever", PROCESS, jobs.naps_forever, 2, endless=True),
    Kind("returns when cancelled", PROCESS, jobs.returns_when_cancelled, 2, endless=True, keeps_value=True),
    Kind("deaf", PROCESS, jobs.deaf, 0.5, endless=True, deaf=True),
    Kind("deaf in C", PROCESS, jobs.deaf_in_c, 0.3, endless=True, deaf=True),
    Kind("deaf parent", PROCESS, jobs.deaf_parent, 0.3, endless=True, deaf=True),
    Kind("crashes", PROCESS, jobs.crashes, 1, crashes=True),
    Kind("quick", THREAD, jobs.quick, _QUICK_WEIGHT),
    Kind("naps", THREAD, jobs.naps, 6, _seconds),
    Kind("fails", THREAD, jobs.fails, 2, error=jobs.Planned),
    Kind("exits", THREAD, jobs.exits, 0.5, error=RemoteError),
    Kind("polite", THREAD, jobs.polite, 3, endless=True),
    Kind("spins", THREAD, jobs.spins, 1, endless=True, options={"interrupt": True}),
    Kind("calls the loop", THREAD, jobs.calls_the_loop, 2),
    Kind("abandoned", THREAD, jobs.naps, 1, _seconds, options={"abandon": True}),
    Kind("nested", THREAD, jobs.nested, 0.1, _target),
    Kind("quick", LOOP, jobs.quick_async, _QUICK_WEIGHT, coroutine=True),
    Kind("naps", LOOP, jobs.naps_async, 4, _seconds, coroutine=True),
    Kind("fails", LOOP, jobs.fails_async, 1, error=jobs.Planned, coroutine=True),
    Kind("endless", LOOP, jobs.endless_async, 2, endless=True, coroutine=True),
    Kind("quick coroutine", PROCESS, jobs.quick_async, _QUICK_WEIGHT, coroutine=True),
    Kind("napping coroutine", PROCESS, jobs.naps_async, 4, _seconds, coroutine=True),
    Kind("failing coroutine", PROCESS, jobs.fails_async, 1, error=jobs.Planned, coroutine=True),
    Kind("endless coroutine", PROCESS, jobs.endless_async, 2, endless=True, coroutine=True),
    Kind("spinning coroutine", PROCESS, jobs.spins_async, 0.3, endless=True, coroutine=True),
    Kind("deaf coroutine", PROCESS, jobs.deaf_async, 0.2, endless=True, deaf=True, coroutine=True),
    Kind("crashing coroutine", PROCESS, jobs.crashes_async, 0.2, crashes=True, coroutine=True),
)


def named(wanted: list[str], unwanted: list[str]) -> tuple[Kind, ...]:
    """Return the kinds whose ``backend/name`` begins with one of `wanted` (or all), but with none of `unwanted`."""

    def begins(kind: Kind, with_one_of: list[str]) -> bool:
        return any(f"{kind.on}/{kind.name}".startswith(name) for name in with_one_of)

    return tuple(kind for kind in KINDS if (not wanted or begins(kind, wanted)) and not begins(kind, unwanted))


def quick_of(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Return the kinds that a burst consists of."""
    return tuple(kind for kind in kinds if kind.weight == _QUICK_WEIGHT) or kinds
