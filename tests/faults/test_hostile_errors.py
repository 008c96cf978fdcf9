"""Law 1.4: whatever an exception, a value or the lack of memory does, the task ends and the pool goes on."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import leaks
from tests.faults import hostile_errors as hostile
from tests.waiting import until_async
from unified_exec import (
    Cancelled,
    Collect,
    FailFast,
    ProcessPool,
    SerializationError,
    TaskScope,
    ThreadPool,
    WorkerCrashed,
    share,
)
from unified_exec._platform import shared_memory
from unified_exec._pools.process import decode_result
from unified_exec._pools.process.worker import Worker
from unified_exec._worker import passing
from unified_exec.errors import RemoteError, UnifiedExecError, WorkerStartError

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("on", ["loop", "thread", "process"])
async def test_an_exception_that_forbids_to_set_attributes_arrives(on: Any) -> None:
    async with TaskScope(policy=Collect(), timeout=30) as scope:
        if on == "loop":
            task: Any = scope.spawn(_raise_frozen_on_the_loop)
        else:
            task = scope.spawn(hostile.raise_frozen, on=on)
    assert task.exception() == hostile.Frozen(3)


async def _raise_frozen_on_the_loop() -> None:
    hostile.raise_frozen()


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_such_an_exception_is_raised_unwrapped(on: Any) -> None:
    with pytest.raises(hostile.Frozen) as raised:
        async with TaskScope(policy=FailFast(unwrap=True), timeout=30) as scope:
            scope.spawn(hostile.raise_frozen, on=on)
    assert raised.value.code == 3


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_a_group_that_cannot_be_divided_arrives(on: Any) -> None:
    async with TaskScope(policy=Collect(), timeout=30) as scope:
        task: Any = scope.spawn(hostile.raise_underivable, on=on)
    error = task.exception()
    assert isinstance(error, RemoteError)
    assert isinstance(error.__cause__, hostile.Underivable)


@pytest.mark.parametrize(("fn", "on"), [(hostile.check_and_raise_underivable, "thread"),
                                    (hostile.check_and_raise_underivable, "process"),
                                    (hostile.wait_and_raise_underivable, "process")],
                         ids=["thread", "process", "coroutine"])  # fmt: skip
async def test_a_group_that_cannot_be_divided_ends_a_cancelled_task(fn: Any, on: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with ProcessPool(1, grace=60) as pool, TaskScope(policy=Collect(), timeout=30, processes=pool) as scope:
        task: Any = scope.spawn(fn, str(begun), on=on)
        assert await until_async(begun.exists)
        task.cancel()
        await task.wait()
    assert isinstance(task.exception(), RemoteError)


@pytest.mark.parametrize("size", [0, 2 * decode_result.OFF_LOOP_MIN])
async def test_a_result_whose_rebuilding_raises_an_error_without_text(size: int) -> None:
    async with TaskScope(policy=Collect(), timeout=30) as scope:
        task: Any = scope.spawn(hostile.rebuilds_badly, size, on="process")
    assert isinstance(task.exception(), SerializationError)
    assert "Mute: <its str() raised ValueError>" in str(task.exception())


async def test_an_initializer_that_raises_an_error_without_text() -> None:
    async with ProcessPool(1, initializer=hostile.raise_mute) as pool:
        async with TaskScope(policy=Collect(), timeout=30, processes=pool) as scope:
            task: Any = scope.spawn(abs, -1, on="process")
    assert isinstance(task.exception(), WorkerStartError)
    assert "Mute: <its str() raised ValueError>" in str(task.exception())


async def test_a_large_result_arrives_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    size = 2 * decode_result.OFF_LOOP_MIN
    async with TaskScope(timeout=30) as scope:
        await scope.spawn(abs, -1, on="process")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            assert await scope.spawn(hostile.text, size, on="process") == ["x" * size]


async def test_a_large_result_for_which_no_memory_is_left_fails_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*args: object) -> memoryview:
        raise MemoryError

    async with TaskScope(policy=Collect(), timeout=30) as scope:
        await scope.spawn(abs, -1, on="process")
        with monkeypatch.context() as patched:
            patched.setattr(shared_memory, "_map", no_memory)
            task: Any = scope.spawn(hostile.text, 100_000, on="process")
            await task.wait()
        assert isinstance(task.exception(), SerializationError)
        assert "it could not be received: MemoryError" in str(task.exception())
        assert await scope.spawn(abs, -2, on="process") == 2


@pytest.mark.parametrize("reason", ["a name that is no text: \udcff", ValueError("why")], ids=["surrogate", "object"])
@pytest.mark.parametrize("on", ["thread", "process"])
async def test_any_reason_stops_a_task(on: Any, reason: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with TaskScope(policy=Collect(), timeout=30) as scope:
        task: Any = scope.spawn(hostile.check_and_stop, str(begun), on=on)
        assert await until_async(begun.exists)
        task.cancel(reason)
        await task.wait()
    assert task.cancelled()


async def test_a_task_at_which_each_worker_dies_fails() -> None:
    async with ProcessPool(1, initializer=hostile.die_at_the_next_message) as pool:
        async with TaskScope(policy=Collect(), timeout=60, processes=pool) as scope:
            task: Any = scope.spawn(abs, -1, on="process")
    assert isinstance(task.exception(), WorkerCrashed)
    assert task.exception().exitcode == 9


@pytest.mark.parametrize("fn", [hostile.break_the_answers, hostile.break_the_answers_on_the_loop],
                         ids=["call", "coroutine"])  # fmt: skip
async def test_a_worker_that_cannot_answer_ends_at_once(fn: Callable[[], object]) -> None:
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), timeout=30, processes=pool) as scope:
        task: Any = scope.spawn(fn, on="process")
    assert isinstance(task.exception(), WorkerCrashed)


async def test_a_task_that_cannot_be_sent_from_the_queue_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: Any = Worker.send

    def send(self: Worker, task: Any, linger: bool = False) -> Any:
        if task.name == "bad":
            raise ValueError("strange")
        return sent(self, task, linger)

    monkeypatch.setattr(Worker, "send", send)
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), timeout=30, processes=pool) as scope:
        tasks: list[Any] = [scope.spawn(abs, -1, on="process", name=name) for name in ("one", "bad", "other")]
    assert tasks[0].result() == tasks[2].result() == 1
    assert isinstance(tasks[1].exception(), UnifiedExecError)
    assert "strange" in str(tasks[1].exception())


async def test_a_filter_of_the_log_that_raises_costs_the_pool_no_thread(tmp_path: Path) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError("a filter")

    log, released = logging.getLogger("unified_exec"), threading.Event()
    async with ThreadPool(1) as pool:
        log.addFilter(refuse)
        try:
            async with TaskScope(policy=Collect(), timeout=30, threads=pool) as scope:
                begun = threading.Event()

                def block() -> None:
                    begun.set()
                    released.wait(30)

                task = scope.spawn(block, abandon=True)
                after = scope.spawn(abs, -1, on="thread")
                assert await until_async(begun.is_set)
                with pytest.raises(ValueError, match="a filter"):
                    task.cancel()
                assert await after == 1
        finally:
            log.removeFilter(refuse)
            released.set()


@pytest.mark.skipif(not leaks.LINUX, reason="looks at descriptors in /proc")
async def test_a_large_message_that_is_interrupted_leaves_no_descriptor() -> None:
    async with TaskScope(timeout=30) as scope:
        assert await scope.spawn(hostile.open_after_a_message_that_was_interrupted, on="process") == 0


@pytest.mark.skipif(not leaks.LINUX, reason="looks at descriptors in /proc")
def test_an_answer_for_which_a_cancelled_task_waits_no_more_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(self: Any) -> None:
        raise Cancelled("now")

    waiter = passing._Waiter()
    with monkeypatch.context() as patched, pytest.raises(Cancelled):
        patched.setattr(passing._Waiter, "_wait", interrupted)
        waiter.wait()
    fd = os.open(os.devnull, os.O_RDONLY)
    waiter(True, b"", [fd])
    with pytest.raises(OSError):
        os.fstat(fd)


async def test_an_initializer_with_more_shared_objects_than_the_socket_of_its_worker_holds() -> None:
    objects = [share(number) for number in range(350)]
    async with ProcessPool(1, initializer=hostile.take, initargs=(objects,)) as pool:
        async with TaskScope(processes=pool, timeout=60) as scope:
            assert await scope.spawn(abs, -1, on="process") == 1


@pytest.mark.parametrize("fn", [hostile.log_what_cannot_travel, hostile.log_what_cannot_be_rebuilt])
async def test_a_log_record_with_a_strange_field_costs_that_record_alone(fn: Callable[[], int]) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool, timeout=30) as scope:
        pid = await scope.spawn(fn, on="process")
        assert await scope.spawn(os.getpid, on="process") == pid
