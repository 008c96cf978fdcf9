"""`map` of the executors, with `timeout`, `chunksize` and `buffersize`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import numpy as np
import pytest

from tests.contract import tasks
from tests.executors.held import Held
from unified_exec.executor import ProcessExecutor


@pytest.mark.parametrize("chunksize", [1, np.int64(3), 7, 100])
@pytest.mark.parametrize("buffersize", [None, 1, 4])
def test_map_gives_the_values_in_order(executor: Any, chunksize: int, buffersize: int | None) -> None:
    values = executor.map(pow, range(40), range(40), chunksize=chunksize, buffersize=buffersize)
    assert list(values) == [n**n for n in range(40)]


def test_map_gives_what_came_before_the_failure(executor: Any) -> None:
    for chunksize in (1, 2, 4):
        values = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], chunksize=chunksize)
        assert [next(values), next(values)] == [(0, 1), (0, 1)]
        with pytest.raises(ZeroDivisionError):
            next(values)
        with pytest.raises(StopIteration):
            next(values)


def test_map_with_a_buffer_reads_no_further_than_it_must(executor: Any) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    values = executor.map(abs, endless(), buffersize=3)
    assert taken == 3
    assert [next(values) for _ in range(10)] == list(range(1, 11))
    assert taken == 13
    values.close()
    with pytest.raises(StopIteration):
        next(values)


def test_closing_a_map_cancels_the_rest(executor: Any, held: Held) -> None:
    values = executor.map(tasks.hold, [held.path] * 6, ["a", "b", "c", "d", "e", "f"])
    held.wait_for_start("a")
    held.wait_for_start("b")
    held.release("a")
    assert next(values) == "a"
    values.close()
    held.release("b", "c")  # of a thread; a process has been stopped
    held.wait_for_end("b")
    assert executor.submit(abs, -1).result() == 1
    assert not held.started("f")


def test_a_map_that_was_only_started_runs_to_its_end(executor: Any, held: Held) -> None:
    held.release("a", "b", "c")
    executor.map(tasks.hold, [held.path] * 3, ["a", "b", "c"])
    executor.shutdown()
    assert all(held.started(name) for name in "abc")


def test_map_that_is_too_slow_times_out_and_cancels(executor: Any, held: Held) -> None:
    running = [held.start(executor, "a"), held.start(executor, "b")]
    values = executor.map(tasks.hold, [held.path] * 2, ["c", "d"], timeout=0)
    with pytest.raises(TimeoutError):
        next(values)
    held.release("a", "b", "c", "d")
    futures.wait(running)
    assert executor.submit(abs, -1).result() == 1
    assert not held.started("c")
    assert not held.started("d")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"buffersize": 0}, ValueError),
        ({"buffersize": 1.5}, TypeError),
    ],
)
def test_map_refuses_nonsense(executor: Any, options: Any, error: Any) -> None:
    with pytest.raises(error, match="buffersize"):
        executor.map(abs, [1], **options)


def test_map_of_processes_refuses_a_chunksize_below_one() -> None:
    with ProcessExecutor(1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=-1)
