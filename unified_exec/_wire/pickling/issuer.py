"""Tokens that no other process issues, a forked child included, and numbers of what a worker learns."""

from __future__ import annotations

import os
from itertools import count

from ..._tasks.fork_lock import in_forked_child

next_number = count(1).__next__
"""Functions, values of globals, and the state of the surroundings share one count."""
_numbers = count(1)
_prefix = ""


@in_forked_child
def _renew() -> None:
    """A forked child is another issuer than its parent."""
    global _prefix
    _prefix = f"{os.getpid():x}-{os.urandom(8).hex()}"


_renew()


def new_token() -> str:
    """Return a token that was never issued before."""
    return f"{_prefix}-{next(_numbers)}"
