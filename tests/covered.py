"""Coverage of the lines that run in worker processes.

`patch = ["subprocess"]` of coverage reaches new interpreters through a `.pth` file, which a worker does not read: it is
started with `-S`. So the workers of the test process import coverage first. Workers of programs that tests run are not
covered.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cover_workers() -> None:
    """Have coverage start in each worker of this process before anything of the package is imported there."""
    if "COVERAGE_PROCESS_CONFIG" not in os.environ and "COVERAGE_PROCESS_START" not in os.environ:
        return
    coverage = sys.modules.get("coverage")
    if coverage is None or coverage.__file__ is None:
        return
    from unified_exec._pools.process import start_worker

    folder = str(Path(coverage.__file__).parents[1])
    start = "import coverage; coverage.process_startup()"
    start_worker._BOOT = f"import sys; sys.path.append({folder!r}); {start}; sys.path.pop(); {start_worker._BOOT}"
