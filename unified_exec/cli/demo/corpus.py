"""The input of the demo: the standard library's own source, which every machine has."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import NamedTuple

SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__"})
TESTS = frozenset({"test", "tests", "idle_test"})


class Corpus(NamedTuple):
    """The files to process.

    Attributes:
        root: the directory they are in.
        paths: their paths below it, with slashes, sorted.
        size: total bytes.
    """

    root: Path
    paths: tuple[str, ...]
    size: int


def standard_library(limit: int | None = None, with_tests: bool = False) -> Corpus:
    """Choose source files of the running interpreter's standard library.

    Args:
        limit: at most this many, evenly spread over the sorted list; ``None`` for all.
        with_tests: include the directories of tests, which hold two thirds of all source.

    Raises:
        FileNotFoundError: this Python was installed without source files.
    """
    return choose(Path(sysconfig.get_path("stdlib")).resolve(), limit, with_tests)


def choose(root: Path, limit: int | None = None, with_tests: bool = False) -> Corpus:
    """Choose Python files below `root` as `standard_library` does."""
    skipped = SKIPPED if with_tests else SKIPPED | TESTS
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in skipped]
        paths = [Path(folder, name) for name in names if name.endswith(".py")]
        found += [path.relative_to(root).as_posix() for path in paths if _belongs(path, root)]
    found.sort()
    if not found:
        raise FileNotFoundError(f"no Python source files in {root}: this Python was installed without them")
    if limit is not None and limit < len(found):
        found = [found[index * len(found) // limit] for index in range(limit)]
    # Read rather than asked for their size: afterwards both runs find them in the page cache.
    size = sum(len((root / path).read_bytes()) for path in found)
    return Corpus(root, tuple(found), size)


def _belongs(path: Path, root: Path) -> bool:
    """Whether it is a file below the root; distributions link to others (Debian's sitecustomize.py)."""
    return path.is_file() and path.resolve().is_relative_to(root)
