"""Law 1.3 under fire: whenever the ask comes, it reaches the task it is meant for and no other.

`UNIFIED_EXEC_CANCELLATIONS=10000` makes it as many as the issue wants.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.stress.cancellations import storm

COUNT = int(os.environ.get("UNIFIED_EXEC_CANCELLATIONS", "400"))


@pytest.mark.timeout(120 + COUNT // 10)
async def test_a_cancellation_at_any_moment_hits_its_own_task_and_leaves_the_worker_warm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(100_000)
    report = await storm(COUNT, seed, tmp_path)
    with capsys.disabled():
        print(f"\nseed {seed}: {report}", end="")
    assert report.problems == []
