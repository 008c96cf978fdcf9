"""`python -m unified_exec demo`: both runs, and what they say."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import anyio
from rich.console import Console

from unified_exec import cpu_count, shutdown_default_pools

from .. import endings
from . import corpus, hosting, render, report
from .flow import HybridRun, Job, has_gil
from .leftovers import Before
from .progress import display_for
from .sequential import SequentialRun
from .store import Store, new_store

THREADS = 2  # SQLite has one writer at a time: a second thread has its next file at hand
CONNECTIONS = 8
WIDTH = 110  # columns, where there is no terminal to ask


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; the exit code is 0 if every promise held, else 1."""
    if arguments.db is not None and arguments.db.exists():
        print(f"unified_exec demo: {arguments.db} exists already; name a new file, or remove it", file=sys.stderr)
        return 2
    demonstration = Demonstration(arguments)
    with endings.ending_like_ctrl_c() as ending:
        try:
            return demonstration.run()
        except BaseException as error:
            if not endings.tells_of(error, KeyboardInterrupt):
                raise
            render.say(demonstration.console, render.interrupted(demonstration.hybrid, demonstration.sequential))
            return ending.exit_code


class Demonstration:
    """The whole of it; `hybrid` and `sequential` are there from when each run begins."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.console = _console(to_stderr=arguments.json)
        self.display = display_for(self.console)
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self.hybrid: HybridRun | None = None
        self.sequential: SequentialRun | None = None

    def run(self) -> int:
        files = corpus.standard_library(self.arguments.limit, self.arguments.with_tests)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unified-exec-demo-")))
            site = stack.enter_context(hosting.serving(files.root))
            store = stack.enter_context(new_store(self.arguments.db or folder / "together.db"))
            job = self._job(files, site.url)
            self._introduce(files, job)
            before = Before()
            hybrid = self._run_hybrid(job, store)
            left_over = before.left_over(
                sum(stage.stats.tasks() for stage in hybrid.stages), hybrid.parsing.stats.workers
            )
            if not (self.arguments.no_sequential or hybrid.cancelled or hybrid.lost):
                other = stack.enter_context(new_store(folder / "one-by-one.db"))
                self._run_sequential(job, other)
            machine = report.Machine(cpu_count(), self.load)
            found = report.make(files, self.arguments.backend, machine, hybrid, left_over, self.sequential)
        self._tell(found)
        return 1 if found.broken else 0

    def _job(self, files: corpus.Corpus, url: str) -> Job:
        # Threads for CPU work, where there is no GIL, are always as many as the cores.
        workers = self.arguments.workers if has_gil() or self.arguments.crash else None
        return Job(
            paths=files.paths,
            url=url,
            workers=workers or cpu_count(),
            threads=THREADS,
            connections=CONNECTIONS,
            doomed=files.paths[len(files.paths) // 2] if self.arguments.crash else None,
            cancel_after=self.arguments.cancel_after,
        )

    def _introduce(self, files: corpus.Corpus, job: Job) -> None:
        version = "{}.{}.{}".format(*sys.version_info) + ("" if has_gil() else ", no GIL")
        size = render.megabytes(files.size)
        render.say(
            self.console, f"{len(files.paths)} files ({size}), the source of Python {version}'s standard library"
        )
        cpu = "processes" if has_gil() or job.doomed else "threads"
        way = f"{job.connections} connections -> {job.workers} {cpu} -> {job.threads} threads -> SQLite"
        render.say(self.console, f"web server -> {way}, all in one pipeline on {self.arguments.backend}")

    def _run_hybrid(self, job: Job, store: Store) -> HybridRun:
        self.hybrid = HybridRun(job, store)
        with self.display.hybrid(self.hybrid) as show:
            anyio.run(self.hybrid.run, show, backend=self.arguments.backend)
        shutdown_default_pools()  # warm threads are no leftovers, but shall not be taken for some
        return self.hybrid

    def _run_sequential(self, job: Job, store: Store) -> None:
        self.sequential = SequentialRun(job.paths, job.url, store)
        # What the program holds is no burden to a worker's garbage collector, so it shall be none to this run's either.
        gc.collect()
        gc.freeze()
        try:
            with self.display.sequential(self.sequential) as show:
                self.sequential.run(show)
        finally:
            gc.unfreeze()

    def _tell(self, found: report.Report) -> None:
        if self.arguments.json:
            print(json.dumps(report.as_json(found), indent=2))
        else:
            render.render(self.console, found)
            if self.arguments.db is not None:
                render.say(self.console, f"The results are in {self.arguments.db}.")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich would end the program right here, wherever that is


def _console(to_stderr: bool) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        return _Console(file=stream)
    # Whatever the environment says of colours: what is not a terminal gets no control characters.
    return _Console(file=stream, force_terminal=False, color_system=None, width=WIDTH)
