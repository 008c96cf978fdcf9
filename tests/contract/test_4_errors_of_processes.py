"""Law 1.4: whatever a process task raises arrives, as itself or as a `RemoteError`, and costs no worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import tasks
from unified_exec import Collect, RemoteError, SerializationError, TaskScope

pytestmark = pytest.mark.one_loop


class OtherArguments(Exception):
    """Its constructor takes other arguments than end up in `args`."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("has a lambda")
        self.fn = open(__file__)


class Unbuildable(Exception):
    def __reduce__(self) -> Any:
        return tasks.spring, ("error",)


class Exploding(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


async def error_of(fn: Callable[..., Any], *args: Any) -> BaseException:
    """Run a failing task; check that its worker goes on."""
    async with TaskScope(policy=Collect()) as scope:
        before = await scope.spawn(tasks.pid, on="process")
        handle = scope.spawn(fn, *args, on="process")
        await handle.wait()
        assert await scope.spawn(tasks.pid, on="process") == before
    error = handle.exception()
    assert error is not None
    return error


def throw(error: BaseException) -> None:
    raise error


async def test_a_base_exception_group_arrives_as_a_remote_error() -> None:
    def task() -> None:
        raise BaseExceptionGroup("several", [SystemExit(3), ValueError(1)])

    error = await error_of(task)
    assert isinstance(error, RemoteError)
    assert isinstance(error.__cause__, BaseExceptionGroup)
    assert [type(member) for member in error.__cause__.exceptions] == [SystemExit, ValueError]


async def test_an_exception_whose_constructor_takes_other_arguments_arrives_whole() -> None:
    def task() -> None:
        raise OtherArguments(5, reason="because")

    error = await error_of(task)
    assert isinstance(error, OtherArguments)
    assert (error.code, error.reason, error.args) == (5, "because", ("5: because",))


@pytest.mark.parametrize("kind", [Unpicklable, Unbuildable], ids=lambda k: k.__name__)
async def test_an_exception_that_cannot_travel_arrives_as_a_remote_error(kind: type[Exception]) -> None:
    def task() -> None:
        raise kind

    error = await error_of(task)
    assert isinstance(error, RemoteError)
    assert kind.__name__ in error.type_name
    assert "in task" in error.traceback_text


async def test_an_exception_that_cannot_be_printed_arrives() -> None:
    def task() -> None:
        raise Exploding(1)

    error = await error_of(task)
    assert isinstance(error, (Exploding, RemoteError))


async def test_a_memory_error_and_a_deep_recursion_are_errors_of_the_task() -> None:
    def allocate() -> bytes:
        return b"x" * (1 << 62)

    def recurse(n: int) -> int:
        return recurse(n + 1) + 1

    assert isinstance(await error_of(allocate), (MemoryError, OverflowError))
    assert isinstance(await error_of(recurse, 0), RecursionError)


async def test_a_result_nested_too_deeply_to_travel_is_an_error_of_the_task() -> None:
    def nest() -> list[Any]:
        value: list[Any] = []
        for _ in range(200_000):
            value = [value]
        return value

    error = await error_of(nest)
    assert isinstance(error, (SerializationError, RecursionError)), error


async def test_a_chain_of_a_thousand_exceptions_arrives() -> None:
    def chain() -> None:
        error = ValueError(0)
        for number in range(1, 1000):
            try:
                raise ValueError(number) from error
            except ValueError as next_error:
                error = next_error
        raise error

    error = await error_of(chain)
    assert repr(error) == "ValueError(999)"
    assert repr(error.__cause__) == "ValueError(998)"


async def test_an_exception_that_is_its_own_context_arrives() -> None:
    def task() -> None:
        error = ValueError("round")
        other = KeyError("and round")
        error.__context__ = other
        other.__context__ = error
        raise error

    error = await error_of(task)
    assert repr(error) == "ValueError('round')"


async def test_a_large_error_arrives() -> None:
    def task() -> None:
        raise ValueError("x" * 3_000_000)

    error = await error_of(task)
    assert type(error) is ValueError
    assert error.args == ("x" * 3_000_000,)
