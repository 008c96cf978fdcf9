"""What holds for all tests of `observe`."""

from __future__ import annotations

import pytest

from unified_exec.cli.live import run_ps
from unified_exec.observe.live import client


@pytest.fixture(autouse=True)
def viewers_are_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may answer late."""
    monkeypatch.setattr(client, "SECONDS", 60.0)
    monkeypatch.setattr(run_ps, "ANSWER_SECONDS", 60.0)
