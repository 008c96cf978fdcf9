"""What the streams of `map` and `stream` have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import NoReturn, Self, TypeVar

T = TypeVar("T")


def raise_failure(error: BaseException, name: str) -> NoReturn:
    """Raise the failure of an item of the stream `name`, or of its generator.

    As in an async generator, a `StopAsyncIteration` becomes a `RuntimeError`: it would end the consumer's loop as if
    there were no more items.
    """
    try:
        if isinstance(error, StopAsyncIteration):
            raise RuntimeError(f"{name} raised StopAsyncIteration") from error
        raise error
    finally:
        del error  # no cycle from it over its traceback to this frame


class ResultStream(AsyncIterator[T]):
    """An async iterator and async context manager over results of a scope."""

    def take(self, most: int) -> list[T]:
        """Take up to `most` results that are ready now, without waiting; it stops before a failure."""
        return []

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream and wait until nothing of it is running."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
