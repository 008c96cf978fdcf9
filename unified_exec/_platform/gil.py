"""Whether this interpreter has its global lock."""

from __future__ import annotations

import sys

_CAN_BE_OFF = "free-threading build" in sys.version  # said there from CPython 3.13 on


def is_off() -> bool:
    """Tell whether threads of this interpreter run Python code in parallel; an extension module may end that."""
    return _CAN_BE_OFF and not sys._is_gil_enabled()  # type: ignore[attr-defined, unused-ignore]
