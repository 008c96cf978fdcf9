"""Law 1.1 and 1.8: workers and their children end with the parent, however it ends and whatever they do."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest

from tests.faults import programs
from tests.waiting import until

pytestmark = pytest.mark.one_loop

# The program notes what runs, then waits to be killed, or ends by itself as its argument says.
PROGRAM = """
    import ctypes, os, subprocess, sys, threading, time
    import anyio
    from unified_exec import Collect, TaskScope, ProcessPool

    log, ending, loop = sys.argv[1:]

    def note(text):
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{text}\\n".encode())
        os.close(fd)

    def idle():
        note(f"idle {os.getpid()}")

    def busy():
        note(f"busy {os.getpid()}")
        while True:
            pass

    def in_c():
        note(f"in-c {os.getpid()}")
        ctypes.PyDLL(None).sleep(1000)

    def deaf():
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        note(f"deaf {os.getpid()}")
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass

    def family():
        child = subprocess.Popen(["sleep", "1000"])
        note(f"grandchild {child.pid}")
        note(f"family {os.getpid()}")
        child.wait()

    async def coroutine():
        note(f"coroutine {os.getpid()}")
        await anyio.sleep_forever()

    def noted():
        return open(log).read().split("\\n")[:-1] if os.path.exists(log) else []

    async def main():
        if ending in ("normal", "sys.exit", "unhandled"):
            pool = ProcessPool(max_workers=4)
            async with TaskScope(processes=pool) as scope:
                for _ in range(4):
                    scope.spawn(idle, on="process")
                scope.spawn(coroutine_once, on="process")
            print("ready", flush=True)
            return pool
        pool = ProcessPool(max_workers=6)
        async with TaskScope(processes=pool, policy=Collect()) as scope:
            await scope.spawn(idle, on="process")
            for fn in (busy, in_c, deaf, family, coroutine):
                scope.spawn(fn, on="process")
            while len(noted()) < 7:
                await anyio.sleep(0.01)
            print("ready", flush=True)
            if ending == "os._exit":
                os._exit(5)
            await anyio.sleep_forever()

    async def coroutine_once():
        note(f"coroutine {os.getpid()}")

    options = {"use_uvloop": True} if loop == "uvloop" else {}
    pool = anyio.run(main, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
    if ending == "sys.exit":
        sys.exit(5)
    if ending == "unhandled":
        raise ValueError("unhandled")
"""
CODES = {"normal": 0, "sys.exit": 5, "unhandled": 1, "os._exit": 5}
LOOPS = ["asyncio", *(["uvloop"] if programs.UVLOOP else []), "trio"]


def write(folder: Path) -> str:
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    return str(folder / "program.py")


@pytest.mark.parametrize("loop", LOOPS)
def test_workers_and_their_children_die_with_a_parent_that_is_killed(loop: str, tmp_path: Path) -> None:
    """Idle, busy in Python, in C that holds the GIL, deaf to every signal, with a grandchild, in a coroutine."""
    log = tmp_path / "log"
    with programs.started(write(tmp_path), str(log), "killed", loop) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pids = dict(line.split() for line in log.read_text().splitlines())
        assert set(pids) == {"idle", "busy", "in-c", "deaf", "family", "grandchild", "coroutine"}
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids.values())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert programs.left_by(process.pid, within=30.0) == []


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("ending", CODES)
def test_nothing_is_left_when_a_program_ends_and_its_end_waits_for_nothing(
    ending: str, loop: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with programs.started(write(tmp_path), str(log), ending, loop) as process:
        out, err = process.communicate(timeout=60)
        left = programs.left_by(process.pid, within=30.0)
    assert (process.returncode, out, left) == (CODES[ending], "ready\n", [])
    assert ("ValueError: unhandled" in err) if ending == "unhandled" else not err, err


def test_a_worker_whose_parent_dies_before_it_is_up_ends(tmp_path: Path) -> None:
    text = """
        import os, signal, sys
        from unified_exec._pools.process.start_worker import start_process
        child = start_process(dict(os.environ))
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = programs.run_script(tmp_path, text)
    assert (ended.code, ended.left) == (-9, [])
    assert until(lambda: not os.path.exists(f"/proc/{ended.lines[0]}"))


def test_a_fork_of_the_parent_does_not_keep_its_workers_alive(tmp_path: Path) -> None:
    text = """
        import os, signal, time
        import anyio
        from unified_exec import call

        async def main():
            print(await call(os.getpid, on="process"), flush=True)

        anyio.run(main)
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(text))
    with programs.started(str(tmp_path / "program.py")) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.wait(30)
        assert until(lambda: not os.path.exists(f"/proc/{worker}"))
        import psutil

        for other in psutil.process_iter(["cmdline"]):
            if str(tmp_path / "program.py") in (other.info["cmdline"] or ()):
                other.kill()
