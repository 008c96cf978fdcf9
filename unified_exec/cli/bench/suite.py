"""The run: rounds in which every model has its turn at every workload, until all is calm or the time is over."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .hosts import Host, HostError, serving
from .limits import allow_descriptors
from .machine import Neighbours
from .models import Kind, Model
from .readings import Cell, Turn
from .workloads import Setting, Workload

SCALED = ("primes", "hashing")
"""Workloads repeated with a growing number of workers: what the GIL costs, and what it does not."""
SPARE_DESCRIPTORS = 256


@dataclass(frozen=True)
class Options:
    """How a run measures.

    Attributes:
        rounds: rounds of everything; disturbed ones are repeated while there is time.
        least: calm rounds below which no figure is given.
        budget: seconds after which no further turn begins.
        scale: share of the usual sizes; for tests.
    """

    models: Sequence[Model]
    workloads: Sequence[Workload]
    workers: int
    quick: bool = True
    rounds: int = 3
    least: int = 2
    budget: float = 100.0
    patience: float = 60.0
    scale: float = 1.0


class Watcher(Protocol):
    """Told before each turn; draws the progress."""

    def turn(self, done: int, total: int, what: str) -> None: ...


@dataclass
class Run:
    """What a run found.

    Attributes:
        left_out: what did not take part, and why.
        over: the time was over, or Ctrl-C came, before all rounds were done.
    """

    options: Options
    cells: list[Cell] = field(default_factory=list)
    scaling: list[Cell] = field(default_factory=list)
    profiles: list[Cell] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    over: str | None = None


def measure(options: Options, watcher: Watcher) -> Run:
    """Run the suite. Ctrl-C ends it with what was measured until then."""
    run = Run(options)
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="unified-exec-bench-")
    hosts = {model.key: Host(model.key) for model in options.models}
    try:
        with serving() as ports:
            setting = Setting(options.quick, options.workers, ports.http, ports.smtp, folder, options.scale)
            jobs = list(_plan(run, setting))
            _rounds(run, jobs, hosts, watcher, began + options.budget)
    except KeyboardInterrupt:
        run.over = "interrupted"
    finally:
        for host in hosts.values():
            host.close(kill=run.over == "interrupted")
        shutil.rmtree(folder, ignore_errors=True)
        run.seconds = time.monotonic() - began
    return run


@dataclass
class Job:
    """One cell's turn: what is shown of it, and the order for its host."""

    cell: Cell
    what: str
    order: dict[str, Any]
    fresh: bool = False


def _plan(run: Run, setting: Setting) -> Iterator[Job]:
    """The turns of a round, in their order; what cannot take part is noted in `run.left_out`."""
    options = run.options
    models = [model for model in options.models if _takes_part(run, model.title, model.absent())]
    run.lines = {model.key: model.lines for model in models}
    for workload in options.workloads:
        if not _takes_part(run, workload.title, workload.absent() or _too_large(workload, options)):
            continue
        for model in models:
            if workload.fits(model):
                cell = Cell(workload.key, model.key, workload.workers(model, setting))
                run.cells.append(cell)
                yield Job(cell, f"{workload.title}: {model.title}", _turn(workload, 0, setting))
    yield from _scaling(run, models, setting)
    for model in models:
        if model.kind is not Kind.HYBRID:
            cell = Cell(None, model.key, options.workers)
            run.profiles.append(cell)
            order = {"do": "profile", "workers": options.workers, "quick": options.quick}
            yield Job(cell, f"cost of the model: {model.title}", order, fresh=True)


def _takes_part(run: Run, title: str, why: str | None) -> bool:
    if why:
        run.left_out.append((title, why))
    return not why


def _too_large(workload: Workload, options: Options) -> str | None:
    if options.quick and not workload.quick:
        return "too large for a quick run"
    return allow_descriptors(workload.sockets + SPARE_DESCRIPTORS) if workload.sockets else None


def _scaling(run: Run, models: Sequence[Model], setting: Setting) -> Iterator[Job]:
    counts = (1, 2, 4) if setting.quick else (1, 2, 4, 8)
    chosen = [model for model in models if not model.kind.is_alone and model.kind is not Kind.HYBRID]
    if setting.quick:
        chosen = [model for model in chosen if model.key in _SCALED_QUICKLY]
    for workload in run.options.workloads:
        if workload.key not in SCALED or workload.absent():
            continue
        for model in chosen:
            for workers in counts:
                cell = Cell(workload.key, model.key, workers)
                run.scaling.append(cell)
                what = f"{workload.title}, {workers} worker{'s' * (workers > 1)}: {model.title}"
                yield Job(cell, what, _turn(workload, workers, setting))


_SCALED_QUICKLY = ("thread-pool", "mp-pool", "process-pool", "scope-thread", "scope-process", "interpreters")


def _turn(workload: Workload, workers: int, setting: Setting) -> dict[str, Any]:
    return {"do": "turn", "workload": workload.key, "workers": workers, "setting": dataclasses.asdict(setting)}


def _rounds(run: Run, jobs: list[Job], hosts: dict[str, Host], watcher: Watcher, until: float) -> None:
    options = run.options
    total = len(jobs) * options.rounds
    done = 0
    for _ in range(options.rounds):
        for job in jobs:
            if time.monotonic() > until:
                run.over = "the time was over"
                return
            watcher.turn(done, total, job.what)
            _take(job, hosts[job.cell.model], options.patience)
            done += 1
    _repeat_disturbed(run, jobs, hosts, lambda what: watcher.turn(done, total, what), until)


def _repeat_disturbed(
    run: Run, jobs: list[Job], hosts: dict[str, Host], show: Callable[[str], None], until: float
) -> None:
    """Another try for what others disturbed, twice as many rounds at most."""
    for _ in range(2 * run.options.rounds):
        unsettled = [job for job in jobs if not job.cell.error and len(job.cell.calm_turns()) < run.options.least]
        if not unsettled:
            return
        for job in unsettled:
            if time.monotonic() > until:
                run.over = "the time was over"
                return
            show(f"again, others were busy: {job.what}")
            _take(job, hosts[job.cell.model], run.options.patience)


def _take(job: Job, host: Host, patience: float) -> None:
    """One turn. A cell that fails is out: fewer rounds than the others would be no fair figure."""
    if job.cell.error:
        return
    with contextlib.ExitStack() as stack:
        if job.fresh:
            host = Host(host.model)
            stack.callback(host.close)
        try:
            host.ask(patience, do="ready")
            neighbours, began = Neighbours(), time.monotonic()
            values = host.ask(patience, **job.order)
        except HostError as error:
            job.cell.error = str(error)
            job.cell.turns.clear()
            return
    job.cell.turns.append(Turn(values, neighbours.end(), time.monotonic() - began))
