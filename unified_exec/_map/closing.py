"""Closing sources and streams although the caller is cancelled, but not for longer than a time limit.

What closing raises is logged: code that has left a stream early wants nothing more of it.
"""

from __future__ import annotations

from typing import Any

import anyio

CLOSE_TIMEOUT = 5.0
"""Seconds that closing may take; then it is cancelled. Nothing else can cancel it: it is shielded."""


async def close_shielded(stream: Any, name: str) -> None:
    """Close `stream` if it has an `aclose`, shielded from cancellation for at most `CLOSE_TIMEOUT` seconds.

    Args:
        stream: an async iterator; usually an async generator of the user, whose ``finally`` blocks run here.
        name: what it belongs to, for the log.
    """
    aclose = getattr(stream, "aclose", None)
    if aclose is None:
        return
    with anyio.move_on_after(CLOSE_TIMEOUT, shield=True) as limit:
        try:
            await aclose()
        except Exception:
            log_failure(stream, name)
    if limit.cancelled_caught:
        import logging

        logging.getLogger("unified_exec").warning(
            "%s: closing %r took longer than %g s and was cancelled: does an `await` in a `finally` block hang?",
            name,
            stream,
            CLOSE_TIMEOUT,
        )


def log_failure(stream: Any, name: str) -> None:
    """Log the exception that closing `stream` has raised."""
    import logging

    logging.getLogger("unified_exec").exception("%s: closing %r failed", name, stream)
