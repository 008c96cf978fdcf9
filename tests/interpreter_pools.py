"""What the tests of `InterpreterPool` share."""

from __future__ import annotations

import sys

import pytest

needs_interpreters = pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need CPython 3.14 or later")
