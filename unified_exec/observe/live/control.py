"""Cancelling from a viewer: only in a program that has said so itself."""

from __future__ import annotations

from typing import Any

from ..._handles.open_scopes import open_scopes

REASON_MAX = 200

_allowed = False


def allow_control(allow: bool = True) -> None:
    """Let viewers cancel tasks and scopes of this program; without this call they only look.

    Args:
        allow: ``False`` forbids it again.

    Those who can connect are this user and root, who could kill the program anyway. The cancellation is an ordinary
    one, as by `TaskHandle.cancel` or `TaskScope.cancel`, with the reason that the viewer gives.

    Example::

        from unified_exec import observe

        observe.allow_control()
    """
    global _allowed
    _allowed = bool(allow)


def is_allowed() -> bool:
    """Tell whether viewers may cancel."""
    return _allowed


def cancel(request: dict[str, Any]) -> dict[str, Any]:
    """Cancel a task or a scope for a viewer; tells what was done, or why nothing was."""
    if not _allowed:
        return _refused("this program allows no control: it has not called observe.allow_control()")
    reason = request.get("reason")
    reason = reason[:REASON_MAX] if isinstance(reason, str) and reason else "cancelled by a viewer"
    scope_number, task_id = request.get("scope"), request.get("task")
    for scope in open_scopes():
        if scope_number is not None:
            if scope.number == scope_number:
                return _done(scope.adapter.call_threadsafe(scope.cancel, reason))
            continue
        for handle, _ in scope.lanes():
            if handle.id == task_id and handle.outcome is None:
                return _done(scope.adapter.call_threadsafe(handle.cancel, reason))
    return _refused("it has ended already")


def _done(reached: bool) -> dict[str, Any]:
    return {"type": "done"} if reached else _refused("its event loop has ended")


def _refused(what: str) -> dict[str, Any]:
    return {"type": "refused", "what": what}
