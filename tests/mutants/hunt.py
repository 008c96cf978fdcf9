"""Seeing whether the tests notice a mutant: each is put into a copy of the project, and its tests run there."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import psutil

from tests import process_tree
from tests.faults import programs
from tests.mutants.mutant import ROOT, Mutant

T = TypeVar("T")

COPIED = ("unified_exec", "tests", "pyproject.toml")
WHOLE = 900.0
"""Seconds for the tests of one file, unbroken."""
NO_TESTS = 5
"""Exit status of pytest when no test was chosen."""
HANGS = 20
"""Seconds after which a single test counts as hanging, which is a failure too."""

MARK = "UNIFIED_EXEC_MUTANT"
"""Whatever the tests of a mutant start inherits this."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        killed: a test has failed, or hung.
        by: that test; or why there is no verdict.
        seconds: how long it took.
        valid: the tests ran as they should.
        empty: there was none to run.
    """

    killed: bool
    by: str
    seconds: float
    valid: bool = True
    empty: bool = False


class Hunters:
    """Copies of the project, in each of which one mutant at a time is tried; removed afterwards.

    Args:
        folder: an empty one, for the copies.
        jobs: how many are tried at the same time.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._copies: SimpleQueue[Path] = SimpleQueue()
        self._threads = ThreadPoolExecutor(jobs)
        for number in range(jobs):
            self._copies.put(copy_of_the_project(folder / f"project-{number}"))

    def hunt(self, mutants: Sequence[Mutant], patience: float) -> Iterator[tuple[Mutant, Verdict]]:
        """Try each mutant; the verdicts come in the order of the mutants."""
        return zip(mutants, self._in_copies(lambda copy, mutant: hunt(mutant, copy, patience), mutants), strict=True)

    def failing_unbroken(self, mutants: Iterable[Mutant]) -> str | None:
        """Run the tests of all the mutants once in unbroken copies: what fails there proves nothing of a mutant.

        Returns:
            the first test that fails, ``None`` if all pass.
        """
        tests: dict[tuple[str, str], set[str]] = {}  # those of one file, with one choice of parameters, run together
        for mutant in mutants:
            for test in mutant.selection:
                tests.setdefault((test.partition("::")[0], mutant.only), set()).add(test)
        runs = [(sorted(selection), only) for (_, only), selection in tests.items()]
        for verdict in self._in_copies(lambda copy, one: run(*one, copy, WHOLE), runs):
            if verdict.killed or not (verdict.valid or verdict.empty):
                return verdict.by
        return None

    def _in_copies(self, fn: Callable[[Path, T], Verdict], things: Iterable[T]) -> Iterator[Verdict]:
        def with_copy(thing: T) -> Verdict:
            copy = self._copies.get()
            try:
                return fn(copy, thing)
            finally:
                self._copies.put(copy)

        return self._threads.map(with_copy, things)

    def __enter__(self) -> Hunters:
        return self

    def __exit__(self, *exc: object) -> None:
        self._threads.shutdown(cancel_futures=True)


def copy_of_the_project(copy: Path) -> Path:
    """Copy what the tests of a mutant need into a new folder."""
    ignored = shutil.ignore_patterns("__pycache__", "_build")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def hunt(mutant: Mutant, copy: Path, patience: float) -> Verdict:
    """Break the copy, run the tests of the mutant, and mend it.

    Args:
        mutant: the change.
        copy: from `copy_of_the_project`.
        patience: seconds after which the tests are killed; then the mutant was noticed.
    """
    path = copy / mutant.path
    whole = path.read_text()
    try:
        path.write_text(mutant.applied(whole))
    except LookupError as error:
        return Verdict(False, str(error), 0.0, valid=False)
    try:
        _forget_compiled(path)
        return run(mutant.selection, mutant.only, copy, patience)
    finally:
        path.write_text(whole)
        _forget_compiled(path)


def _forget_compiled(path: Path) -> None:
    """The change may be as long as what it replaces, and come in the same second: it would not be seen."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def run(selection: list[str], chosen: str, copy: Path, patience: float) -> Verdict:
    """Run tests in the copy as it is, those with `chosen` parameters, and end all that is left of them."""
    options = [
        "-x",
        "-v",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        "--usual-loops",
        f"--timeout={HANGS}",
        "--timeout-method=thread",
    ]
    only = [f"-k{chosen}"] if chosen else []
    command = ["-m", "pytest", *options, *only, *selection]
    began = time.monotonic()
    try:
        with programs.started(*command, cwd=copy, PYTHONPATH=str(copy), **{MARK: str(copy)}) as process:
            try:
                out, err = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:  # what has failed may hang in its teardown, where no timeout counts
                _end_what_is_left(copy)
                out, err = process.communicate()
    finally:
        _end_what_is_left(copy)
    seconds = time.monotonic() - began
    failed = re.search(r"::(.+) (?:FAILED|ERROR)", out)
    if failed:
        return Verdict(True, failed[1], seconds)
    if "+ Timeout +" in out + err:
        hung = re.findall(r"::(\S.*?)(?: \++ Timeout|$)", out, re.MULTILINE)
        return Verdict(True, f"{hung[-1].strip() if hung else 'a test'}, which hung", seconds)
    lines = [line for line in (out + err).splitlines() if line.strip()]
    return Verdict(
        False, lines[-1] if lines else "no output", seconds, process.returncode == 0, process.returncode == NO_TESTS
    )


def _end_what_is_left(copy: Path) -> None:
    """The tests start programs in sessions of their own, and a mutant may keep them from ending those."""
    for process in process_tree.with_environment(f"{MARK}={copy}"):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
