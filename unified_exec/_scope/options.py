"""The options of `spawn` and `map` for type checkers; `TaskScope.spawn` and `TaskScope.map` explain them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Literal, TypedDict, TypeVar

from .._rules.retry import Retry
from .._sync.limit import Gate
from ..abc import Backend
from ..observe.progress.record import Show

A = TypeVar("A")

Items = Iterable[A] | AsyncIterable[A]
On = Literal["loop", "thread", "process", "interpreter", "cpu", "auto"] | Backend


class PlaceOption(TypedDict, total=False):
    """The option that every way to run something takes."""

    on: On | None


class SpawnOptions(PlaceOption, total=False):
    """The options of `TaskScope.spawn`."""

    timeout: float | None
    name: str | None
    interrupt: bool
    abandon: bool
    retry: Retry | None
    limit: int | Gate | None
    progress: Show
    priority: int | None


class CallOptions(TypedDict, total=False):
    """The options of a call of an actor."""

    timeout: float | None
    name: str | None


class StageOptions(PlaceOption, total=False):
    """The options that `TaskScope.map` shares with `Pipeline.map`."""

    limit: int | Gate | None
    ordered: bool
    chunk: int | Literal["auto"]
    buffer: int | None
    retry: Retry | None
    timeout: float | None


class MapOptions(StageOptions, total=False):
    """The options of `TaskScope.map`."""

    return_exceptions: bool
    progress: Show
    priority: int | None
