"""joblib and Dask on the same pools."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract import tasks
from tests.executors.held import PATIENT, Held, fail
from tests.waiting import until
from unified_exec.executor import ProcessExecutor


def _needs(name: str) -> Callable[[Any], Any]:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


@pytest.fixture
def joblib_backend() -> Iterator[Any]:
    import joblib

    from unified_exec.executor import joblib_backend, register_joblib

    register_joblib()
    with joblib.parallel_config(backend="unified_exec"):
        yield joblib
    joblib_backend.shut_down()


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def nested(n: int) -> tuple[int, str]:
    import joblib
    from joblib.parallel import get_active_backend

    values = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(n))
    return sum(values), type(get_active_backend()[0]).__name__


def set_variable(value: str) -> None:
    os.environ["SET_BY_INITIALIZER"] = value


def variable_and_nested(n: int) -> tuple[str | None, list[int]]:
    import joblib

    nested = joblib.Parallel(n_jobs=1, backend="unified_exec")(joblib.delayed(abs)(-i) for i in range(n))
    return os.environ.get("SET_BY_INITIALIZER"), nested


def fail_or_hold(path: Path, name: str) -> str:
    if name == "bad":
        assert until((path / "a.started").exists, PATIENT)
        fail("bad")
    return tasks.hold(path, name)


@_needs("joblib")
def test_joblib_runs_its_batches_in_warm_processes(joblib_backend: Any) -> None:
    parallel, delayed = joblib_backend.Parallel, joblib_backend.delayed
    first = parallel(n_jobs=2)(delayed(square)(n) for n in range(50))
    assert [value for value, _ in first] == [n * n for n in range(50)]
    second = parallel(n_jobs=2)(delayed(square)(n) for n in range(50))
    pids = {pid for _, pid in first + second}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    lazily = parallel(n_jobs=2, return_as="generator")(delayed(square)(n) for n in range(5))
    assert [value for value, _ in lazily] == [0, 1, 4, 9, 16]


@_needs("joblib")
def test_joblib_uses_threads_inside_a_worker(joblib_backend: Any) -> None:
    results = joblib_backend.Parallel(n_jobs=2)(joblib_backend.delayed(nested)(n) for n in range(4))
    assert results == [(sum(range(n)), "ThreadingBackend") for n in range(4)]


@_needs("joblib")
def test_joblib_stops_what_runs_when_one_fails(joblib_backend: Any, held: Held) -> None:
    with pytest.raises(ValueError, match="bad"):
        joblib_backend.Parallel(n_jobs=2, batch_size=1)(
            joblib_backend.delayed(fail_or_hold)(held.path, name) for name in ("a", "bad", "c", "d")
        )
    held.wait_for_end("a")


@_needs("dask")
def test_dask_computes_in_it(executor: Any) -> None:
    import dask

    values = [dask.delayed(square)(n) for n in range(10)]
    for results in (dask.compute(*values, scheduler=executor), _compute_configured(dask, values, executor)):
        assert [value for value, _ in results] == [n * n for n in range(10)]
        in_processes = os.getpid() not in {pid for _, pid in results}
        assert in_processes is isinstance(executor, ProcessExecutor)


def _compute_configured(dask: Any, values: list[Any], executor: Any) -> Any:
    with dask.config.set(scheduler=executor):
        return dask.compute(*values)


@_needs("joblib")
def test_joblibs_initializer_runs_in_each_worker_and_the_backend_has_its_name_there(joblib_backend: Any) -> None:
    joblib = joblib_backend
    with joblib.Parallel(n_jobs=2, initializer=set_variable, initargs=("set",)) as parallel:
        assert parallel(joblib.delayed(variable_and_nested)(2) for _ in range(4)) == [("set", [0, 1])] * 4
    with joblib.parallel_config("unified_exec", n_jobs=2, initializer=set_variable, initargs=("by the context",)):
        assert joblib.Parallel()([joblib.delayed(variable_and_nested)(1)]) == [("by the context", [0])]
    assert joblib.Parallel(n_jobs=2)([joblib.delayed(variable_and_nested)(1)]) == [(None, [0])]
