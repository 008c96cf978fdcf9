"""`unified_exec demo`: both runs, and the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path

import anyio
from rich.console import Console

from unified_exec import cpu_count, shutdown_default_pools
from unified_exec.observe import report

from ..interrupts import contains, signals_as_ctrl_c
from ..measuring.machine import gil_is_on
from ..measuring.terminal import say
from . import corpus
from .demo_report import Machine, Report, as_json, make_report
from .leftovers import Snapshot
from .live_progress import display_for
from .pipeline_runs import HybridRun, Job, SequentialRun
from .print_report import interrupted, megabytes, print_report
from .source_server import serving
from .store import Store, new_store

THREADS = 2
"""SQLite has one writer at a time; the second thread has the next file ready."""
CONNECTIONS = 8
WIDTH = 110
"""Columns where the output is not a terminal."""


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return exit code 0 if every promise held, else 1."""
    if arguments.db is not None and arguments.db.exists():
        print(f"unified_exec demo: {arguments.db} exists already; name a new file or remove this one", file=sys.stderr)
        return 2
    demo = Demo(arguments)
    with signals_as_ctrl_c() as interruption:
        try:
            return demo.run()
        except BaseException as error:
            if not contains(error, KeyboardInterrupt):
                raise
            say(demo.console, interrupted(demo.hybrid, demo.sequential))
            return interruption.exit_code


class Demo:
    """The demo; `hybrid` and `sequential` are set when each run begins."""

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
            site = stack.enter_context(serving(files.root))
            store = stack.enter_context(new_store(self.arguments.db or folder / "together.db"))
            job = self._job(files, site.url)
            self._introduce(files, job)
            before = Snapshot.now()
            with report(self.arguments.report) if self.arguments.report is not None else nullcontext():
                hybrid = self._run_hybrid(job, store)
            left_over = before.left_over(
                sum(stage.stats.tasks() for stage in hybrid.stages), hybrid.parsing.stats.workers
            )
            if not (self.arguments.no_sequential or hybrid.cancelled or hybrid.lost):
                other = stack.enter_context(new_store(folder / "one-by-one.db"))
                self._run_sequential(job, other)
            machine = Machine(cpu_count(), self.load)
            found = make_report(files, self.arguments.backend, machine, hybrid, left_over, self.sequential)
        self._print(found)
        return 1 if found.broken else 0

    def _job(self, files: corpus.Corpus, url: str) -> Job:
        # Where there is no GIL, CPU work runs in threads, of which there are always as many as cores.
        workers = self.arguments.workers if gil_is_on() or self.arguments.crash else None
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
        version = "{}.{}.{}".format(*sys.version_info) + ("" if gil_is_on() else ", no GIL")
        size = megabytes(files.size)
        say(self.console, f"{len(files.paths)} files ({size}): the source of Python {version}'s standard library")
        cpu = "processes" if gil_is_on() or job.doomed else "threads"
        way = f"{job.connections} connections -> {job.workers} {cpu} -> {job.threads} threads -> SQLite"
        say(self.console, f"web server -> {way}, all in one pipeline on {self.arguments.backend}")

    def _run_hybrid(self, job: Job, store: Store) -> HybridRun:
        self.hybrid = HybridRun(job, store)
        with self.display.hybrid(self.hybrid) as show:
            backend = self.arguments.backend
            # As asyncio does: Ctrl-C must not land in the midst of a library's code, which would warn.
            options = {"restrict_keyboard_interrupt_to_checkpoints": True} if backend == "trio" else {}
            anyio.run(self.hybrid.run, show, backend=backend, backend_options=options)
        shutdown_default_pools()  # idle threads are not leftovers and must not be counted as such
        return self.hybrid

    def _run_sequential(self, job: Job, store: Store) -> None:
        self.sequential = SequentialRun(job.paths, job.url, store)
        with self.display.sequential(self.sequential) as show:
            self.sequential.run(show)

    def _print(self, found: Report) -> None:
        if self.arguments.json:
            print(json.dumps(as_json(found), indent=2))
        else:
            print_report(self.console, found)
            if self.arguments.db is not None:
                say(self.console, f"The results are in {self.arguments.db}.")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich would call sys.exit here


def _console(to_stderr: bool) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        return _Console(file=stream)
    # Whatever the environment says about colours: a file or pipe gets no control characters.
    return _Console(file=stream, force_terminal=False, color_system=None, width=WIDTH)
