"""A worker that is started while the program still imports is like any other, or is not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])

HEAD = """\
import os, sys
def children():
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]
assert not children()
import anyio
from unified_exec import TaskScope
"""
ONE_CALL = """
async def main(fn, *args):
    async with TaskScope() as scope:
        return await scope.spawn(fn, *args, on="process")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no worker is started ahead")


def run(folder: Path, code: str) -> str:
    """What a script prints."""
    script = folder / "script.py"
    script.write_text(HEAD + code)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={"PYTHONPATH": ROOT, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    assert done.returncode == 0
    return done.stdout


def test_the_first_task_of_a_script_finds_a_worker_that_was_started_by_the_import(tmp_path: Path) -> None:
    code = """
early = children()
assert len(early) == 1, early
assert anyio.run(main, os.getpid) == early[0]
print("same")
"""
    assert run(tmp_path, ONE_CALL + code) == "same\n"


def test_a_script_that_names_no_process_work_starts_none(tmp_path: Path) -> None:
    assert run(tmp_path, "print(children())") == "[]\n"


def test_a_module_of_the_program_starts_none_and_neither_does_a_worker_that_imports_it(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(HEAD + ONE_CALL + "def count():\n    return len(children())\n")
    code = """
import part
print(len(children()), anyio.run(part.main, part.count))
"""
    assert run(tmp_path, code) == "0 0\n"


@pytest.mark.parametrize(
    ("change", "look", "seen"),
    [
        ("os.environ['COLOUR'] = 'red'", "os.environ.get('COLOUR')", "red"),
        ("os.chdir('/')", "os.getcwd()", "/"),
        ("os.umask(0o027)", "os.umask(0)", str(0o027)),
        ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))", "limit()", "(0, 0)"),
        ("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)", "hup()", "Handlers.SIG_IGN"),
    ],
)
def test_what_a_script_changes_before_its_first_task_is_seen_by_it(
    change: str, look: str, seen: str, tmp_path: Path
) -> None:
    code = f"""
def limit():
    import resource
    return resource.getrlimit(resource.RLIMIT_CORE)
def hup():
    import signal
    return repr(signal.getsignal(signal.SIGHUP)).partition(":")[0].strip("<")
def task():
    return {look}
assert children()
{change}
print(anyio.run(main, task))
"""
    assert run(tmp_path, ONE_CALL + code) == f"{seen}\n"


def test_a_pool_with_an_environment_of_its_own_gets_a_worker_with_that(tmp_path: Path) -> None:
    code = """
from unified_exec import ProcessPool
async def own():
    async with ProcessPool(1, env={"COLOUR": "red"}) as pool, TaskScope(processes=pool) as scope:
        return await scope.spawn(os.getenv, "COLOUR", on="process")
print(anyio.run(own))
"""
    assert run(tmp_path, code) == "red\n"


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_process_that_nobody_wants_is_gone_soon_after_the_loop_began(loop: str, tmp_path: Path) -> None:
    code = f"""
from unified_exec._pools.process import prestart as early
early.UNCLAIMED_SECONDS = 0
async def unused():
    assert len(children()) == 1
    async with TaskScope():
        while children():
            await anyio.sleep(0.001)
    print("gone")
anyio.run(unused, backend={loop!r})
"""
    assert run(tmp_path, ONE_CALL + code) == "gone\n"


def test_a_process_that_nobody_wants_does_not_outlive_the_program(tmp_path: Path) -> None:
    (pid,) = run(tmp_path, ONE_CALL + "print(*children())").split()
    assert not Path(f"/proc/{pid}").exists()


def test_a_fork_leaves_it_to_the_parent(tmp_path: Path) -> None:
    code = """
early = children()
pid = os.fork()
if not pid:
    assert anyio.run(main, os.getpid) not in early
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert anyio.run(main, os.getpid) == early[0]
print("parent's")
"""
    assert run(tmp_path, ONE_CALL + code) == "parent's\n"


def test_one_that_was_killed_meanwhile_costs_no_task(tmp_path: Path) -> None:
    code = """
import signal
os.kill(children()[0], signal.SIGKILL)
print(anyio.run(main, abs, -3))
"""
    assert run(tmp_path, ONE_CALL + code) == "3\n"
