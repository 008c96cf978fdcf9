"""Libraries that only some tests need."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needed(library: str, reason: str) -> None:
    """Skip the test module that calls this at its top if a library is not installed, and do not import it.

    Every test process collects all modules, but only one runs the tests of each: large libraries are imported by
    the tests that use them.
    """
    if find_spec(library) is None:
        pytest.skip(reason, allow_module_level=True)
