"""The first scopes of a program, opened by many threads at once, as by the first requests of a threaded server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.programs import run_script

PROGRAMS = int(os.environ.get("UNIFIED_EXEC_FIRST_USES", "2"))
USES = {
    "process": "scope(on='process')",
    "thread": "scope(on='thread')",
    "executor": "executor()",
    "loop": "own_loop()",
}


@pytest.mark.parametrize("use", USES)
def test_threads_that_use_the_package_for_the_first_time_at_once_all_can(use: str, tmp_path: Path) -> None:
    """Each imports it first, too."""
    code = f"""
import threading
def work(n): return sum(range(n))
def scope(on):
    from unified_exec import SyncTaskScope
    with SyncTaskScope(timeout=60) as scope:
        return scope.spawn(work, 1000, on=on).result()
def executor():
    from unified_exec.executor import ThreadExecutor
    with ThreadExecutor(2) as threads:
        return threads.submit(work, 1000).result()
def own_loop():
    import anyio
    from unified_exec import TaskScope, time_left
    async def main():
        async with TaskScope(timeout=60) as scope:
            return await scope.spawn(work, 1000, on="thread") if time_left() > 0 else None
    return anyio.run(main)
gate = threading.Barrier(16)
results = []
def one():
    gate.wait()
    try:
        results.append({USES[use]})
    except BaseException as error:
        results.append(repr(error))
threads = [threading.Thread(target=one) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(results), set(results))
"""
    for _ in range(PROGRAMS):
        assert run_script(tmp_path, code).check().out == "16 {499500}\n"
