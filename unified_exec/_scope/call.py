"""`call`: one call without a scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from .._handles.handle import TaskHandle
from .._rules.policies import Collect
from .scope import TaskScope

if TYPE_CHECKING:
    from typing import Unpack

    from .options import SpawnOptions

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Alone(Collect):
    unwrap = True  # of what is not an `Exception`, which no policy keeps from being raised


@overload
async def call(fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[SpawnOptions]) -> T: ...


@overload
async def call(fn: Callable[[*Ts], T], /, *args: *Ts, **options: Unpack[SpawnOptions]) -> T: ...


async def call(  # type: ignore[misc]  # mypy: *args: *Ts "may" be an option
    fn: Callable[..., Any], /, *args: Any, **options: Any
) -> Any:
    """Run ``fn(*args)`` where it belongs and wait for its value.

    Args:
        fn: a coroutine function, or any callable.
        args: its positional arguments.
        options: as for `TaskScope.spawn`.

    Raises:
        Exception: the call's own exception, not in a group.

    Cancelling the caller cancels the call and waits for its end.

    Example::

        import anyio
        from unified_exec import call

        async def main():
            assert await call(sum, range(1000), on="cpu") == 499500

        anyio.run(main)
    """
    refused: Exception | None = None
    async with TaskScope("call", policy=_Alone()) as scope:
        try:
            handle: TaskHandle[Any] = scope.spawn(fn, *args, **options)
        except Exception as error:
            refused = error  # raised outside of the scope, or it would come in a group
    if refused is not None:
        try:
            raise refused
        finally:
            del refused
    return handle.result()
