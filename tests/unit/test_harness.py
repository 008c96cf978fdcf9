"""What tests/conftest.py promises to the other tests."""

from __future__ import annotations

import asyncio
import sys

import hypothesis
import hypothesis.strategies as st
import pytest
from anyio import sleep_forever, to_thread
from anyio.lowlevel import checkpoint

from tests import hangs
from tests.conftest import LOOPS
from tests.interpreters import Interpreter, others, this_version

pytestmark = pytest.mark.every_loop

seen: list[str] = []


async def test_an_async_test_runs_on_every_event_loop(request: pytest.FixtureRequest, anyio_backend_name: str) -> None:
    await checkpoint()
    seen.append(request.node.callspec.id)
    if anyio_backend_name == "asyncio":
        loop = asyncio.get_running_loop()
        assert type(loop).__module__.startswith("uvloop") == ("uvloop" in seen[-1])
        assert (loop.get_task_factory() is not None) == ("eager" in seen[-1])
    assert seen == list(LOOPS)[: len(seen)]


@pytest.mark.asyncio
async def test_an_asyncio_test_runs_once(request: pytest.FixtureRequest) -> None:
    assert asyncio.get_running_loop().get_task_factory() is None
    assert "anyio_backend" not in request.fixturenames


@hypothesis.given(st.integers())
@hypothesis.settings(max_examples=5)
async def test_a_property_test_may_be_async(number: int) -> None:
    await checkpoint()
    assert isinstance(number, int)


async def test_anyio_worker_threads_are_no_leak() -> None:
    assert await to_thread.run_sync(len, "four") == 4


def test_another_interpreter_can_import_what_the_package_depends_on(interpreter: Interpreter) -> None:
    imports = "import anyio, cloudpickle, typing_extensions, sys"
    done = interpreter.run("-c", f"{imports}; print(sys.version_info[:2])")
    assert done.stdout.strip() == str(tuple(map(int, interpreter.version.rstrip("t").split("."))))


def test_the_interpreter_of_the_suite_is_none_of_the_others() -> None:
    assert this_version().startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert this_version() not in others()


async def test_a_hanging_test_is_cancelled_and_fails(anyio_backend_name: str) -> None:
    ended = []

    async def hang() -> None:
        try:
            await sleep_forever()
        finally:
            ended.append(True)

    with pytest.raises(pytest.fail.Exception, match=r"hung and was cancelled after 0\.01 s"):
        await hangs.guarded(hang, 0.01, anyio_backend_name)()
    assert ended
    await checkpoint()


async def test_a_test_in_time_is_left_alone(anyio_backend_name: str) -> None:
    async def fail(number: int) -> None:
        await checkpoint()
        raise ValueError(number)

    with pytest.raises(ValueError, match="7"):
        await hangs.guarded(fail, 60, anyio_backend_name)(number=7)
