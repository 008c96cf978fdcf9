"""Design §5: other systems take the same way with plain means, or say clearly what they cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import profiles
from tests.faults import programs
from unified_exec._platform.posix import PLAIN

PROCESS_TESTS = [
    "contract/test_3_process_tasks.py",
    "contract/test_1_no_orphan_processes.py",
    "contract/test_6_crashes.py",
    "contract/test_share.py",
]
AT_NIGHT = [
    "faults/test_hostile_tasks.py",
    "contract/test_3_coroutines_in_a_process.py",
    "contract/test_3_cancelled_together.py",
    "contract/test_4_fault_matrix.py",
    "contract/test_7_dispatch.py",
]
"""What runs with the nightly profile besides: it meets the same means of the system again."""
NEEDS_MORE = [
    # Without a descriptor of the process, the loss of the lifeline counts as the worker's end: it is killed.
    "test_a_task_that_closes_all_descriptors_and_goes_on_can_be_killed",
    "uvloop",
    "eager",
    "trio",
]


@pytest.mark.skipif(PLAIN, reason="the whole run makes do with plain POSIX")
@pytest.mark.timeout(600)
def test_the_process_backend_keeps_its_contract_with_plain_posix_means() -> None:
    """Datagrams, unlinked files and a watching thread in the place of SEQPACKET, memfd, pidfd and F_SETSIG.

    Of the tests marked `one_loop` those cases run here that are asyncio's; with the nightly profile, all of them.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *(f"tests/{path}" for path in PROCESS_TESTS + (AT_NIGHT if profiles.IS_NIGHTLY else [])),
            "-k",
            " and ".join(f"not {name}" for name in NEEDS_MORE),
            *(["--usual-loops"] if profiles.IS_NIGHTLY else []),
        ],
        cwd=programs.ROOT,
        env={**os.environ, "UNIFIED_EXEC_PLAIN_POSIX": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_plain_posix_means_are_in_use_where_they_are_asked_for(tmp_path: Path) -> None:
    text = """
        import os
        import anyio
        from unified_exec import Lock, LockAbandoned, ProcessPool, TaskScope, share

        def look():
            return open("/proc/self/maps").read()

        def acquire_after_a_death(lock):
            if not os.fork():
                lock.acquire_sync()
                os.kill(os.getpid(), 9)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # nobody reaps it
            try:
                lock.acquire_sync(timeout=10)
            except LockAbandoned:
                return "passed on"

        async def main():
            async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
                maps = await scope.spawn(look, on="process")
                worker = next(iter(pool._registry.workers)).child
                print("memfd" in maps, worker.pidfd, worker.tasks.type.name)
                shared = share(bytes(300_000))
                print(await scope.spawn(lambda s: len(s.value), shared, on="process"))
                print(await scope.spawn(acquire_after_a_death, Lock(on_abandoned="raise"), on="process"))

        anyio.run(main)
    """
    more = {"UNIFIED_EXEC_PLAIN_POSIX": "1", "TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    ended = programs.run_script(tmp_path, text, **more)
    assert ended.check().lines == ["False None SOCK_DGRAM", "300000", "passed on"]
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_a_system_without_posix_runs_coroutines_and_threads_and_says_what_to_do() -> None:
    lines = programs.run("-m", "tests.faults.without_posix").check().lines
    assert len(lines) == 6
    assert lines[:3] == lines[3:]
    assert lines[0] == "loop thread True"
    assert "process tasks need a POSIX system" in lines[1]
    assert "use on='thread'" in lines[1]
    assert lines[2] == "an object"
