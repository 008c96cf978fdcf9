"""``debug=True``: watching the event loop of a scope."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .coroutine import run_coroutine

if TYPE_CHECKING:
    from .._handles.owner import Launcher

DEBUG = os.environ.get("UNIFIED_EXEC_DEBUG", "").strip().lower() not in ("", "0", "false", "no", "off")
"""Whether every scope watches its event loop."""


def watch_loop(scope: Launcher, thread: int, debug: object) -> None:
    """Report what holds up the event loop of `scope`, which runs in `thread`, until the scope is left."""
    from ..observe.watchdog import Subscription  # only with debug=True: it brings `threading`

    code, hook = run_coroutine.__code__, debug if callable(debug) else None
    scope.attach(Subscription(scope.adapter, thread, code, hook))
