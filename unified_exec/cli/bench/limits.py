"""How many descriptors the system grants."""

from __future__ import annotations

import sys


def allow_descriptors(number: int) -> str | None:
    """Raise the limit of open descriptors of this process, and of what it starts; why not, if it cannot be."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return None
    if hard != resource.RLIM_INFINITY and hard < number:
        return f"needs {number:,} descriptors, the limit is {hard:,}: ulimit -Hn"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    except (ValueError, OSError) as error:
        return f"needs {number:,} descriptors: {error}"
    return None
