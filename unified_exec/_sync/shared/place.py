"""Where a lock was acquired, as people read it."""

from __future__ import annotations

from types import CodeType


def line_of(code: CodeType | None, at: int) -> str:
    """Return file and line of an instruction."""
    if code is None:
        return "an unknown line"
    found = code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= at < end and line is not None:
            found = line
    return f"{code.co_filename}:{found}"
