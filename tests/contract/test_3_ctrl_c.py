"""Law 1.3 and 1.8: Ctrl-C in a terminal reaches every task through the parent, and no child is left."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import pytest

from tests.faults import programs
from tests.this_python import needs_interpreters
from tests.waiting import until

PROGRAM = """
    import os, sys, threading, time
    import anyio
    from unified_exec import ProcessPool, TaskScope, check_cancelled

    log, loop = sys.argv[1:]

    def note(text):
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{text}\\n".encode())
        os.close(fd)

    def in_process(n):
        try:
            note(f"process{n} runs")
            while True:
                pass
        finally:
            note(f"process{n} cleaned")

    def in_thread():
        try:
            note("thread runs")
            while True:
                check_cancelled()
                time.sleep(0.01)
        finally:
            note("thread cleaned")

    async def on_loop():
        try:
            note("coroutine runs")
            await anyio.sleep_forever()
        finally:
            note("coroutine cleaned")

    async def remote_coroutine():
        try:
            note("remote runs")
            await anyio.sleep_forever()
        finally:
            note("remote cleaned")

    async def main():
        async with ProcessPool(2, grace=60) as pool, TaskScope() as scope:  # a busy machine may be slow to clean up
            scope.spawn(on_loop)
            scope.spawn(in_thread)
            scope.spawn(in_process, 1, on=pool)
            scope.spawn(in_process, 2, on=pool)
            scope.spawn(remote_coroutine, on=pool)
            while not os.path.exists(log) or len(open(log).read().splitlines()) < 5:
                await anyio.sleep(0.01)
            print("ready", flush=True)

    options = {"use_uvloop": True} if loop == "uvloop" else {}
    try:
        anyio.run(main, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
    except BaseExceptionGroup as group:
        matched, rest = group.split(KeyboardInterrupt)
        print("interrupted" if rest is None else repr(rest), flush=True)
        raise KeyboardInterrupt from None
"""


@pytest.mark.parametrize("loop", ["asyncio", *(["uvloop"] if programs.UVLOOP else []), "trio"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork where threads may be
def test_ctrl_c_runs_the_finally_blocks_and_leaves_no_child(loop: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    log = tmp_path / "log"
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(log), loop],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=programs.environment(),
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(slave)
    seen = ""

    def read() -> str:
        nonlocal seen
        while select.select([master], [], [], 0)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            seen += data.decode()
        return seen

    try:
        assert until(lambda: "ready" in read() or process.poll() is not None, 30), seen
        assert process.poll() is None, seen
        os.write(master, b"\x03")
        assert until(lambda: read() is not None and process.poll() is not None, 30), seen
        read()
        assert "interrupted" in seen, seen
        # The interpreter dies of the signal itself, as a shell expects.
        assert process.returncode in (-2, 130), seen
        assert programs.left_by(process.pid) == []
        lines = set(log.read_text().splitlines())
        for name in ("process1", "process2", "thread", "coroutine", "remote"):
            assert f"{name} cleaned" in lines, lines
        assert "_worker" not in seen, seen
    finally:
        for pid in programs.session(process.pid):
            os.kill(pid, 9)
        process.wait()
        os.close(master)


DEAF_TASK = """
import os, sys, time
import anyio
from unified_exec import TaskScope

def sleep():
    os.write(1, b"ready\\n")
    time.sleep(600)

async def main():
    async with TaskScope() as scope:
        scope.spawn(sleep, on=sys.argv[2])

try:
    anyio.run(main, backend=sys.argv[1])
finally:
    print("bye", flush=True)
"""


@pytest.mark.parametrize("backend", ["thread", pytest.param("interpreter", marks=needs_interpreters)])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_the_third_ctrl_c_ends_a_program_whose_task_does_not(tmp_path: Path, loop: str, backend: str) -> None:
    path = tmp_path / "deaf.py"
    path.write_text(DEAF_TASK)
    with subprocess.Popen(
        [sys.executable, str(path), loop, backend], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            for _ in range(3):
                program.send_signal(signal.SIGINT)
                until(lambda: program.poll() is not None, 0.5)
            out, _ = program.communicate(timeout=30)
            assert out == "bye\n"
        finally:
            program.kill()
