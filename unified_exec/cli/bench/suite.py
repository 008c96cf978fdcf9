"""The suite: rounds in which every model does every workload, until all are calm or the time budget is used up."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..measuring.machine import allow_descriptors
from ..measuring.rounds import Job, ProgressDisplay, Series, run_rounds
from .io_servers import serving
from .model_process import ModelProcess
from .models import Kind, Model
from .workloads import Setting, Workload

SCALED = ("primes", "hashing")
"""Workloads repeated with a growing number of workers: one that pays for the GIL, and one that does not."""
SPARE_DESCRIPTORS = 256
INTERRUPTED = "interrupted"
_SCALED_QUICKLY = ("thread-pool", "mp-pool", "process-pool", "scope-thread", "scope-process", "interpreters")


@dataclass(frozen=True)
class Options:
    """How a run measures.

    Attributes:
        rounds: rounds of everything; disturbed ones are repeated while there is time.
        least: number of calm rounds below which no figure is given.
        budget: seconds after which no further turn begins.
        patience: seconds that a single turn may take.
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


@dataclass
class Cell(Series):
    """All turns of one model at one workload; with ``workload=None``, the measurements of the model itself."""

    workload: str | None
    model: str
    workers: int


@dataclass
class Run:
    """What a run found.

    Attributes:
        cells: one for each workload and model.
        scaling: the same for a growing number of workers.
        profiles: what each model itself costs.
        lines: lines of user code by model.
        left_out: what did not take part, and the reason.
        over: why the run ended early, or ``None``.
    """

    options: Options
    cells: list[Cell] = field(default_factory=list)
    scaling: list[Cell] = field(default_factory=list)
    profiles: list[Cell] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    over: str | None = None


def measure(options: Options, display: ProgressDisplay) -> Run:
    """Run the suite. Ctrl-C ends it with what was measured so far."""
    run = Run(options)
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="unified-exec-bench-")
    processes = {model.key: ModelProcess(model.key) for model in options.models}
    try:
        with serving() as ports:
            setting = Setting(options.quick, options.workers, ports.http, ports.smtp, folder, options.scale)
            jobs = list(plan(run, processes, setting))
            run.over = run_rounds(jobs, options.rounds, display, least=options.least, until=began + options.budget)
    except KeyboardInterrupt:
        run.over = INTERRUPTED
    finally:
        for process in processes.values():
            process.close(kill=run.over == INTERRUPTED)
        shutil.rmtree(folder, ignore_errors=True)
        run.seconds = time.monotonic() - began
    return run


def plan(run: Run, processes: Mapping[str, ModelProcess], setting: Setting) -> Iterator[Job]:
    """Yield the turns of a round in their order; what cannot take part is added to `run.left_out`."""
    options = run.options
    models = [model for model in options.models if _takes_part(run, model.title, model.absent())]
    run.lines = {model.key: model.lines for model in models}

    def job(cell: Cell, what: str, order: dict[str, Any], fresh: bool = False) -> Job:
        return Job(cell, what, lambda: _turn(processes[cell.model], order, options.patience, fresh))

    for workload in options.workloads:
        if not _takes_part(run, workload.title, workload.absent() or too_large(workload, options)):
            continue
        for model in models:
            if workload.fits(model):
                cell = Cell(workload.key, model.key, workload.workers(model, setting))
                run.cells.append(cell)
                yield job(cell, f"{workload.title}: {model.title}", _order(workload, 0, setting))
    for workload, model, workers in _scaling(options, models):
        cell = Cell(workload.key, model.key, workers)
        run.scaling.append(cell)
        what = f"{workload.title}, {workers} worker{'s' * (workers > 1)}: {model.title}"
        yield job(cell, what, _order(workload, workers, setting))
    for model in models:
        if model.kind is not Kind.HYBRID:
            cell = Cell(None, model.key, options.workers)
            run.profiles.append(cell)
            order = {"do": "profile", "workers": options.workers, "quick": options.quick}
            yield job(cell, f"cost of the model: {model.title}", order, fresh=True)


def _takes_part(run: Run, title: str, why: str | None) -> bool:
    if why:
        run.left_out.append((title, why))
    return not why


def too_large(workload: Workload, options: Options) -> str | None:
    """Return the reason why a workload is too large for this run or this system, or ``None``."""
    if options.quick and not workload.quick:
        return "too large for a quick run"
    return allow_descriptors(workload.sockets + SPARE_DESCRIPTORS) if workload.sockets else None


def _scaling(options: Options, models: Sequence[Model]) -> Iterator[tuple[Workload, Model, int]]:
    chosen = [model for model in models if not model.kind.is_alone and model.kind is not Kind.HYBRID]
    if options.quick:
        chosen = [model for model in chosen if model.key in _SCALED_QUICKLY]
    for workload in options.workloads:
        if workload.key in SCALED and not workload.absent():
            for model in chosen:
                for workers in (1, 2, 4) if options.quick else (1, 2, 4, 8):
                    yield workload, model, workers


def _order(workload: Workload, workers: int, setting: Setting) -> dict[str, Any]:
    return {"do": "turn", "workload": workload.key, "workers": workers, "setting": dataclasses.asdict(setting)}


@contextlib.contextmanager
def _turn(
    process: ModelProcess, order: dict[str, Any], patience: float, fresh: bool
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start the model's process if necessary (a new one if `fresh`), and yield the function that gives the order."""
    with contextlib.ExitStack() as stack:
        if fresh:
            process = ModelProcess(process.model)
            stack.callback(process.close)
        process.ask(patience, do="ready")
        yield lambda: process.ask(patience, **order)
