"""A module that the tasks of `test_10_context` import in their functions, not before."""

from __future__ import annotations

from contextvars import ContextVar

late: ContextVar[str] = ContextVar("late")
late_list: ContextVar[list[int]] = ContextVar("late_list")
