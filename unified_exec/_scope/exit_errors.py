"""What a scope raises when it exits: each real failure once, no cancellation that it caused itself."""

from __future__ import annotations

from typing import Any, NoReturn

from .._handles.cancelled import is_own_cancellation, leaves
from .._handles.open_scopes import OpenScope
from .._tasks.loaded import loaded
from ..errors import TaskTimeout
from .ending import Ending
from .policy_state import PolicyState

_LINKS: tuple[Any, ...] = tuple(
    [vars(BaseException)[f"__{name}__"] for name in ("context", "cause", "suppress_context")]
)


def final_error(
    scope: OpenScope, name: str | None, raised: BaseException | None, outcomes: PolicyState, ending: Ending
) -> BaseException | None:
    """Return what a scope raises, given what its task group raised."""
    timeout = ending.timeout_error(raised)
    failures = outcomes.raised()
    if scope.broken is not None:
        failures, scope.broken = [*failures, scope.broken], None
    # No tally is kept of the tasks of maps, hence `cut_short`.
    if timeout is not None or failures or outcomes.tally.cancelled or ending.cut_short:
        raised = _joined(scope, name, raised, failures, timeout)
    return outcomes.shown(raised, failures)


def _joined(
    scope: object,
    name: str | None,
    raised: BaseException | None,
    failures: list[BaseException],
    timeout: TaskTimeout | None,
) -> BaseException | None:
    """Join what the task group of a scope raised with the failures of spawned tasks.

    Args:
        scope: the owner of the tasks; cancellations that it has caused are left out.
        name: the name of the scope, ``None`` if it has none.
        raised: what the task group raised, ``None`` if nothing.
        failures: exceptions of the tasks that `spawn` started, in the order they failed.
        timeout: the scope's own timeout error, if it struck.

    Returns:
        the exception to raise, or ``None``. It is `raised` itself if nothing is to be added or taken away.
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
    if kept is not None and (trio := loaded("trio")) is not None and isinstance(kept, trio.Cancelled):
        added.append(kept)  # trio's cancellation must reach the cancel scope it belongs to
    title = f"TaskScope {name!r}" if name else "a TaskScope"
    return BaseExceptionGroup(f"unhandled errors in {title}", added)


def raise_as_it_is(error: BaseException) -> NoReturn:
    """Raise `error` without a new ``__context__``: a failure that is not in a group keeps what it was raised from."""
    # The slots themselves: the class of the exception may forbid to set attributes, as a frozen dataclass does.
    links = [(slot, slot.__get__(error)) for slot in _LINKS]
    try:
        raise error
    finally:
        for slot, value in links:
            slot.__set__(error, value)
        del error, links, value


def _without_own_cancellations(scope: object, error: BaseException | None) -> BaseException | None:
    if not isinstance(error, BaseExceptionGroup) or not any(is_own_cancellation(leaf, scope) for leaf in leaves(error)):
        return error
    return error.split(lambda leaf: not isinstance(leaf, BaseExceptionGroup) and is_own_cancellation(leaf, scope))[1]


def _once(error: BaseException | None, failures: list[BaseException]) -> BaseException | None:
    """Return `error` with each of the `failures` in it once, however many tasks awaited the failed one."""
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
    """Return the part of `error` that is not known yet; `error` itself if all of it is new."""
    found = [id(leaf) in known for leaf in leaves(error)]
    if not any(found):
        return error
    if all(found) or not isinstance(error, BaseExceptionGroup):
        return None
    return error.split(lambda leaf: id(leaf) in known)[1]
