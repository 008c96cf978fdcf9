"""How many examples a property test tries: few in each run of the suite, all with `HYPOTHESIS_PROFILE=nightly`."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

QUICK, NIGHTLY = "quick", "nightly"
CHOSEN = os.environ.get("HYPOTHESIS_PROFILE", QUICK)
IS_NIGHTLY = CHOSEN == NIGHTLY


def load() -> None:
    import hypothesis  # half a second of a core, which processes that are here for `examples` need not spend

    hypothesis.settings.register_profile(QUICK, deadline=None, print_blob=True)
    hypothesis.settings.register_profile(NIGHTLY, deadline=None, print_blob=True, max_examples=1000)
    hypothesis.settings.load_profile(CHOSEN)


def examples(quick: T, nightly: T) -> T:
    """How many examples or rounds, or which cases, a test tries whose single one takes long."""
    return nightly if IS_NIGHTLY else quick
