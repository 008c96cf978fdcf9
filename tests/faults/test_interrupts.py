"""Ctrl-C may come between any two lines of the engine: the scope still ends, and with nothing but that."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEP = 23  # every line is swept by `interrupt_sweep` with a step of 1; a prime step samples them all over


@pytest.mark.parametrize("place", ["process", "thread"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_ctrl_c_at_any_line_of_the_engine_ends_the_scope_cleanly(loop: str, place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.interrupt_sweep", loop, place, "1", str(STEP)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "SWEPT" in done.stdout, done.stdout + done.stderr
    assert "BAD" not in done.stdout, done.stdout
