"""Clause 10: the log records and warnings of a process task are handled by its spawner before its outcome is seen."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.contract.conftest import Place
from tests.waiting import until
from unified_exec import Collect, ProcessPool, TaskScope, WorkerCrashed, call, current_task
from unified_exec._pools.process.worker_watcher import WorkerWatcher

LOG = logging.getLogger("tests.of_tasks")
request: ContextVar[str] = ContextVar("request", default="none")


class Kept(logging.Handler):
    """Keeps the records of one logger, with the request in whose context each was handled."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.requests: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.requests.append(request.get())

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What arrives at `LOG`, whose level is INFO."""
    handler = Kept()
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    yield handler
    LOG.removeHandler(handler)
    LOG.setLevel(logging.NOTSET)
    LOG.propagate = True
    logging.disable(logging.NOTSET)


def log_numbers(name: str, count: int) -> int:
    for n in range(count):
        LOG.info("%s %d", name, n)
    return os.getpid()


@pytest.mark.every_loop
async def test_all_records_of_a_task_are_handled_in_order_before_its_outcome_is_seen(
    process_place: Place, kept: Kept
) -> None:
    for n in range(5):
        await process_place.call(log_numbers, f"task {n}", 20)
        assert kept.texts == [f"task {n} {k}" for k in range(20)]
        kept.records.clear()
    async with TaskScope() as scope:
        handles = [process_place.spawn(scope, log_numbers, f"task {n}", 5) for n in range(20)]
    assert all(handle.done() for handle in handles)
    for n in range(20):
        assert [text for text in kept.texts if text.startswith(f"task {n} ")] == [f"task {n} {k}" for k in range(5)]


def log_one(text: str) -> tuple[int, int, str]:
    logging.getLogger("tests.of_tasks").warning(text, extra={"order": 7, "odd": threading.Lock()})
    task = current_task()
    assert task is not None
    return os.getpid(), task.id, task.name


def log_error() -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        LOG.exception("it failed")


async def test_a_record_says_which_task_of_which_process_made_it(process_place: Place, kept: Kept) -> None:
    request.set("mine")
    async with TaskScope() as scope:
        handle = process_place.spawn(scope, log_one, "hello", name="the name")
        pid, id, name = await handle
    (record,) = kept.records
    assert (record.process, record.taskName, record.processName) == (pid, "the name", f"unified_exec-{pid}")
    assert (record.task_id, name) == (handle.id, "the name")  # type: ignore[attr-defined]
    assert id == handle.id
    assert (record.levelname, record.funcName, record.module) == ("WARNING", "log_one", "test_10_logs")
    assert record.order == 7  # type: ignore[attr-defined]
    assert "lock" in record.odd  # type: ignore[attr-defined]
    assert abs(record.created - time.time()) < 60
    assert kept.requests == ["mine"], "the spawner's filters and formatters see the spawner's context"


async def test_a_logged_error_arrives_with_its_class_and_the_traceback_of_the_task(
    process_place: Place, kept: Kept
) -> None:
    await process_place.call(log_error)
    (record,) = kept.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    text = logging.Formatter("%(message)s").format(record)
    assert text.startswith("it failed\nTraceback")
    assert "in log_error" in text


def log_and_die() -> None:
    log_numbers("last words", 50)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.every_loop
async def test_the_records_before_a_crash_are_handled_before_the_crash_is_seen(
    process_place: Place, kept: Kept
) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = process_place.spawn(scope, log_and_die)
        with pytest.raises(WorkerCrashed):
            await handle
        assert kept.texts == [f"last words {n}" for n in range(50)]


async def test_an_answer_and_a_death_bring_the_records_that_nobody_has_read_yet(
    process_place: Place, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order does not depend on which descriptor the event loop looks at first: here it never looks at the pipe."""
    monkeypatch.setattr(WorkerWatcher, "_watch_logs", lambda *_: None)
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await process_place.spawn(scope, log_numbers, "warm", 1)  # its records may come with the pipe
        await process_place.spawn(scope, log_numbers, "task", 3)
        assert kept.texts == ["warm 0", *(f"task {n}" for n in range(3))]
        with pytest.raises(WorkerCrashed):
            await process_place.spawn(scope, log_and_die)
        assert kept.texts[4:] == [f"last words {n}" for n in range(50)]


def levels() -> tuple[bool, bool, bool]:
    other = logging.getLogger("tests.other")
    return LOG.isEnabledFor(logging.DEBUG), LOG.isEnabledFor(logging.INFO), other.isEnabledFor(logging.ERROR)


