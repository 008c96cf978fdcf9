"""An import starts nothing. `prestart` starts workers, which are used only if they are like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unified_exec import prestart

ROOT = str(Path(__file__).parents[2])

HEAD = """\
import os, sys
def children():
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]
"""
IMPORTS = """\
import anyio
from unified_exec import ProcessPool, TaskScope, prestart, shutdown_default_pools
async def main(fn, *args):
    async with TaskScope() as scope:
        return await scope.spawn(fn, *args, on="process")
"""
READY = HEAD + IMPORTS + "prestart()\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def run(folder: Path, code: str) -> str:
    """What a script prints."""
    script = folder / "script.py"
    script.write_text(code)
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


def test_an_import_starts_no_process_and_no_thread_and_opens_no_descriptor(tmp_path: Path) -> None:
    look = """
def state():
    descriptors = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2
                   and os.path.exists(f"/proc/self/fd/{fd}")}
    return children(), os.listdir("/proc/self/task"), descriptors
"""
    code = f"""
before = state()
import unified_exec
for name in unified_exec.__all__:
    getattr(unified_exec, name)
import unified_exec.executor
assert state() == before, (before, state())
{IMPORTS}
async def work():
    async with TaskScope() as scope:
        return await scope.spawn(abs, -1, on="process")
print("nothing")
"""
    assert run(tmp_path, HEAD + look + code) == "nothing\n"


def test_the_first_task_finds_the_worker_that_was_started_ahead(tmp_path: Path) -> None:
    code = """
ahead = children()
assert len(ahead) == 1, ahead
assert len(os.listdir("/proc/self/task")) == 1
assert "asyncio" not in sys.modules
assert anyio.run(main, os.getpid) == ahead[0]
assert anyio.run(main, os.getpid) == ahead[0]
print("same")
"""
    assert run(tmp_path, READY + code) == "same\n"


def test_it_loads_no_event_loop_library_which_the_program_imports_meanwhile(tmp_path: Path) -> None:
    code = """
from unified_exec import prestart
prestart()
print(sorted({"anyio", "asyncio", "trio", "cloudpickle"} & set(sys.modules)))
"""
    assert run(tmp_path, HEAD + code) == "[]\n"


def test_a_second_call_starts_only_what_is_missing(tmp_path: Path) -> None:
    code = """
from unified_exec import _platform
from unified_exec._platform import cpu_count
cpu_count.cpu_count = lambda: 3
prestart()
first = children()
prestart()
assert children() == first
prestart(2)
assert len(children()) == 2
assert anyio.run(main, os.getpid) in children()
prestart(2)  # one at work, one waiting
assert len(children()) == 2
prestart(99)
print(len(children()))
"""
    assert run(tmp_path, HEAD + IMPORTS + code) == "3\n"


def test_under_a_pool_that_is_warm_it_starts_nothing(tmp_path: Path) -> None:
    code = """
pid = anyio.run(main, os.getpid)
prestart()
assert children() == [pid]
print("nothing")
"""
    assert run(tmp_path, HEAD + IMPORTS + code) == "nothing\n"


def test_in_a_worker_it_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(
        HEAD + "from unified_exec import prestart\nprestart()\ndef count():\n    return len(children())\n"
    )
    code = """
import part
print(anyio.run(main, part.count))
"""
    assert run(tmp_path, HEAD + IMPORTS + code) == "0\n"


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_workers_than_one_are_refused(workers: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        prestart(workers)


@pytest.mark.parametrize("workers", ["2", None, 1.0, True])
def test_what_is_not_a_number_of_workers_is_refused(workers: int) -> None:
    with pytest.raises(TypeError, match=r"prestart\(workers\) must be a whole number"):
        prestart(workers)


def test_a_worker_that_cannot_be_started_is_a_clear_error(tmp_path: Path) -> None:
    code = """
sys.executable = "/nowhere"
try:
    prestart()
except Exception as exc:
    print(type(exc).__name__)
