"""The demonstration's SQLite store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from unified_exec.cli.demo.metrics import FileMetrics, FunctionMetrics
from unified_exec.cli.demo.store import RankedFunction, Store, Totals, new_store

FILES = [
    FileMetrics("a.py", 100, 10, 7, (FunctionMetrics("f", 1, 5, 4), FunctionMetrics("g", 7, 2, 1))),
    FileMetrics("b.py", 50, 5, 3, (FunctionMetrics("h", 2, 3, 4),)),
    FileMetrics("c.py", 5, 1, 0, (), "SyntaxError: no"),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "results.db") as store:
        yield store


def test_what_was_added_is_ranked_and_summed_up(store: Store) -> None:
    for file in FILES:
        store.add(file)
    assert store.totals() == Totals(files=3, bytes=155, lines=16, branches=10, functions=3, unparsable=1)
    assert store.most_complex(2) == [RankedFunction("a.py", "f", 1, 5, 4), RankedFunction("b.py", "h", 2, 3, 4)]
    assert store.longest() == RankedFunction("a.py", "f", 1, 5, 4)
    assert store.paths() == {"a.py", "b.py", "c.py"}


def test_an_empty_store_has_answers_too(store: Store) -> None:
    assert store.totals() == Totals(0, 0, 0, 0, 0, 0)
    assert store.most_complex() == []
    assert store.longest() is None


def test_the_order_of_adding_and_the_threads_do_not_matter(store: Store, tmp_path: Path) -> None:
    threads = [threading.Thread(target=store.add, args=(file,)) for file in FILES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with new_store(tmp_path / "other.db") as other:
        for file in reversed(FILES):
            other.add(file)
        assert store.everything() == other.everything()
        assert len(store.everything()) == len(FILES) + 3


def test_a_file_is_stored_whole_or_not_at_all(store: Store) -> None:
    store.add(FILES[0])
    with pytest.raises(sqlite3.IntegrityError):
        store.add(FILES[0])
    assert store.totals() == Totals(files=1, bytes=100, lines=10, branches=7, functions=2, unparsable=0)


def test_only_the_database_stays(tmp_path: Path) -> None:
    with new_store(tmp_path / "results.db") as store:
        store.add(FILES[0])
    assert [path.name for path in tmp_path.iterdir()] == ["results.db"]
