"""A scope goes wherever a task group goes."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream

from unified_exec import TaskScope

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def twice(x: int) -> int:
    await checkpoint()
    return 2 * x


def test_it_is_a_task_group() -> None:
    assert issubclass(TaskScope, anyio.abc.TaskGroup)


async def test_start_soon_returns_anyios_handle() -> None:
    async with TaskScope() as scope:
        handle = scope.start_soon(twice, 2, name="doubles")
        assert isinstance(handle, anyio.TaskHandle)
        assert handle.name == "doubles"
        assert await handle == 4


async def test_create_task_takes_a_coroutine_and_a_context() -> None:
    async def read() -> str:
        await checkpoint()
        return variable.get()

    context = contextvars.copy_context()
    context.run(variable.set, "set")
    async with TaskScope() as scope:
        assert await scope.create_task(read(), context=context) == "set"
        assert await scope.create_task(read()) == "unset"


async def test_start_waits_until_the_task_says_that_it_is_ready() -> None:
    async def serve(port: int, *, task_status: TaskStatus[int]) -> None:
        task_status.started(port + 1)
        await anyio.sleep_forever()

    async with TaskScope() as scope:
        assert await scope.start(serve, 80) == 81
        handle = await scope.start(serve, 90, name="server", return_handle=True)
        assert (handle.start_value, handle.name) == (91, "server")
        scope.cancel_scope.cancel()


async def test_the_cancel_scope_is_anyios() -> None:
    async with TaskScope() as scope:
        assert isinstance(scope.cancel_scope, anyio.CancelScope)
        scope.cancel_scope.deadline = anyio.current_time()
        await anyio.sleep_forever()
    assert scope.cancel_scope.cancelled_caught


async def test_a_closed_scope_takes_no_anyio_tasks() -> None:
    async with TaskScope() as scope:
        pass
    with pytest.raises(RuntimeError, match="not active"):
        scope.start_soon(twice, 1)


async def test_a_stream_server_can_run_its_handlers_in_a_scope() -> None:
    async def echo(client: anyio.abc.SocketStream) -> None:
        async with client:
            await client.send(await client.receive())

    async with TaskScope() as scope:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        scope.start_soon(listener.serve, echo, scope)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        scope.cancel_scope.cancel()
    await listener.aclose()


async def test_a_library_can_feed_a_stream_from_a_scope() -> None:
    @asynccontextmanager
    async def numbers(group: anyio.abc.TaskGroup) -> AsyncIterator[MemoryObjectReceiveStream[int]]:
        async def feed() -> None:
            async with send:
                for n in range(3):
                    await send.send(n)

        send, receive = anyio.create_memory_object_stream[int]()
        group.start_soon(feed)
        async with receive:
            yield receive

    async with TaskScope() as scope, numbers(scope) as stream:
        assert [n async for n in stream] == [0, 1, 2]


async def test_a_subclass_is_a_scope_too() -> None:
    class Named(TaskScope):
        def __init__(self, **options: Any) -> None:
            super().__init__("named", **options)

    async with Named() as scope:
        assert isinstance(scope, Named)
        assert repr(scope) == "<TaskScope 'named' open, 0 tasks running>"
        handle = scope.spawn(twice, 1)
        assert "1 tasks running" in repr(scope)
    assert handle.result() == 2
    assert repr(scope) == "<TaskScope 'named' closed, 0 tasks running>"
