"""What a scope raises at its end: each real failure once, no cancellation it caused itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .cancelled import TaskCancelled
from ..errors import TaskTimeout

if TYPE_CHECKING:
    from .scope import TaskScope


def join_failures(
    scope: TaskScope, raised: BaseException | None, failures: list[BaseException], timeout: TaskTimeout | None
) -> BaseException | None:
    """Join what the inner task group raised with the failures of spawned tasks.

    Args:
        scope: the scope that ends.
        raised: what the inner group raised, ``None`` if nothing.
        failures: exceptions of the tasks that `spawn` started, in their order.
        timeout: the scope's own timeout error, if it struck.

    Returns:
        the exception to raise, or ``None``. It is `raised` itself where nothing is to be added or taken away.
    """
    kept = _without_own_cancellations(scope, raised)
    known = {id(leaf) for leaf in leaves(kept)}
    added: list[BaseException] = []
    if scope.policy.raises(scope._tally):
        for failure in failures:
            if id(failure) not in known:
                known.add(id(failure))
                added.append(failure)
    if timeout is not None and (added or isinstance(kept, BaseExceptionGroup)):
        added.append(timeout)
    if not added:
        return kept if kept is not None or timeout is None else timeout
    if isinstance(kept, BaseExceptionGroup):
        return kept.derive([*kept.exceptions, *added])
    if kept is not None and "trio" in sys.modules and isinstance(kept, sys.modules["trio"].Cancelled):
        added.append(kept)  # trio's cancellation goes on to the scope it belongs to
    return BaseExceptionGroup(f"unhandled errors in {_called(scope)}", added)


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions in a group and its groups; a plain exception is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif error is not None:
        yield error


def _without_own_cancellations(scope: TaskScope, error: BaseException | None) -> BaseException | None:
    def own(leaf: BaseException) -> bool:
        return isinstance(leaf, TaskCancelled) and leaf.scope is scope

    if not isinstance(error, BaseExceptionGroup) or not any(own(leaf) for leaf in leaves(error)):
        return error
    return error.split(own)[1]


def _called(scope: TaskScope) -> str:
    return f"TaskScope {scope.name!r}" if scope.name else "a TaskScope"
