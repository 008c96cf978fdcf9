"""Locks and shared numbers, without contention, next to those of the libraries that know one world each."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import anyio

from unified_exec import Lock, SharedValue, TaskScope

from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Row, Settings

TURNS = 20_000
SLICE = 500
"""Turns of one measurement; the fastest slice counts, for a busy machine slows single ones down."""


def _in_coroutine(settings: Settings, make: Callable[[], Any]) -> float:
    return on_loop(settings.loop, _entered_async, make, settings.calls(TURNS, SLICE))


async def _entered_async(make: Callable[[], Any], turns: int) -> float:
    lock, best = make(), float("inf")
    for _ in range(turns // SLICE):
        began = perf_counter()
        for _ in range(SLICE):
            async with lock:
                pass
        best = min(best, perf_counter() - began)
    return best / SLICE


def _in_thread(settings: Settings, make: Callable[[], Any]) -> float:
    return _entered(make(), settings.calls(TURNS, SLICE))


def _entered(lock: Any, turns: int) -> float:
    best = float("inf")
    for _ in range(turns // SLICE):
        began = perf_counter()
        for _ in range(SLICE):
            with lock:
                pass
        best = min(best, perf_counter() - began)
    return best / SLICE


def _shared_lock(settings: Settings) -> float:
    return on_loop(settings.loop, _entered_shared, settings.calls(TURNS, SLICE))


async def _entered_shared(turns: int) -> float:
    lock = Lock()
    async with TaskScope() as scope:
        return await scope.spawn(_entered, lock, turns, on="process")


def _shared_value(settings: Settings) -> float:
    return on_loop(settings.loop, _added_shared, settings.calls(TURNS, SLICE))


async def _added_shared(turns: int) -> float:
    value = SharedValue(0)
    async with TaskScope() as scope:
        return await scope.spawn(_added, value, turns, on="process")


def _added(value: SharedValue[int], turns: int) -> float:
    best = float("inf")
    for _ in range(turns // SLICE):
        began = perf_counter()
        for _ in range(SLICE):
            value.add(1)
        best = min(best, perf_counter() - began)
    return best / SLICE


def _multiprocessing_value(settings: Settings) -> float:
    value, best = multiprocessing.Value("q", 0), float("inf")
    for _ in range(settings.calls(TURNS, SLICE) // SLICE):
        began = perf_counter()
        for _ in range(SLICE):
            with value.get_lock():
                value.value += 1
        best = min(best, perf_counter() - began)
    return best / SLICE


ROWS = [
    Row(
        "lock-coroutine",
        "`async with lock`, nobody else wants it",
        "s",
        "The fastest of slices of 500 turns.",
        (
            Contender(OURS, lambda settings: _in_coroutine(settings, Lock)),
            Contender(
                "asyncio.Lock", lambda settings: _in_coroutine(settings, asyncio.Lock), loops=("asyncio", "uvloop")
            ),
            Contender("anyio.Lock", lambda settings: _in_coroutine(settings, anyio.Lock)),
        ),
        (Bar(1.5, "asyncio.Lock"), Bar(0.3, "anyio.Lock")),
    ),
    Row(
        "lock-thread",
        "`with lock` in a thread, nobody else wants it",
        "s",
        "The fastest of slices of 500 turns.",
        (
            Contender(OURS, lambda settings: _in_thread(settings, Lock)),
            Contender("threading.Lock", lambda settings: _in_thread(settings, threading.Lock)),
        ),
        (Bar(3.0, "threading.Lock"),),
    ),
    Row(
        "lock-shared",
        "`with lock` in a process, the lock is shared, nobody else wants it",
        "s",
        "The fastest of slices of 500 turns. `multiprocessing.Lock` does not give a dead holder's lock to others.",
        (
            Contender(OURS, _shared_lock),
            Contender("multiprocessing.Lock", lambda settings: _in_thread(settings, multiprocessing.Lock)),
        ),
    ),
    Row(
        "shared-value",
        "adding to a number that processes share",
        "s",
        "The fastest of slices of 500 turns; `with value.get_lock(): value.value += 1` with the peer.",
        (
            Contender(OURS, _shared_value),
            Contender("multiprocessing.Value", _multiprocessing_value),
        ),
        (Bar(0.5, "multiprocessing.Value"),),
    ),
]
