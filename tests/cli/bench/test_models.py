"""Every model does every workload that fits it, and does it right."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import profiles
from tests.profiles import examples
from unified_exec.cli.bench.io_servers import Ports, serving
from unified_exec.cli.bench.model_process import ModelProcess
from unified_exec.cli.bench.models import MODELS, PEERS, Model
from unified_exec.cli.bench.models.model import Kind, lines_of_code
from unified_exec.cli.bench.workloads import WORKLOADS, Group, Setting, Workload

SCALE = 0.005
PATIENCE = 100.0
WITH_NUMPY = {"sequential", "thread-pool", "process-pool", "scope-thread", "scope-process", "scope-map"}
"""Models that do the workloads of NumPy, too, which takes long to import in each process; at night all do."""
TURNS = {model.key: turn % 2 for turn, model in enumerate(MODELS)}
"""Each model does every other workload, neighbours do different ones; at night all do all."""


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with serving(0.001, 0.0) as ports:
        yield ports


@pytest.mark.parametrize("model", examples(MODELS, nightly=(*MODELS, *PEERS)), ids=lambda model: model.key)
def test_a_model_does_every_workload_that_fits_it_and_the_results_are_right(
    model: Model, ports: Ports, tmp_path: Path
) -> None:
    if why := model.absent():
        pytest.skip(f"{model.title}: {why}")
    setting = Setting(True, 2, ports.http, ports.smtp, str(tmp_path), SCALE)
    fitting = [
        workload
        for workload in WORKLOADS
        if workload.fits(model) and not workload.absent() and workload.group is not Group.LIBRARIES
        if "numpy" not in workload.needs or model.key in WITH_NUMPY or profiles.IS_NIGHTLY
    ]
    if not profiles.IS_NIGHTLY:
        fitting = fitting[TURNS[model.key] :: 2] or fitting
    assert fitting
    process = ModelProcess(model.key)
    try:
        for workload in fitting:
            order = {"do": "turn", "workload": workload.key, "workers": 0, "setting": dataclasses.asdict(setting)}
            answer = process.ask(PATIENCE, **order)
            assert answer["tasks"] >= answer["done"] >= 2
            assert answer["cpu"] >= 0
            assert answer["seconds"] >= answer["wall"] > 0
            assert answer["latency"] == sorted(answer["latency"])
    finally:
        process.close()


@pytest.mark.parametrize(
    "workload", [each for each in WORKLOADS if each.group is Group.LIBRARIES], ids=lambda each: each.key
)
def test_a_workload_of_a_library_is_done_right_in_workers(workload: Workload, tmp_path: Path) -> None:
    if why := workload.absent():
        pytest.skip(f"{workload.title}: {why}")
    process = ModelProcess("scope-process")
    try:
        setting = dataclasses.asdict(Setting(True, 2, folder=str(tmp_path), scale=SCALE))
        answer = process.ask(PATIENCE, do="turn", workload=workload.key, workers=0, setting=setting)
        assert answer["tasks"] == answer["done"] >= 2
    finally:
        process.close()


# Those of four more are seen in test_command.py.
@pytest.mark.parametrize("key", ["sequential", "threading", "mp-pool"])
def test_a_models_own_cost_is_measured(key: str) -> None:
    process = ModelProcess(key)
    try:
        found = process.ask(PATIENCE, do="profile", workers=2, quick=True)
    finally:
        process.close()
    assert found["start"] > 0
    assert found["task"] > 0
    assert found["call"] == sorted(found["call"])
    alone = key == "sequential"
    assert (found["worker_bytes"] is None) is alone
    assert found["workers"] == (1 if alone else 2)


def test_a_workload_whose_results_are_wrong_is_an_error_not_a_figure() -> None:
    primes = next(workload for workload in WORKLOADS if workload.key == "primes")
    assert primes.right([100, 100], [25, 25])
    assert not primes.right([100, 100], [25, 24])
    assert not primes.right([100, 100], [25])


def test_lines_of_user_code_leave_out_imports_signature_docstring_and_blank_lines() -> None:
    async def code(workers: int) -> AsyncIterator[int]:
        """Not counted."""
        import os

        if workers:
            # Not counted either.
            yield os.getpid()

        yield 0

    assert lines_of_code(code) == 3
    by_key = {model.key: model.lines for model in MODELS}
    assert by_key["sequential"] == 1
    assert by_key["thread-pool"] == 2


def test_a_model_with_few_workers_does_a_share_of_the_tasks_and_one_for_all_does_all() -> None:
    workload: Workload = next(workload for workload in WORKLOADS if workload.key == "http-1000")
    setting = Setting(workers=2)
    shares = {model.key: len(workload.share(model, setting, workload.items(setting))) for model in MODELS}
    assert shares["sequential"] < shares["mp-pool"] < 100
    assert shares["asyncio"] == shares["scope-loop"] == shares["thread-pool"] == 1000


def test_a_hybrid_model_takes_part_where_there_are_stages_alone() -> None:
    hybrids = [model for model in (*MODELS, *PEERS) if model.kind is Kind.HYBRID]
    assert {model.key for model in hybrids} == {"executors", "scope-hybrid", "anyio-hybrid"}
    for hybrid in hybrids:
        assert [workload.key for workload in WORKLOADS if workload.fits(hybrid)] == ["mixed", "crawl"]


def test_the_keys_are_unique() -> None:
    for entries in ([*MODELS, *PEERS], WORKLOADS):
        keys: list[Any] = [entry.key for entry in entries]  # type: ignore[attr-defined]
        assert len(keys) == len(set(keys))
