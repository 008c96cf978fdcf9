"""The exceptions that belong to one: its causes, its contexts and, of a group, its members."""

from __future__ import annotations

from collections.abc import Iterator


def with_related(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and all that it came from or contains, each once."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        exc = queue.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        queue += [exc.__cause__, exc.__context__, *getattr(exc, "exceptions", ())]
        yield exc