sys.executable = sys.orig_argv[0]
"""
    assert run(tmp_path, HEAD + IMPORTS + code) == "WorkerStartError\n"


@pytest.mark.parametrize(
    ("change", "look", "seen"),
    [
        ("os.environ['COLOUR'] = 'red'", "os.environ.get('COLOUR')", "red"),
        ("os.chdir('/')", "os.getcwd()", "/"),
        ("os.umask(0o027)", "os.umask(0)", str(0o027)),
        ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))", "limit()", "(0, 0)"),
        ("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)", "hup()", "Handlers.SIG_IGN"),
        (
            "os.dup2(os.open(__file__ + '.err', os.O_RDWR | os.O_CREAT), 2)",
            "os.readlink('/proc/self/fd/2')[-4:]",
            ".err",
        ),
        ("sys.path.append('/added')", "sys.path[-1]", "/added"),
        ("sys.path += [Text.A, None]", "sys.path[-1], type(sys.path[-1])", "('/a', <class 'str'>)"),
        (
            "for log in ('', Text.A): logging.getLogger(log).setLevel(Level.LOUD)\nlogging.disable(Level.LOUD)",
            "logging.root.level, logging.getLogger('/a').level, logging.root.manager.disable",
            "(15, 15, 15)",
        ),
    ],
)
def test_what_a_script_changes_before_its_first_task_is_seen_by_it(
    change: str, look: str, seen: str, tmp_path: Path
) -> None:
    code = f"""
import enum, logging
class Text(enum.StrEnum):
    A = "/a"
class Level(enum.IntEnum):
    LOUD = 15
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
    assert run(tmp_path, READY + code) == f"{seen}\n"


def test_after_a_change_another_call_starts_a_worker_that_is_used(tmp_path: Path) -> None:
    code = """
stale = children()
os.environ["COLOUR"] = "red"
prestart()
fresh = children()
assert len(fresh) == 1 and fresh != stale, (stale, fresh)
assert anyio.run(main, os.getpid) == fresh[0]
print(anyio.run(main, os.getenv, "COLOUR"))
"""
    assert run(tmp_path, READY + code) == "red\n"


def test_a_pool_with_an_environment_of_its_own_gets_a_worker_with_that(tmp_path: Path) -> None:
    code = """
async def own():
    async with ProcessPool(1, env={"COLOUR": "red"}) as pool, TaskScope(processes=pool) as scope:
        return await scope.spawn(os.getenv, "COLOUR", on="process")
print(anyio.run(own))
"""
    assert run(tmp_path, READY + code) == "red\n"


def test_a_worker_that_is_not_used_exits_when_it_has_been_idle_and_costs_no_task(tmp_path: Path) -> None:
    code = """
from unified_exec._pools.process import prestart as ahead
ahead.IDLE_SECONDS = 0.01
prestart()
(pid,) = children()
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print(anyio.run(main, abs, -3), pid in children())
"""
    assert run(tmp_path, HEAD + IMPORTS + code) == "3 False\n"


def test_shutting_the_default_pools_down_ends_a_worker_that_is_not_used(tmp_path: Path) -> None:
    assert run(tmp_path, READY + "shutdown_default_pools()\nprint(children())") == "[]\n"


def test_a_worker_that_is_not_used_does_not_outlive_the_program(tmp_path: Path) -> None:
    (pid,) = run(tmp_path, READY + "print(*children())").split()
    assert not Path(f"/proc/{pid}").exists()


def test_a_fork_leaves_it_to_the_parent(tmp_path: Path) -> None:
    code = """
ahead = children()
pid = os.fork()
if not pid:
    prestart()
    own = children()
    assert own != ahead
    assert anyio.run(main, os.getpid) == own[0]
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert anyio.run(main, os.getpid) == ahead[0]
print("parent's")
"""
    assert run(tmp_path, READY + code) == "parent's\n"


def test_one_that_was_killed_meanwhile_costs_no_task(tmp_path: Path) -> None:
    code = """
import signal
os.kill(children()[0], signal.SIGKILL)
print(anyio.run(main, abs, -3))
"""
    assert run(tmp_path, READY + code) == "3\n"
