"""The objects of actors, and their methods called by name. In whatever process or thread the actor lives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from os import getpid

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_objects: dict[str, tuple[Any, Any]] = {}
"""By token, the object, and what closes it."""


class Missing:
    """What a call returns that has found no object: its worker has died, and another took its place."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Missing, ()


class ActorMissing(Exception):
    """The same, raised by a generator."""


def make(token: str, cls: Callable[..., Any], args: tuple[Any, ...]) -> int:
    """Make the object; enter it if it is a context manager. Returns the process id."""
    made = cls(*args)
    closer = None
    if not hasattr(made, "aclose") and hasattr(made, "__enter__") and hasattr(made, "__exit__"):
        closer, made = made, made.__enter__()
    _objects[token] = made, closer
    return getpid()


async def make_async(token: str, cls: Callable[..., Any], args: tuple[Any, ...]) -> int:
    """The same on an event loop."""
    return make(token, cls, args)


def call(token: str, name: str, args: tuple[Any, ...]) -> Any:
    found = _objects.get(token)
    return Missing() if found is None else getattr(found[0], name)(*args)


async def call_async(token: str, name: str, args: tuple[Any, ...]) -> Any:
    """Call a method, and await what it returns if it is a coroutine function."""
    value = call(token, name, args)
    return await value if hasattr(value, "__await__") else value


def items(token: str, name: str, args: tuple[Any, ...]) -> Iterator[Any]:
    """Iterate over a generator that is a method."""
    found = _objects.get(token)
    if found is None:
        raise ActorMissing
    yield from getattr(found[0], name)(*args)


async def items_async(token: str, name: str, args: tuple[Any, ...]) -> AsyncIterator[Any]:
    """The same on an event loop, where the method may also be an async generator."""
    found = _objects.get(token)
    if found is None:
        raise ActorMissing
    items = each(getattr(found[0], name)(*args))
    try:
        async for item in items:
            yield item
    finally:
        await items.aclose()


async def each(items: Any) -> AsyncGenerator[Any]:
    """Yield what a generator of either kind yields, and close it in the end."""
    try:
        if hasattr(items, "__aiter__"):
            async for item in items:
                yield item
        else:
            for item in items:
                yield item
    finally:
        if hasattr(items, "aclose"):
            await items.aclose()
        elif hasattr(items, "close"):
            items.close()


def close(token: str) -> None:
    """Close the object: `__exit__` if it was entered, else `close`."""
    made, closer = _objects.pop(token, (None, None))
    if closer is not None:
        closer.__exit__(None, None, None)
    elif hasattr(made, "close"):
        made.close()


async def close_async(token: str) -> None:
    """Close the object: `aclose` if it has that, else as `close`."""
    made, _ = _objects.get(token, (None, None))
    if not hasattr(made, "aclose"):
        close(token)
        return
    del _objects[token]
    await made.aclose()
