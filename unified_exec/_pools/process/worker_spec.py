"""How the workers of a pool start, and when they retire."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..._platform import cpu_count
from ..._rules import arguments, prefetch
from ..._wire.pickling import shared_refs, surroundings
from ..._wire.pickling.c_pickle import PROTOCOL, dumps
from ..._wire.pickling.shared_refs import ByDescriptors, pickled_here
from ..._worker import shared_object
from ..._worker.settings import WorkerKind
from ...errors import WorkerStartError
from .child import Child
from .start_worker import check_no_worker, environment_now, parent_settings
from .templates import Templates
from .worker import Worker

ROOM_SECONDS = 10.0
"""Seconds that a new process may take to read what its initializer needs, where its socket does not hold all of it."""


class WorkerSpec(NamedTuple):
    """What a worker must know before its first task. Make one with `make_spec`, which checks it.

    Attributes:
        max_workers: how many workers the pool has at most.
        cores: how many cores this process may use.
        initializer: the pickled initializer and its arguments.
        main: how workers import the program's main file; ``None`` if they do not.
        shared: the channels and shared objects in that pickle.
        max_tasks: a worker retires after this many tasks.
        max_memory: a worker retires after a task that left it with more resident bytes than this.
        idle_timeout: a worker without work retires after this many seconds.
        env: environment variables on top of this process's own.
        start_timeout: a process that has not become a worker after this many seconds is killed.
        prefetch_budget: seconds of work that may be queued in one worker.
        surroundings: returns what the workers take over from the program; the same object while nothing has changed.
        relayed: the program is on another machine.
    """

    max_workers: int
    cores: int
    initializer: bytes | None
    main: tuple[str, str] | None
    max_tasks: int | None
    max_memory: int | None
    idle_timeout: float | None
    env: dict[str, str]
    start_timeout: float | None
    shared: tuple[ByDescriptors, ...] = ()
    prefetch_budget: float = prefetch.BUDGET
    surroundings: Callable[[], surroundings.Snapshot] = surroundings.snapshot
    relayed: bool = False

    def start(self, kind: WorkerKind, templates: Templates) -> Worker:
        """Start a worker and send it its settings; it reports when it is up.

        Raises:
            WorkerStartError: no process could be started.
        """
        seen = self.surroundings()
        settings = parent_settings()._replace(
            kind=kind,
            initializer=self.initializer,
            main=self.main,
            max_tasks=self.max_tasks,
            max_memory=self.max_memory,
            idle=self.idle_timeout,
            levels=seen.levels,
            relayed=self.relayed,
        )
        environment = self.environment()
        fixed = surroundings.variables(name for name, value in environment.items() if os.environ.get(name) != value)
        worker = Worker(self.start_child(environment, templates), kind, self.surroundings)
        worker.knowledge.started_from(seen, fixed)
        control = worker.child.control
        try:
            control.settimeout(ROOM_SECONDS)
            worker.send_shares(self.shared)
            worker.send_settings(dumps(settings._asdict(), PROTOCOL))
            control.setblocking(False)
        except ConnectionError:
            control.setblocking(False)  # it has died at once: its exit will be noticed
        except OSError as exc:
            worker.reap()
            raise WorkerStartError(f"its settings could not be sent: {exc}") from exc
        except BaseException:
            worker.reap()
            raise
        return worker

    def should_wait(self, templates: Templates) -> bool:
        """Tell whether a worker had better be started in a moment, when it costs less."""
        return templates.should_wait(self.environment)

    def start_child(self, environment: dict[str, str], templates: Templates) -> Child:
        """Start what is to be a worker.

        Raises:
            WorkerStartError: it could not be started.
        """
        return templates.start(environment)

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a worker that is started now."""
        return {**environment_now(self.max_workers, self.cores), **self.env}


def make_spec(
    max_workers: int | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    max_tasks: int | None,
    max_memory: int | None,
    idle_timeout: float | None,
    env: dict[str, str] | None,
    start_timeout: float | None,
    main: str | None = None,
) -> WorkerSpec:
    """Check the options of a pool, before any worker is started.

    Raises:
        WorkerStartError: this program was started in place of a worker.
        TypeError: an option that is a number is something else.
        ValueError: a number is out of its range, or the main file cannot be imported by workers.
        SerializationError: the initializer or its arguments cannot travel.
    """
    check_no_worker()
    limits = {"max_workers": max_workers, "max_tasks_per_worker": max_tasks, "max_worker_memory": max_memory}
    for name, value in limits.items():
        if value is not None:
            limits[name] = arguments.whole(name, value, instead="None")
    if idle_timeout is not None:
        idle_timeout = arguments.seconds("idle_timeout", idle_timeout, positive=True)
    if start_timeout is not None:
        start_timeout = arguments.seconds("start_timeout", start_timeout, positive=True)
    arguments.check_initializer(initializer, initargs)
    _check_environment(env)
    if main not in (None, "import"):
        raise ValueError(f'main must be "import" or None, got {main!r}')
    imported = None
    if main is not None:
        from ..._worker import main_file

        imported = main_file.how()
    cores = cpu_count.cpu_count()
    shared_refs.place_in_block = shared_object.place
    met = pickled_here()
    met.clear()
    encoded = None if initializer is None else encode_initializer(initializer, tuple(initargs))
    shared = tuple(met)
    met.clear()
    return WorkerSpec(
        limits["max_workers"] or cores,
        cores,
        encoded,
        imported,
        limits["max_tasks_per_worker"],
        limits["max_worker_memory"],
        idle_timeout,
        dict(env or {}),
        start_timeout,
        shared,
    )


def _check_environment(env: object) -> None:
    if env is not None and not isinstance(env, Mapping):
        raise TypeError(f"env must be a dict of strings, got {env!r}")
    for pair in () if env is None else env.items():
        for part in pair:
            if not isinstance(part, str):
                raise TypeError(f"env must be a dict of strings, got {pair[0]!r}: {pair[1]!r}")
        if not pair[0] or "=" in pair[0] or "\0" in "".join(pair):
            raise ValueError(f"env has a variable that no process can have: {pair[0]!r}: {pair[1]!r}")


def encode_initializer(fn: Callable[..., object], args: tuple[Any, ...]) -> bytes:
    """Pickle the initializer and its arguments by value: each new worker gets the same bytes.

    Raises:
        SerializationError: they cannot travel.
    """
    from ..._wire.pickling import globals_sent, pickle_errors

    try:
        return globals_sent.encode_alone((fn, args), whole=True)
    except Exception as error:
        raise pickle_errors.refused_call(fn, args, error) from error
