"""Seeing whether the tests notice a mutant: each is put into a copy of the project, and its tests run there."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import leaks
from tests.faults import programs
from tests.mutants.mutant import ROOT, Mutant

COPIED = ("unified_exec", "tests", "pyproject.toml")
WHOLE = 900.0
"""Seconds for the tests of all mutants together, unbroken."""
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
    """

    killed: bool
    by: str
    seconds: float
    valid: bool = True


@contextmanager
def copy_of_the_project(folder: Path) -> Iterator[Path]:
    """A copy to break; removed afterwards."""
    copy = folder / "project"
    ignored = shutil.ignore_patterns("__pycache__", "_build")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


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


def failing_unbroken(mutants: Iterable[Mutant], copy: Path) -> str | None:
    """Run the tests of all the mutants once in the unbroken copy: what fails there proves nothing of a mutant.

    Returns:
        the first test that fails, ``None`` if all pass.
    """
    tests: dict[str, set[str]] = {}
    for mutant in mutants:
        tests.setdefault(mutant.only, set()).update(mutant.selection)
    for only, selection in tests.items():
        verdict = run(sorted(selection), only, copy, WHOLE)
        if verdict.killed or not verdict.valid:
            return verdict.by
    return None


def _forget_compiled(path: Path) -> None:
    """The change may be as long as what it replaces, and come in the same second: it would not be seen."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def run(selection: list[str], chosen: str, copy: Path, patience: float) -> Verdict:
    """Run tests in the copy as it is, those with `chosen` parameters, and end all that is left of them."""
    options = ["-x", "-v", "-p", "no:cacheprovider", "--tb=no", f"--timeout={HANGS}", "--timeout-method=thread"]
    only = ["-k", chosen] if chosen else []
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
    return Verdict(False, lines[-1] if lines else "no output", seconds, valid=process.returncode == 0)


def _end_what_is_left(copy: Path) -> None:
    """The tests start programs in sessions of their own, and a mutant may keep them from ending those."""
    for process in leaks.with_environment(f"{MARK}={copy}"):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
