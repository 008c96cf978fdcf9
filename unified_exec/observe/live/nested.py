"""The look of a worker at its own scopes, which its parent shows below the task that opened them."""

from __future__ import annotations

from typing import Any


def look_inside() -> dict[str, Any]:
    """Look at the scopes of this process, without asking its own workers: this runs in a signal handler."""
    from .look import Look

    return Look(stacks="mine", workers=0.0).make()
