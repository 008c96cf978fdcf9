"""What `SyncTaskScope.map` returns may be the items of another one; items that wait for tasks of the scope are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unified_exec import Collect, SyncTaskHandle, SyncTaskScope

pytestmark = pytest.mark.one_loop


def double(x: int) -> int:
    return 2 * x


def count(n: int) -> Iterator[int]:
    yield from range(n)


def test_results_that_are_wanted_after_the_block_say_so() -> None:
    with SyncTaskScope() as scope:
        left = [scope.map(double, range(10**6), on="thread"), scope.stream(count, 10**6, on="thread")]
        for each in left:
            next(each)
    for each in left:
        with pytest.raises(RuntimeError, match="inside the block"):
            list(each)


def test_the_results_of_a_map_and_the_items_of_a_stream_may_be_the_items_of_another_map() -> None:
    with SyncTaskScope() as scope:
        assert list(scope.map(double, scope.map(double, range(5)))) == [0, 4, 8, 12, 16]
        assert list(scope.map(str, scope.map(double, scope.stream(count, 3)))) == ["0", "2", "4"]
        begun = scope.map(double, range(3))
        assert next(begun) == 0
        assert list(scope.map(double, list(begun))) == [4, 8]


def results(scope: SyncTaskScope, handles: list[SyncTaskHandle[Any]]) -> Iterator[Any]:
    return (handle.result() for handle in handles)


def in_order_of_ending(scope: SyncTaskScope, handles: list[SyncTaskHandle[Any]]) -> Iterator[Any]:
    return (handle.result() for handle in scope.as_completed(handles))


@pytest.mark.parametrize("items", [results, in_order_of_ending])
def test_items_that_wait_for_tasks_of_the_scope_that_reads_them_are_an_error(
    items: Callable[[SyncTaskScope, list[SyncTaskHandle[Any]]], Iterator[Any]],
) -> None:
    go = threading.Event()
    with SyncTaskScope(policy=Collect()) as scope:
        handles = [scope.spawn(go.wait, 60)]
        found = scope.map(str, items(scope, handles))
        try:
            with pytest.raises(RuntimeError, match=r"would wait for itself: .* give map\(\) a list"):
                list(found)
        finally:
            go.set()
        assert handles[0].result()
        assert list(scope.map(str, items(scope, handles)))  # what has ended needs no wait