async def test_levels_are_those_of_the_spawner_also_when_they_change(process_place: Place, kept: Kept) -> None:
    other = logging.getLogger("tests.other")
    assert await process_place.call(levels) == (False, True, True)
    LOG.setLevel(logging.DEBUG)
    assert await process_place.call(levels) == (True, True, True)
    other.setLevel(logging.CRITICAL)
    assert await process_place.call(levels) == (True, True, False)
    logging.disable(logging.DEBUG)
    assert await process_place.call(levels) == (False, True, False)
    logging.disable(logging.NOTSET)
    other.setLevel(logging.NOTSET)
    assert await process_place.call(levels) == (True, True, True)


def test_a_worker_imports_logging_only_if_its_task_does(tmp_path: Path) -> None:
    from tests.faults import programs

    program = """
    import sys, anyio
    from unified_exec import call

    async def main():
        await call(print, 1, on="process")
        print(await call(eval, "'logging' in __import__('sys').modules", on="process"))

    anyio.run(main)
    """
    assert programs.run_script(tmp_path, program).check().lines == ["1", "False"]


def lower_the_rate() -> None:
    """So that a slow machine floods, too."""
    from unified_exec._worker.logs import pipe

    pipe.BURST, pipe.RATE = 100, 1


def flood(count: int) -> None:
    for n in range(count):
        LOG.info("flood %d", n)
    LOG.error("the last one")


@pytest.mark.asyncio
async def test_a_flood_is_cut_and_one_line_says_how_much(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "unified_exec"):
        async with ProcessPool(1, initializer=lower_the_rate) as pool:
            await call(flood, 5_000, on=pool)
    took = time.monotonic() - began
    lines = [record for record in caplog.records if record.name == "unified_exec"]
    assert kept.texts[0] == "flood 0"
    assert kept.texts[-1] == "the last one", "errors have a reserve of their own"
    assert 100 < len(kept.records) <= 102 + took
    numbers = [int(text.split()[1]) for text in kept.texts[:-1]]
    assert numbers == sorted(set(numbers))
    assert 1 <= len(lines) <= took + 2
    dropped = sum(record.args[0] for record in lines)  # type: ignore[index, misc]
    assert dropped + len(kept.records) == 5_001


def log_while_the_loop_is_busy(folder: str, count: int) -> None:
    for n in range(count):
        LOG.info("%d %s", n, "x" * 10_000)
    (Path(folder) / "logged").touch()


@pytest.mark.asyncio
async def test_a_task_does_not_wait_for_a_loop_that_is_busy(kept: Kept, tmp_path: Path) -> None:
    async with ProcessPool(1) as pool, TaskScope() as scope:
        await scope.spawn(log_numbers, "warm", 1, on=pool)
        handle = scope.spawn(log_while_the_loop_is_busy, str(tmp_path), 100, on=pool)
        assert until((tmp_path / "logged").exists, 60)  # blocks the event loop
        await handle
    assert [text.split()[0] for text in kept.texts[1:]] == [str(n) for n in range(100)]


def configure() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="of the worker: %(message)s")


def log_info(text: str) -> list[str]:
    logging.getLogger("tests.of_tasks").info(text)
    return [type(handler).__name__ for handler in logging.getLogger().handlers]


@pytest.mark.fresh_pool
async def test_logging_that_the_initializer_configures_stays_in_the_worker(
    kept: Kept, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ProcessPool(1, initializer=configure) as pool:
        assert await call(log_info, "hello", on=pool) == ["StreamHandler"]
    assert kept.texts == []
    assert capfd.readouterr().out == "of the worker: hello\n"


def add_handler() -> None:
    logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))


