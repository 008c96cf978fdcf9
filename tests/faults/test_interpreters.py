"""Law 1.8: any way to start the interpreter, and any mood of the system around it, works."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from tests.faults import programs
from tests.interpreters import Interpreter

pytestmark = pytest.mark.one_loop

PROGRAM = """
    import sys
    sys.path.insert(0, {root!r})
    sys.path[:0] = {site!r}
    import os
    import anyio
    from unified_exec import Collect, TaskScope, WorkerCrashed

    class Mine(Exception):
        pass

    def fail():
        raise Mine(5)

    def flags():
        return (sys.flags.optimize, sys.flags.dev_mode), dict(sys._xoptions), list(sys.warnoptions), sys.path[:3]

    async def coroutine():
        return 1

    async def main():
        async with TaskScope(policy=Collect()) as scope:
            there, here = await scope.spawn(flags, on="process"), flags()
            assert there == here, (there, here)
            assert await scope.spawn(coroutine, on="process") == 1
            assert len(await scope.spawn(bytes, 2_000_000, on="process")) == 2_000_000
            failing = scope.spawn(fail, on="process")
            crashing = scope.spawn(os._exit, 3, on="process")
        assert type(failing.exception()) is Mine
        assert type(crashing.exception()) is WorkerCrashed
        print("well")

    anyio.run(main, backend="{backend}")
"""


def program(backend: str) -> str:
    site = [folder for folder in sys.path if folder.endswith("site-packages")]
    text = PROGRAM.replace("{root!r}", repr(str(programs.ROOT))).replace("{site!r}", repr(site))
    return text.replace("{backend}", backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "flags",
    [("-O", "-P"), ("-OO", "-E"), ("-X", "dev", "-W", "error"), ("-I", "-B", "-X", "utf8"), ("-s", "-S")],
    ids="".join,
)
def test_the_interpreters_flags_hold_in_workers(flags: tuple[str, ...], backend: str, tmp_path: Path) -> None:
    ended = programs.run_script(tmp_path, program(backend), flags=flags)
    if "dev" in flags:  # asyncio's debug mode tells what is slow
        ended.err = "" if "took" in ended.err else ended.err
    assert ended.check().lines == ["well"]


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONINSPECT": "1"}, {"PYTHONHASHSEED": "0"}, {"PYTHONSAFEPATH": "1"}, {"PYTHONUNBUFFERED": "1"}],
    ids=str,
)
def test_environment_variables_of_the_interpreter_do_no_harm(variables: dict[str, str], tmp_path: Path) -> None:
    ended = programs.run_script(tmp_path, program("asyncio"), **variables)
    assert (ended.code, ended.lines, ended.left) == (0, ["well"], []), ended


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_application_that_ignores_sigchld_is_served(backend: str, tmp_path: Path) -> None:
    ignore = "    import os, signal\n    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    text = program(backend).replace("    import os\n", ignore, 1)
    assert programs.run_script(tmp_path, text).check().lines == ["well"]


def test_an_application_that_reaps_every_child_itself_is_served(tmp_path: Path) -> None:
    reap = "    def reap(*_):\n        try:\n            while os.waitpid(-1, os.WNOHANG)[0]:\n                pass\n"
    reap += "        except ChildProcessError:\n            pass\n    signal.signal(signal.SIGCHLD, reap)\n"
    text = program("asyncio").replace("    import os\n", "    import os, signal\n" + reap, 1)
    assert programs.run_script(tmp_path, text).check().lines == ["well"]


# Enough for a worker or two, for none, and for any half of a start.
ROOMS = [(30, "none"), (0, "errors"), *[(room, None) for room in range(3, 27, 3)]]
FEW = """
    import os, resource
    import anyio
    from unified_exec import Collect, ProcessPool, TaskScope, UnifiedExecError

    async def main():
        pool = ProcessPool(max_workers=8)
        async with pool, TaskScope(policy=Collect(), processes=pool) as scope:
            used = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + {room}, 4096))
            handles = [scope.spawn(len, bytes(size), on="process") for size in (10, 300_000) * 50]
            for handle in handles:
                await handle.wait()
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
            errors = [handle.exception() for handle in handles if handle.exception() is not None]
            assert all(isinstance(error, UnifiedExecError) for error in errors), errors
            print("errors" if errors else "none")
            assert await scope.spawn(len, bytes(300_000), on="process") == 300_000
            print(len(os.listdir("/proc/self/fd")) - used < 60)

    anyio.run(main, backend="{backend}")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("room", "outcome"), ROOMS)
def test_few_descriptors_mean_fewer_workers_or_clear_errors(
    room: int, outcome: str | None, backend: str, tmp_path: Path
) -> None:
    text = FEW.replace("{room}", str(room)).replace("{backend}", backend)
    lines = programs.run_script(tmp_path, text).check().lines
    assert lines[1:] == ["True"]
    assert outcome is None or lines[0] == outcome


SIZING = """
    import os
    import anyio
    from unified_exec import TaskScope, cpu_count

    def look():
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return [os.environ.get(name) for name in names], cpu_count()

    async def main():
        async with TaskScope() as scope:
            print(cpu_count(), await scope.spawn(look, on="process"))

    anyio.run(main)
"""


def test_workers_share_the_cores_they_are_given_and_count_them_by_affinity(tmp_path: Path) -> None:
    if not shutil.which("taskset"):
        pytest.skip("taskset is not installed")
    one = str(min(os.sched_getaffinity(0)))
    text = f"import os\nos.sched_setaffinity(0, [{one}])\n" + textwrap.dedent(SIZING)
    assert programs.run_script(tmp_path, text).check().lines == ["1 (['1', '1', '1'], 1)"]


def test_what_the_user_set_for_threads_stays(tmp_path: Path) -> None:
    ended = programs.run_script(tmp_path, SIZING, OMP_NUM_THREADS="7")
    assert "'7'" in ended.check().lines[0]


def test_other_interpreters_run_workers_of_their_own_kind(interpreter: Interpreter, tmp_path: Path) -> None:
    text = textwrap.dedent(PROGRAM.replace("{root!r}", repr(str(programs.ROOT))))
    (tmp_path / "script.py").write_text(text.replace("{site!r}", "[]").replace("{backend}", "asyncio"))
    assert interpreter.run(str(tmp_path / "script.py")).stdout == "well\n"
