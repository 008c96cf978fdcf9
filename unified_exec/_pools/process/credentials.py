"""Noticing that the program has changed its user, groups or root folder: its warm workers still have the old ones."""

from __future__ import annotations

import os
import time

from ..._platform import process_control

RECHECK = 0.05
"""Seconds between two looks at the groups and the root folder; the user is compared each time."""

geteuid = getattr(os, "geteuid", int)
_getegid = getattr(os, "getegid", int)


def may_change() -> bool:
    """Tell whether this process may change its user: only one of root may, or one that was."""
    return hasattr(os, "geteuid") and (geteuid() == 0 or (hasattr(os, "getresuid") and 0 in os.getresuid()))


class CredentialWatch:
    """Compares what this process is with what it was when that was last asked.

    Attributes:
        euid: the effective user.
    """

    __slots__ = ("_all", "_checked_at", "_egid", "euid")

    def __init__(self) -> None:
        self._read()

    def _read(self) -> None:
        self.euid, self._egid = geteuid(), _getegid()
        self._all = process_control.credentials()
        self._checked_at = time.monotonic()

    def have_changed(self) -> bool:
        """Tell whether they have changed since they were last found to have."""
        if (self.euid, self._egid) == (geteuid(), _getegid()) and time.monotonic() - self._checked_at < RECHECK:
            return False
        before = self._all
        self._read()
        return self._all != before
