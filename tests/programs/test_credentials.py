"""A program that starts as root and becomes another user: no task runs in a worker that is still root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from tests.faults.programs import ROOT, run, run_script

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root may change its user and its groups"
)
NOBODY = 65534


def test_after_the_groups_have_changed_tasks_run_in_workers_with_the_new_ones(tmp_path: Path) -> None:
    code = """
import os
from unified_exec import SyncTaskScope
from unified_exec._pools.process import credentials
credentials.RECHECK = 0
def who():
    return os.getpid(), os.getgroups()
async def also():
    return who()
for groups in [], [4242], [4343, 4242]:
    os.setgroups(groups)
    with SyncTaskScope() as scope:
        seen = [scope.spawn(fn, on="process").result() for fn in (who, also, who, also)]
    print(sorted({sorted(theirs) == sorted(groups) for _, theirs in seen}), len({pid for pid, _ in seen}))
"""
    assert run_script(tmp_path, code).check().out == "[True] 2\n" * 3


@pytest.fixture
def python_for_all() -> tuple[str, str]:
    """An interpreter that any user can run, and where it finds what the package needs."""
    folder = str(Path(anyio.__file__).parents[1])
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = "import sys, os; os.setuid(65534); os.execv(sys.argv[1], [sys.argv[1], *sys.argv[2:]])"
        look = (
            f"import sys; sys.path.insert(0, {folder!r}); import anyio, cloudpickle; assert sys.version_info >= (3, 11)"
        )
        done = subprocess.run([sys.executable, "-c", check, candidate, "-c", look], capture_output=True, check=False)
        if done.returncode == 0:
            return candidate, folder
    pytest.skip("no interpreter here can be run by another user")


def test_after_the_user_has_changed_no_task_runs_as_root_and_all_can_be_cancelled(
    python_for_all: tuple[str, str], tmp_path: Path
) -> None:
    """The worker of root, which is busy and which the program may no longer signal, ends with its lifeline."""
    python, folder = python_for_all
    script = tmp_path / "script.py"
    script.write_text("""
import os, time
import anyio
from unified_exec import ProcessPool, TaskScope
def who():
    return os.getuid()
def spin(path):
    open(path, "w").close()
    while True:
        try:
            while True: time.sleep(0.01)
        except BaseException:
            pass
async def main():
    async with ProcessPool(2, grace=0.2) as pool, TaskScope(processes=pool) as scope:
        print(await scope.spawn(who, on="process"))
        stuck = scope.spawn(spin, "started", on="process")
        while not os.path.exists("started"):
            await anyio.sleep(0.01)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        print({await scope.spawn(who, on="process") for _ in range(5)})
        with anyio.fail_after(60):
            stuck.cancel()
            await stuck.wait()
        print(stuck.cancelled(), await scope.spawn(who, on="process"))
anyio.run(main)
""")
    ended = run(str(script), cwd=tmp_path, python=python, PYTHONPATH=f"{ROOT}:{folder}")
    assert ended.check().lines == ["0", f"{{{NOBODY}}}", f"True {NOBODY}"]
