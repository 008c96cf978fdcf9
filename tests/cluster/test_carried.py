"""What a task carries to another node, and the way back to its scope."""

from __future__ import annotations

import decimal
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import installed
from tests.cluster.tasks import (
    REQUEST,
    SEEN,
    a_request_id,
    ask_for_a_lock,
    ask_forever,
    ask_to_double,
    ask_to_double_async,
    ask_to_fail,
    log,
    make_a_channel,
    request_id,
    spawn_and_wait,
    write_log,
)
from tests.waiting import until_async
from unified_exec import Channel, Collect, Lock, SerializationError, TaskScope, share
from unified_exec.cluster.pool import ClusterPool

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


async def test_context_variables_of_the_spawner_are_set_for_each_task_anew(pool: ClusterPool) -> None:
    untyped: Any = TaskScope(processes=pool)
    async with untyped as scope:
        SEEN.set([1])
        for name in ("first", "second", "first"):
            REQUEST.set(name)
            handles = [scope.spawn(request_id, on=pool) for _ in range(10)]
            assert await scope.gather(*handles) == [(name, [1])] * 10
            assert await scope.spawn(a_request_id, on=pool) == name
        assert [found async for found in scope.map(lambda _: REQUEST.get(), range(3), on=pool)] == ["first"] * 3
        with decimal.localcontext() as here:
            here.prec = 5
            assert await scope.spawn(lambda: decimal.Decimal(1) / 3, on=pool) == decimal.Decimal("0.33333")
        table = share([7])
        REQUEST.set(table)  # type: ignore[arg-type]  # a shared object in a variable is placed there, too
        assert await scope.spawn(lambda: REQUEST.get().value, on=pool) == [7]  # type: ignore[attr-defined]
        REQUEST.set("again")
        assert await scope.spawn(a_request_id, on=pool) == "again"


async def test_log_records_and_warnings_are_handled_here_before_the_result_is_seen(
    pool: ClusterPool, caplog: pytest.LogCaptureFixture
) -> None:
    async with TaskScope(processes=pool) as scope:
        with caplog.at_level(logging.INFO, "tests.cluster.node"):
            await scope.spawn(write_log, "quiet", on="process")
            assert [record.getMessage() for record in caplog.records] == ["quiet with an error"]
        caplog.clear()
        REQUEST.set("of this request")
        seen: list[str] = []

        def note_request(record: logging.LogRecord) -> bool:
            seen.append(REQUEST.get())
            return True

        log.addFilter(note_request)
        try:
            with caplog.at_level(logging.DEBUG, "tests.cluster.node"), warnings.catch_warnings(record=True) as caught:
                handle: Any = scope.spawn(write_log, "loud", on="process")
                REQUEST.set("of another one")
                pid = await handle
        finally:
            log.removeFilter(note_request)
        debug, error = caplog.records
        assert (debug.getMessage(), debug.levelno) == ("loud at debug", logging.DEBUG)
        assert debug.__dict__["more"] == [1, 2]
        assert {record.process for record in caplog.records} == {pid}
        assert {record.__dict__["task_id"] for record in caplog.records} == {handle.id}
        assert error.exc_info is not None
        assert type(error.exc_info[1]) is ValueError
        assert seen == ["of this request"] * 2
        assert [str(one.message) for one in caught] == ["loud, a warning"]


async def test_a_task_asks_its_scope_from_another_node(pool: ClusterPool) -> None:
    async with TaskScope(processes=pool) as scope:
        for ask in (ask_to_double, ask_to_double_async):
            untyped: Any = ask
            value, ran_in, asked_from = await scope.spawn(untyped, 21, on="process")
            assert (value, ran_in) == (42, os.getpid())
            assert asked_from != os.getpid()
        assert "zero" in await scope.spawn(ask_to_fail, on="process")
        large = "x" * 3_000_000
        assert (await scope.spawn(ask_to_double, large, on="process"))[0] == 2 * large  # type: ignore[arg-type]


async def test_tasks_that_wait_for_others_do_not_keep_all_slots(pool: ClusterPool) -> None:
    with anyio.fail_after(60):
        async with TaskScope(processes=pool) as scope:
            for handle in [scope.spawn(spawn_and_wait, 2, on="process") for _ in range(2)]:
                pids = await handle
                assert len(pids) == len(set(pids)) == 3
            untyped: Any = scope
            assert [n async for n in untyped.map(abs, range(-50, 0), on="process")] == list(range(50, 0, -1))


async def test_a_cancelled_task_cancels_what_it_has_asked_for(pool: ClusterPool, tmp_path: Path) -> None:
    async with TaskScope(processes=pool, policy=Collect()) as scope:
        handle: Any = scope.spawn(ask_forever, str(tmp_path), on="process")
        assert await until_async(lambda: (tmp_path / "asked.begun").exists(), 60)
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert await until_async(lambda: (tmp_path / "asked.ended").exists(), 60)
        assert await scope.spawn(int, on="process") == 0


async def test_what_shares_memory_is_refused_at_once_with_a_way_out(pool: ClusterPool) -> None:
    channel: Any = Channel(1)
    async with TaskScope(processes=pool, policy=Collect()) as scope:
        for refused in (channel, Lock(), [channel]):
            with pytest.raises(SerializationError, match=r"this machine.*from_task\.run"):
                scope.spawn(id, refused, on="process")
        for fn in (make_a_channel, lambda: share([1]), ask_for_a_lock):
            handle: Any = scope.spawn(fn, on="process")
            await handle.wait()
            error = handle.exception()
            assert type(error) is SerializationError, fn
            assert "machine" in str(error)
        assert await scope.spawn(int, on="process") == 0
