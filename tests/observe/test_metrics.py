"""Metrics for Prometheus, read back with its own parser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import installed
from tests.observe import workloads
from tests.waiting import until
from unified_exec import Collect, ProcessPool, TaskScope, observe
from unified_exec._tasks import events
from unified_exec.observe import counting, metrics

pytestmark = pytest.mark.anyio

installed.needed("prometheus_client", "prometheus_client is not installed")


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    yield
    if metrics._collector is not None:
        metrics._collector.close()
        metrics._collector = None


def samples() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    from prometheus_client import parser

    families = parser.text_string_to_metric_families(observe.prometheus())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(name: str, **labels: str) -> float | None:
    return samples().get((name, frozenset(labels.items())))


async def test_tasks_are_counted_by_function_backend_and_outcome() -> None:
    observe.prometheus()
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        for number in range(3):
            scope.spawn(workloads.value, number, on="process", name='hostile"} 1\n# name')
        await scope.spawn(workloads.fails, on="thread").wait()
        sleeping = scope.spawn(workloads.until_cancelled, on="thread")
        name = "unified_exec_task_active"
        assert (value(name, backend="thread") or 0) >= 1
        sleeping.cancel()
    of_value = {"function": "tests.observe.workloads:value", "backend": "process", "outcome": "value"}
    assert until(lambda: value("unified_exec_task_duration_seconds_count", **of_value) == 3)
    assert until(lambda: value("unified_exec_worker_ends_total", reason="exited") == 1)  # the last event
    assert value("unified_exec_task_duration_seconds_bucket", **of_value, le="+Inf") == 3
    of_failure = {"function": "tests.observe.workloads:fails", "backend": "thread", "outcome": "error"}
    assert value("unified_exec_task_duration_seconds_count", **of_failure) == 1
    assert value("unified_exec_task_wait_seconds_count", backend="process") == 3
    assert value("unified_exec_worker_starts_total", backend="process") == 1
    assert not any("hostile" in str(labels) for _, labels in samples())


async def test_a_pool_tells_its_workers_and_their_memory() -> None:
    async with ProcessPool(1, name="mine") as pool, TaskScope(processes=pool) as scope:
        await scope.spawn(workloads.value, on="process")
        assert value("unified_exec_pool_workers", pool=repr(pool), state="idle") == 1
        assert value("unified_exec_pool_queue_length", pool=repr(pool)) == 0
        assert (value("unified_exec_worker_memory_bytes", pool=repr(pool)) or 0) > 1 << 20


def test_too_many_functions_share_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "FUNCTIONS_MAX", 2)
    observe.prometheus_collector()
    for number in range(5):
        times = (0.0, None, 0, 1, "value", "", 1.0, 2.0, 0, 0, "")
        events.emit("task.settled", number, "t", f"m:f{number}", "loop", 0, 0, 1, *times)
    counts = {
        dict(labels)["function"]: count
        for (name, labels), count in samples().items()
        if name.endswith("n_seconds_count")
    }
    assert counts == {"m:f0": 1, "m:f1": 1, "other": 3}


def test_the_bounds_are_three_a_decade() -> None:
    histogram = metrics.Histogram()
    for seconds in (0.00005, 0.0001, 0.3, 1000.0):
        histogram.add(seconds)
    buckets = dict(histogram.buckets())
    assert (buckets["0.0001"], buckets["0.25"], buckets["0.5"], buckets["100"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
