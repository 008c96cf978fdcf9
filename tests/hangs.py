"""A coroutine test that hangs is cancelled from within its own event loop, a while before pytest-timeout steps in.

pytest-timeout raises in the main thread, from a signal handler. uvloop swallows that, and on trio the main thread is
not where the test waits: there a hanging test would end the whole run. No deadline is set, since a test would see it.
"""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
import trio

# What of the time that pytest-timeout gives a test its event loop may take.
SHARE = 0.8

Test = Callable[..., Awaitable[None]]


def limit(item: pytest.Item) -> float:
    """The seconds after which a test counts as hanging, 0 for never."""
    mark = item.get_closest_marker("timeout")
    seconds = mark.args[0] if mark and mark.args else item.config.getini("timeout") or 0
    return SHARE * float(seconds)


def guarded(test: Test, seconds: float, library: str) -> Test:
    """The test, cancelled and failed once it ran for so many seconds."""
    run = _on_trio if library == "trio" else _on_asyncio

    @functools.wraps(test)
    async def guard(**arguments: Any) -> None:
        await run(functools.partial(test, **arguments), seconds)

    return guard


async def _on_asyncio(test: Test, seconds: float) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    stacks = ""
    timer: asyncio.TimerHandle

    def cancel(wait: float = 1.0) -> None:
        nonlocal stacks, timer
        stacks = stacks or _task_stacks(loop)
        task.cancel("the test hangs")
        timer = loop.call_later(wait, cancel, 2 * wait)  # should the first be swallowed

    timer = loop.call_later(seconds, cancel)
    try:
        await test()
    except BaseException as error:
        if stacks:
            _fail(seconds, stacks, error)
        raise
    finally:
        timer.cancel()
        while stacks and task.uncancel():
            pass
    if stacks:
        _fail(seconds, stacks, None)


def _task_stacks(loop: asyncio.AbstractEventLoop) -> str:
    text = io.StringIO()
    for task in asyncio.all_tasks(loop):
        task.print_stack(file=text)
    return text.getvalue()


async def _on_trio(test: Test, seconds: float) -> None:
    scope, over, task = trio.CancelScope(), trio.CancelScope(), trio.lowlevel.current_task()
    number = id(scope)  # who has the scope itself could end every wait of the test, which is then no deadlock

    async def watch() -> None:
        with over:
            await trio.sleep(seconds)
            status: Any = task._cancel_status
            while id(status._scope) != number:
                status = status._parent
            status._scope.cancel()

    trio.lowlevel.spawn_system_task(watch)
    error: BaseException | None = None
    try:
        with scope:
            try:
                await test()
            except BaseException as raised:
                error = raised  # its traceback tells where the test hung
                raise
    except BaseException:
        if not scope.cancel_called:
            raise
    finally:
        over.cancel()
    if scope.cancel_called:
        _fail(seconds, "", error)


def _fail(seconds: float, stacks: str, error: BaseException | None) -> NoReturn:
    message = f"the test hung and was cancelled after {seconds:g} s\n{stacks}"
    raise pytest.fail.Exception(message, pytrace=error is not None) from error
