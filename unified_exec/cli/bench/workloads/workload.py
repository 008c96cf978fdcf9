"""The definition of a workload."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ...measuring.machine import missing
from ..models.model import Kind, Model


class Group(StrEnum):
    """The kind of work. The overview table says which model is best for which."""

    PYTHON = "computing in Python"
    RELEASING = "computing in C that releases the GIL"
    HOLDING = "computing in C that holds the GIL"
    IO = "waiting for I/O"
    MIXED = "fetching, parsing, storing"
    TINY = "many tiny tasks"
    ARRAYS = "large arrays"
    SHARED = "a shared counter"
    LIBRARIES = "frames, pictures, cross-validation"


@dataclass(frozen=True)
class Setting:
    """The size of the work and where its servers are.

    Attributes:
        quick: small sizes.
        workers: number of workers of a model that computes.
        http: port of the HTTP server on loopback; ``smtp``: of the mail server.
        folder: a directory for files, emptied after the run.
        scale: share of the usual number of items; for tests.
    """

    quick: bool = True
    workers: int = 2
    http: int = 0
    smtp: int = 0
    folder: str = ""
    scale: float = 1.0

    def count(self, full: int, quick: int | None = None) -> int:
        """Return the number of items: `full`, or in a quick run `quick` (by default a quarter)."""
        number = (quick if quick is not None else max(1, full // 4)) if self.quick else full
        return max(2, round(number * self.scale))


@dataclass(frozen=True)
class Workload:
    """One kind of work.

    Attributes:
        key: its name for ``--workloads`` and in the JSON file.
        about: what one task does, in a sentence.
        fn: the blocking function that processes one item.
        items: makes the items of a run.
        right: tells whether the results belong to the items.
        afn: the same as a coroutine function, where an async library exists; without it, models that run coroutines
            run `fn` on the loop.
        fn_apart: the function for workers that share no memory.
        stages: a coroutine function that fetches, a function that parses and one that stores, for hybrid models.
        workers_most: number of threads of a model that waits; 0 means as many as compute.
        turns: a model with fewer workers than tasks does at most this many tasks per worker, and its time is scaled up
            to all of them; 0: no limit.
        sockets: descriptors that a model needs at once.
        needs: modules that must be importable.
        left_out_of: kinds that it makes no sense for.
        quick: whether it takes part in a quick run.
    """

    key: str
    title: str
    group: Group
    about: str
    fn: Callable[[Any], Any]
    items: Callable[[Setting], Sequence[Any]]
    right: Callable[[Sequence[Any], Sequence[Any]], bool]
    afn: Callable[[Any], Any] | None = None
    fn_apart: Callable[[Any], Any] | None = None
    stages: tuple[Callable[[Any], Any], ...] = ()
    workers_most: int = 0
    turns: int = 0
    sockets: int = 0
    needs: tuple[str, ...] = ()
    left_out_of: frozenset[Kind] = field(default_factory=frozenset)
    quick: bool = True

    def absent(self) -> str | None:
        """Return the reason why it cannot run here, or ``None``."""
        lacking = missing(self.needs)
        return f"not installed: {', '.join(lacking)}" if lacking else None

    def fits(self, model: Model) -> bool:
        """Whether a model can do it in a way that is worth comparing."""
        if model.kind is Kind.HYBRID:
            return bool(self.stages)
        return model.kind not in self.left_out_of

    def workers(self, model: Model, setting: Setting) -> int:
        """Return the number of workers that the model is opened with: one per core, or enough threads to wait in."""
        if model.kind.is_alone:
            return 1
        return max(self.workers_most, setting.workers) if model.kind is Kind.THREAD else setting.workers

    def function(self, model: Model) -> Any:
        """Return the function that the model calls."""
        if model.kind is Kind.HYBRID:
            return self.stages
        if model.takes_coroutines and model.kind is Kind.LOOP and self.afn is not None:
            return self.afn
        fn = self.fn_apart if self.fn_apart is not None and model.kind.is_apart else self.fn
        return functools.partial(inline, fn) if model.takes_coroutines else fn

    def share(self, model: Model, setting: Setting, items: Sequence[Any]) -> Sequence[Any]:
        """Return the items that this model does: all of them, or fewer for a model with few workers."""
        waits_alone = model.kind is Kind.LOOP and self.afn is None
        many_at_once = model.kind is Kind.HYBRID or (model.kind is Kind.LOOP and not waits_alone)
        if not self.turns or many_at_once:
            return items
        return items[: max(2, self.turns // (2 if setting.quick else 1) * self.workers(model, setting))]


async def inline(fn: Callable[[Any], Any], item: Any) -> Any:
    """Run blocking work on the event loop itself."""
    return fn(item)
