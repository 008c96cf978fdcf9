"""Law 3: what is cancelled already does not start, and a look at the cancellation asks the scope itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from unified_exec import Retry, TaskScope, call, check_cancelled, is_cancelled

pytestmark = pytest.mark.every_loop


@pytest.mark.parametrize("options", [{}, {"retry": Retry(2)}], ids=["plain", "retry"])
async def test_a_thread_task_spawned_where_an_enclosing_scope_is_cancelled_never_starts(options: Any) -> None:
    ran: list[int] = []
    for n in range(50):
        with anyio.CancelScope() as outer:
            outer.cancel()
            async with TaskScope() as scope:
                scope.spawn(ran.append, n, **options)
        assert outer.cancelled_caught
        with anyio.CancelScope() as outer:
            outer.cancel()
            await call(ran.append, n, **options)
        assert outer.cancelled_caught
    assert not ran


async def test_a_thread_task_spawned_under_a_shield_starts() -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            assert await call(int, "5") == 5


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("turns", [0, 1], ids=["no turn of the loop", "a turn of the loop"])
@pytest.mark.parametrize("options", [{}, {"retry": Retry(2)}], ids=["plain", "retry"])
@pytest.mark.parametrize(
    "look", [check_cancelled, anyio.from_thread.check_cancelled, is_cancelled], ids=["ours", "anyio", "is_cancelled"]
)
async def test_a_look_right_after_an_enclosing_scope_was_cancelled_is_told_so(
    look: Callable[[], object], options: Any, turns: int
) -> None:
    started, go, looked = threading.Event(), threading.Event(), threading.Event()
    found: list[object] = []

    def task() -> None:
        started.set()
        go.wait()
        try:
            found.append(look())
        except BaseException:
            found.append(True)
            raise
        finally:
            looked.set()

    with anyio.CancelScope() as outer:
        async with TaskScope() as scope:
            handle = scope.spawn(task, **options)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            assert started.wait(30)
            outer.cancel()
            go.set()
            assert looked.wait(30)  # the loop is kept from delivering the cancellation
            time.sleep(0.01)  # so that the answer mostly comes before the cancellation
    assert outer.cancelled_caught
    assert found == [True]
    assert handle.done()
    assert handle.cancelled() == (look is not is_cancelled)
