"""What a scope raises at its end: each real failure once, no cancellation it caused itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio

from .._handles.cancelled import is_own_cancellation, leaves
from ..errors import TaskTimeout

if TYPE_CHECKING:
    from .scope import TaskScope


def final_error(scope: TaskScope, raised: BaseException | None) -> BaseException | None:
    """What the scope raises, given what its inner task group raised; that itself if there is nothing to change."""
    timeout = _timeout_error(scope, raised)
    failures = scope._standing.raised()
    cancelled = scope._standing.tally.cancelled or scope._cut_short  # of a map's own tasks no tally is kept
    if timeout is None and not failures and not cancelled:
        return raised
    return join_failures(scope, raised, failures, timeout)


def _timeout_error(scope: TaskScope, raised: BaseException | None) -> TaskTimeout | None:
    """The error of a scope whose own timeout, and nothing else, has cut something short."""
    around = scope.cancel_scope
    if scope.timeout is None or scope._stopped or not around.cancel_called or anyio.current_time() < scope._ends_at:
        return None
    if around.cancelled_caught or scope._cut_short or isinstance(raised, BaseExceptionGroup):
        return TaskTimeout(f"scope {scope.name!r}" if scope.name else "the scope", scope.timeout)
    return None


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
    kept = _once(_without_own_cancellations(scope, raised), failures)
    known = {id(leaf) for leaf in leaves(kept)}
    added: list[BaseException] = []
    for failure in failures:
        rest = _not_in(known, _without_own_cancellations(scope, failure))
        if rest is not None:
            known.update(id(leaf) for leaf in leaves(rest))
            added.append(rest)
    if timeout is not None and (added or isinstance(kept, BaseExceptionGroup)):
        added.append(timeout)
    if not added:
        return kept if kept is not None or timeout is None else timeout
    if isinstance(kept, BaseExceptionGroup):
        return kept.derive([*kept.exceptions, *added])
    if kept is not None and "trio" in sys.modules and isinstance(kept, sys.modules["trio"].Cancelled):
        added.append(kept)  # trio's cancellation goes on to the scope it belongs to
    return BaseExceptionGroup(f"unhandled errors in {_called(scope)}", added)


def _without_own_cancellations(scope: TaskScope, error: BaseException | None) -> BaseException | None:
    if not isinstance(error, BaseExceptionGroup) or not any(is_own_cancellation(leaf, scope) for leaf in leaves(error)):
        return error
    return error.split(lambda leaf: not isinstance(leaf, BaseExceptionGroup) and is_own_cancellation(leaf, scope))[1]


def _once(error: BaseException | None, failures: list[BaseException]) -> BaseException | None:
    """`error` with each of the `failures` in it once, however many tasks have awaited the one that failed."""
    ours = {id(leaf) for failure in failures for leaf in leaves(failure)}
    seen: set[int] = set()
    again = False
    for leaf in leaves(error):
        again = again or (id(leaf) in ours and id(leaf) in seen)
        seen.add(id(leaf))
    if not again or not isinstance(error, BaseExceptionGroup):
        return error
    seen.clear()

    def seen_before(leaf: BaseException) -> bool:
        if isinstance(leaf, BaseExceptionGroup) or id(leaf) not in ours:
            return False
        before = id(leaf) in seen
        seen.add(id(leaf))
        return before

    return error.split(seen_before)[1]


def _not_in(known: set[int], error: BaseException | None) -> BaseException | None:
    """What of `error` is not known yet; `error` itself if all of it is new."""
    found = [id(leaf) in known for leaf in leaves(error)]
    if not any(found):
        return error
    if all(found) or not isinstance(error, BaseExceptionGroup):
        return None
    return error.split(lambda leaf: id(leaf) in known)[1]


def _called(scope: TaskScope) -> str:
    return f"TaskScope {scope.name!r}" if scope.name else "a TaskScope"
