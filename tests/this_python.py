"""What some tests ask of the Python that runs them."""

from __future__ import annotations

import sys

import pytest

HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

needs_interpreters = pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need CPython 3.14 or later")
needs_usual_references = pytest.mark.skipif(
    sys.version_info < (3, 14) and not HAS_GIL,
    reason="CPython 3.13 without a GIL neither frees nor lists classes and functions once a thread was started, and "
    "counts references otherwise",
)