async def test_a_handler_that_a_task_gives_the_root_logger_takes_the_place_of_ours(
    kept: Kept, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ProcessPool(1) as pool:
        await call(log_info, "before", on=pool)
        await call(add_handler, on=pool)
        await call(log_info, "after", on=pool)
    assert kept.texts == ["before"]
    assert capfd.readouterr().out == "after\n"


def log_module_level() -> None:
    logging.warning("by the module's function")


async def test_the_functions_of_the_logging_module_configure_nothing_in_a_worker(
    process_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    await process_place.call(log_module_level)
    assert [record.getMessage() for record in caplog.records] == ["by the module's function"]


async def nested_log() -> None:
    async with ProcessPool(1) as pool, TaskScope() as scope:
        await scope.spawn(log_numbers, "nested", 3, on=pool, name="inner")
    LOG.info("after the nested ones")


def run_nested() -> int:
    anyio.run(nested_log)
    return os.getpid()


@pytest.mark.one_loop
async def test_records_of_a_task_of_a_task_arrive_too(kept: Kept) -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(run_nested, on="process", name="outer")
        pid = await handle
    assert kept.texts == [*(f"nested {n}" for n in range(3)), "after the nested ones"]
    assert [record.taskName for record in kept.records] == ["inner"] * 3 + ["outer"]
    assert {record.task_id for record in kept.records} == {handle.id}  # type: ignore[attr-defined]
    assert [record.process == pid for record in kept.records] == [False] * 3 + [True]


def fork_and_log() -> None:
    LOG.info("of the worker")
    pid = os.fork()
    if pid == 0:
        LOG.info("of its child")
        os._exit(0)
    os.waitpid(pid, 0)
    LOG.info("of the worker again")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_the_child_of_a_fork_in_a_task_sends_nothing(kept: Kept) -> None:
    await call(fork_and_log, on="process")
    assert kept.texts == ["of the worker", "of the worker again"]


class Trouble(logging.Handler):
    """Raises at the first record, logs another, has the loop do something, and cancels a task."""

    def __init__(self, cancel: Any) -> None:
        super().__init__()
        self.cancel = cancel
        self.seen: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        self.seen.append(record.getMessage())
        if len(self.seen) == 1:
            raise ZeroDivisionError
        if len(self.seen) == 2:
            self.cancel()
            logging.getLogger("tests.other").warning("while handling")
        return True


@pytest.mark.every_loop
async def test_a_handler_that_raises_logs_or_cancels_harms_nothing(
    kept: Kept, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with ProcessPool(1) as pool, TaskScope() as scope:
        await scope.spawn(log_numbers, "warm", 1, on=pool)
        first = scope.spawn(log_numbers, "first", 10, on=pool)
        second = scope.spawn(log_numbers, "second", 10, on=pool)
        trouble = Trouble(second.cancel)
        LOG.addHandler(trouble)
        try:
            await first
            assert trouble.seen[:10] == [f"first {n}" for n in range(10)]
            await second.wait()
            await scope.spawn(log_numbers, "third", 3, on=pool)
        finally:
            LOG.removeHandler(trouble)
        assert trouble.seen[-3:] == [f"third {n}" for n in range(3)]
    assert "ZeroDivisionError" in capfd.readouterr().err


class OddWarning(UserWarning):
    pass


def warn(category: type[Warning]) -> str:
    warnings.simplefilter("always")
    warnings.warn("look out", category, stacklevel=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("kept by the task", category, stacklevel=1)
    return str(caught[0].message)


def warn_local() -> None:
    class Local(DeprecationWarning):
        def __reduce__(self) -> Any:
            raise TypeError("cannot travel")

    warnings.simplefilter("always")
    warnings.warn("odd", Local, stacklevel=1)


async def test_warnings_that_the_filters_of_a_worker_let_through_are_shown_by_the_spawner() -> None:
    async with ProcessPool(1) as pool:
        with warnings.catch_warnings(record=True) as caught:
            assert await call(warn, OddWarning, on=pool) == "kept by the task"
            await call(warn_local, on=pool)
    first, second = caught
    assert (str(first.message), first.category) == ("look out", OddWarning)
    assert Path(first.filename).name == "test_10_logs.py"
    assert (str(second.message), second.category) == ("Local: odd", DeprecationWarning)


def log_until_cancelled(folder: str, name: str) -> None:
    n = 0
    while True:
        LOG.info("%s %d %s", name, n, "x" * (n % 7 * 2000))
        n += 1
        if n == 3:
            (Path(folder) / name).touch()


@pytest.mark.asyncio
async def test_a_cancellation_never_cuts_a_record_in_two(kept: Kept, tmp_path: Path) -> None:
    from tests.waiting import until_async

    async with ProcessPool(1) as pool, TaskScope() as scope:
        for round in range(12):
            name = f"round-{round}"
            handle = scope.spawn(log_until_cancelled, str(tmp_path), name, on=pool)
            assert await until_async((tmp_path / name).exists, 60)
            handle.cancel()
            with contextlib.suppress(Exception):
                await handle
        pid = await scope.spawn(log_numbers, "whole", 3, on=pool)
        assert pid == handle.worker
    assert kept.texts[-3:] == [f"whole {n}" for n in range(3)]
    for round in range(12):
        mine = [text.split() for text in kept.texts if text.startswith(f"round-{round} ")]
        assert all(len([*words, ""][2]) == int(words[1]) % 7 * 2000 for words in mine)
        numbers = [int(words[1]) for words in mine]
        assert numbers[:3] == [0, 1, 2]
        assert numbers == sorted(set(numbers))
